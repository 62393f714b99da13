"""Jobs as the API has them: out of the journal, which is always as new as the core."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import trio

from p2pnode.api.queries import JobsQuery
from p2pnode.api.shapes import (
    Code,
    EventJson,
    ExecutionJson,
    JobJson,
    JobLineJson,
    JobsJson,
    Json,
    NetworkJobsJson,
    PlanJson,
    ReasonJson,
    ServiceError,
)
from p2pnode.core import jobfile
from p2pnode.core.job import plan
from p2pnode.core.node import Core
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records.lifecycle import OPEN, Execution, JobRecord
from p2pnode.core.wire import codec
from p2pnode.core.wire.inquiries import JobLine
from p2pnode.core.wire.messages import Line
from p2pnode.core.wire.spec import JobSpec
from p2pnode.data.inputs import Inputs
from p2pnode.ipfs import cid
from p2pnode.network.host import Host
from p2pnode.network.protocols import jobs as job_lists
from p2pnode.node.changes import Changes
from p2pnode.node.clock import Clock
from p2pnode.node.journal import Journal

from . import listing
from .lookup import Lookup

# A job is read in 0.2 ms: for that long a list holds up the node at most, and then goes on after all else.
RECORDS_READ_AT_ONCE = 32
RECORDS_READ_MAX = 2_048
# The rows of a history that one of its followers holds while it sends them.
HISTORY_ROWS_AT_ONCE = 64


class Jobs:
    """Implements `api.services.JobService`."""

    def __init__(
        self,
        lookup: Lookup,
        journal: Journal,
        core: Core,
        clock: Clock,
        changes: Changes,
        inputs: Inputs,
        host: Host,
    ) -> None:
        self._lookup = lookup
        self._journal = journal
        self._core = core
        self._clock = clock
        self._changes = changes
        self._inputs = inputs
        self._host = host

    async def plan(self, spec: JobSpec) -> PlanJson:
        need = requirements_of(spec)
        lacks = (
            await self._inputs.lacks(need.directories, need.engine)
            or self._inputs.lacks_variables(spec.task)
            or ""
        )
        core = self._core
        found = plan.plan(spec, core.me, core.table.known, self._clock.now(), lacks, core.trust)
        return {
            "needed": found.needed,
            "asked": [{"peer": advert.peer, "name": advert.name} for advert in found.asked],
            "would_bid": found.would_bid,
            "known": found.known,
            "looked_up": list(found.looked_up),
            "busy": _reasons(found.busy),
            "unsuitable": _reasons(found.unsuitable),
        }

    async def jobs(self, asked: JobsQuery) -> JobsJson:
        place, found = listing.place_of(asked.after), list[JobJson]()
        ended = listing.ended_of(asked)
        # A filter that fits few may read all; a page tells how far it came.
        for _ in range(RECORDS_READ_MAX // RECORDS_READ_AT_ONCE):
            records, last = self._journal.jobs_page(place, RECORDS_READ_AT_ONCE, asked.namespace, ended)
            for record in records:
                if listing.fits(record, asked):
                    found.append(self.job_json(record))
                    if len(found) == asked.limit:
                        return {"jobs": found, "next": listing.name_of(record.created, record.id)}
            if last is None:
                return {"jobs": found, "next": None}
            place = last
            await trio.lowlevel.checkpoint()
        assert place is not None
        return {"jobs": found, "next": listing.name_of(*place)}

    async def network_jobs(self) -> NetworkJobsJson:
        core = self._core
        mine = [job_lists.line_of(record) for record in self._journal.jobs_of(core.me, job_lists.JOBS_MAX)]
        others = {peer: known.advert.addresses for peer, known in core.table.known.items() if peer != core.me}
        found = await job_lists.ask_all(self._host, others)
        found[core.me] = mine
        jobs = [self._line_json(one, peer) for peer, lines in found.items() for one in lines or ()]
        return {
            "jobs": sorted(jobs, key=lambda one: (-one["created"], one["id"])),
            "silent": sorted(self._lookup.name_of(peer) for peer, lines in found.items() if lines is None),
        }

    def _line_json(self, line: JobLine, owner: str) -> JobLineJson:
        return {
            "id": line.id,
            "name": line.name or line.id,
            "namespace": line.namespace,
            "type": line.type,
            "state": line.state,
            "reason": self._lookup.for_people(line.reason),
            "count": line.count,
            "created": line.created_ms / 1000,
            "owner": owner,
            "owner_name": self._lookup.known_name(owner),
        }

    def job_named(self, namespace: str, name: str) -> JobJson | None:
        record = self._journal.job_named(namespace, name)
        return self.job_json(record) if record else None

    def job(self, id_or_name: str) -> JobJson:
        return self.job_json(self._lookup.record(id_or_name))

    def job_version(self, id_or_name: str, version: int) -> Json:
        record = self._lookup.record(id_or_name)
        found = record.versions.get(version)
        if found is None:
            kept = ", ".join(map(str, sorted(record.versions)))
            raise ServiceError(Code.NOT_FOUND, f"version {version} of the job is not kept; there are {kept}")
        if found.spec is None:
            owner = self._lookup.name_of(record.owner)
            reason = f"the file of version {version} was not told to this node; ask {owner}"
            raise ServiceError(Code.NOT_FOUND, reason)
        return jobfile.render(found.spec)

    def receipts(self, job_id: str) -> dict[str, bytes]:
        executions = self._lookup.record(job_id).executions.values()
        return {one.id: codec.encode(one.receipt) for one in executions if one.receipt}

    async def job_events(self, job_id: str, since: int, follow: bool) -> AsyncGenerator[EventJson, None]:
        while True:
            # Taken before the look, so that what changes in between is not missed.
            changed = self._changes.of(job_id)
            over = self._is_over(job_id)
            rows = self._journal.history(job_id, since, HISTORY_ROWS_AT_ONCE)
            for since, line in rows:
                yield self._event_json(since, line)
            if len(rows) == HISTORY_ROWS_AT_ONCE:
                continue
            if over or not follow:
                return
            # A follower holds nothing while it waits.
            del rows
            await changed.wait()

    def _event_json(self, number: int, line: Line) -> EventJson:
        by = f" ({self._lookup.name_of(line.peer)})" if line.peer else ""
        return {
            "number": number,
            "at": line.at_ms / 1000,
            "topic": line.topic,
            "execution": line.execution,
            "message": self._lookup.for_people(line.text) + by,
            "state": line.state,
        }

    def _is_over(self, job_id: str) -> bool:
        record = self._journal.job(job_id)
        return record is None or record.ended

    def job_json(self, record: JobRecord) -> JobJson:
        """A job as people get it."""
        spec = record.spec
        awarded = [one for one in record.executions.values() if one.state not in OPEN]
        return {
            "id": record.id,
            "name": spec.name or record.id,
            "type": spec.type,
            "namespace": spec.namespace,
            "state": record.state,
            "reason": self._lookup.for_people(record.reason),
            "outcome": record.outcome,
            "priority": spec.priority,
            "count": spec.count,
            "created": _moment(record.created),
            "modified": _moment(record.modified),
            "owner": record.owner,
            "owner_name": self._lookup.known_name(record.owner),
            "spec": jobfile.render(spec),
            "executions": [self._execution_json(one, record) for one in awarded],
            "version": record.version,
            "versions": [
                {"version": number, "submitted": _moment(one.submitted), "spec_hash": one.spec_hash}
                for number, one in sorted(record.versions.items())
            ],
            "members": [
                {"peer": peer, "name": self._lookup.known_name(peer), "rank": rank}
                for rank, peer in enumerate(record.authority.members)
            ],
            "serial": record.authority.charter.serial,
            "controllers": [
                {"peer": peer, "name": self._lookup.known_name(peer)}
                for peer in record.authority.charter.controllers
            ],
            "deputies_wanted": spec.deputies,
            "run": record.run,
            "first_failure": self._lookup.for_people(record.first_failure),
        }

    def _execution_json(self, one: Execution, record: JobRecord) -> ExecutionJson:
        return {
            "id": one.id,
            "peer": one.peer,
            "peer_name": self._lookup.known_name(one.peer),
            "replica": one.replica or 0,
            "state": one.state,
            "reason": self._lookup.for_people(one.reason),
            "exit_code": one.exit_code,
            "fault": one.fault,
            "result_cid": one.result_cid,
            "receipt_cid": cid.make(codec.encode(one.receipt), "dag-cbor") if one.receipt else None,
            "created": _moment(one.created),
            "modified": _moment(one.modified),
            "version": one.version,
            "run": one.run,
            "current": one.run == record.run and record.is_current(one),
        }


def _moment(at: float) -> float:
    """As its copies have it, which are told in milliseconds."""
    return round(at, 3)


def _reasons(counts: Sequence[tuple[str, int]]) -> list[ReasonJson]:
    return [{"reason": reason, "peers": peers} for reason, peers in counts]
