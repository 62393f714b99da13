"""One job, all who may have to do with it, and what each may say: for the table "who may say what to whom".

Ranks are those of the job's charter. A scene is a node's real core in one state; what a sender says is
the worst that it could sign by its own keys, well-formed and knowing all that there is to know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2pnode.core.job.machine import Job
from p2pnode.core.node import Core
from p2pnode.core.records import lifecycle, mandate
from p2pnode.core.records.events import (
    AdvertHeard,
    CapacityChanged,
    Finished,
    PeerLost,
    Progressed,
    Received,
    Tick,
)
from p2pnode.core.records.lifecycle import Execution, ExecutionState, JobRecord, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import STAGGER_S
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import Mandate, job_id
from p2pnode.core.wire.messages import (
    Adopt,
    Ask,
    Award,
    Cancel,
    Command,
    Ended,
    ExecutionCopy,
    Message,
    Orphan,
    Owned,
    Receipt,
    Release,
    Replicate,
    WhoOwns,
)
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.states import RefusalKind, Stage

from . import core_support as make
from .core_support import NONCE
from .fake_keys import FakeKeys

MEMBERS = ("rank0", "rank1", "rank2", "rank3")
SENDERS = (*MEMBERS, "friend", "past", "controller", "worker", "other", "stranger")
JOB, OTHER_JOB = job_id("rank0", NONCE), job_id("rank0", bytes(15) + b"1")
SPEC = make.spec(count=2, deputies=3)
OTHER_SPEC = make.spec(deputies=0)
# Executions on `worker`, on `other`, of another job on `worker`, and one that a liar has awarded to a friend.
RUNS, ALSO_RUNS, OF_OTHER_JOB, MADE_UP = ("e-" + digit * 32 for digit in "1234")
NEWEST = make.a_mandate(*MEMBERS, job=JOB, wanted=SPEC, serial=2, controllers=("controller",))
OLD = make.a_mandate("rank0", "past", "rank1", "rank2", job=JOB, wanted=SPEC, controllers=("controller",))
# Larger than all that an honest node has counted so far.
HIGH = 1_000_000
# A command that was carried out.
DONE = make.a_command("rerun", by="controller", job=JOB)
# When a message comes; what a scene is made of lies before.
NOW = 2.0


# Messages


@dataclass(frozen=True)
class Scene:
    """A node in a state, in which the execution on `worker` has this id."""

    core: Core
    execution: str = RUNS
    # The journal's record of a job that has ended.
    stored: JobRecord | None = None

    @property
    def job(self) -> Job | None:
        return self.core.jobs.get(JOB)

    @property
    def copy(self) -> JobRecord | None:
        """The record of who only holds a copy."""
        return None if self.job else self.core.replication.copies.get(JOB, self.stored)


def its_mandate(sender: str, receiver: str) -> Mandate:
    """The newest mandate that `sender` can show: a member names a friend, and who is to listen to it."""
    base = OLD if sender == "past" else NEWEST
    signer = "rank3" if sender == "friend" else sender
    members = mandate.read(base).members
    if signer == "rank0" or signer not in members:
        return base
    more = dict.fromkeys(peer for peer in ("friend", receiver) if peer not in members)
    return mandate.extended(FakeKeys(signer), base, signer, tuple(more))


def an_end(peer: str, execution: str, by: str) -> tuple[Signed, Receipt]:
    told = make.receipt(
        execution, job=JOB, peer=peer, requester="rank0", spec_hash=codec.digest(SPEC), reason=""
    )
    body = codec.encode(told)
    return Signed(body=body, signature=FakeKeys(by).sign(RECEIPT_DOMAIN, body)), told


def says_replicate(
    sender: str, receiver: str, scene: Scene, *, also: tuple[ExecutionCopy, ...] = ()
) -> Replicate:
    """The job is stopped, what runs is given up, and a friend has completed one replica."""
    record = a_record()
    record.executions[RUNS].state = ExecutionState.CANCELLED
    made_up = Execution(id=MADE_UP, peer="friend", round=1, replica=0, owner=sender, created=0, modified=0)
    made_up.state, made_up.exit_code, made_up.result_cid = ExecutionState.COMPLETED, 0, "bafy"
    made_up.receipt, _ = an_end("friend", MADE_UP, "friend")
    record.executions[MADE_UP] = made_up
    record.state, record.outcome = JobState.STOPPED, Outcome.STOPPED
    (told,) = sync.replicates(record, (), None, 1)
    return codec.replace(
        told,
        mandate=its_mandate(sender, receiver),
        acts_since_ms=HIGH,
        revision=HIGH,
        executions=(*told.executions, *also),
    )


def says_more(sender: str, receiver: str, scene: Scene) -> Replicate:
    told = says_replicate(sender, receiver, scene)
    return codec.replace(told, full=False, spec=None, versions=(), acts_since_ms=0)


def says_others(sender: str, receiver: str, scene: Scene) -> Replicate:
    """An execution of another job is called this job's."""
    (whole,) = sync.replicates(a_record(), (), None, 1)
    one = codec.replace(whole.executions[0], id=OF_OTHER_JOB)
    return says_replicate(sender, receiver, scene, also=(one,))


