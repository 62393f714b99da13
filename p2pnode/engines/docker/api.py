"""Requests to the Docker engine that must be cancellable: streams, waits, clean-up, the probe.

The docker SDK blocks a thread in each of these for as long as it lasts; httpcore does not. Each has a
connection of its own. Paths carry no API version: the engine then uses its own, and those used here have
not changed since 1.24.

A `socket_path` is the path of a unix socket, or tcp://HOST:PORT of this machine.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpcore
import trio

from p2pnode.engines.workload import KILL_S_MAX

from .answers import (
    BadAnswer,
    Container,
    RefusalAnswer,
    Waited,
    decode,
)

# Inspecting a container with many mounts takes some 10 kB.
BODY_SIZE_BYTES_MAX = 4 * 1024**2
READ_SIZE_BYTES = 65_536
# An engine that does this host's work under load answers within a few seconds.
ANSWER_S_MAX = 30.0
PROBE_S_MAX = 3.0
# The oldest version of the engine's API: Docker 19.03, which takes device requests. Podman 3 has it, too.
API_VERSION_MIN = (1, 40)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# Where an engine listens whose address names no port.
TCP_PORT = 2375
# Advice to a person, by the errno of a connection that failed.
_HINTS = {
    errno.ENOENT: " (start it, or name another with --docker-host or DOCKER_HOST)",
    errno.ECONNREFUSED: " (it does not run: start it, or name another with --docker-host or DOCKER_HOST)",
    errno.EACCES: " (this user may not: make it a member of the socket's group, or use rootless Docker)",
}

T = TypeVar("T")


class EngineGone(Exception):
    """The engine cannot be reached, or stopped in the middle of an answer; the message says how."""


class EngineRefused(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Readable(Protocol):
    """Bytes as they come."""

    async def read_some(self) -> bytes:
        """The next bytes, b"" at the end; raises `EngineGone`."""


class Body:
    """The rest of an answer, as it comes."""

    def __init__(self, response: httpcore.Response) -> None:
        self._headers = response.headers
        self._chunks = aiter(response.aiter_stream())

    def header(self, name: str) -> str:
        """The answer's first header of that name, "" if there is none."""
        return next((v.decode("latin-1") for key, v in self._headers if key.decode().lower() == name), "")

    async def read_some(self) -> bytes:
        """The next bytes, b"" at the end; raises `EngineGone`."""
        with _gone():
            return await anext(self._chunks, b"")

    async def read_all(self) -> bytes:
        data = b""
        while some := await self.read_some():
            data += some
            if len(data) > BODY_SIZE_BYTES_MAX:
                raise EngineGone(f"the Docker engine answered with more than {BODY_SIZE_BYTES_MAX} bytes")
        return data


class Hijacked:
    """A connection that the engine has left to a program's streams."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read_some(self) -> bytes:
        """The next bytes, b"" at the end; raises `EngineGone`."""
        with _gone():
            return await self._inner.read(READ_SIZE_BYTES)

    async def write(self, data: bytes) -> None:
        """Send all of it, as the program takes it; raises `EngineGone`."""
        with _gone():
            await self._inner.write(data)

    def end_writing(self) -> None:
        """Close the program's stdin, and go on reading."""
        try:
            self._inner.get_extra_info("socket").shutdown(socket.SHUT_WR)
        except OSError:
            # The engine has closed it.
            return


@asynccontextmanager
async def stream(
    socket_path: str,
    method: str,
    path: str,
    headers: Mapping[str, str] = NO_HEADERS,
    answer_s_max: float = ANSWER_S_MAX,
    wanted: Mapping[str, Any] | None = None,
) -> AsyncIterator[Body]:
    """An answer whose body may take any time; `wanted` goes as JSON. Raises `EngineGone`, `EngineRefused`."""
    async with _answer(socket_path, method, path, headers, answer_s_max, wanted) as response:
        yield Body(response)


@asynccontextmanager
async def hijacked(socket_path: str, path: str, wanted: Mapping[str, Any]) -> AsyncIterator[Hijacked]:
    """A connection that becomes that with a program. Raises `EngineGone`, `EngineRefused`."""
    headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
    async with _answer(socket_path, "POST", path, headers, ANSWER_S_MAX, wanted) as response:
        if "network_stream" not in response.extensions or response.status != 101:
            raise EngineGone(f"the Docker engine answered {response.status}, and leaves no connection")
        yield Hijacked(response.extensions["network_stream"])


@asynccontextmanager
async def _answer(
    socket_path: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    answer_s_max: float,
    wanted: Mapping[str, Any] | None,
) -> AsyncIterator[httpcore.Response]:
    url, path_of_socket = _place(socket_path, path)
    content = b"" if wanted is None else json.dumps(wanted).encode()
    kind = {} if wanted is None else {"Content-Type": "application/json"}
    sent = {"Host": "docker", "Content-Length": str(len(content)), "Connection": "close", **kind, **headers}
    async with AsyncExitStack() as stack:
        connection = httpcore.AsyncHTTPConnection(url.origin, uds=path_of_socket)
        await stack.enter_async_context(connection)
        request = connection.stream(method, url, headers=list(sent.items()), content=content)
        with trio.move_on_after(answer_s_max) as deadline, _gone(socket_path):
            response = await stack.enter_async_context(request)
        if deadline.cancelled_caught:
            raise EngineGone(f"the Docker engine did not answer within {answer_s_max:g} s")
        if response.status >= 300:
            raise EngineRefused(response.status, _message(await Body(response).read_all()))
        yield response


