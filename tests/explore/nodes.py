"""One node of an exploration, as a value: its core, its disk, its programs; and one step of it.

Steps are remembered: the same node that is told the same at the same time does the same, and in most
worlds that an exploration visits only one node of several has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf
from typing import Any, NamedTuple

from p2pnode.core.node import Core
from p2pnode.core.placement.advertising import Advertising
from p2pnode.core.placement.adverts import Known
from p2pnode.core.records import vetting
from p2pnode.core.records.events import (
    CapacityChanged,
    DropJob,
    DropReservation,
    Event,
    Finished,
    JobRerun,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    Kill,
    PeerBack,
    PeerLost,
    Progressed,
    Received,
    Rejected,
    SaveJob,
    SaveReservation,
    Send,
    Start,
    Tick,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec, protocols
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Ended, Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.spec import JobSpec, Timeouts
from p2pnode.core.wire.states import Fault, Stage
from tests.core_support import JOB, NONCE, advert, capacity, signed, spec
from tests.fake_keys import FakeKeys
from tests.sim.specs import changed

from .values import digest, frozen, takes_any, thawed

# The requester, two deputies and a worker: the smallest network in which everything has its part.
REQUESTER, FIRST, SECOND, WORKER = PEERS = ("me", "first", "second", "worker")
# A program runs for so long, unless something else comes first.
RUN_S = 3
# A job that looks after itself as long as there is anybody: nothing ends it early.
WANTED: JobSpec = spec(deputies=2, timeouts=Timeouts(queue_s=60))
# Any time: the machines' clocks begin there.
EPOCH = 1_000


class Program(NamedTuple):
    """A program that runs on a node, and what it will be said to have ended by."""

    execution: str
    reservation: bytes
    replica: int
    due: float
    reason: str = ""
    fault: Fault | None = None


@dataclass(frozen=True)
class Node:
    """A node between two steps."""

    peer: str
    # Its memory, frozen; None while it is down.
    core: bytes | None
    # The core is told apart from others by it.
    core_digest: bytes
    jobs: tuple[tuple[str, bytes], ...] = ()
    reservations: tuple[tuple[str, bytes], ...] = ()
    programs: tuple[Program, ...] = ()
    # The core has said so when it was frozen.
    deadline: float = inf
    lost: frozenset[str] = frozenset()
    partners: frozenset[str] = frozenset()
    owns: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        return self.peer, self.core is None, self.core_digest, self.jobs, self.reservations, self.programs

    @cached_property
    def record(self) -> JobRecord | None:
        """The job as its disk has it; nothing changes it."""
        return codec.decode(self.jobs[0][1], JobRecord) if self.jobs else None

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, as far as this node knows of it."""
        return self.record is None or self.record.ended


class Refused(Exception):
    """A message of an honest node was refused by an honest node."""


Told = tuple[object, ...]


class Nodes:
    """All nodes that were seen, by number, and all steps that they were seen to take."""

    def __init__(self, lies: frozenset[str] = frozenset()) -> None:
        """Peers in `lies` may say what is refused."""
        self._lies = lies
        self._all: list[Node] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._steps: dict[tuple[int, Told, int], tuple[int, tuple[tuple[str, int], ...]]] = {}
        self._messages: list[bytes] = []
        self._message_numbers: dict[bytes, int] = {}

    def __getitem__(self, number: int) -> Node:
        return self._all[number]

    @property
    def steps(self) -> int:
        """The different steps that were taken."""
        return len(self._steps)

    def number(self, node: Node) -> int:
        known = self._numbers.setdefault(node.key, len(self._all))
        if known == len(self._all):
            self._all.append(node)
        return known

    def fresh(self, peer: str) -> int:
        """A node that knows all others, and has no job yet."""
        return self.step(self.number(Node(peer, None, b"")), ("start",), EPOCH)[0]

    def message(self, number: int) -> bytes:
        return self._messages[number]

    def said(self, data: bytes) -> int:
        """The number of a message."""
        known = self._message_numbers.setdefault(data, len(self._messages))
        if known == len(self._messages):
            self._messages.append(data)
        return known

    def step(self, number: int, told: Told, now: int) -> tuple[int, tuple[tuple[str, int], ...]]:
        """Tell a node something; its number afterwards, and the messages that it sends."""
        key = number, told, now
        if key not in self._steps:
            at_work = _AtWork(self._all[number], now, self._lies)
            at_work.tell(told)
            sends = tuple((to, self.said(data)) for to, data in at_work.sends if to in PEERS)
            self._steps[key] = self.number(at_work.node()), sends
        return self._steps[key]


