"""One node's whole decision-making: its table of peers, the jobs it owns, what it runs and holds copies of.

The same object runs in production under `driver` and, many at a time, in the simulation.
A node asks itself as it asks any peer; such messages are handled here, in the same step.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.controlling import Controlling
from p2pnode.core.handovers import Handovers
from p2pnode.core.job import incoming
from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.message_vetting import MessageVetting
from p2pnode.core.placement.advertising import Advertising
from p2pnode.core.placement.adverts import ADVERT_TTL_INTERVALS, AdvertTable, advert_interval_s
from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import (
    Action,
    AdvertHeard,
    Advertise,
    CapacityChanged,
    ConnectionChanged,
    DropJob,
    Event,
    Finished,
    JobRerun,
    JobSought,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    Leaving,
    MembersLeft,
    NeighbourJoined,
    PeerBack,
    PeerLost,
    Progressed,
    ReceiptRefused,
    Received,
    Rejected,
    SchedulingChanged,
    Send,
    Tick,
)
from p2pnode.core.records.lifecycle import LIVE, JobRecord, new_record
from p2pnode.core.records.needs import Need, need_of
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.replication.readings import Readings, whom_to_ask
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.values.trust import ANYBODY, Trust
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
from p2pnode.core.wire.signing import Keys
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.worker.machine import Worker
from p2pnode.core.worker.reservations import Reservations

# Each look of a job that waits goes through all peers: a flood of adverts must not bring one look for each.
NEWS_GAP_S = 0.25
# A node's message to itself goes through the shell if it needs these; a record that matters is here.
_OF_SHELL = (Need.RECEIPT, Need.INPUTS)
# Jobs that a node looks after at once; beyond it, submissions are refused.
JOBS_LIVE_MAX = 10_000
# Messages of this node to itself about one thing in one step: an execution has some ten stages.
TOLD_ITSELF_MAX = 100


@dataclass(slots=True)
class Core:
    me: str
    check_spec: Callable[[JobSpec], str | None]
    keys: Keys
    preempts: bool = False
    # Why this node does not run a valid job, or None: what only it can look up, at an award.
    declines: Callable[[JobSpec], str | None] = lambda spec: None
    # Whether this node looks after others' jobs, and to whom it entrusts its own.
    deputy: bool = True
    trust: Trust = ANYBODY
    table: AdvertTable = field(default_factory=AdvertTable)
    advertising: Advertising = field(default_factory=Advertising)
    # Peers that are silent, as far as that was looked at.
    lost: set[str] = field(default_factory=set)
    # Jobs that take part in nothing, since something in them failed, and their executions.
    aside: dict[str, frozenset[str]] = field(default_factory=dict)
    worker: Worker = field(init=False)
    jobs: OwnedJobs = field(init=False)
    replication: Replication = field(init=False)
    # Jobs that are others', and that users here look at.
    readings: Readings = field(init=False)
    _controlling: Controlling = field(init=False)
    _handovers: Handovers = field(init=False)
    _vetting: MessageVetting = field(init=False)
    _peers_changed: bool = False
    # When jobs that wait were told of such news last.
    _news_at: float = -inf

    def __post_init__(self) -> None:
        self.worker = Worker(
            lambda spec: self.check_spec(spec) or self.declines(spec),
            preempts=self.preempts,
            standing=Standing(self.me),
            lost=self.lost,
        )
        self._controlling = Controlling(self.me, self.keys, self.trust)
        self._begin()

    def _begin(self) -> None:
        """Own nothing and hold no copy."""
        self.jobs = OwnedJobs(self.me, self.keys, self.table.known, self.lost, self.trust)
        self.replication = Replication(self.me, self.lost)
        self.readings = Readings(self.me, self.lost)
        self._handovers = Handovers(self.me, self.keys, self.jobs, self.replication, self.readings, self.lost)
        self._vetting = MessageVetting(
            self.me,
            self.keys,
            lambda spec: self.check_spec(spec),
            self.deputy,
            self.worker,
            self.jobs,
            self.replication,
            self._handovers.record,
        )

    def resume(
        self, jobs: Iterable[JobRecord], reservations: Iterable[Reservation], now: float
    ) -> list[Action]:
        """Go on from the journal after a restart, with the jobs that had not ended and all reservations."""
        self._begin()
        self._handovers.begin(now)
        actions: list[Action] = []
        for record in jobs:
            if record.owner == self.me:
                self.jobs.take(record)
            elif self.readings.is_read(record):
                actions.append(DropJob(record.id))
            else:
                self.replication.resume(record, now)
        self.worker.reservations = Reservations(reservations)
        actions += self.worker.resume(now)
        for job in list(self.jobs.values()):
            with self.jobs.worked_on(job):
                actions += job.resume(now)
        return self._finish(actions, now)

    def resume_job(self, record: JobRecord, now: float) -> list[Action]:
        """Go on with one job from the journal."""
        if record.owner != self.me:
            if not self.readings.is_read(record):
                self.replication.hold(record, now)
            return []
        job = self.jobs.take(record)
        with self.jobs.worked_on(job):
            return self._finish(job.resume(now), now)

    @property
    def deadline(self) -> float:
        mine = min(self.worker.deadline, self.replication.deadline, self.readings.deadline)
        mine = min(mine, self._controlling.due)
        news = self._news_at + NEWS_GAP_S if self._peers_changed else inf
        return min(self.jobs.deadline, mine, news, self.table.deadline, self.advertising.deadline)

    @property
    def partners(self) -> frozenset[str]:
        """The peers whose silence has to be noticed: those that run, own or keep what concerns this node."""
        found: set[str] = {*self.replication.owners, *self.readings.partners}
        found.update(*(job.partners for job in self.jobs.values()))
        found.update(reservation.owner for reservation in self.worker.held if reservation.award is not None)
        return frozenset(found - {self.me})

    @property
    def acquainted(self) -> set[str]:
        """The peers of its own operator, and those that work for this node, or whose programs ran here."""
        workers = {one.peer for job in self.jobs.values() for one in job.record.of(*LIVE)}
        return {*workers, *self.worker.standing.proven, *self.trust.operators}

    def handle(self, event: Event, now: float) -> list[Action]:
        """One step. What is raised leaves the core half changed: see `core.recovery`.

        Raises `BadMessage` for a message that is refused, before anything has changed, and `Broken`.
        """
        return self._finish(self._route(event, now), now)

    def _finish(self, actions: list[Action], now: float) -> list[Action]:
        """Deliver what this node says to itself, tell waiting jobs of news, advertise what changed."""
        done: list[Action] = []
        told: Counter[str] = Counter()
        pending = deque(actions)
        while True:
            while pending:
                action = pending.popleft()
                if isinstance(action, Send) and isinstance(action.message, Award):
                    self.table.gave(action.peer, action.message.spec.task.resources)
                if isinstance(action, Send) and self._is_for_itself(action):
                    pending.extend(self._tell_itself(action.message, told, now))
                else:
                    if isinstance(action, Send) and isinstance(action.message, Ask):
                        self.table.asked(action.peer, now)
                    done.append(action)
            if self.replication.take_over_due <= now:
                pending.extend(self._handovers.take_over(now))
            elif self._peers_changed and now >= self._news_at + NEWS_GAP_S:
                self._peers_changed, self._news_at = False, now
                pending.extend(self._tell_waiting(now))
            else:
                break
        self.jobs.forget_ended()
        done += self._advertise(now)
        return done

    def _tell_itself(self, message: Message, told: Counter[str], now: float) -> list[Action]:
        """Deliver what this node says to itself; raises `Broken` where of one thing there is no end of it."""
        job, execution = getattr(message, "job", ""), getattr(message, "execution", "")
        told[execution or job] += 1
        owned = self.jobs.of_execution(execution)
        kind = Compartment.EXECUTION if execution and not owned else Compartment.JOB
        with compartment(kind, owned.record.id if owned else execution or job):
            if told[execution or job] > TOLD_ITSELF_MAX:
                raise RuntimeError(f"more than {TOLD_ITSELF_MAX} messages of this node to itself in one step")
        return self._message(self.me, message, Received(self.me, message), now)

    def _is_for_itself(self, action: Send) -> bool:
        return action.peer == self.me and need_of(action.message) not in _OF_SHELL

    def _tell_waiting(self, now: float) -> list[Action]:
        """The most urgent job looks first, and takes the room."""
        actions: list[Action] = []
        waiting = [job for job in self.jobs.values() if job.waits]
        for job in sorted(waiting, key=lambda job: (-job.record.spec.priority, job.record.created)):
            actions += self.jobs.give(job, Tick(), now)
        return actions

    def _route(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, message):
                self.table.met(peer)
                return self._message(peer, message, event, now)
            case Rejected(message=message):
                if isinstance(message, Command):
                    self.replication.command_rejected(message)
                job = self.jobs.of_execution(getattr(message, "execution", "")) or self.jobs.get(
                    getattr(message, "job", "")
                )
                return self.jobs.give(job, event, now) if job else []
            case ReceiptRefused(execution=execution):
                job = self.jobs.of_execution(execution)
                return self.jobs.give(job, event, now) if job else []
            case AdvertHeard(advert=advert, forwarder=forwarder) if advert.peer == self.me and forwarder:
                # An advert of a twin (core.placement.twins) gives way to one's own in the table.
                self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
                return []
            case AdvertHeard(signed, advert, remaining_ms, forwarder, clock_set_s):
                self._controlling.heard(advert, now)
                self._peers_changed |= self.table.learn(
                    signed, advert, remaining_ms, now, forwarder, clock_set_s
                )
                return []
            case CapacityChanged(capacity):
                self.worker.capacity = capacity
                self.table.refresh(self.me, capacity)
                return self.worker.handle(event, now)
            case JobSubmitted(id, spec, nonce):
                assert id not in self.jobs, id
                charter = self._controlling.charter(id, spec, nonce)
                job = self.jobs.take(new_record(charter, spec, now))
                with self.jobs.worked_on(job):
                    return job.begin(now)
            case JobStopped() | JobUpdated() | JobRerun():
                self._controlling.look(now)
                return self._handovers.command(event, now)
            case JobSought(job=id):
                if id in self.jobs or id in self.replication.copies or id in self.aside:
                    return []
                return self.readings.seek(
                    event, whom_to_ask(event, self.trust.operators, self.table.known, now), now
                )
            case PeerLost(peer, _, forgot):
                if forgot:
                    self._handovers.heard_again(peer, now)
                else:
                    self.lost.add(peer)
                self.replication.peer_lost(peer, now, forgot=forgot)
                self.readings.peer_lost(peer, now)
                return self.worker.handle(event, now) + self._tell_all(event, now)
            case PeerBack(peer):
                self.lost.discard(peer)
                self._handovers.heard_again(peer, now)
                return self.replication.peer_back(peer) + self._tell_all(event, now)
            case ConnectionChanged(peer, connected, host):
                self.table.connection_changed(peer, connected=connected, host=host)
                return []
            case MembersLeft(peers):
                self._controlling.left(peers, now)
                return []
            case NeighbourJoined():
                self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
                return []
            case Progressed() | Finished() | SchedulingChanged():
                return self.worker.handle(event, now)
            case Leaving():
                return self.worker.handle(event, now) + self._handovers.hand_over(now)
            case Tick():
                return self._tick(event, now)

    def _tell_all(self, event: Event, now: float) -> list[Action]:
        return [action for job in list(self.jobs.values()) for action in self.jobs.give(job, event, now)]

    def _message(self, peer: str, message: Message, event: Received, now: float) -> list[Action]:
        id = event.receipt.job if event.receipt else getattr(message, "job", "")
        if id in self.aside:
            return []
        self.jobs.touched.add(id)
        self._vetting.vet_untrusted(peer, message, event.record)
        match message:
            case Ask() | Award() | Release() | Cancel() | Adopt():
                return self.worker.handle(event, now)
            case Ended():
                # A job that ended is only in the journal when executions cancelled with it tell their end.
                job = self.jobs.of_execution(message.execution) or self._handovers.job_of(id, event.record)
                return self.jobs.give(job, event, now) if job else []
            case Bid() | Refusal() | Update():
                job = self.jobs.of_execution(message.execution)
                if job is not None:
                    return self.jobs.give(job, event, now)
                return incoming.of_no_job(peer, message, set().union(*self.aside.values()))
            case Owned():
                return self.worker.handle(event, now) + self._handovers.owned(peer, message, event, now)
            case Replicate():
                return self._handovers.replicate(peer, message, event, now)
            case WhoOwns(job=id):
                record = self._handovers.record(id, event.record)
                return self._handovers.say_who_owns(record, peer, message, now) if record else []
            case Orphan(job=id):
                if id in self.replication.copies:
                    return self.replication.claimed(peer, message)
                job = self._handovers.job_of(id, event.record)
                return self.jobs.give(job, event, now) if job else []
            case Command():
                self._controlling.look(now)
                return self._handovers.commanded(message, event, now)

    # Time

    def _tick(self, event: Tick, now: float) -> list[Action]:
        if self.table.deadline <= now:
            self._peers_changed |= self.table.expire(now)
        actions = self.worker.handle(event, now) if self.worker.deadline <= now else []
        actions += self.replication.ask_owners(now)
        actions += self.readings.ask_owners(now)
        for job in self.jobs.due(now):
            actions += self.jobs.give(job, event, now)
        if self._controlling.due <= now:
            actions += self._controlling.recharter(self.jobs, now)
        return actions

    def _advertise(self, now: float) -> list[Action]:
        capacity = self.worker.available
        if capacity is None:
            return []
        peers = len(self.table.known)
        if self.worker.leaving:
            if self.advertising.capacity is None:
                return []
            self.advertising.leave()
            return [Advertise(capacity, 0, leaving=True)]
        if self.worker.owes_news:
            self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
            self.worker.owes_news = False
        self.advertising.changed(capacity, now)
        if now < self.advertising.deadline:
            return []
        self.advertising.take(capacity, peers, rendezvous_hash(self.me, int(now * 1000), "") / 2**64, now)
        ttl_ms = int(advert_interval_s(peers) * ADVERT_TTL_INTERVALS * 1000)
        return [Advertise(capacity, ttl_ms)]