def says_ask(sender: str, receiver: str, scene: Scene) -> Ask:
    return make.ask(SPEC, execution=scene.execution, job=JOB)


def says_award(sender: str, receiver: str, scene: Scene) -> Award:
    given = its_mandate(sender, receiver)
    return make.award(says_ask(sender, receiver, scene), SPEC, mandate=given)


def says_ended(sender: str, receiver: str, scene: Scene) -> Ended:
    signed, _ = an_end(sender, scene.execution, sender)
    return Ended(execution=scene.execution, round=1, receipt=signed)


def says_command(sender: str, receiver: str, scene: Scene) -> Command:
    return make.a_command("stop", by=sender, job=JOB)


def carries_command(sender: str, receiver: str, scene: Scene) -> Command:
    return make.a_command("stop", by="controller", job=JOB)


Says = Callable[[str, str, Scene], Message]
# Each kind of message, as the worst that its sender can make of it.
SAYS: dict[str, Says] = {
    "ask": says_ask,
    "bid": lambda me, to, scene: make.bid(scene.execution),
    "refusal": lambda me, to, scene: make.refusal(scene.execution, RefusalKind.EXPIRED),
    "award": says_award,
    "release": lambda me, to, scene: Release(execution=scene.execution, round=1),
    "update": lambda me, to, scene: make.update(scene.execution, HIGH, Stage.PUBLISHING),
    "cancel": lambda me, to, scene: Cancel(execution=scene.execution, round=1, reason="enough"),
    "ended": says_ended,
    "adopt": lambda me, to, scene: Adopt(
        execution=scene.execution, round=1, job=JOB, mandate=its_mandate(me, to)
    ),
    "orphan": lambda me, to, scene: Orphan(
        execution=scene.execution, round=1, job=JOB, replica=0, owner="rank0"
    ),
    "who-owns": lambda me, to, scene: WhoOwns(job=JOB, owner=me, whole=True),
    "owned, by its sender": lambda me, to, scene: Owned(job=JOB, owner=me, mandate=its_mandate(me, to)),
    "owned, by its receiver": lambda me, to, scene: Owned(job=JOB, owner=to, mandate=its_mandate(me, to)),
    "replicate, the whole": says_replicate,
    "replicate, some more": says_more,
    "replicate, with what another job runs": says_others,
    "command, its sender's": says_command,
    "command, of a controller": carries_command,
}


# Receivers


def a_record(given: Mandate = NEWEST) -> JobRecord:
    """The job, as its requester has it while it runs."""
    record = lifecycle.new_record(given, SPEC, 0)
    record.past_members, record.round, record.state = ("past",), 1, JobState.RUNNING
    record.commands = (DONE.signed,)
    for replica, (id, peer) in enumerate([(RUNS, "worker"), (ALSO_RUNS, "other")]):
        record.executions[id] = _running(id, peer, replica)
    return record


def _running(id: str, peer: str, replica: int) -> Execution:
    one = Execution(id=id, peer=peer, round=1, replica=replica, owner="rank0", created=0, modified=0)
    one.state, one.sequence = ExecutionState.RUNNING, 2
    return one