class _AtWork:
    """A node thawed for one step."""

    def __init__(self, node: Node, now: int, lies: frozenset[str]) -> None:
        self.before = node
        self.now = now
        self.lies = lies
        self.core: Core | None = thawed(node.core) if node.core is not None else None
        self.jobs = dict(node.jobs)
        self.reservations = dict(node.reservations)
        self.programs = {one.execution: one for one in node.programs}
        self.sends: list[tuple[str, bytes]] = []

    def node(self) -> Node:
        """The node after the step."""
        core = self.core
        plain = Node(
            self.before.peer,
            None,
            b"",
            tuple(sorted(self.jobs.items())),
            tuple(sorted(self.reservations.items())),
            tuple(sorted(self.programs.values())),
        )
        if core is None:
            return plain
        # Adverts are said by nobody here, and so never due.
        core.advertising = Advertising(due=inf)
        core.jobs.touched = set()
        return replace(
            plain,
            core=frozen(core),
            core_digest=digest(core),
            deadline=core.deadline,
            lost=frozenset(core.lost),
            partners=core.partners,
            owns=any(not job.record.ended for job in core.jobs.values()),
        )

    def tell(self, told: Told) -> None:
        match told:
            case ("start",):
                self._start()
            case ("crash",):
                self.core, self.programs = None, {}
            case ("lose disk",):
                self.core, self.programs, self.jobs, self.reservations = None, {}, {}, {}
            case ("finish", str(execution)):
                self._finish(self.programs.pop(execution))
            case _:
                self._give(self._event(told))

    def _start(self) -> None:
        peer = self.before.peer
        core = self.core = Core(peer, takes_any, FakeKeys(peer), deputy=peer != WORKER)
        core.table.known |= _table(peer)
        jobs = [codec.decode(data, JobRecord) for data in self.jobs.values()]
        held = [codec.decode(data, Reservation) for data in self.reservations.values()]
        self._perform(core.resume([one for one in jobs if not one.ended], held, self.now))
        if peer == WORKER:
            self._give(CapacityChanged(capacity()))

    def _event(self, told: Told) -> Event:
        match told:
            case ("tick",):
                return Tick()
            case ("receive", str(sender), bytes(data)):
                return self._received(sender, data)
            case ("rejected", str(sender), bytes(data)):
                return Rejected(sender, vetting.message_untrusted(data, lambda peer: None), "refused")
            case ("lost", str(peer)):
                return PeerLost(peer, "is silent")
            case ("forgot", str(peer)):
                return PeerLost(peer, "it has lost its journal", forgot=True)
            case ("back", str(peer)):
                return PeerBack(peer)
            case ("submit",):
                return JobSubmitted(JOB, WANTED, NONCE)
            case ("stop",):
                return JobStopped(JOB, "the user stopped it")
            case ("rerun",):
                return JobRerun(JOB, "", self._stored(JOB))
            case ("update",):
                record = codec.decode(self.jobs[JOB], JobRecord)
                return JobUpdated(JOB, changed(record.spec), self._stored(JOB))
        raise AssertionError(told)

    def _stored(self, job: str) -> JobRecord | None:
        """The journal's record of a job that the core does not hold."""
        assert self.core is not None
        held = job in self.core.jobs or job in self.core.replication.copies
        return None if held or job not in self.jobs else codec.decode(self.jobs[job], JobRecord)

    def _received(self, sender: str, data: bytes) -> Received:
        message = vetting.message_untrusted(data, lambda peer: None)
        receipt = codec.decode(message.receipt.body, Receipt) if isinstance(message, Ended) else None
        if isinstance(message, Ended):
            FakeKeys(sender).verify_untrusted(sender, RECEIPT_DOMAIN, message.receipt)
        job = receipt.job if receipt else getattr(message, "job", "")
        return Received(sender, message, receipt, self._stored(job))

    def _give(self, event: Event) -> None:
        assert self.core is not None
        try:
            actions = self.core.handle(event, self.now)
        except BadMessage as exc:
            if isinstance(event, Received) and event.peer not in self.lies:
                raise Refused(f"{self.before.peer} refuses {event.message} of {event.peer}: {exc}") from exc
            return
        self._perform(actions)
        assert self.core.deadline > self.now or not isinstance(event, Tick), "it would tick for ever"

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Send(to, message):
                    self.sends.append((to, codec.encode(message)))
                case SaveJob(record):
                    self.jobs[record.id] = codec.encode(record)
                case DropJob(job):
                    self.jobs.pop(job, None)
                case SaveReservation(reservation):
                    self.reservations[reservation.execution] = codec.encode(reservation)
                case DropReservation(execution):
                    self.reservations.pop(execution, None)
                case Start(reservation, award):
                    self._run(reservation, award.replica)
                case Kill(execution, ending) if execution in self.programs:
                    killed = self.programs[execution]
                    self.programs[execution] = killed._replace(
                        due=self.now, reason=ending.reason, fault=ending.fault
                    )

    def _run(self, reservation: Reservation, replica: int) -> None:
        id = reservation.execution
        assert id not in self.programs, "a program is started once"
        self.programs[id] = Program(id, codec.encode(reservation), replica, self.now + RUN_S)
        self._give(Progressed(id, Stage.RUNNING, ""))

    def _finish(self, program: Program) -> None:
        reservation = codec.decode(program.reservation, Reservation)
        receipt = Receipt(
            job=reservation.job,
            execution=program.execution,
            round=reservation.round,
            replica=program.replica,
            peer=self.before.peer,
            requester=reservation.owner,
            spec_hash=reservation.spec_hash,
            program="",
            inputs=(),
            exit_code=None if program.fault else 0,
            fault=program.fault,
            reason=program.reason,
            result_cid=None if program.fault else "bafy",
            started_ms=0,
            ended_ms=0,
            cpu_ms=0,
            memory_bytes=0,
        )
        body = codec.encode(receipt)
        signature = FakeKeys(self.before.peer).sign(RECEIPT_DOMAIN, body)
        self._give(Finished(program.execution, Signed(body=body, signature=signature)))


def _table(me: str) -> Mapping[str, Known]:
    """The adverts of all others, good for ever: the worker alone runs anything, and it is no deputy."""
    engines = {peer: ("wasm",) if peer == WORKER else () for peer in PEERS if peer != me}
    adverts = [advert(peer, engines=theirs) for peer, theirs in engines.items()]
    spoken = {WORKER: protocols.spoken(deputy=False)}
    adverts = [codec.replace(one, protocols=spoken.get(one.peer, protocols.SPOKEN)) for one in adverts]
    return {one.peer: Known(one, signed(one), inf) for one in adverts}


def next_second(at: float) -> float:
    """Time passes in whole seconds: worlds in which the same happened within one are the same."""
    return at if at == inf else max(ceil(at), EPOCH)
