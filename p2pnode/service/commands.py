"""Commands of users for jobs: submit, change, rerun, stop.

A command for a job of another owner is passed on by the core. Here it is waited for until this node's copy of
the job shows that it was carried out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import inf

import trio

from p2pnode.api.shapes import (
    Change,
    Code,
    ServiceError,
    SubmittedJson,
)
from p2pnode.core.node import JOBS_LIVE_MAX
from p2pnode.core.records.events import (
    Event,
    JobRerun,
    JobSought,
    JobStopped,
    JobSubmitted,
    JobUpdated,
)
from p2pnode.core.records.lifecycle import LONG_RUNNING, JobRecord
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, job_id
from p2pnode.core.wire.spec import JobSpec
from p2pnode.faults.problems import JournalError
from p2pnode.network.links import Links
from p2pnode.node.changes import Changes
from p2pnode.node.driver import Driver, EventRefused
from p2pnode.node.journal import Journal

from .lookup import Lookup

# A deputy that has to take a job over first needs up to 10 s for that.
COMMAND_TIMEOUT_S = 15.0
# A deputy acknowledges in milliseconds; one that does not is no reason to keep its user waiting.
COPY_TIMEOUT_S = 1.0
# A job that had ended may be begun anew: nobody tells that by itself to a node that only looked at it.
LOOK_AGAIN_S = 1.5


def give(driver: Driver, event: Event) -> None:
    """Tell the core what a user wants; raises `ServiceError`."""
    try:
        driver.apply(event)
    except JournalError as exc:
        raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
    except EventRefused as exc:
        raise ServiceError(Code.INTERNAL, f"this node failed with it: {exc}") from exc


class Commands:
    """Implements `api.services.CommandService`."""

    def __init__(
        self, lookup: Lookup, journal: Journal, driver: Driver, changes: Changes, links: Links
    ) -> None:
        self._lookup = lookup
        self._journal = journal
        self._driver = driver
        self._changes = changes
        self._links = links

    async def submit(self, spec: JobSpec, new: bool) -> SubmittedJson:
        before = None if new or not spec.name else self._journal.job_named(spec.namespace, spec.name)
        if before is None or before.spec.type is not spec.type:
            return await self._submit_new(spec)
        if before.spec_hash == codec.digest(spec):
            if spec.type not in LONG_RUNNING or before.ended:
                return await self._submit_new(spec)
            return {"id": before.id, "version": before.version, "change": Change.UNCHANGED}
        action = JobUpdated(before.id, spec, self._journalled(before.id))
        after = await self._command(action, lambda record: record.version > before.version)
        return {"id": after.id, "version": after.version, "change": Change.UPDATED}

    async def _submit_new(self, spec: JobSpec) -> SubmittedJson:
        if len(self._driver.core.jobs) >= JOBS_LIVE_MAX:
            raise ServiceError(Code.UNAVAILABLE, f"this node looks after {JOBS_LIVE_MAX} jobs, its limit")
        nonce = os.urandom(NONCE_SIZE_BYTES)
        id = job_id(self._driver.core.me, nonce)
        try:
            self._driver.apply(JobSubmitted(id, spec, nonce))
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        except EventRefused as exc:
            raise ServiceError(Code.INTERNAL, f"this node failed with the job: {exc}") from exc
        await self._copied(id)
        return {"id": id, "version": 1, "change": Change.NEW}

    async def _copied(self, job_id: str) -> None:
        """Wait, but not for ever, until some deputy has the job too, so that it outlives this node's disk."""
        with trio.move_on_after(COPY_TIMEOUT_S):
            while (job := self._driver.core.jobs.get(job_id)) is not None and job.record.deputies:
                if any(self._links.waiting(peer) == 0 for peer in job.record.deputies):
                    return
                await self._changes.any().wait()

    async def rerun(self, job_id: str, reason: str) -> None:
        before = self._lookup.record(job_id)
        action = JobRerun(before.id, reason, self._journalled(before.id))
        await self._command(action, lambda record: record.run > before.run)

    async def stop(self, job_id: str, reason: str) -> None:
        record = self._lookup.record(job_id)
        if record.ended:
            raise ServiceError(Code.CONFLICT, f"the job has ended: it is {record.state}")
        me = self._driver.core.me
        reason = reason or ("stopped by its owner" if record.requester == me else f"stopped by operator {me}")
        action = JobStopped(record.id, reason, self._journalled(record.id))
        await self._command(action, lambda record: record.ended)

    async def _command(
        self, action: JobUpdated | JobRerun | JobStopped, is_done: Callable[[JobRecord], bool]
    ) -> JobRecord:
        self._check_may_command(action.job)
        if action.job in self._driver.core.aside:
            reason = "the job is set aside on this node, since it failed: see p2pnode node problems"
            raise ServiceError(Code.CONFLICT, reason)
        give(self._driver, action)
        owner = ""
        with trio.move_on_after(COMMAND_TIMEOUT_S):
            while True:
                # Taken before the look, so that what changes in between is not missed.
                changed = self._changes.of(action.job)
                record = self._journal.job(action.job)
                if record is None:
                    raise ServiceError(Code.NOT_FOUND, "this node no longer keeps a copy of the job")
                if is_done(record):
                    return record
                owner = record.owner
                with trio.move_on_after(LOOK_AGAIN_S if self._driver.core.readings.is_read(record) else inf):
                    await changed.wait()
                    continue
                # A node without a copy is told how the job stands because it asks.
                give(self._driver, JobSought(record.id, record))
        raise ServiceError(
            Code.TIMEOUT,
            f"the job's owner {owner} was told, and has not answered within {COMMAND_TIMEOUT_S:.0f} s; it may"
            " still do it: look at the job before asking again",
        )

    def _check_may_command(self, job: str) -> None:
        """Raises `ServiceError` where the job's charter gives users of this node no say."""
        record = self._journal.job(job)
        if record is not None:
            self._lookup.check_controls(record, "may not stop, change or rerun it")

    def _journalled(self, job: str) -> JobRecord | None:
        """The journal's record of a job that the core does not hold."""
        core = self._driver.core
        held = job in core.jobs or job in core.replication.copies
        return None if held else self._journal.job(job)
