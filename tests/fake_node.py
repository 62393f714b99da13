"""A node behind a real door on loopback that has no network: its jobs end as their names say."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_type_hints

import trio

from p2pnode.api.exposition import Metric, gauge
from p2pnode.api.queries import JobsQuery
from p2pnode.api.server import ApiAddress, open_api
from p2pnode.api.services import Services
from p2pnode.api.shapes import (
    Change,
    Code,
    EventJson,
    ExecutionJson,
    IdentityJson,
    JobJson,
    JobLineJson,
    JobsJson,
    Json,
    LogChunk,
    NetworkJobsJson,
    NetworkJson,
    NodeJson,
    PlanJson,
    ProblemJson,
    ResourcesJson,
    SchedulingJson,
    ServiceError,
    SubmittedJson,
)
from p2pnode.core import jobfile
from p2pnode.core.records.lifecycle import JobState, Outcome
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Signed
from p2pnode.core.wire.spec import JobSpec
from p2pnode.ipfs import cid, unixfs
from p2pnode.system.audit_log import AuditLog

from .fake_content import FakeContent
from .fake_exec import FakeExec
from .fake_reach import FakeReach
from .fake_receipts import ENDS, EVENTS, PEER, SPEC_HASH, a_receipt, signed
from .fake_settings import FakeSettings

RESULT = {"stdout": b"42\n", "stderr": b"", "exitCode": b"0", "outputs": {"answer.txt": b"forty-two"}}
START = 1_700_000_000.0
RESOURCES = ResourcesJson(cpu_millis=2000, memory_bytes=4_000_000_000, disk_bytes=10**10, gpus=0)


def services_of(node: FakeNode) -> Services:
    others = dict.fromkeys(("jobs", "commands", "reach", "logs", "nodes", "content", "problems"), node)
    return Services(**others, exec=node.exec, audit=AuditLog(node.data_dir))


class FakeNode(FakeContent, FakeReach, FakeSettings):
    """Implements every service of `api.services`."""

    def __init__(self, data_dir: Path) -> None:
        FakeContent.__init__(self, data_dir)
        FakeSettings.__init__(self)
        self.data_dir = data_dir
        self.exec = FakeExec()
        self.result = unixfs.add_directory(RESULT, self.blocks.put)
        self.records: dict[str, JobJson] = {}
        self.connected: list[str] = []
        self.submitted: list[JobSpec] = []
        self.planned: list[JobSpec] = []
        self.troubles: list[ProblemJson] = []
        # Results of executions by replica, where they are not `result`.
        self.results: dict[int, str] = {}
        self.peer = PEER
        self.takes = "schedulable"
        # The private network that it is in.
        self.network: NetworkJson | None = None
        self.drain_timeout_s: float | None = None
        # Signed receipts by execution.
        self.signed: dict[str, Signed] = {}
        # A stream of the job "talkative" has ended.
        self.dropped = threading.Event()

    def identity(self) -> IdentityJson:
        return IdentityJson(
            peer=PEER,
            name="fake",
            version="0.1.0",
            addresses=["/ip4/127.0.0.1/tcp/4001"],
            reach="direct",
            reach_by={"ip4": "direct"},
            finding={"dht": "off", "peers": 0, "provided": 0, "waiting": 0},
            data_dir=str(self.data_dir),
            docker=None,
            network=self.network,
            engines=["wasm"],
            labels={"zone": "a"},
        )

    async def submit(self, spec: JobSpec, new: bool) -> SubmittedJson:
        self.submitted.append(spec)
        before = self.job_named(spec.namespace, spec.name) if spec.name and not new else None
        if before is not None and before["type"] in ("daemon", "service"):
            if before["spec"] == jobfile.render(spec):
                return SubmittedJson(id=before["id"], version=before["version"], change=Change.UNCHANGED)
            before["version"] += 1
            before["spec"], before["count"] = jobfile.render(spec), spec.count
            return SubmittedJson(id=before["id"], version=before["version"], change=Change.UPDATED)
        digest = hashlib.sha256(f"{len(self.records)}".encode()).hexdigest()
        job = f"j-{digest[:32]}"
        self.records[job] = JobJson(
            id=job,
            name=spec.name,
            type=spec.type.value,
            namespace=spec.namespace,
            state=JobState.RUNNING,
            reason="",
            outcome=None,
            priority=spec.priority,
            count=spec.count,
            created=START,
            modified=START,
            owner=PEER,
            owner_name="fake",
            spec=jobfile.render(spec),
            executions=[],
            version=1,
            versions=[{"version": 1, "submitted": START, "spec_hash": SPEC_HASH}],
            members=[{"peer": PEER, "name": "fake", "rank": 0}],
            serial=1,
            controllers=[],
            deputies_wanted=2,
            run=1,
            first_failure="",
        )
        if spec.type.value in ("daemon", "service"):
            running = [self._execution(job, one, None) for one in range(spec.count)]
            self.records[job]["executions"] = running
        return SubmittedJson(id=job, version=1, change=Change.NEW)

    async def network_jobs(self) -> NetworkJobsJson:
        lines = [{field: one[field] for field in get_type_hints(JobLineJson)} for one in self.newest()]
        return {"jobs": lines, "silent": ["mute"]}

    def job_named(self, namespace: str, name: str) -> JobJson | None:
        wanted = namespace, name
        return next((one for one in self.newest() if (one["namespace"], one["name"]) == wanted), None)

    async def rerun(self, job_id: str, reason: str) -> None:
        job = self.records[job_id]
        job["state"], job["outcome"], job["reason"], job["run"] = JobState.RUNNING, None, "", job["run"] + 1

    def scheduling(self) -> SchedulingJson:
        return SchedulingJson(scheduling=self.takes, held=0)

    def schedule(self, scheduling: str, timeout_s: float | None, leave: bool) -> None:
        self.takes, self.drain_timeout_s, self.leaves = scheduling, timeout_s, leave

    async def plan(self, spec: JobSpec) -> PlanJson:
        self.planned.append(spec)
        suitable = spec.name != "unplaceable"
        return PlanJson(
            needed=spec.count,
            asked=[{"peer": PEER, "name": "alpha\x1b[31m"}] * suitable,
            would_bid=1 * suitable,
            known=4,
            looked_up=[],
            busy=[{"reason": "memory: 2 GB of 4 GB free", "peers": 1}] * suitable,
            unsuitable=[{"reason": "no docker engine", "peers": 2 if suitable else 4}],
        )

    def _end(self, job: JobJson) -> None:
        state, outcome, reason = ENDS.get(job["name"], (JobState.COMPLETED, Outcome.COMPLETED, ""))
        job["state"], job["outcome"], job["reason"] = state, outcome, reason
        exit_code = 3 if outcome is Outcome.PROGRAM else 0
        if outcome in (Outcome.COMPLETED, Outcome.PROGRAM):
            job["executions"] = [self._execution(job["id"], one, exit_code) for one in range(job["count"])]

    def _execution(self, job: str, replica: int, exit_code: int | None) -> ExecutionJson:
        id = "e-" + hashlib.sha256(f"{job}{replica}".encode()).hexdigest()[:32]
        result = self.results.get(replica, self.result)
        receipt_cid = None
        if exit_code is not None:
            self.signed[id] = signed(a_receipt(job, id, result, replica=replica, exit_code=exit_code))
            receipt_cid = cid.make(codec.encode(self.signed[id]), "dag-cbor")
        return ExecutionJson(
            id=id,
            peer=self.peer,
            peer_name="alpha\x1b[31m",
            replica=replica,
            state="Running" if exit_code is None else "Failed" if exit_code else "Completed",
            reason="",
            exit_code=exit_code,
            fault="job" if exit_code else None,
            result_cid=result if receipt_cid else None,
            receipt_cid=receipt_cid,
            created=START,
            modified=START,
            version=1,
            run=1,
            current=True,
        )

    def receipts(self, job_id: str) -> dict[str, bytes]:
        of_job = {one["id"] for one in self.records[job_id]["executions"]}
        return {id: codec.encode(one) for id, one in self.signed.items() if id in of_job}

    def newest(self) -> list[JobJson]:
        return list(reversed(self.records.values()))

    async def jobs(self, asked: JobsQuery) -> JobsJson:
        found = [one for one in self.newest() if one["state"] in (asked.state or list(JobState))]
        last = int(asked.after or 0) + asked.limit
        return {"jobs": found[last - asked.limit : last], "next": str(last) if last < len(found) else None}

    def job(self, id_or_name: str) -> JobJson:
        found = [job for name, job in self.records.items() if name.startswith(id_or_name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ServiceError(Code.AMBIGUOUS, f"{id_or_name} could be {len(found)} jobs")
        raise ServiceError(Code.NOT_FOUND, f"there is no job {id_or_name}")

    def job_version(self, id_or_name: str, version: int) -> Json:
        if version > 1:
            raise ServiceError(Code.NOT_FOUND, f"version {version} is not kept")
        return self.job(id_or_name)["spec"]

    async def job_events(self, job_id: str, since: int, follow: bool) -> AsyncGenerator[EventJson, None]:
        job = self.records[job_id]
        for number, message in enumerate(EVENTS, start=1):
            if number > since:
                yield EventJson(
                    number=number,
                    at=START + number,
                    topic="Execution",
                    execution="",
                    message=message,
                    state="Running",
                )
        if follow and job["name"] == "endless":
            await trio.sleep_forever()
        if follow:
            self._end(job)

    async def stop(self, job_id: str, reason: str) -> None:
        job = self.records[job_id]
        job["state"], job["outcome"], job["reason"] = JobState.STOPPED, Outcome.STOPPED, reason

    async def logs(
        self, job_id: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[LogChunk, None]:
        if self.records[job_id]["name"] == "talkative":
            try:
                while True:
                    yield LogChunk(execution="e-0", stream="stdout", data=bytes(64 * 1024))
            finally:
                self.dropped.set()
        for name, data in (("stdout", b"out \xff\n"), ("stderr", b"err\n")):
            if stream in (name, "both"):
                yield LogChunk(execution="e-0", stream=name, data=data)

    def nodes(self) -> list[NodeJson]:
        return [
            NodeJson(
                peer=PEER,
                name="fake",
                engines=["wasm"],
                labels={"zone": "a"},
                total=RESOURCES,
                free=RESOURCES,
                addresses=[],
                connected=False,
                connection="",
                reach="none",
                reach_by={},
                issued=START,
                role=None,
                invitation=None,
                self=True,
                scheduling=self.takes,
                price=0,
                protocols=["link/4"],
                problem=None,
            )
        ]

    def unreached(self) -> list[Json]:
        return []

    async def connect(self, address: str) -> str:
        self.connected.append(address)
        return PEER

    def problems(self) -> list[ProblemJson]:
        return self.troubles

    async def retry_problem(self, number: int) -> None:
        self._trouble(number)["aside"] = False

    async def drop_problem(self, number: int) -> None:
        self.troubles.remove(self._trouble(number))

    def _trouble(self, number: int) -> ProblemJson:
        for one in self.troubles:
            if one["number"] == number:
                return one
        raise ServiceError(Code.NOT_FOUND, f"there is no problem {number}")

    def prometheus(self) -> list[Metric]:
        return [gauge("p2pnode_jobs", "Jobs.", len(self.records))]

    def metrics(self) -> Json:
        return {"jobs": len(self.records)}


class Served:
    """A fake node behind its door, in a thread of its own."""

    def __init__(self, data_dir: Path, address: ApiAddress | None = None) -> None:
        self.node = FakeNode(data_dir)
        self.url = ""
        self._address = address or ApiAddress()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))

    async def _serve(self) -> None:
        self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
        try:
            async with open_api(services_of(self.node), self.node.data_dir, self._address) as api:
                self.url = api.url
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()

    @contextmanager
    def running(self) -> Iterator[Served]:
        self._thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self.end()

    def end(self) -> None:
        if self._thread.is_alive():
            self._token.run_sync_soon(self._stop.set)
            self._thread.join()

    def do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have the node's thread do it."""
        trio.from_thread.run(work, trio_token=self._token)
