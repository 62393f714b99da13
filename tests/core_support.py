"""Offers, adverts, specs and jobs that the tests of the core's machines are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from p2pnode.core.job.machine import Job
from p2pnode.core.placement.adverts import Known
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import lifecycle, mandate
from p2pnode.core.records.events import Action, Received, Send
from p2pnode.core.records.lifecycle import OPEN, JobRecord, JobState
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.mandates import CommandAction, CommandBody, Mandate, job_id
from p2pnode.core.wire.messages import (
    Advert,
    Ask,
    Award,
    Bid,
    Capacity,
    Command,
    Ended,
    Message,
    Receipt,
    Refusal,
    Update,
    execution_id,
)
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    NetworkType,
    Resources,
    Task,
    Timeouts,
    WasmTask,
)
from p2pnode.core.wire.states import Fault, RefusalKind, Stage

from .fake_keys import FakeKeys

NONCE = bytes(16)
JOB = job_id("me", NONCE)
ROOM = Resources(cpu_millis=4000, memory_bytes=8_000_000_000, disk_bytes=10**11)


def capacity(**changes: Any) -> Capacity:
    plain = Capacity(
        engines=("wasm",),
        publishers=("ipfs",),
        sources=("ipfs",),
        networks=(NetworkType.NONE,),
        labels={"os": "linux"},
        total=ROOM,
        free=ROOM,
    )
    return codec.replace(plain, **changes)


def advert(peer: str, number: int = 1, issued_ms: int = 0, **changes: Any) -> Advert:
    leaving, ttl_ms = changes.pop("leaving", False), changes.pop("ttl_ms", 90_000)
    return Advert(
        peer=peer,
        number=number,
        issued_ms=issued_ms,
        ttl_ms=ttl_ms,
        name=peer,
        version="0",
        capacity=capacity(**changes),
        addresses=(),
        leaving=leaving,
    )


def signed(record: Any) -> Signed:
    return Signed(body=codec.encode(record), signature=bytes(64))


def spec(cpu_millis: int = 1000, timeouts: Timeouts | None = None, **changes: Any) -> JobSpec:
    task = Task(
        engine=WasmTask(entry_module="/m"),
        resources=Resources(cpu_millis=cpu_millis, memory_bytes=10**8),
        timeouts=timeouts or Timeouts(),
    )
    return codec.replace(JobSpec(type=JobType.BATCH, task=task), **changes)


def known(*adverts: Advert) -> dict[str, Known]:
    return {one.peer: Known(one, signed(one), float("inf")) for one in adverts}


def a_mandate(*members: str, job: str = JOB, wanted: JobSpec | None = None, **changes: Any) -> Mandate:
    """A charter of the first member, with the others as its deputies."""
    requester = members[0]
    charter = mandate.first_charter(job, NONCE, requester, wanted or spec(), ANYBODY)
    return mandate.chartered(FakeKeys(requester), codec.replace(charter, members=members, **changes))


def new_record(
    job: str, requester: str, wanted: JobSpec, now: float, deputies: Sequence[str] = ()
) -> JobRecord:
    """A job as its requester has submitted it."""
    id = job if len(job) == len(JOB) else JOB
    record = lifecycle.new_record(a_mandate(requester, *deputies, job=id, wanted=wanted), wanted, now)
    # Where only the name counts, it may be shorter than ids are.
    record.id = job
    return record


# Commands of one controller count by their number.
_numbers = count(1)


def a_command(
    action: str, reason: str = "enough", wanted: JobSpec | None = None, by: str = "me", job: str = JOB
) -> Command:
    """A command on a job, signed by a controller."""
    body = CommandBody(
        job=job,
        controller=by,
        number=next(_numbers),
        action=CommandAction(action),
        reason=reason[:REASON_LENGTH_MAX],
        spec_hash=None if wanted is None else codec.digest(wanted),
    )
    return Command(job=job, signed=mandate.commanded(FakeKeys(by), body), spec=wanted)


def new_job(peers: str = "abc", wanted: JobSpec | None = None, table: dict[str, Known] | None = None) -> Job:
    wanted = wanted or spec()
    peers_known = known(*map(advert, peers)) if table is None else table
    return Job(new_record(JOB, "me", wanted, 0), "me", FakeKeys("me"), peers_known)


def ask(wanted: JobSpec | None = None, slot: int = 0, **changes: Any) -> Ask:
    wanted = wanted or spec()
    plain = Ask(
        execution=execution_id(JOB, 1, "me", 1, "lender", slot),
        job=JOB,
        round=1,
        spec_hash=codec.digest(wanted),
        priority=wanted.priority,
        requirements=requirements_of(wanted),
    )
    return codec.replace(plain, **changes)


def award(asked: Ask, wanted: JobSpec | None = None, **changes: Any) -> Award:
    plain = Award(
        execution=asked.execution,
        round=asked.round,
        replica=0,
        mandate=a_mandate("me", "deputy", "other", wanted=wanted),
        spec=wanted or spec(),
        changed_by=None,
    )
    return codec.replace(plain, **changes)


def bid(execution: str, price: int = 0, round: int = 1) -> Bid:
    return Bid(execution=execution, round=round, valid_ms=10_000, price_micros=price, start_ms=0)


def receipt(execution: str, **changes: Any) -> Receipt:
    plain = Receipt(
        job=JOB,
        execution=execution,
        round=1,
        replica=0,
        peer="a",
        requester="me",
        spec_hash=codec.digest(spec()),
        program="",
        inputs=(),
        exit_code=0,
        fault=None,
        reason="exited",
        result_cid="bafy",
        started_ms=0,
        ended_ms=0,
        cpu_ms=0,
        memory_bytes=0,
    )
    return codec.replace(plain, **changes)


def end(job: Job, execution: str, exit_code: int | None = 0, fault: Fault | None = None) -> Received:
    """The event that an execution's peer sends its receipt with."""
    one = job.record.executions[execution]
    found = receipt(
        execution,
        round=one.round,
        replica=one.replica,
        peer=one.peer,
        spec_hash=job.record.spec_hash,
        exit_code=exit_code,
        fault=fault,
        reason="it broke" if fault else "exited",
    )
    message = Ended(execution=execution, round=one.round, receipt=signed(found))
    return Received(one.peer, message, found)


