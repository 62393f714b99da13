"""A client of the API for programs that block, such as the command line.

`channel` is how it asks; here are the questions, and the node that is asked.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import cast
from urllib.parse import quote, urlencode

from p2pnode.api.content_shapes import EntryJson, FetchedJson, PinJson
from p2pnode.api.execution_shapes import HostedJson
from p2pnode.api.shapes import (
    CAR_MEDIA_TYPE,
    PAGE_ROWS_MAX,
    EventJson,
    ExecutionJson,
    IdentityJson,
    JobJson,
    JobsJson,
    Json,
    LogChunk,
    NetworkJobsJson,
    NodeJson,
    PlanJson,
    ProblemJson,
    SchedulingJson,
    SettingJson,
    SubmittedJson,
    UnreachedJson,
)
from p2pnode.api.token_shapes import TokenJson, TokenKind

from .channel import CHUNK_SIZE_BYTES, Channel
from .exec import EnteredProgram

# The node answers this at once, or is stuck.
ALIVE_TIMEOUT_S = 5.0
# The node may have to find a peer that holds the next block; its own deadlines are shorter.
CAR_TIMEOUT_S = 300.0


class Client(Channel):
    """The API's calls, each a method."""

    @property
    def port(self) -> int:
        return self._port

    def alive(self) -> None:
        """Return if the node answers, also when all it could be asked takes long."""
        self._call("GET", "/api/v1/alive", timeout_s=ALIVE_TIMEOUT_S)

    def identity(self) -> IdentityJson:
        return cast(IdentityJson, self._call("GET", "/api/v1/id"))

    def settings(self) -> list[SettingJson]:
        return cast(list[SettingJson], self._call("GET", "/api/v1/settings")["settings"])

    def submit(self, job_file: bytes, name: str) -> str:
        """The id of the job that the file is; `name` is what its problems call the file."""
        return self.submit_job(job_file, name)["id"]

    def submit_job(self, job_file: bytes, name: str, new: bool = False) -> SubmittedJson:
        """`submit`, with what it has led to; with `new` to another job, whatever its name."""
        query = urlencode({"name": name, "new": int(new)})
        return cast(SubmittedJson, self._call("POST", f"/api/v1/jobs?{query}", job_file))

    def plan(self, job_file: bytes, name: str) -> PlanJson:
        return cast(PlanJson, self._call("POST", f"/api/v1/plan?{urlencode({'name': name})}", job_file))

    def jobs(
        self,
        *,
        state: Sequence[str] = (),
        type: Sequence[str] = (),
        label: Sequence[str] = (),
        namespace: str = "",
        text: str = "",
        limit: int = PAGE_ROWS_MAX,
    ) -> list[JobJson]:
        """The newest jobs that are as is asked, at most `limit` of them."""
        asked = {"state": state, "type": type, "label": label, "namespace": namespace, "text": text}
        found: list[JobJson] = []
        after: str | None = ""
        while after is not None and len(found) < limit:
            rows = min(limit - len(found), PAGE_ROWS_MAX)
            query = urlencode(asked | {"limit": rows, "after": after}, doseq=True)
            page = cast(JobsJson, self._call("GET", f"/api/v1/jobs?{query}"))
            found, after = found + page["jobs"], page.get("next")
        return found

    def network_jobs(self) -> NetworkJobsJson:
        """The jobs that all known nodes own."""
        return cast(NetworkJobsJson, self._call("GET", "/api/v1/network/jobs"))

    def job_named(self, namespace: str, name: str) -> JobJson | None:
        """The newest job of this name."""
        query = urlencode({"namespace": namespace, "name": name})
        found = cast(list[JobJson], self._call("GET", f"/api/v1/jobs?{query}")["jobs"])
        return found[0] if found else None

    def job(self, id_or_name: str) -> JobJson:
        """The job of an id, of a unique prefix of one, or the last job of a name."""
        if id_or_name.startswith("j-") and "/" not in id_or_name:
            return cast(JobJson, self._call("GET", f"/api/v1/jobs/{quote(id_or_name, safe='')}"))
        query = urlencode({"job": id_or_name})
        return cast(list[JobJson], self._call("GET", f"/api/v1/jobs?{query}")["jobs"])[0]

    def job_version(self, id_or_name: str, version: int) -> Json:
        """A version of a job's file."""
        path = f"/api/v1/jobs/{quote(id_or_name, safe='')}/versions/{version}"
        return cast(Json, self._call("GET", path)["spec"])

    def executions(self, job: str, state: Sequence[str] = ()) -> list[ExecutionJson]:
        """The executions of a job, in the order of their awards."""
        path = f"/api/v1/jobs/{quote(job, safe='')}/executions?{urlencode({'state': state}, doseq=True)}"
        return cast(list[ExecutionJson], self._call("GET", path)["executions"])

    def hosted(self, state: Sequence[str] = ()) -> list[HostedJson]:
        """The executions on the node, waiting ones too; in these states only, where some are given."""
        path = f"/api/v1/executions?{urlencode({'state': state}, doseq=True)}"
        return cast(list[HostedJson], self._call("GET", path)["executions"])

    def receipts(self, job: str) -> dict[str, bytes]:
        """The signed receipts of a job's executions, by their ids; nothing of them is verified."""
        found = self._call("GET", f"/api/v1/jobs/{quote(job, safe='')}/receipts")["receipts"]
        return {execution: bytes.fromhex(block) for execution, block in found.items()}

    def job_events(
        self, job: str, since: int = 0, follow: bool = False, timeout_s: float | None = None
    ) -> Generator[EventJson, None, None]:
        """The history after number `since`; with `follow` until the job has ended.

        Raises `WaitTimeout` after `timeout_s`.
        """
        query = urlencode({"since": since, "follow": int(follow)})
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for event in self._events(f"/api/v1/jobs/{job}/events?{query}", deadline_s):
            yield cast(EventJson, event)

    def logs(
        self, job: str, execution: str | None = None, stream: str = "both", follow: bool = False
    ) -> Generator[LogChunk, None, None]:
        query = {"stream": stream, "follow": int(follow)} | ({"execution": execution} if execution else {})
        for event in self._events(f"/api/v1/jobs/{job}/logs?{urlencode(query)}"):
            # The server says why.
            yield cast(LogChunk, {**event, "data": event["data"].encode("latin-1")})

    def exec(
        self,
        job: str,
        command: Sequence[str],
        execution: str | None = None,
        terminal: Json | None = None,
        stdin: bool = False,
    ) -> EnteredProgram:
        """A program that has begun in a running execution; `terminal` has `columns`, `rows` and `type`."""
        asked: Json = {"command": list(command), "terminal": terminal, "stdin": stdin}
        asked |= {"execution": execution} if execution else {}
        return EnteredProgram(self, self._events(f"/api/v1/jobs/{quote(job, safe='')}/exec", asked=asked))

    def exec_input(self, session: str, data: bytes, end: bool = False) -> None:
        """Give a program its next input, all of it or, where that is refused, nothing."""
        self._call("POST", f"/api/v1/exec/{session}?end={int(end)}", data)

    def exec_size(self, session: str, columns: int, rows: int) -> None:
        self._call_json("POST", f"/api/v1/exec/{session}/size", {"columns": columns, "rows": rows})

    def stop(self, job: str, reason: str) -> JobJson:
        return cast(JobJson, self._call_json("POST", f"/api/v1/jobs/{job}/stop", {"reason": reason}))

    def rerun(self, job: str, reason: str) -> JobJson:
        path = f"/api/v1/jobs/{quote(job, safe='')}/rerun"
        return cast(JobJson, self._call_json("POST", path, {"reason": reason}))

    def scheduling(self) -> SchedulingJson:
        return cast(SchedulingJson, self._call("GET", "/api/v1/scheduling"))

    def schedule(
        self, scheduling: str, timeout_s: float | None = None, leave: bool = False
    ) -> SchedulingJson:
        """Set what the node takes on: "schedulable", "cordoned", or "draining" for at most `timeout_s`.

        With `leave` the node ends once nothing runs there any more.
        """
        body = {"scheduling": scheduling, "timeout_s": timeout_s, "leave": leave}
        return cast(SchedulingJson, self._call_json("POST", "/api/v1/scheduling", body))

    def problems(self) -> list[ProblemJson]:
        return cast(list[ProblemJson], self._call("GET", "/api/v1/problems")["problems"])

    def retry_problem(self, number: int) -> None:
        self._call("POST", f"/api/v1/problems/{number}/retry")

    def drop_problem(self, number: int) -> None:
        self._call("DELETE", f"/api/v1/problems/{number}")

    def nodes(
        self, *, label: Sequence[str] = (), text: str = "", connected: bool | None = None
    ) -> list[NodeJson]:
        """The nodes that are as is asked, the one that answers first."""
        asked = {"label": label, "text": text}
        if connected is not None:
            asked["connected"] = str(connected).lower()
        found: list[NodeJson] = []
        after: str | None = ""
        while after is not None:
            query = urlencode(asked | {"after": after}, doseq=True)
            page = self._call("GET", f"/api/v1/nodes?{query}")
            found, after = found + page["nodes"], page.get("next")
        return found

    def unreached(self) -> list[UnreachedJson]:
        return cast(list[UnreachedJson], self._call("GET", "/api/v1/nodes")["unreached"])

    def connect(self, address: str) -> str:
        """Have the node connect to a peer's multiaddr; gives the peer's id."""
        return str(self._call_json("POST", "/api/v1/peers", {"address": address})["peer"])

    def import_car(self, car: Iterable[bytes]) -> str:
        """Send a CAR in pieces; gives its root's CID."""
        return str(self._call("POST", "/api/v1/ipfs", car, CAR_MEDIA_TYPE, CAR_TIMEOUT_S)["cid"])

    def export_car(self, cid: str, peers: list[str]) -> Generator[bytes, None, None]:
        """The tree below a CID as a CAR, piece by piece; `peers` are likely to hold it."""
        query = urlencode([("format", "car"), *(("peer", peer) for peer in peers)])
        with self._response("GET", f"/ipfs/{quote(cid, safe='')}?{query}", timeout_s=CAR_TIMEOUT_S) as (
            response,
            _,
        ):
            while chunk := response.read(CHUNK_SIZE_BYTES):
                yield chunk

    def fetch(self, cid: str, peers: list[str]) -> Iterator[FetchedJson]:
        """Have the node fetch the tree below a CID, telling how far it is."""
        for event in self._events(f"/api/v1/ipfs/fetch/{quote(cid, safe='')}?{_hints(peers)}"):
            yield cast(FetchedJson, event)

    def list_directory(self, path: str, peers: list[str]) -> list[EntryJson]:
        """The entries of `CID` or `CID/name/...`."""
        answer = self._call("GET", f"/api/v1/ipfs/ls/{quote(path)}?{_hints(peers)}")
        return cast(list[EntryJson], answer["entries"])

    def resolve(self, path: str, peers: list[str]) -> str:
        """The CID that `CID/name/...` leads to; `peers` are likely to hold it."""
        return str(self._call("GET", f"/api/v1/ipfs/resolve/{quote(path)}?{_hints(peers)}")["cid"])

    def pins(self) -> list[PinJson]:
        return cast(list[PinJson], self._call("GET", "/api/v1/ipfs/pins")["pins"])

    def pin(self, cid: str, peers: list[str]) -> None:
        self._call("PUT", f"/api/v1/ipfs/pins/{quote(cid, safe='')}?{_hints(peers)}")

    def unpin(self, cid: str) -> None:
        self._call("DELETE", f"/api/v1/ipfs/pins/{quote(cid, safe='')}")

    def tokens(self) -> list[TokenJson]:
        return cast(list[TokenJson], self._call("GET", "/api/v1/tokens")["tokens"])

    def create_token(self, name: str, kind: TokenKind, lifetime_s: float | None) -> str:
        """The secret of a new token."""
        body = {"name": name, "kind": kind, "lifetime_s": lifetime_s}
        return str(self._call_json("POST", "/api/v1/tokens", body)["token"])

    def revoke_token(self, name: str) -> None:
        self._call("DELETE", f"/api/v1/tokens/{quote(name, safe='')}")

    def begin_session(self) -> str:
        """The address that gives a browser a session; works once, and for a minute."""
        return self.url + str(self._call("POST", "/api/v1/sessions")["path"])


def _hints(peers: list[str]) -> str:
    return urlencode([("peer", peer) for peer in peers])
