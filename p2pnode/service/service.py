"""What a node does for its local door: what is told of jobs, logs and nodes, in the API's shapes.

Reads come from the journal, which is always as new as the core. What changes something is in `orders`,
content in `content`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

import trio

from p2pnode import __version__
from p2pnode.api.service import (
    Code,
    DockerJson,
    EventJson,
    ExecutionJson,
    IdentityJson,
    JobJson,
    JobLineJson,
    Json,
    LogChunk,
    NetworkJobsJson,
    NodeJson,
    PlanJson,
    ReasonJson,
    ResourcesJson,
    ServiceError,
    UnreachedJson,
)
from p2pnode.core import jobfile
from p2pnode.core.job import plan
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records.lifecycle import OPEN, Execution, JobRecord
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import protocols
from p2pnode.core.wire.messages import JobLine
from p2pnode.core.wire.spec import JobSpec, Resources
from p2pnode.network.host import Unreachable
from p2pnode.network.protocols import jobs as job_lists
from p2pnode.network.streams import NetworkError

from .commands import Orders
from .logs import JobLogs

JOBS_LISTED_MAX = 1_000
# Of a history, what one of its followers holds while it sends them.
HISTORY_ROWS_AT_ONCE = 64
CONNECT_TIMEOUT_S = 10.0

# A word of its own: within an address (s3://bucket/12D3Koo.../x) it is a part of what works.
_PEER = re.compile(r"(?<![^\s(,;])12D3Koo[1-9A-HJ-NP-Za-km-z]{45}(?=[,:;)]*(?:\.?\s|\.?$))")


class Service(Orders):
    """Implements `api.service.NodeService` over a running node."""

    def identity(self) -> IdentityJson:
        node = self._node
        capacity = node.driver.core.worker.capacity
        return {
            "peer": node.me.peer_id,
            "name": node.config.name,
            "version": __version__,
            "addresses": node.host.addresses(),
            "data_dir": str(node.config.data_dir),
            "engines": list(capacity.engines) if capacity else [],
            "labels": dict(capacity.labels) if capacity else {},
            "docker": self._docker(),
        }

    def _docker(self) -> DockerJson | None:
        found = self._node.docker_host
        if found is None:
            return None
        problem = self._node.docker.problem
        return {"address": found.address, "chosen_by": found.why, "problem": problem}

    # Jobs

    async def plan(self, spec: JobSpec) -> PlanJson:
        node = self._node
        need = requirements_of(spec)
        lacks = (
            await node.inputs.lacks(need.directories, need.engine)
            or node.inputs.lacks_variables(spec.task)
            or ""
        )
        known = node.driver.core.table.known
        found = plan.plan(spec, node.me.peer_id, known, node.clock.now(), lacks)
        return {
            "needed": found.needed,
            "asked": [{"peer": advert.peer, "name": advert.name} for advert in found.asked],
            "would_bid": found.would_bid,
            "known": found.known,
            "looked_up": list(found.looked_up),
            "busy": _reasons(found.busy),
            "unsuitable": _reasons(found.unsuitable),
        }

    def jobs(self) -> list[JobJson]:
        return [self._job_json(record) for record in self._node.journal.jobs(JOBS_LISTED_MAX)]

    async def network_jobs(self) -> NetworkJobsJson:
        node = self._node
        mine = [job_lists.line_of(record) for record in node.own_jobs()]
        others = {
            peer: known.advert.addresses
            for peer, known in node.driver.core.table.known.items()
            if peer != node.me.peer_id
        }
        found = await job_lists.ask_all(node.host, others)
        found[node.me.peer_id] = mine
        jobs = [self._line_json(one, peer) for peer, lines in found.items() for one in lines or ()]
        return {
            "jobs": sorted(jobs, key=lambda one: (-one["created"], one["id"])),
            "silent": sorted(self._name_of(peer) for peer, lines in found.items() if lines is None),
        }

    def _line_json(self, line: JobLine, owner: str) -> JobLineJson:
        return {
            "id": line.id,
            "name": line.name or line.id,
            "namespace": line.namespace,
            "type": line.type,
            "state": line.state,
            "reason": self._for_people(line.reason),
            "count": line.count,
            "created": line.created_ms / 1000,
            "owner": owner,
            "owner_name": self._known_name(owner),
        }

    def job_named(self, namespace: str, name: str) -> JobJson | None:
        record = self._node.journal.job_named(namespace, name)
        return self._job_json(record) if record else None

    def job(self, id_or_name: str) -> JobJson:
        return self._job_json(self._record(id_or_name))

    def job_version(self, id_or_name: str, version: int) -> Json:
        record = self._record(id_or_name)
        found = record.versions.get(version)
        if found is None:
            kept = ", ".join(map(str, sorted(record.versions)))
            raise ServiceError(Code.NOT_FOUND, f"version {version} of the job is not kept; there are {kept}")
        if found.spec is None:
            owner = self._name_of(record.owner)
            reason = f"the file of version {version} was not told to this node; ask {owner}"
            raise ServiceError(Code.NOT_FOUND, reason)
        return jobfile.render(found.spec)

    async def job_events(self, job_id: str, since: int, follow: bool) -> AsyncGenerator[EventJson, None]:
        node = self._node
        while True:
            # Taken before the look, so that what changes in between is not missed.
            changed = node.changed.setdefault(job_id, trio.Event())
            over = self._is_over(job_id)
            rows = node.journal.history(job_id, since, HISTORY_ROWS_AT_ONCE)
            for row in rows:
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
            if len(rows) == HISTORY_ROWS_AT_ONCE:
                continue
            if over or not follow:
                return
            # A follower holds nothing while it waits.
            del rows
            await changed.wait()

    def _is_over(self, job_id: str) -> bool:
        record = self._node.journal.job(job_id)
        return record is None or record.ended

    def _for_people(self, text: str) -> str:
        """With the names of nodes in place of their ids."""
        return name_peers(text, self._name_of)

    def _name_of(self, peer: str) -> str:
        return self._known_name(peer) or peer

    def _known_name(self, peer: str) -> str:
        node = self._node
        known = node.driver.core.table.known.get(peer)
        return node.config.name if peer == node.me.peer_id else known.advert.name if known else ""

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
            "created": _moment(record.created),
            "modified": _moment(record.modified),
            "owner": record.owner,
            "owner_name": self._known_name(record.owner),
            "deputy_names": [self._known_name(peer) for peer in record.deputies],
            "spec": jobfile.render(spec),
            "executions": [self._execution_json(one, record) for one in awarded],
            "version": record.version,
            "versions": [
                {"version": number, "submitted": _moment(one.submitted), "spec_hash": one.spec_hash}
                for number, one in sorted(record.versions.items())
            ],
            "deputies": list(record.deputies),
            "epoch": record.epoch,
            "run": record.run,
            "first_failure": self._for_people(record.first_failure),
        }

    def _execution_json(self, one: Execution, record: JobRecord) -> ExecutionJson:
        return {
            "id": one.id,
            "peer": one.peer,
            "peer_name": self._known_name(one.peer),
            "replica": one.replica or 0,
            "state": one.state,
            "reason": one.reason,
            "exit_code": one.exit_code,
            "fault": one.fault,
            "result_cid": one.result_cid,
            "receipt_cid": one.receipt_cid,
            "created": _moment(one.created),
            "modified": _moment(one.modified),
            "version": one.version,
            "run": one.run,
            "current": one.run == record.run and record.is_current(one),
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
            own = node.driver.core.worker.available if peer == me else None
            capacity = own or advert.capacity
            found.append(
                {
                    "peer": peer,
                    "name": advert.name,
                    "engines": list(capacity.engines),
                    "labels": dict(capacity.labels),
                    "total": _resources(capacity.total),
                    "free": _resources(capacity.free),
                    "addresses": list(advert.addresses),
                    "connected": peer in connected or peer == me,
                    "self": peer == me,
                    "scheduling": capacity.scheduling.value,
                    "protocols": list(advert.protocols),
                    "problem": protocols.why_no_link(advert.protocols),
                }
            )
        return sorted(found, key=lambda one: (not one["self"], one["name"], one["peer"]))

    async def connect(self, address: str) -> str:
        try:
            peer = addressing.parse(addressing.parse_peer(address)).peer
        except addressing.BadAddress as exc:
            raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc
        try:
            await self._node.join(peer, [address], CONNECT_TIMEOUT_S)
        except NetworkError as exc:
            why = exc.why if isinstance(exc, Unreachable) else str(exc)
            raise ServiceError(
                Code.UNAVAILABLE, f"cannot connect to {why if address in why else f'{address}: {why}'}"
            ) from exc
        return peer

    def unreached(self) -> list[UnreachedJson]:
        discovery = self._node.discovery
        if discovery is None:
            return []
        return [
            {"peer": one.peer, "addresses": list(one.addresses), "reason": one.reason}
            for one in discovery.unreached()
        ]

    def metrics(self) -> Json:
        node = self._node
        core = node.driver.core
        return {
            "peers_known": len(core.table.known),
            "peers_connected": len(node.host.connected()),
            "jobs_live": len(core.jobs),
            "reservations": len(core.worker.held),
            "executions_running": len(node.executor.executions),
            "blocks_size_bytes": node.blocks.size_bytes,
        }


def _moment(at: float) -> float:
    """As its copies have it, which are told in milliseconds."""
    return round(at, 3)


def _reasons(counts: Sequence[tuple[str, int]]) -> list[ReasonJson]:
    return [{"reason": reason, "peers": peers} for reason, peers in counts]


def _resources(one: Resources) -> ResourcesJson:
    return {
        "cpu_millis": one.cpu_millis,
        "memory_bytes": one.memory_bytes,
        "disk_bytes": one.disk_bytes,
        "gpus": one.gpus,
    }


def name_peers(text: str, name_of: Callable[[str], str]) -> str:
    """A text with the names of nodes in place of their ids, where these are words of their own."""
    return _PEER.sub(lambda match: name_of(match[0]), text)
