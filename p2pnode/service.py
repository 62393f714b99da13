"""What a node does for its local door: jobs, logs and nodes, in the API's shapes; content is in `content`.

Reads come from the journal, which is always as new as the core; writes are events to the core.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Sequence
from functools import partial

import trio

from p2pnode import __version__
from p2pnode.api.service import (
    Code,
    EventJson,
    ExecutionJson,
    IdentityJson,
    JobJson,
    Json,
    LogChunk,
    NodeJson,
    PlanJson,
    ReasonJson,
    ResourcesJson,
    ServiceError,
)
from p2pnode.content import Content
from p2pnode.core import jobfile, planning, wire
from p2pnode.core.events import JobStopped, JobSubmitted
from p2pnode.core.lifecycle import OPEN, Execution, JobRecord
from p2pnode.core.messages import job_id
from p2pnode.core.participant import JOBS_LIVE_MAX
from p2pnode.core.spec import JobSpec, Resources
from p2pnode.job_logs import JobLogs
from p2pnode.network.streams import NetworkError
from p2pnode.store import StoreError

JOBS_LISTED_MAX = 1_000
CANDIDATES_SHOWN_MAX = 5
CONNECT_TIMEOUT_S = 10.0
NONCE_SIZE_BYTES = 16

_PEER = re.compile(r"\b12D3Koo[1-9A-HJ-NP-Za-km-z]{45}\b")
_PEER_IN_ADDRESS = re.compile(r"/p2p/([1-9A-HJ-NP-Za-km-z]+)$")


class Service(Content):
    """Implements `api.service.NodeService` over a running node."""

    def identity(self) -> IdentityJson:
        node = self._node
        offer = node.driver.core.lending.capacity
        return {
            "peer": node.me.peer_id,
            "name": node.config.name,
            "version": __version__,
            "addresses": node.host.addresses(),
            "data_dir": str(node.config.data_dir),
            "engines": list(offer.engines) if offer else [],
            "labels": dict(offer.labels) if offer else {},
        }

    # Jobs

    async def submit(self, spec: JobSpec, source_text: str) -> str:
        node = self._node
        if len(node.driver.core.jobs) >= JOBS_LIVE_MAX:
            raise ServiceError(Code.UNAVAILABLE, f"this node looks after {JOBS_LIVE_MAX} jobs, its limit")
        id = job_id(wire.digest(spec), node.me.peer_id, os.urandom(NONCE_SIZE_BYTES))
        try:
            with node.store.transaction():
                node.store.save_source(id, source_text)
                node.driver.apply(JobSubmitted(id, spec))
        except StoreError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        return id

    def plan(self, spec: JobSpec) -> PlanJson:
        node = self._node
        found = planning.plan(spec, node.me.peer_id, node.driver.core.table.known, node.clock.now())
        return {
            "needed": found.needed,
            "asked": [{"peer": advert.peer, "name": advert.name} for advert in found.asked],
            "would_bid": found.would_bid,
            "known": found.known,
            "busy": _reasons(found.busy),
            "unsuitable": _reasons(found.unsuitable),
        }

    def jobs(self) -> list[JobJson]:
        return [self._job_json(record) for record in self._node.store.jobs(JOBS_LISTED_MAX)]

    def job(self, id_or_prefix: str) -> JobJson:
        return self._job_json(self._record(id_or_prefix))

    def _record(self, prefix: str) -> JobRecord:
        store = self._node.store
        ids = store.job_ids(prefix, CANDIDATES_SHOWN_MAX + 1) if prefix.startswith("j-") else []
        if not ids:
            raise ServiceError(Code.NOT_FOUND, f"no job {prefix} on this node")
        if len(ids) > 1 and prefix not in ids:
            shown = ", ".join(id[:14] for id in ids[:CANDIDATES_SHOWN_MAX])
            raise ServiceError(Code.AMBIGUOUS, f"{prefix} could be {shown}: give more of the id")
        record = store.job(prefix if prefix in ids else ids[0])
        assert record is not None
        return record

    async def job_events(self, job_id: str, since: int, follow: bool) -> AsyncGenerator[EventJson, None]:
        node = self._node
        while True:
            # Taken before the look, so that what changes in between is not missed.
            changed = node.changed.setdefault(job_id, trio.Event())
            record = node.store.job(job_id)
            for row in node.store.history(job_id, since):
                since = row.number
                yield {
                    "number": row.number,
                    "at": row.at,
                    "topic": row.topic,
                    "execution": row.execution,
                    "message": self._for_people(row.text)
                    + (f" ({self._name_of(row.peer)})" * bool(row.peer)),
                    "state": row.state,
                }
            if record is None or record.ended or not follow:
                return
            await changed.wait()

    async def stop(self, job_id: str, reason: str) -> None:
        record = self._record(job_id)
        if record.ended:
            raise ServiceError(Code.CONFLICT, f"the job has ended: it is {record.state}")
        try:
            self._node.driver.apply(JobStopped(record.id, reason))
        except StoreError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc

    def _for_people(self, text: str) -> str:
        """With the names of nodes in place of their ids."""
        return _PEER.sub(lambda match: self._name_of(match[0]), text)

    def _name_of(self, peer: str) -> str:
        known = self._node.driver.core.table.known.get(peer)
        return known.advert.name if known else peer

    def _job_json(self, record: JobRecord) -> JobJson:
        spec = record.spec
        awarded = [one for one in record.executions.values() if one.state not in OPEN]
        return {
            "id": record.id,
            "name": spec.name or record.id,
            "type": spec.type,
            "namespace": spec.namespace,
            "state": record.state,
            "reason": record.reason,
            "outcome": record.outcome,
            "priority": spec.priority,
            "count": spec.count,
            "created": record.created,
            "modified": record.modified,
            "owner": record.owner,
            "spec": jobfile.render(spec),
            "executions": [self._execution_json(one) for one in awarded],
        }

    def _execution_json(self, one: Execution) -> ExecutionJson:
        known = self._node.driver.core.table.known.get(one.peer)
        return {
            "id": one.id,
            "peer": one.peer,
            "peer_name": known.advert.name if known else "",
            "replica": one.replica or 0,
            "state": one.state,
            "reason": one.reason,
            "exit_code": one.exit_code,
            "fault": one.fault,
            "result_cid": one.result_cid,
            "receipt_cid": one.receipt_cid,
            "created": one.created,
            "modified": one.modified,
        }

    def logs(
        self, job_id: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[LogChunk, None]:
        record = partial(self._record, job_id)
        return JobLogs(self._node, record, stream, follow).chunks(execution)

    # Nodes

    def nodes(self) -> list[NodeJson]:
        node = self._node
        connected = set(node.host.connected())
        me = node.me.peer_id
        found: list[NodeJson] = []
        for peer, known in node.driver.core.table.known.items():
            advert = known.advert
            # Of itself a node knows better than what it has last told.
            own = node.driver.core.lending.offer if peer == me else None
            offer = own or advert.offer
            found.append(
                {
                    "peer": peer,
                    "name": advert.name,
                    "engines": list(offer.engines),
                    "labels": dict(offer.labels),
                    "total": _resources(offer.total),
                    "free": _resources(offer.free),
                    "addresses": list(advert.addresses),
                    "connected": peer in connected or peer == me,
                    "self": peer == me,
                }
            )
        return sorted(found, key=lambda one: (not one["self"], one["name"], one["peer"]))

    async def connect(self, address: str) -> str:
        match = _PEER_IN_ADDRESS.search(address)
        if match is None:
            raise ServiceError(Code.BAD_REQUEST, f"{address!r} is not a multiaddr that ends in /p2p/PEER")
        peer = match[1]
        try:
            await self._node.join(peer, [address], CONNECT_TIMEOUT_S)
        except NetworkError as exc:
            raise ServiceError(Code.UNAVAILABLE, f"cannot connect to {address}: {exc}") from exc
        return peer

    def metrics(self) -> Json:
        node = self._node
        core = node.driver.core
        return {
            "peers_known": len(core.table.known),
            "peers_connected": len(node.host.connected()),
            "jobs_live": len(core.jobs),
            "loans": len(core.lending.held),
            "executions_running": len(node.runner.executions),
            "blocks_size_bytes": node.blocks.size_bytes,
        }


def _reasons(counts: Sequence[tuple[str, int]]) -> list[ReasonJson]:
    return [{"reason": reason, "peers": peers} for reason, peers in counts]


def _resources(one: Resources) -> ResourcesJson:
    return {
        "cpu_millis": one.cpu_millis,
        "memory_bytes": one.memory_bytes,
        "disk_bytes": one.disk_bytes,
        "gpus": one.gpus,
    }
