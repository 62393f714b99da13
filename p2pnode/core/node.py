"""One node's whole decision-making: its table of peers, the jobs it owns, what it runs and holds copies of.

The same object runs in production under `driver` and, many at a time, in the simulation.
A node asks itself as it asks any peer; such messages are handled here, in the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.job.machine import Job
from p2pnode.core.placement.adverts import (
    ADVERT_TTL_INTERVALS,
    Advertising,
    AdvertTable,
    advert_interval_s,
)
from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import (
    Action,
    AdvertHeard,
    Advertise,
    CapacityChanged,
    Event,
    Finished,
    JobRerun,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    Leaving,
    NeighbourJoined,
    PeerBack,
    PeerLost,
    Progressed,
    ReceiptRefused,
    Received,
    Rejected,
    SaveJob,
    SchedulingChanged,
    Send,
    Tick,
)
from p2pnode.core.records.lifecycle import LIVE, JobRecord, new_record
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.replication.replicas import JobCommand, Replication, command
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.messages import (
    Adopt,
    Ask,
    Award,
    Bid,
    Cancel,
    Command,
    Ended,
    Message,
    Orphan,
    Owned,
    Refusal,
    Release,
    Replicate,
    Update,
    WhoOwns,
)
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.worker.machine import Worker

from .job import deputies
from .records import vetting
from .replication import sync
from .wire import extensions

# Each look of a job that waits goes through all peers: a flood of adverts must not bring one look for each.
NEWS_GAP_S = 0.25
# Jobs that a node looks after at once; beyond it, submissions are refused.
JOBS_LIVE_MAX = 10_000


@dataclass(slots=True)
class Core:
    me: str
    check_spec: Callable[[JobSpec], str | None]
    preempts: bool = False
    # Why this node does not run a valid job, or None: what only it can look up, at an award.
    declines: Callable[[JobSpec], str | None] = lambda spec: None
    table: AdvertTable = field(default_factory=AdvertTable)
    advertising: Advertising = field(default_factory=Advertising)
    jobs: dict[str, Job] = field(default_factory=dict)
    # Peers that are silent, as far as that was looked at.
    lost: set[str] = field(default_factory=set)
    # Jobs that take part in nothing, since something in them failed, and their executions.
    aside: dict[str, frozenset[str]] = field(default_factory=dict)
    # The jobs that were worked on since whoever gives the events last emptied it: see `core.recovery`.
    touched: set[str] = field(default_factory=set)
    worker: Worker = field(init=False)
    replication: Replication = field(init=False)
    _peers_changed: bool = False
    # When jobs that wait were told of such news last.
    _news_at: float = -inf

    def __post_init__(self) -> None:
        self.worker = Worker(
            lambda spec: self.check_spec(spec) or self.declines(spec),
            preempts=self.preempts,
            standing=Standing(self.me),
        )
        self.replication = Replication(self.me, self.lost)

    def resume(
        self, jobs: Iterable[JobRecord], reservations: Iterable[Reservation], now: float
    ) -> list[Action]:
        """Go on from the journal after a restart, with the jobs that had not ended and all reservations."""
        self.jobs, self.replication = {}, Replication(self.me, self.lost)
        for record in jobs:
            if record.owner == self.me:
                self.jobs[record.id] = self._job(record)
            else:
                self.replication.hold(record, now)
        self.worker.reservations = {reservation.execution: reservation for reservation in reservations}
        actions = self.worker.resume(now)
        for job in list(self.jobs.values()):
            with self._within(job):
                actions += job.resume(now)
        return self._finish(actions, now)

    def resume_job(self, record: JobRecord, now: float) -> list[Action]:
        """Go on with one job from the journal."""
        if record.owner != self.me:
            self.replication.hold(record, now)
            return []
        job = self.jobs[record.id] = self._job(record)
        with self._within(job):
            return self._finish(job.resume(now), now)

    def go_on_with(self, record: JobRecord, now: float) -> None:
        """Take a job as the journal has it, and look at it with the next tick."""
        job = self.jobs[record.id] = self._job(record)
        job.look_at(now)

    @property
    def deadline(self) -> float:
        jobs = min((job.deadline for job in self.jobs.values()), default=inf)
        mine = min(self.worker.deadline, self.replication.deadline)
        news = self._news_at + NEWS_GAP_S if self._peers_changed else inf
        return min(jobs, mine, news, self.table.deadline, self.advertising.due)

    @property
    def partners(self) -> frozenset[str]:
        """The peers whose silence has to be noticed: those that run, own or keep what concerns this node."""
        found: set[str] = set(self.replication.owners)
        for job in self.jobs.values():
            found |= job.partners
        found.update(reservation.owner for reservation in self.worker.held if reservation.award is not None)
        return frozenset(found - {self.me})

    @property
    def acquainted(self) -> set[str]:
        """The peers that have shown to be of use: they work for this node, or their programs ran here."""
        workers = {one.peer for job in self.jobs.values() for one in job.record.of(*LIVE)}
        return {*workers, *self.worker.standing.proven}

    def handle(self, event: Event, now: float) -> list[Action]:
        """One step. What is raised leaves the core half changed: see `core.recovery`.

        Raises `BadMessage` for a message that is refused, before anything has changed, and `Broken`.
        """
        return self._finish(self._route(event, now), now)

    def _finish(self, actions: list[Action], now: float) -> list[Action]:
        """Deliver what this node says to itself, tell waiting jobs of news, advertise what changed."""
        done: list[Action] = []
        pending = deque(actions)
        while True:
            while pending:
                action = pending.popleft()
                if isinstance(action, Send) and action.peer == self.me and not _needs_shell(action.message):
                    pending.extend(
                        self._message(self.me, action.message, Received(self.me, action.message), now)
                    )
                else:
                    if isinstance(action, Send) and isinstance(action.message, Ask):
                        self.table.asked(action.peer, now)
                    done.append(action)
            if self.replication.take_over_due <= now:
                pending.extend(self._take_over(now))
            elif self._peers_changed and now >= self._news_at + NEWS_GAP_S:
                self._peers_changed, self._news_at = False, now
                pending.extend(self._tell_waiting(now))
            else:
                break
        self._forget_ended()
        done += self._advertise(now)
        return done

    def _tell_waiting(self, now: float) -> list[Action]:
        """The most urgent job looks first, and takes the room."""
        actions: list[Action] = []
        waiting = [job for job in self.jobs.values() if job.waits]
        for job in sorted(waiting, key=lambda job: (-job.record.spec.priority, job.record.created)):
            actions += self._give(job, Tick(), now)
        return actions

    def _route(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, message):
                self.table.met(peer)
                return self._message(peer, message, event, now)
            case Rejected(message=message):
                job = self.owner_of(getattr(message, "execution", "")) or self.jobs.get(
                    getattr(message, "job", "")
                )
                return self._give(job, event, now) if job else []
            case ReceiptRefused(execution=execution):
                job = self.owner_of(execution)
                return self._give(job, event, now) if job else []
            case AdvertHeard(advert=advert, forwarder=forwarder) if advert.peer == self.me and forwarder:
                # An advert of a twin (core.placement.twins) gives way to one's own in the table.
                self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
                return []
            case AdvertHeard(signed, advert, remaining_ms, forwarder, clock_set_s):
                self._peers_changed |= self.table.learn(
                    signed, advert, remaining_ms, now, forwarder, clock_set_s
                )
                return []
            case CapacityChanged(capacity):
                self.worker.capacity = capacity
                return self.worker.handle(event, now)
            case JobSubmitted(id, spec):
                assert id not in self.jobs, id
                job = self.jobs[id] = self._job(new_record(id, self.me, spec, now))
                with self._within(job):
                    return job.begin(now)
            case JobStopped() | JobUpdated() | JobRerun():
                return self._command(event, now)
            case PeerLost(peer, _, forgot):
                if not forgot:
                    self.lost.add(peer)
                self.replication.peer_lost(peer, now, forgot=forgot)
                return self.worker.handle(event, now) + self._tell_all(event, now)
            case PeerBack(peer):
                self.lost.discard(peer)
                return self.replication.peer_back(peer) + self._tell_all(event, now)
            case NeighbourJoined():
                self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
                return []
            case Progressed() | Finished() | SchedulingChanged():
                return self.worker.handle(event, now)
            case Leaving():
                return self.worker.handle(event, now) + self._hand_over(now)
            case Tick():
                return self._tick(event, now)

    def _tell_all(self, event: Event, now: float) -> list[Action]:
        return [action for job in list(self.jobs.values()) for action in self._give(job, event, now)]

    def _within(self, job: Job) -> AbstractContextManager[None]:
        """A job is worked on: it alone is blamed for what goes wrong in it."""
        self.touched.add(job.record.id)
        return compartment(Compartment.JOB, job.record.id)

    def _give(self, job: Job, event: Event, now: float) -> list[Action]:
        with self._within(job):
            return job.handle(event, now)

    def _message(self, peer: str, message: Message, event: Received, now: float) -> list[Action]:
        id = event.receipt.job if event.receipt else getattr(message, "job", "")
        if id in self.aside:
            return []
        self.touched.add(id)
        self._vet(message, event.record)
        match message:
            case Ask() | Award() | Release() | Cancel() | Adopt():
                return self.worker.handle(event, now)
            case Ended():
                # What was cancelled as its job ended is told when that is in the journal only.
                job = self.owner_of(message.execution) or self._job_of(id, event.record)
                return self._give(job, event, now) if job else []
            case Bid() | Refusal() | Update():
                job = self.owner_of(message.execution)
                return self._give(job, event, now) if job else self._of_no_job(peer, message)
            case Owned():
                return self.worker.handle(event, now) + self._owned(peer, message, event, now)
            case Replicate():
                return self._replicate(peer, message, event, now)
            case WhoOwns(job=id, epoch=epoch):
                record = self._record(id, event.record)
                return self._say_who_owns(record, peer, epoch, now) if record else []
            case Orphan(job=id):
                if id in self.replication.copies:
                    return self.replication.claimed(peer, message)
                job = self._job_of(id, event.record)
                return self._give(job, event, now) if job else []
            case Command(job=id):
                return self._commanded(peer, id, event, now)

    def _vet(self, message: Message, stored: JobRecord | None) -> None:
        """Refuse what no honest node says, by what is known here; raises `BadMessage`."""
        match message:
            case Replicate(job=id, epoch=epoch) | Owned(job=id, epoch=epoch):
                record = self._record(id, stored)
                vetting.vet_epoch(epoch, record.epoch if record else 1)
            case Adopt(execution=execution, epoch=epoch) if execution in self.worker.reservations:
                vetting.vet_epoch(epoch, self.worker.reservations[execution].epoch)
        if isinstance(message, Replicate | Command) and message.spec is not None:
            spec = message.spec
            # What its task has to say is for the peers that run it.
            wrong = extensions.not_understood(extensions.musts(spec), "the job") or self.check_spec(spec)
            if wrong is not None:
                raise BadMessage(wrong)
            known = self._record(message.job, stored)
            if known is not None:
                vetting.vet_type(message.spec, known.spec)

    # Jobs of this node

    def _job(self, record: JobRecord) -> Job:
        return Job(record, self.me, self.table.known, self.lost)

    def owner_of(self, execution: str) -> Job | None:
        """The job here that an execution, wherever it runs, belongs to."""
        return next((job for job in self.jobs.values() if execution in job.record.executions), None)

    def _record(self, id: str, stored: JobRecord | None) -> JobRecord | None:
        job = self.jobs.get(id)
        return job.record if job else self.replication.copies.get(id, stored)

    def _job_of(self, id: str, stored: JobRecord | None) -> Job | None:
        """The job that this node owns, be it one that has ended and is in the journal only."""
        if id in self.jobs:
            return self.jobs[id]
        if stored is None or stored.owner != self.me or id in self.replication.copies:
            return None
        job = self.jobs[id] = self._job(stored)
        return job

    def _of_no_job(self, peer: str, message: Message) -> list[Action]:
        """An answer to what is over: the peer may hold resources for it, or run it still."""
        match message:
            case Bid(execution=execution, round=round):
                return [Send(peer, Release(execution=execution, round=round))]
            case Update(execution=execution, round=round) if not self._is_aside(execution):
                return [Send(peer, Cancel(execution=execution, round=round, reason="the job is over"))]
            case _:
                return []

    def _is_aside(self, execution: str) -> bool:
        return any(execution in executions for executions in self.aside.values())

    def _command(self, event: JobCommand, now: float) -> list[Action]:
        """A user of this node wants something of a job: it is done here, or told to the job's owner."""
        stored = None if isinstance(event, JobStopped) else event.record
        self.touched.add(event.job)
        job = self._job_of(event.job, stored)
        if job is not None:
            return self._give(job, event, now)
        if event.job in self.replication.copies:
            return self.replication.command_owner(event)
        return [Send(stored.owner, command(event))] if stored is not None else []

    def _commanded(self, peer: str, id: str, event: Received, now: float) -> list[Action]:
        job = self._job_of(id, event.record)
        if job is not None:
            return self._give(job, event, now) if peer in job.record.members else []
        copy = self.replication.copies.get(id)
        if copy is None or peer not in copy.members or copy.owner == peer:
            return []
        return [Send(peer, self.replication.answer(copy)), Send(copy.owner, event.message)]

    # Jobs that change hands

    def _replicate(self, peer: str, message: Replicate, event: Received, now: float) -> list[Action]:
        job = self._job_of(message.job, event.record)
        if job is None:
            return self.replication.replicate(peer, message, event.record, now)
        record = job.record
        if peer not in record.members:
            higher = (message.epoch, peer) > record.ballot
            return self.replication.ask_members(record, peer) if higher else []
        if (message.epoch, peer) < record.ballot:
            with self._within(job):
                return job.merge(peer, message, now)
        actions = self._yield(job, peer, message.epoch, now)
        return actions + self.replication.replicate(peer, message, record, now)

    def _owned(self, peer: str, owned: Owned, event: Received, now: float) -> list[Action]:
        copy = self.replication.copies.get(owned.job)
        if copy is None and event.record is not None and event.record.owner != self.me:
            copy = event.record
        if copy is not None:
            return self.replication.owned(peer, owned, copy, now)
        job = self._job_of(owned.job, event.record)
        if job is None:
            return []
        if (owned.epoch, owned.owner) > job.record.ballot and peer in job.record.members:
            if owned.owner == self.me:
                with self._within(job):
                    return job.raise_epoch(peer, owned.epoch, now)
            return self._yield(job, owned.owner, owned.epoch, now)
        return self._give(job, event, now)

    def _say_who_owns(self, record: JobRecord, peer: str, epoch: int, now: float) -> list[Action]:
        """Who has missed something gets the whole; a stranger hears that it has to keep nothing."""
        if record.owner != self.me:
            return [Send(peer, self.replication.answer(record))]
        if peer not in deputies.recipients(record):
            return [SaveJob(record), Send(peer, sync.header(record, now))]
        if epoch == record.epoch and not record.ended:
            return [Send(peer, self.replication.answer(record))]
        return [SaveJob(record), *(Send(peer, message) for message in sync.replicates(record, (), None, now))]

    def _yield(self, job: Job, owner: str, epoch: int, now: float) -> list[Action]:
        record = job.record
        with self._within(job):
            actions = job.yield_to(owner, epoch, now)
        del self.jobs[record.id]
        if not record.ended:
            self.replication.hold(record, now)
        return actions

    def _take_over(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for record, before, commands in self.replication.take_over(now):
            job = self.jobs[record.id] = self._job(record)
            with self._within(job):
                actions += job.take_over(before, now)
            # Whoever holds another copy has to hear of it, or two would own the job for good.
            others = sorted(record.members - {self.me, *deputies.recipients(record)})
            header = sync.header(record, now)
            actions += [Send(peer, header) for peer in others]
            for event in commands:
                actions += self._give(job, event, now)
        return actions

    def _hand_over(self, now: float) -> list[Action]:
        """This node leaves: each job goes to a deputy that is there."""
        actions: list[Action] = []
        for job in list(self.jobs.values()):
            heir = next((peer for peer in job.record.deputies if peer not in self.lost), None)
            if heir is not None and not job.record.ended:
                # Beyond what any deputy gives itself that takes over at the same time.
                epoch = job.record.epoch + 1 + deputies.DEPUTIES_MAX
                actions += self._yield(job, heir, epoch, now)
                actions.append(Send(heir, Owned(job=job.record.id, epoch=epoch, owner=heir)))
        return actions

    # Time

    def _tick(self, event: Tick, now: float) -> list[Action]:
        if self.table.deadline <= now:
            self._peers_changed |= self.table.expire(now)
        actions = self.worker.handle(event, now) if self.worker.deadline <= now else []
        actions += self.replication.ask_owners(now)
        for job in list(self.jobs.values()):
            if job.deadline <= now:
                actions += self._give(job, event, now)
        return actions

    def _forget_ended(self) -> None:
        for id in [id for id, job in self.jobs.items() if job.record.ended and job.deadline == inf]:
            del self.jobs[id]

    def _advertise(self, now: float) -> list[Action]:
        capacity = self.worker.available
        if capacity is None:
            return []
        peers = len(self.table.known)
        if self.worker.leaving:
            if self.advertising.capacity is None:
                return []
            self.advertising.capacity, self.advertising.due = None, inf
            return [Advertise(capacity, 0, leaving=True)]
        if self.worker.owes_news:
            self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
            self.worker.owes_news = False
        self.advertising.changed(capacity, now)
        if now < self.advertising.due:
            return []
        self.advertising.take(capacity, peers, rendezvous_hash(self.me, int(now * 1000), "") / 2**64, now)
        ttl_ms = int(advert_interval_s(peers) * ADVERT_TTL_INTERVALS * 1000)
        return [Advertise(capacity, ttl_ms)]


def _needs_shell(message: Message) -> bool:
    """Does the shell have to look at something before this node may take in its own message?"""
    return isinstance(message, Ended) or (isinstance(message, Ask) and bool(message.requirements.directories))
