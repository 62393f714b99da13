"""Jobs that change hands: who owns one, what users elsewhere want of it, take-over, yielding."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import inf

from p2pnode.core.job import deputies
from p2pnode.core.job.machine import Job
from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.records import mandate
from p2pnode.core.records.events import (
    Action,
    DropJob,
    JobRerun,
    JobStopped,
    JobUpdated,
    Received,
    SaveJob,
    Send,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication import sync
from p2pnode.core.replication.readings import Readings
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.mandates import CommandAction, CommandBody, Mandate
from p2pnode.core.wire.messages import Command, Owned, Replicate, WhoOwns
from p2pnode.core.wire.signing import Keys

# Peers of which it is remembered since when they are heard: as many as a large network has.
HEARD_AGAIN_MAX = 10_000

JobCommand = JobStopped | JobUpdated | JobRerun
_ACTIONS = {
    JobStopped: CommandAction.STOP,
    JobRerun: CommandAction.RERUN,
    JobUpdated: CommandAction.UPDATE,
}


class Handovers:
    """Decides between the jobs that this node owns and the copies that it holds."""

    def __init__(
        self,
        me: str,
        keys: Keys,
        jobs: OwnedJobs,
        replication: Replication,
        readings: Readings,
        lost: Collection[str],
    ) -> None:
        """`lost` are the peers that are silent; it is read only."""
        self._me = me
        self._keys = keys
        self._jobs = jobs
        self._replication = replication
        self._readings = readings
        self._lost = lost
        # Since when each peer was heard without a pause, of those that were silent; and all others.
        self._heard_again: dict[str, float] = {}
        self._began = -inf

    def begin(self, now: float) -> None:
        """This node was away until now."""
        self._began = now

    def heard_again(self, peer: str, now: float) -> None:
        """A peer was silent, or has lost its disk."""
        self._heard_again.pop(peer, None)
        self._heard_again[peer] = now
        if len(self._heard_again) > HEARD_AGAIN_MAX:
            self._began = max(self._began, self._heard_again.pop(next(iter(self._heard_again))))

    def record(self, id: str, stored: JobRecord | None) -> JobRecord | None:
        job = self._jobs.get(id)
        return job.record if job else self._replication.copies.get(id, stored)

    def job_of(self, id: str, stored: JobRecord | None) -> Job | None:
        """The job that this node owns, be it one that has ended and is in the journal only."""
        if id in self._jobs:
            return self._jobs[id]
        if stored is None or stored.owner != self._me or id in self._replication.copies:
            return None
        job = self._jobs.take(stored)
        job.heard_all_the_time(peer for peer in stored.deputies if self._was_heard(peer, stored.modified))
        return job

    def _was_heard(self, peer: str, since: float) -> bool:
        return peer not in self._lost and self._heard_again.get(peer, self._began) <= since

    def command(self, event: JobCommand, now: float) -> list[Action]:
        """A user of this node wants something of a job: signed, and done here or told to the job's owner.

        Done: a stop ends the job as STOPPED at once, with a release for each bid and a cancel for what runs
        (`core.job.transitions`), so programs may still use their grace. Told: kept while the owner is
        silent, for who takes over; by a controller without a copy, to all members. The user waits for its
        record to say so, 15 s at most (`service.commands`). Nothing happens if this node is no controller:
        that is asked before.
        """
        stored = event.record
        self._jobs.touched.add(event.job)
        record = self.record(event.job, stored)
        if record is None or not record.authority.may_command(self._me):
            return []
        command = self._signed(event, record, now)
        job = self.job_of(event.job, stored)
        if job is not None:
            with self._jobs.worked_on(job):
                return job.command(command, now)
        if event.job in self._replication.copies:
            return [SaveJob(record), *self._replication.command_owner(command)]
        return [SaveJob(record), *self._replication.wanted(command, record, self._me, now)]

    def _signed(self, event: JobCommand, record: JobRecord, now: float) -> Command:
        """A command with a number above all that this node has signed, also where none was told back yet."""
        done = [one for one in map(mandate.read_command, record.commands) if one.controller == self._me]
        before = max(record.signed_number, *(one.number for one in done), 0)
        record.signed_number = max(int(now * 1000), before + 1)
        body = CommandBody(
            job=event.job,
            controller=self._me,
            number=record.signed_number,
            action=_ACTIONS[type(event)],
            reason="" if isinstance(event, JobUpdated) else event.reason[:REASON_LENGTH_MAX],
            spec_hash=codec.digest(event.spec) if isinstance(event, JobUpdated) else None,
        )
        spec = event.spec if isinstance(event, JobUpdated) else None
        return Command(job=event.job, signed=mandate.commanded(self._keys, body), spec=spec)

    def commanded(self, command: Command, event: Received, now: float) -> list[Action]:
        """A controller's command, whoever brings it: carried out here, or passed on to the owner."""
        job = self.job_of(command.job, event.record)
        if job is not None:
            with self._jobs.worked_on(job):
                return job.command(command, now)
        copy = self._replication.copies.get(command.job)
        if copy is None:
            ended = event.record
            return [] if ended is None else self._replication.wanted(command, ended, event.peer, now)
        if copy.owner == event.peer:
            return []
        return self._replication.command_owner(command)

    def replicate(self, peer: str, message: Replicate, event: Received, now: float) -> list[Action]:
        """A node says how a job stands that it looks after: merged, yielded to, or taken in as a copy."""
        job = self.job_of(message.job, event.record)
        if job is None:
            if self._is_read(message.job, message.mandate, event.record):
                return self._readings.replicate(peer, message, event.record, now)
            return self._replication.replicate(peer, message, event.record, now)
        record = job.record
        authority = mandate.read(mandate.newest(record.mandate, message.mandate))
        if authority.rank(peer) < authority.rank(self._me):
            actions = self._yield(job, peer, now)
            return actions + self._replication.replicate(peer, message, record, now)
        if peer in authority.members or peer in record.past_members:
            with self._jobs.worked_on(job):
                return job.merge(peer, message, now)
        return [SaveJob(record), Send(peer, sync.header(record, now))]

    def _is_read(self, id: str, given: Mandate, stored: JobRecord | None) -> bool:
        """Whether users here look at a job that is none of this node's, nor becomes so by this mandate."""
        if id in self._replication.copies or not self._readings.of(id, stored):
            return False
        if self._me not in mandate.read(given).members:
            return True
        del self._readings.by_job[id]
        return False

    def owned(self, peer: str, owned: Owned, event: Received, now: float) -> list[Action]:
        """A node says who owns a job: ask a lower member that acts, or take over what was handed here."""
        if self._is_read(owned.job, owned.mandate, event.record):
            return self._readings.owned(peer, owned, event.record, now)
        copy = self._replication.copies.get(owned.job)
        if copy is None and event.record is not None and event.record.owner != self._me:
            copy = event.record
        if copy is not None:
            return self._replication.owned(peer, owned, copy, now)
        job = self.job_of(owned.job, event.record)
        if job is None:
            return []
        record = job.record
        newest = mandate.newest(record.mandate, owned.mandate)
        authority = mandate.read(newest)
        if self._me not in authority.members:
            # Others look after the job by a charter that this node had missed.
            heir = owned.owner if owned.owner in authority.members else authority.requester
            actions = self._yield(job, heir, now)
            record.mandate = newest
            self._replication.forget(record.id)
            return [*actions, DropJob(record.id)]
        if peer not in authority.members:
            return []
        actions = self._jobs.give(job, event, now)
        if authority.rank(owned.owner) < authority.rank(self._me) and owned.owner not in self._lost:
            actions.append(Send(owned.owner, WhoOwns(job=record.id, owner=self._me, whole=True)))
        return actions

    def say_who_owns(self, record: JobRecord, peer: str, ask: WhoOwns, now: float) -> list[Action]:
        """Tell `peer` who owns the job: all of it if it missed something, a header if it is a stranger.

        A controller that is no member gets all that it asks for, from whoever holds the job.
        """
        members = record.authority.members
        reads = peer not in members and record.authority.may_command(peer)
        if record.owner != self._me:
            return [*self._show(record, peer, ask, reads, now), Send(peer, self._replication.answer(record))]
        job = self._jobs.get(record.id)
        if reads and job is not None and not record.ended:
            if not ask.whole and job.goes_on_telling(peer, now):
                return [Send(peer, self._replication.answer(record))]
            with self._jobs.worked_on(job):
                return job.read_by(peer, now)
        if peer not in members and not reads:
            return [SaveJob(record), Send(peer, sync.header(record, now))]
        if ask.owner == self._me and not ask.whole and not record.ended:
            return [Send(peer, self._replication.answer(record))]
        return [SaveJob(record), *sync.told_to(peer, record, (), None, now)]

    def _show(self, record: JobRecord, peer: str, ask: WhoOwns, reads: bool, now: float) -> Iterable[Action]:
        """All of a copy here, which stays as it is: its owner counts what it tells."""
        if not reads or not ask.whole or self._me not in record.authority.members:
            return []
        shown = codec.replace(record, revision=record.revision)
        return sync.told_to(peer, shown, (), None, now)

    def _yield(self, job: Job, owner: str, now: float) -> list[Action]:
        record = job.record
        with self._jobs.worked_on(job):
            actions = job.yield_to(owner, now)
        del self._jobs[record.id]
        # Also one that has ended, until its owner has told how: else nobody would notice if that dies now.
        self._replication.hold(record, now)
        return actions

    def take_over(self, now: float) -> list[Action]:
        """Take over what is due, and carry out what controllers wanted meanwhile."""
        actions: list[Action] = []
        for record, before, commands in self._replication.take_over(now):
            job = self._jobs.take(record)
            with self._jobs.worked_on(job):
                actions += job.take_over(before, now)
                for command in commands:
                    actions += job.command(command, now)
        return actions

    def hand_over(self, now: float) -> list[Action]:
        """This node leaves: each job goes to the lowest other member that is there."""
        self._replication.leaving = True
        actions: list[Action] = []
        for job in list(self._jobs.values()):
            heir = next((peer for peer in deputies.recipients(job.record) if peer not in self._lost), None)
            if heir is not None and not job.record.ended:
                told = Owned(job=job.record.id, owner=heir, mandate=job.record.mandate)
                actions += self._yield(job, heir, now)
                actions.append(Send(heir, told))
        return actions
