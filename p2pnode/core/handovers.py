"""Jobs that change hands: who owns one, what users elsewhere want of it, take-over, yielding."""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.job import deputies
from p2pnode.core.job.machine import Job
from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.records.events import Action, JobStopped, Received, SaveJob, Send
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import JobCommand, Replication, command
from p2pnode.core.wire.messages import Owned, Replicate


class Handovers:
    """Decides between the jobs that this node owns and the copies that it holds."""

    def __init__(self, me: str, jobs: OwnedJobs, replication: Replication, lost: Collection[str]) -> None:
        """`lost` are the peers that are silent; it is read only."""
        self._me = me
        self._jobs = jobs
        self._replication = replication
        self._lost = lost

    def record(self, id: str, stored: JobRecord | None) -> JobRecord | None:
        job = self._jobs.get(id)
        return job.record if job else self._replication.copies.get(id, stored)

    def job_of(self, id: str, stored: JobRecord | None) -> Job | None:
        """The job that this node owns, be it one that has ended and is in the journal only."""
        if id in self._jobs:
            return self._jobs[id]
        if stored is None or stored.owner != self._me or id in self._replication.copies:
            return None
        return self._jobs.take(stored)

    def command(self, event: JobCommand, now: float) -> list[Action]:
        """A user of this node wants something of a job: it is done here, or told to the job's owner."""
        stored = None if isinstance(event, JobStopped) else event.record
        self._jobs.touched.add(event.job)
        job = self.job_of(event.job, stored)
        if job is not None:
            return self._jobs.give(job, event, now)
        if event.job in self._replication.copies:
            return self._replication.command_owner(event)
        return [Send(stored.owner, command(event))] if stored is not None else []

    def commanded(self, peer: str, id: str, event: Received, now: float) -> list[Action]:
        """A node passes on what its user wants of a job: done here for a member, else told who owns it."""
        job = self.job_of(id, event.record)
        if job is not None:
            return self._jobs.give(job, event, now) if peer in job.record.members else []
        copy = self._replication.copies.get(id)
        if copy is None or peer not in copy.members or copy.owner == peer:
            return []
        return [Send(peer, self._replication.answer(copy)), Send(copy.owner, event.message)]

    def replicate(self, peer: str, message: Replicate, event: Received, now: float) -> list[Action]:
        """A node says how a job stands that it owns: merged, yielded to, or taken in as a copy."""
        job = self.job_of(message.job, event.record)
        if job is None:
            return self._replication.replicate(peer, message, event.record, now)
        record = job.record
        if peer not in record.members:
            higher = (message.epoch, peer) > record.ballot
            return self._replication.ask_members(record, peer) if higher else []
        if (message.epoch, peer) < record.ballot:
            with self._jobs.worked_on(job):
                return job.merge(peer, message, now)
        actions = self._yield(job, peer, message.epoch, now)
        return actions + self._replication.replicate(peer, message, record, now)

    def owned(self, peer: str, owned: Owned, event: Received, now: float) -> list[Action]:
        """A node says who owns a job: yield to a higher owner, or take over what was handed to this node."""
        copy = self._replication.copies.get(owned.job)
        if copy is None and event.record is not None and event.record.owner != self._me:
            copy = event.record
        if copy is not None:
            return self._replication.owned(peer, owned, copy, now)
        job = self.job_of(owned.job, event.record)
        if job is None:
            return []
        if (owned.epoch, owned.owner) > job.record.ballot and peer in job.record.members:
            if owned.owner == self._me:
                with self._jobs.worked_on(job):
                    return job.raise_epoch(peer, owned.epoch, now)
            return self._yield(job, owned.owner, owned.epoch, now)
        return self._jobs.give(job, event, now)

    def say_who_owns(self, record: JobRecord, peer: str, epoch: int, now: float) -> list[Action]:
        """Tell `peer` who owns the job: all of it if it missed something, a header if it is a stranger."""
        if record.owner != self._me:
            return [Send(peer, self._replication.answer(record))]
        if peer not in deputies.recipients(record):
            return [SaveJob(record), Send(peer, sync.header(record, now))]
        if epoch == record.epoch and not record.ended:
            return [Send(peer, self._replication.answer(record))]
        return [SaveJob(record), *(Send(peer, message) for message in sync.replicates(record, (), None, now))]

    def _yield(self, job: Job, owner: str, epoch: int, now: float) -> list[Action]:
        record = job.record
        with self._jobs.worked_on(job):
            actions = job.yield_to(owner, epoch, now)
        del self._jobs[record.id]
        if not record.ended:
            self._replication.hold(record, now)
        return actions

    def take_over(self, now: float) -> list[Action]:
        """Take over what is due, and tell all members of the new owner."""
        actions: list[Action] = []
        for record, before, commands in self._replication.take_over(now):
            job = self._jobs.take(record)
            with self._jobs.worked_on(job):
                actions += job.take_over(before, now)
            # Whoever holds another copy has to hear of it, or two would own the job for good.
            others = sorted(record.members - {self._me, *deputies.recipients(record)})
            header = sync.header(record, now)
            actions += [Send(peer, header) for peer in others]
            for event in commands:
                actions += self._jobs.give(job, event, now)
        return actions

    def hand_over(self, now: float) -> list[Action]:
        """This node leaves: each job goes to a deputy that is there."""
        actions: list[Action] = []
        for job in list(self._jobs.values()):
            heir = next((peer for peer in job.record.deputies if peer not in self._lost), None)
            if heir is not None and not job.record.ended:
                # Beyond what any deputy gives itself that takes over at the same time.
                epoch = job.record.epoch + 1 + deputies.DEPUTIES_MAX
                actions += self._yield(job, heir, epoch, now)
                actions.append(Send(heir, Owned(job=job.record.id, epoch=epoch, owner=heir)))
        return actions
