"""The jobs that a node looks after, found by id, by execution and by deadline."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from math import inf

from p2pnode.core.placement.adverts import Known
from p2pnode.core.records.events import Action, Event
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.values.deadlines import Deadlines
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.signing import Keys

from .machine import Job


class OwnedJobs(dict[str, Job]):
    """Jobs by id. What works on one does so within `worked_on`, which keeps the indexes true."""

    def __init__(
        self,
        me: str,
        keys: Keys,
        known: Mapping[str, Known],
        lost: Collection[str],
        trust: Trust = ANYBODY,
    ) -> None:
        """`known` is the table of adverts, `lost` the peers that are silent; both are read only."""
        super().__init__()
        self._me = me
        self._keys = keys
        self._known = known
        self._lost = lost
        self._trust = trust
        # The jobs that were worked on since whoever gives the events last emptied it: see `core.recovery`.
        self.touched: set[str] = set()
        # The jobs that have ended and wait for nothing: the journal has them.
        self._over: dict[str, None] = {}
        self._job_of_execution: dict[str, str] = {}
        self._executions: dict[str, set[str]] = {}
        self._deadlines = Deadlines()

    def take(self, record: JobRecord) -> Job:
        """Look after a job from now on."""
        job = self[record.id] = Job(record, self._me, self._keys, self._known, self._lost, self._trust)
        self._index(job)
        return job

    def look_at(self, record: JobRecord, now: float) -> None:
        """Look after a job as the journal has it, and at it with the next tick."""
        job = self.take(record)
        job.look_at(now)
        self._index(job)

    def __delitem__(self, id: str) -> None:
        super().__delitem__(id)
        self._over.pop(id, None)
        self._deadlines.put(id, inf)
        for execution in self._executions.pop(id, ()):
            self._job_of_execution.pop(execution, None)

    def forget(self, id: str) -> None:
        """Look after a job no more; nothing if it is not here."""
        if id in self:
            del self[id]

    @contextmanager
    def worked_on(self, job: Job) -> Iterator[None]:
        """A job is worked on: it alone is blamed for what goes wrong in it."""
        self.touched.add(job.record.id)
        with compartment(Compartment.JOB, job.record.id):
            yield
        if job.record.id in self:
            self._index(job)

    def give(self, job: Job, event: Event, now: float) -> list[Action]:
        """Have a job handle an event."""
        with self.worked_on(job):
            return job.handle(event, now)

    def of_execution(self, execution: str) -> Job | None:
        """The job that an execution, wherever it runs, belongs to."""
        id = self._job_of_execution.get(execution)
        return self.get(id) if id is not None else None

    @property
    def deadline(self) -> float:
        """When the first of them wants to be woken."""
        return self._deadlines.first

    def due(self, now: float) -> list[Job]:
        """The jobs whose deadline has come, in the order in which they were taken."""
        due = self._deadlines.due(now)
        return [job for id, job in self.items() if id in due] if due else []

    def forget_ended(self) -> None:
        """Look no more after those that have ended and wait for nothing."""
        for id in list(self._over):
            del self[id]

    def _index(self, job: Job) -> None:
        id = job.record.id
        present, before = job.record.executions.keys(), self._executions.get(id, set())
        if present != before:
            for execution in before - present:
                self._job_of_execution.pop(execution, None)
            for execution in present - before:
                self._job_of_execution[execution] = id
            self._executions[id] = set(present)
        if job.record.ended and job.deadline == inf:
            self._over[id] = None
        else:
            self._over.pop(id, None)
        self._deadlines.put(id, job.deadline)
