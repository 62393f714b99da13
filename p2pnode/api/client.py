"""A client of the API for programs that block, such as the command line.

It stands on the standard library's `http.client`: nothing to import that a short command
would wait for. A connection whose answer was read to its end serves the next question.
"""

from __future__ import annotations

import http.client
import json
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from .refusals import raise_refusal, refusal
from .shapes import (
    CALL_TIMEOUT_S,
    CAR_MEDIA_TYPE,
    KEEP_ALIVE_INTERVAL_S,
    NODE_FILE,
    PAGE_ROWS_MAX,
    TOKEN_FILE,
    EntryJson,
    EventJson,
    FetchedJson,
    IdentityJson,
    JobJson,
    JobsJson,
    Json,
    LogChunk,
    NetworkJobsJson,
    NodeJson,
    PinJson,
    PlanJson,
    ProblemJson,
    SchedulingJson,
    SettingJson,
    SubmittedJson,
    UnreachedJson,
    token_of,
)

# The node is on this machine: it accepts at once or is not there.
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = CALL_TIMEOUT_S + 5.0
# The node answers this at once, or is stuck.
ALIVE_TIMEOUT_S = 5.0
EVENT_TIMEOUT_S = 3 * KEEP_ALIVE_INTERVAL_S
# The node may have to find a peer that holds the next block; its own deadlines are shorter.
CAR_TIMEOUT_S = 300.0
CHUNK_SIZE_BYTES = 256 * 1024
# The node closes a connection that has been idle for 5 s; one that it may be closing is not used.
IDLE_S_MAX = 2.0
# Listings are far smaller; what answers with more is no node.
ANSWER_SIZE_BYTES_MAX = 256 * 1024**2


class NodeUnreachable(Exception):
    """No node answers where one should be; the message says where and what to do."""


