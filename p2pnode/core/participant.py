"""One node's whole decision-making: its table of peers, the jobs it owns, what it lends.

The same object runs in production under `driver` and, many at a time, in the simulation.
A node asks itself as it asks any peer; such messages are handled here, in the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from . import wire
from .adverts import ADVERT_TTL_INTERVALS, Advertising, AdvertTable, advert_interval_s
from .events import (
    Action,
    AdvertHeard,
    Advertise,
    Event,
    Finished,
    JobStopped,
    JobSubmitted,
    Leaving,
    NeighbourJoined,
    OfferChanged,
    PeerLost,
    Progressed,
    Received,
    Send,
    Tick,
)
from .job import Job
from .lending import Lending
from .lending_records import Loan
from .lifecycle import JobRecord
from .messages import Ask, Award, Bid, Cancel, Ended, Message, Refusal, Release, Update
from .ranking import lot
from .spec import JobSpec

# Jobs that a node looks after at once; beyond it, submissions are refused.
JOBS_LIVE_MAX = 10_000


@dataclass(slots=True)
class Participant:
    me: str
    check_spec: Callable[[JobSpec], str | None]
    table: AdvertTable = field(default_factory=AdvertTable)
    advertising: Advertising = field(default_factory=Advertising)
    jobs: dict[str, Job] = field(default_factory=dict)
    lending: Lending = field(init=False)
    _peers_changed: bool = False

    def __post_init__(self) -> None:
        self.lending = Lending(self.check_spec)

    def resume(self, jobs: Iterable[JobRecord], loans: Iterable[Loan], now: float) -> list[Action]:
        """Go on from the journal after a restart, with the jobs that had not ended and all loans."""
        for record in jobs:
            self.jobs[record.id] = Job(record, self.me, self.table.known)
        self.lending.loans = {loan.execution: loan for loan in loans}
        actions = self.lending.resume(now)
        for job in list(self.jobs.values()):
            actions += job.handle(Tick(), now)
        return self._finish(actions, now)

    @property
    def deadline(self) -> float:
        jobs = min((job.deadline for job in self.jobs.values()), default=inf)
        return min(jobs, self.lending.deadline, self.table.deadline, self.advertising.due)

    def handle(self, event: Event, now: float) -> list[Action]:
        return self._finish(self._route(event, now), now)

    def _finish(self, actions: list[Action], now: float) -> list[Action]:
        """Deliver what this node says to itself, tell waiting jobs of news, advertise what changed."""
        done: list[Action] = []
        pending = deque(actions)
        while True:
            while pending:
                action = pending.popleft()
                if (
                    isinstance(action, Send)
                    and action.peer == self.me
                    and not isinstance(action.message, Ended)
                ):
                    pending.extend(
                        self._message(self.me, action.message, Received(self.me, action.message), now)
                    )
                else:
                    done.append(action)
            if not self._peers_changed:
                break
            self._peers_changed = False
            # The most urgent job looks first, and takes the room.
            waiting = sorted(
                self.jobs.values(), key=lambda job: (-job.record.spec.priority, job.record.created)
            )
            for job in waiting:
                if job.waits:
                    pending.extend(job.handle(Tick(), now))
        self._forget_ended()
        done += self._advertise(now)
        return done

    def _route(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, message):
                return self._message(peer, message, event, now)
            case AdvertHeard(signed, advert, remaining_ms):
                self._peers_changed |= self.table.learn(signed, advert, remaining_ms, now)
                return []
            case OfferChanged(offer):
                self.lending.capacity = offer
                return []
            case JobSubmitted(id, spec):
                return self._submit(id, spec, now)
            case JobStopped(id):
                return self.jobs[id].handle(event, now) if id in self.jobs else []
            case PeerLost():
                return [action for job in list(self.jobs.values()) for action in job.handle(event, now)]
            case NeighbourJoined():
                self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
                return []
            case Progressed() | Finished() | Leaving():
                return self.lending.handle(event, now)
            case Tick():
                return self._tick(event, now)

    def _message(self, peer: str, message: Message, event: Event, now: float) -> list[Action]:
        match message:
            case Ask() | Award() | Release() | Cancel():
                return self.lending.handle(event, now)
            case Bid() | Refusal() | Update() | Ended():
                job = self.owner_of(message.execution)
                return job.handle(event, now) if job else self._of_no_job(peer, message)

    def owner_of(self, execution: str) -> Job | None:
        """The job here that an execution, wherever it runs, belongs to."""
        return next((job for job in self.jobs.values() if execution in job.record.executions), None)

    def _of_no_job(self, peer: str, message: Message) -> list[Action]:
        """An answer to what is over: the peer may hold resources for it, or run it still."""
        match message:
            case Bid(execution=execution, round=round):
                return [Send(peer, Release(execution=execution, round=round))]
            case Update(execution=execution, round=round):
                return [Send(peer, Cancel(execution=execution, round=round, reason="the job is over"))]
            case _:
                return []

    def _submit(self, id: str, spec: JobSpec, now: float) -> list[Action]:
        assert id not in self.jobs, id
        record = JobRecord(
            id=id, requester=self.me, spec=spec, spec_hash=wire.digest(spec), created=now, modified=now
        )
        job = self.jobs[id] = Job(record, self.me, self.table.known)
        return job.begin(now)

    def _tick(self, event: Tick, now: float) -> list[Action]:
        if self.table.deadline <= now:
            self._peers_changed |= self.table.expire(now)
        actions = self.lending.handle(event, now) if self.lending.deadline <= now else []
        for job in list(self.jobs.values()):
            if job.deadline <= now:
                actions += job.handle(event, now)
        return actions

    def _forget_ended(self) -> None:
        for id in [id for id, job in self.jobs.items() if job.record.ended]:
            del self.jobs[id]

    def _advertise(self, now: float) -> list[Action]:
        offer = self.lending.offer
        if offer is None:
            return []
        peers = len(self.table.known)
        if self.lending.leaving:
            if self.advertising.offer is None:
                return []
            self.advertising.offer, self.advertising.due = None, inf
            return [Advertise(offer, 0, leaving=True)]
        if self.lending.owes_news:
            self.advertising.due = min(self.advertising.due, self.advertising.soonest(now))
            self.lending.owes_news = False
        self.advertising.changed(offer, now)
        if now < self.advertising.due:
            return []
        self.advertising.take(offer, peers, lot(self.me, int(now * 1000), "") / 2**64, now)
        ttl_ms = int(advert_interval_s(peers) * ADVERT_TTL_INTERVALS * 1000)
        return [Advertise(offer, ttl_ms)]