def _another_job() -> JobRecord:
    record = lifecycle.new_record(
        make.a_mandate("rank0", job=OTHER_JOB, wanted=OTHER_SPEC, nonce=bytes(15) + b"1"), OTHER_SPEC, 0
    )
    record.state, record.executions[OF_OTHER_JOB] = JobState.RUNNING, _running(OF_OTHER_JOB, "worker", 0)
    return record


def _node(me: str) -> Core:
    core = Core(me, lambda spec: None, FakeKeys(me))
    core.handle(CapacityChanged(make.capacity()), 0)
    return core


def owner_back(record: JobRecord | None = None) -> Scene:
    core = _node("rank0")
    core.resume([record or a_record(), _another_job()], [], 0)
    return Scene(core)


def owner(record: JobRecord | None = None) -> Scene:
    scene = owner_back(record)
    for deputy in MEMBERS[1:]:
        scene.core.handle(Received(deputy, Owned(job=JOB, owner="rank0", mandate=NEWEST)), 0)
    return scene


def owner_that_asks() -> Scene:
    asks = a_record()
    asks.executions, asks.state = {}, JobState.QUEUED
    scene = owner(asks)
    told = make.advert("worker")
    scene.core.handle(AdvertHeard(make.signed(told), told, 90_000, "worker"), 0.5)
    execution, *_ = scene.core.jobs[JOB].record.executions
    return Scene(scene.core, execution)


def owner_of_ended() -> Scene:
    core, record = _node("rank0"), a_record()
    core.resume([_another_job()], [], -1)
    record.state, record.outcome, record.reason = JobState.STOPPED, Outcome.STOPPED, "enough"
    for one in record.executions.values():
        one.state = ExecutionState.CANCELLED
    return Scene(core, stored=record)


def deputy(me: str = "rank2", given: Mandate = NEWEST) -> Scene:
    core = _node(me)
    (told,) = sync.replicates(a_record(given), (), None, 0)
    core.handle(Received("rank0", told), 0)
    return Scene(core)


def deserted(since: float = 0) -> Scene:
    scene = deputy()
    scene.core.handle(PeerLost("rank0", "is silent"), since)
    return scene


def acting() -> Scene:
    scene = deserted(-STAGGER_S)
    scene.core.handle(Tick(), 0)
    for peer, execution in (("worker", RUNS), ("other", ALSO_RUNS)):
        scene.core.handle(Received(peer, make.update(execution, 3, Stage.RUNNING)), 0)
    return scene


def past_member() -> Scene:
    return deputy("past", OLD)


def bidder() -> Scene:
    scene = Scene(_node("worker"))
    scene.core.handle(Received("rank0", says_ask("rank0", "worker", scene)), 0)
    return scene


def worker() -> Scene:
    scene = bidder()
    scene.core.handle(Received("rank0", says_award("rank0", "worker", scene)), 0)
    scene.core.handle(Progressed(RUNS, Stage.RUNNING, ""), 0)
    return scene


def orphaned() -> Scene:
    scene = worker()
    scene.core.handle(PeerLost("rank0", "is silent"), 0)
    return scene


def adopted() -> Scene:
    """A worker that obeys a deputy, which is heard."""
    scene = orphaned()
    scene.core.handle(Received("rank2", Adopt(execution=RUNS, round=1, job=JOB, mandate=NEWEST)), 0)
    return scene


def worker_that_ended() -> Scene:
    scene = worker()
    scene.core.handle(Finished(RUNS, an_end("worker", RUNS, "worker")[0]), 0)
    return scene


STATES: dict[str, Callable[[], Scene]] = {
    "owner": owner,
    "asking": owner_that_asks,
    "back": owner_back,
    "over": owner_of_ended,
    "standby": deputy,
    "deserted": deserted,
    "acting": acting,
    "past": past_member,
    "bidder": bidder,
    "worker": worker,
    "orphaned": orphaned,
    "adopted": adopted,
    "ended": worker_that_ended,
    "nobody": lambda: Scene(_node("nobody")),
}