def sent(actions: list[Action], kind: type[Message] | None = None) -> list[tuple[str, Any]]:
    """The receivers and messages of this kind among the actions."""
    sends = [(one.peer, one.message) for one in actions if isinstance(one, Send)]
    return [(peer, message) for peer, message in sends if kind is None or isinstance(message, kind)]


def asked(job: Job) -> dict[str, str]:
    """Peer to execution id, of this round's asks."""
    return {one.peer: one.id for one in job.record.of(*OPEN)}


def refusal(execution: str, refusal_kind: RefusalKind = RefusalKind.BUSY, reason: str = "busy") -> Refusal:
    return Refusal(execution=execution, round=1, refusal_kind=refusal_kind, reason=reason)


def update(execution: str, sequence: int, stage: Stage = Stage.PREPARING) -> Update:
    return Update(execution=execution, round=1, sequence=sequence, stage=stage, detail="")


def awarded(peers: str = "a", **changes: object) -> tuple[Job, str, list[Action]]:
    """A job whose one replica was awarded to the first peer at 0; its execution; the actions."""
    job = new_job(peers, spec(**changes))  # type: ignore[arg-type]
    job.begin(0)
    actions: list[Action] = []
    for price, (peer, execution) in enumerate(sorted(asked(job).items())):
        actions += job.handle(Received(peer, bid(execution, price)), 0)
    ((_, message),) = sent(actions, Award)
    return job, message.execution, actions


def running(peers: str = "a", **changes: object) -> tuple[Job, str]:
    job, execution, _ = awarded(peers, **changes)
    job.handle(Received("a", update(execution, 1)), 0)
    job.handle(Received("a", update(execution, 2, Stage.RUNNING)), 0)
    assert job.record.state is JobState.RUNNING
    return job, execution