class Client:
    """Calls the API at `url` (http://127.0.0.1:PORT).

    Every method raises `NodeUnreachable`, and `ServiceError` where the node refuses.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise NodeUnreachable(f"{url!r} is no API address; it looks like http://127.0.0.1:4701")
        self.url = url.rstrip("/")
        self._host, self._port = parts.hostname, parts.port or 80
        self._headers = {"Authorization": f"Bearer {token}"}
        # At most one, with the time it was last used; a list, as threads may share a client.
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []
        weakref.finalize(self, _close_all, self._idle)

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

    def receipts(self, job: str) -> dict[str, bytes]:
        """The signed receipts of a job's executions, by their ids; nothing of them is verified."""
        found = self._call("GET", f"/api/v1/jobs/{quote(job, safe='')}/receipts")["receipts"]
        return {execution: bytes.fromhex(block) for execution, block in found.items()}

    def job_events(self, job: str, since: int = 0, follow: bool = False) -> Iterator[EventJson]:
        """The history after number `since`; with `follow` until the job has ended."""
        query = urlencode({"since": since, "follow": int(follow)})
        for event in self._events(f"/api/v1/jobs/{job}/events?{query}"):
            yield cast(EventJson, event)

    def logs(
        self, job: str, execution: str | None = None, stream: str = "both", follow: bool = False
    ) -> Iterator[LogChunk]:
        query = {"stream": stream, "follow": int(follow)} | ({"execution": execution} if execution else {})
        for event in self._events(f"/api/v1/jobs/{job}/logs?{urlencode(query)}"):
            # The server says why.
            yield cast(LogChunk, {**event, "data": event["data"].encode("latin-1")})

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

    def nodes(self) -> list[NodeJson]:
        return cast(list[NodeJson], self._call("GET", "/api/v1/nodes")["nodes"])

    def unreached(self) -> list[UnreachedJson]:
        return cast(list[UnreachedJson], self._call("GET", "/api/v1/nodes")["unreached"])

    def connect(self, address: str) -> str:
        """Have the node connect to a peer's multiaddr; gives the peer's id."""
        return str(self._call_json("POST", "/api/v1/peers", {"address": address})["peer"])

    def import_car(self, car: Iterable[bytes]) -> str:
        """Send a CAR in pieces; gives its root's CID."""
        return str(self._call("POST", "/api/v1/ipfs", car, CAR_MEDIA_TYPE, CAR_TIMEOUT_S)["cid"])

    def export_car(self, cid: str, peers: list[str]) -> Iterator[bytes]:
        """The tree below a CID as a CAR, piece by piece; `peers` are likely to hold it."""
        query = urlencode([("format", "car"), *(("peer", peer) for peer in peers)])
        with self._response(
            "GET", f"/ipfs/{quote(cid, safe='')}?{query}", timeout_s=CAR_TIMEOUT_S
        ) as response:
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

    def _call_json(self, method: str, path: str, body: Json) -> Json:
        return self._call(method, path, json.dumps(body).encode(), "application/json")

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        media_type: str = "application/octet-stream",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Json:
        with self._response(method, path, body, media_type, timeout_s) as response:
            return cast(Json, json.loads(response.read(ANSWER_SIZE_BYTES_MAX)))

    def _events(self, path: str) -> Iterator[Any]:
        with self._response("GET", path, timeout_s=EVENT_TIMEOUT_S) as response:
            kind = ""
            for line in iter(response.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "end":
                    # Nothing but the end of the answer, after which the connection is free.
                    with suppress(OSError, http.client.HTTPException):
                        response.read(CHUNK_SIZE_BYTES)
                    return
                elif name == "data" and kind == "error":
                    raise_refusal(json.loads(value))
                elif name == "data":
                    yield json.loads(value)
        raise NodeUnreachable(f"the node at {self.url} ended the stream: it is shutting down or has died")

    @contextmanager
    def _response(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        media_type: str = "application/octet-stream",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Iterator[http.client.HTTPResponse]:
        headers = self._headers | ({"Content-Type": media_type} if body is not None else {})
        # Only a question may be asked twice, should the node close the connection just now.
        connection = self._idle_connection() if method == "GET" else None
        response = None
        try:
            if connection is not None:
                response = _asked_again(connection, path, headers, timeout_s)
            if connection is None or response is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
                connection.connect()
                connection.sock.settimeout(timeout_s)
                # A node that refuses before it has read all closes the connection: its answer says why.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body, headers)
                response = connection.getresponse()
            if response.status >= 400:
                raise_refusal(refusal(response))
            yield response
            if response.isclosed() and not response.will_close and not self._idle:
                self._idle.append((connection, time.monotonic()))
                connection = None
        except (OSError, http.client.HTTPException, UnicodeDecodeError, json.JSONDecodeError) as error:
            reason = str(error) or type(error).__name__
            raise NodeUnreachable(f"the node at {self.url} cannot be reached: {reason}") from error
        finally:
            if connection is not None:
                connection.close()

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        """A connection that the node has open still, as far as is known here; it is the caller's."""
        with suppress(IndexError):
            connection, used_s = self._idle.pop()
            if time.monotonic() - used_s < IDLE_S_MAX:
                return connection
            connection.close()
        return None


def _asked_again(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], timeout_s: float
) -> http.client.HTTPResponse | None:
    """The answer to one more question, or None if the node has closed the connection meanwhile."""
    connection.sock.settimeout(timeout_s)
    try:
        connection.request("GET", path, None, headers)
        return connection.getresponse()
    except ConnectionError:
        # `RemoteDisconnected` is one.
        connection.close()
        return None


def _close_all(idle: list[tuple[http.client.HTTPConnection, float]]) -> None:
    for connection, _ in idle:
        connection.close()


def _hints(peers: list[str]) -> str:
    return urlencode([("peer", peer) for peer in peers])


def find(data_dir: Path, environ: Mapping[str, str]) -> Client:
    """The node to talk to: `P2PNODE_API` names it, or else the one that runs on `data_dir`.

    The token is `P2PNODE_TOKEN`, or else the data directory's. Raises `NodeUnreachable`.
    """
    url = environ.get("P2PNODE_API") or _running(data_dir)
    given = environ.get("P2PNODE_TOKEN")
    text = given or _read(data_dir / TOKEN_FILE)
    if text is None:
        raise NodeUnreachable(
            f"no token for {url}: set P2PNODE_DATA_DIR to the node's data directory (now {data_dir})"
            " or P2PNODE_TOKEN"
        )
    token = token_of(text)
    if token is None:
        where = "P2PNODE_TOKEN" if given else str(data_dir / TOKEN_FILE)
        hint = "it lies in the node's data directory" if given else "start the node again for a new one"
        raise NodeUnreachable(f"{where} holds no token: {hint}")
    return Client(url, token)


def running_node(data_dir: Path) -> Json | None:
    """`{api, pid, peer, name}` as the node on a data directory wrote it; it may have died since."""
    text = _read(data_dir / NODE_FILE)
    try:
        node = json.loads(text) if text else None
    except ValueError:
        return None
    return node if isinstance(node, dict) and {"api", "pid", "peer", "name"} <= node.keys() else None


def _running(data_dir: Path) -> str:
    node = running_node(data_dir)
    if node is None:
        raise NodeUnreachable(f"no node runs on {data_dir}; start one with: p2pnode serve")
    return str(node["api"])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NodeUnreachable(f"{path} cannot be read: {error.strerror}") from error
