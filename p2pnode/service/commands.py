"""What users ask of jobs and of the node itself: submit, change, rerun, stop; what the node takes on.

An order for a job of another owner is passed on by the core. Here it is waited for until this
node's copy of the job shows that it was carried out.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from p2pnode.api.service import Change, Code, SchedulingJson, ServiceError, SubmittedJson
from p2pnode.core.node import JOBS_LIVE_MAX
from p2pnode.core.records.events import (
    JobRerun,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    SchedulingChanged,
)
from p2pnode.core.records.lifecycle import LONG_RUNNING, JobRecord
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Scheduling, job_id
from p2pnode.core.wire.spec import JobSpec
from p2pnode.node.driver import EventRefused
from p2pnode.node.journal import JournalError

from .problems import Mending

CANDIDATES_SHOWN_MAX = 5
# Of a name in a message: a line of a terminal, about.
SHOWN_LENGTH_MAX = 80
NONCE_SIZE_BYTES = 16
# A deputy that has to take a job over first needs up to 10 s for that.
COMMAND_TIMEOUT_S = 15.0
# A deputy acknowledges in milliseconds; one that does not is no reason to keep its user waiting.
COPY_TIMEOUT_S = 1.0
COPY_LOOK_S = 0.005


class Orders(Mending):
    """The part of `api.service.NodeService` that changes jobs, and what this node takes on."""

    async def submit(self, spec: JobSpec, source_text: str, new: bool) -> SubmittedJson:
        before = None if new or not spec.name else self._node.journal.job_named(spec.namespace, spec.name)
        if before is None or before.spec.type is not spec.type:
            return await self._submit_new(spec, source_text)
        if before.spec_hash == codec.digest(spec):
            if spec.type not in LONG_RUNNING or before.ended:
                return await self._submit_new(spec, source_text)
            return {"id": before.id, "version": before.version, "change": Change.UNCHANGED}
        action = JobUpdated(before.id, spec, self._journalled(before.id))
        after = await self._command(action, lambda record: record.version > before.version)
        try:
            self._node.journal.save_source(before.id, source_text)
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        return {"id": after.id, "version": after.version, "change": Change.UPDATED}

    async def _submit_new(self, spec: JobSpec, source_text: str) -> SubmittedJson:
        node = self._node
        if len(node.driver.core.jobs) >= JOBS_LIVE_MAX:
            raise ServiceError(Code.UNAVAILABLE, f"this node looks after {JOBS_LIVE_MAX} jobs, its limit")
        id = job_id(codec.digest(spec), node.me.peer_id, os.urandom(NONCE_SIZE_BYTES))
        try:
            with node.journal.transaction():
                node.journal.save_source(id, source_text)
                node.driver.apply(JobSubmitted(id, spec))
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        except EventRefused as exc:
            raise ServiceError(Code.INTERNAL, f"this node failed with the job: {exc}") from exc
        await self._copied(id)
        return {"id": id, "version": 1, "change": Change.NEW}

    async def _copied(self, job_id: str) -> None:
        """Until some deputy has the job too, so that it outlives this node's disk; or for a while."""
        node = self._node
        with trio.move_on_after(COPY_TIMEOUT_S):
            job = node.driver.core.jobs.get(job_id)
            while job is not None and job.record.deputies:
                if any(node.links.waiting(peer) == 0 for peer in job.record.deputies):
                    return
                await trio.sleep(COPY_LOOK_S)

    async def rerun(self, job_id: str, reason: str) -> None:
        before = self._record(job_id)
        action = JobRerun(before.id, reason, self._journalled(before.id))
        await self._command(action, lambda record: record.run > before.run)

    async def stop(self, job_id: str, reason: str) -> None:
        record = self._record(job_id)
        if record.ended:
            raise ServiceError(Code.CONFLICT, f"the job has ended: it is {record.state}")
        await self._command(JobStopped(record.id, reason), lambda record: record.ended)

    async def _command(
        self, action: JobUpdated | JobRerun | JobStopped, is_done: Callable[[JobRecord], bool]
    ) -> JobRecord:
        node = self._node
        if action.job in node.driver.core.aside:
            reason = "the job is set aside on this node, since it failed: see p2pnode node problems"
            raise ServiceError(Code.CONFLICT, reason)
        try:
            node.driver.apply(action)
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        except EventRefused as exc:
            raise ServiceError(Code.INTERNAL, f"this node failed with it: {exc}") from exc
        owner = ""
        with trio.move_on_after(COMMAND_TIMEOUT_S):
            while True:
                # Taken before the look, so that what changes in between is not missed.
                changed = node.changed.setdefault(action.job, trio.Event())
                record = node.journal.job(action.job)
                if record is None:
                    raise ServiceError(Code.NOT_FOUND, "this node no longer keeps a copy of the job")
                if is_done(record):
                    return record
                owner = record.owner
                await changed.wait()
        raise ServiceError(
            Code.TIMEOUT,
            f"the job's owner {owner} was told, and has not answered within {COMMAND_TIMEOUT_S:.0f} s; it may"
            " still do it: look at the job before asking again",
        )

    def _journalled(self, job: str) -> JobRecord | None:
        """The journal's record of a job that the core does not hold."""
        core = self._node.driver.core
        held = job in core.jobs or job in core.replication.copies
        return None if held else self._node.journal.job(job)

    def _record(self, text: str) -> JobRecord:
        """The job of an id, of a unique prefix of one, or the last job of a name."""
        journal = self._node.journal
        ids = journal.job_ids(text, CANDIDATES_SHOWN_MAX + 1) if text.startswith("j-") else []
        by_name = not ids and bool(text)
        if by_name:
            ids = journal.newest_named(text, CANDIDATES_SHOWN_MAX + 1)
        if not ids:
            raise ServiceError(Code.NOT_FOUND, f"no job {_shown(text)} on this node")
        if len(ids) > 1 and text not in ids:
            shown = ", ".join(id[:14] for id in ids[:CANDIDATES_SHOWN_MAX])
            more = "they are of several namespaces, so give an id" if by_name else "give more of the id"
            raise ServiceError(Code.AMBIGUOUS, f"{_shown(text)} could be {shown}: {more}")
        record = journal.job(text if text in ids else ids[0])
        assert record is not None
        return record

    def scheduling(self) -> SchedulingJson:
        worker = self._node.driver.core.worker
        return {"scheduling": worker.scheduling.value, "held": len(worker.held)}

    def take(self, scheduling: str, timeout_s: float | None, leave: bool) -> None:
        node = self._node
        node.leaves = leave and scheduling == Scheduling.DRAINING
        deadline = None if timeout_s is None else node.clock.now() + timeout_s
        try:
            with node.journal.transaction():
                node.journal.set_meta("scheduling", scheduling)
                node.journal.set_meta("drained_at", "" if deadline is None else str(deadline))
                node.driver.apply(SchedulingChanged(Scheduling(scheduling), deadline))
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"