async def ask(socket_path: str, path: str, kind: type[T]) -> T:
    """The engine's answer about something. Raises `EngineGone`, `EngineRefused`."""
    try:
        return decode(await order(socket_path, "GET", path), kind)
    except BadAnswer as error:
        raise EngineGone(str(error)) from error


async def order(socket_path: str, method: str, path: str, wanted: Mapping[str, Any] | None = None) -> bytes:
    """Have the engine do something short; its answer. Raises `EngineGone`, `EngineRefused`."""
    with trio.move_on_after(ANSWER_S_MAX):
        async with stream(socket_path, method, path, wanted=wanted) as body:
            return await body.read_all()
    raise EngineGone(f"the Docker engine did not answer within {ANSWER_S_MAX:g} s")


async def unavailable(socket_path: str) -> str | None:
    """Why the engine cannot be used now; None if it answers."""
    with trio.move_on_after(PROBE_S_MAX):
        try:
            async with stream(socket_path, "GET", "/_ping") as body:
                await body.read_all()
                return _too_old(body.header("api-version"), socket_path)
        except (EngineGone, EngineRefused) as error:
            return str(error)
    return f"the Docker engine at {socket_path} did not answer within {PROBE_S_MAX:g} s"


async def inspect(socket_path: str, container: str, *, size: bool = False) -> Container | None:
    """The engine's answer about a container; None if there is none. `size` takes it a while."""
    try:
        path = f"/containers/{container}/json{'?size=1' if size else ''}"
        return await ask(socket_path, path, Container)
    except EngineRefused as error:
        if error.status == 404:
            return None
        raise


async def changes(socket_path: str, container: str, count_max: int) -> int:
    """How many files and directories are in a container's own layer, counted up to a bit above a limit."""
    mark, count, end = b'"Path":', 0, b""
    with trio.move_on_after(ANSWER_S_MAX):
        async with stream(socket_path, "GET", f"/containers/{container}/changes") as body:
            while count <= count_max and (data := await body.read_some()):
                # A quote in a path is escaped, so that no name looks like this.
                count += (end + data).count(mark)
                end = data[1 - len(mark) :]
        return count
    raise EngineGone(f"the Docker engine did not answer within {ANSWER_S_MAX:g} s")


async def was_signalled(socket_path: str, container: str, until_s: float) -> bool:
    """Whether somebody had the engine send a container's program a signal; it knows the last 256 events.

    It answers at that time, which is to come: of one that has passed, Podman tells nothing.
    """
    filters = quote(f'{{"type":["container"],"event":["kill"],"container":["{container}"]}}')
    path = f"/events?since=0&until={until_s:.6f}&filters={filters}"
    return bool((await order(socket_path, "GET", path)).strip())


async def wait(socket_path: str, container: str) -> None:
    """Wait until a container is not running."""
    async with stream(socket_path, "POST", f"/containers/{container}/wait") as body:
        data = await body.read_all()
    if not data:
        raise EngineGone("the Docker engine stopped while a container ran")
    try:
        decode(data, Waited)
    except BadAnswer as error:
        raise EngineGone(str(error)) from error


async def remove_container(socket_path: str, container: str) -> None:
    """Kill and remove, also when cancelled. If the engine is away, a later start's `reap` does it."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
        try:
            await order(socket_path, "DELETE", f"/containers/{container}?force=1&v=1")
        except (EngineGone, EngineRefused):
            return


async def output(body: Readable) -> AsyncIterator[tuple[int, bytes]]:
    """(1 for stdout or 2 for stderr, bytes) of an attach or logs stream, in order.

    Each frame has a head of one byte for the stream, three of padding, and the length
    (https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach).
    """
    pending = b""
    number, left = 0, 0
    while data := await body.read_some():
        pending += data
        while pending:
            if not left:
                if len(pending) < 8:
                    break
                number, left = pending[0], int.from_bytes(pending[4:8], "big")
                pending = pending[8:]
            part, pending = pending[:left], pending[left:]
            left -= len(part)
            if part:
                yield number, part


def _place(socket_path: str, path: str) -> tuple[httpcore.URL, str | None]:
    """The URL of a path of the API, and the unix socket that it is asked for at."""
    if not socket_path.startswith("tcp://"):
        return httpcore.URL(scheme="http", host="docker", target=path), socket_path
    parts = urlsplit(socket_path)
    port = parts.port or TCP_PORT
    return httpcore.URL(scheme="http", host=parts.hostname or "", port=port, target=path), None


@contextmanager
def _gone(socket_path: str = "") -> Iterator[None]:
    """Turns what a connection raises into `EngineGone`."""
    try:
        yield
    except httpcore.ConnectError as error:
        cause = error.__cause__
        reason = getattr(cause, "strerror", "") or str(error)
        hint = _HINTS.get(getattr(cause, "errno", None) or 0, "")
        raise EngineGone(f"cannot reach the Docker engine at {socket_path}: {reason}{hint}") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise EngineGone(f"the connection to the Docker engine broke: {error}") from error


def _too_old(version: str, socket_path: str) -> str | None:
    """Why an engine whose API has this version cannot be used, or None."""
    major, _, minor = version.partition(".")
    if not (major.isdecimal() and minor.isdecimal() and len(version) < 16):
        return f"what answers at {socket_path} is no Docker engine: it names no version of its API"
    if (int(major), int(minor)) >= API_VERSION_MIN:
        return None
    least = ".".join(map(str, API_VERSION_MIN))
    return (
        f"the Docker engine at {socket_path} is too old: its API is {version}, and {least} is needed"
        " (Docker 19.03 or Podman 3, and later)"
    )


def _message(body: bytes) -> str:
    try:
        return decode(body, RefusalAnswer).message
    except BadAnswer:
        return body.decode(errors="replace").strip()
