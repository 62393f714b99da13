"""HTTP to where a job says: over connections to public addresses only, with a limit on every wait.

A name is resolved here, its addresses are checked, and the connection is made to one of those that
were checked, so a name cannot mean one thing to the check and another to the connection. The
hosts that the operator allows are exempt. Redirects are not followed here, proxies of the
environment not used.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore
import trio

from p2pnode.core.values.internet import AllowedHost, reachable
from p2pnode.core.wire.states import Fault

from .failures import DataFailed, Retryable

CONNECT_S_MAX = 15.0
# Without a byte for this long, the other side is taken for gone.
SILENCE_S_MAX = 30.0
# Kept ones spare a handshake for each of many small objects.
CONNECTIONS_MAX = 8
# The most that is read of a body that is not data: an error's text, a list of 1,000 objects (some 600 kB).
TEXT_SIZE_BYTES_MAX = 4 * 1024**2
PORTS = {"http": 80, "https": 443}
_TIMEOUTS = {
    "connect": CONNECT_S_MAX,
    "read": SILENCE_S_MAX,
    "write": SILENCE_S_MAX,
    # Others of the same execution may be using all connections.
    "pool": None,
}


class Response:
    """The head of an answer, and its body as it comes."""

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        self.headers = {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in response.headers}
        self._response = response

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body's bytes; raises `Retryable` where they end too early."""
        with _lost("the other side broke off"):
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def read(self) -> bytes:
        """A small body as a whole; what is beyond the limit is cut."""
        data = b""
        async for chunk in self.chunks():
            data += chunk
            if len(data) > TEXT_SIZE_BYTES_MAX:
                break
        return data[:TEXT_SIZE_BYTES_MAX]

    @property
    def said(self) -> str:
        """The status in words, such as 404 Not Found."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


class Web:
    """Requests over connections that are kept while it is open."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[Response]:
        """One request; raises `DataFailed` for a URL that is not allowed, `Retryable` where nobody answers.

        A body that is an iterable needs its Content-Length in `headers`.
        """
        host = urlsplit(url).netloc
        own = {"host": host, "user-agent": "p2pnode", "accept": "*/*", "accept-encoding": "identity"}
        sent = [(name.encode(), value.encode()) for name, value in {**own, **headers}.items()]
        with _lost(f"{host} does not answer"):
            request = self._pool.stream(
                method, url, headers=sent, content=body, extensions={"timeout": _TIMEOUTS}
            )
            response = await request.__aenter__()
        try:
            yield Response(response)
        finally:
            # An unread rest is not waited for: the connection is closed.
            with trio.move_on_after(1, shield=True):
                await request.__aexit__(None, None, None)


@asynccontextmanager
async def open_web(allowed_hosts: Iterable[AllowedHost] = ()) -> AsyncIterator[Web]:
    """`allowed_hosts` may be reached though they are not public."""
    pool = httpcore.AsyncConnectionPool(
        ssl_context=_ssl_context(),
        max_connections=CONNECTIONS_MAX,
        network_backend=_Guarded(tuple(allowed_hosts)),
    )
    async with pool:
        yield Web(pool)


def checked_url(text: str) -> str:
    """The URL as it is sent: ASCII, without a fragment; raises `DataFailed` for what is not allowed."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in PORTS or not host:
            raise ValueError("only http and https URLs with a host are allowed")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL with a user or password is not allowed")
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except ValueError as exc:
        raise DataFailed(Fault.JOB, f"the URL {text[:200]!r}: {exc}") from exc
    netloc = host if port in (None, PORTS[parts.scheme]) else f"{host}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme, netloc, path, quote(parts.query, safe="/%:@!$&'()*+,;=~?[]"), ""))


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, allowed_hosts: tuple[AllowedHost, ...]) -> None:
        self._allowed_hosts = allowed_hosts
        self._trio = httpcore.TrioBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        last: Exception = OSError("no address")
        for address in await self._addresses(host, port):
            try:
                return await self._trio.connect_tcp(address, port, timeout, *args, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                last = exc
        raise Retryable(f"{host} cannot be reached at port {port}: {last}")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to; raises `DataFailed` where there is none."""
        try:
            with trio.fail_after(CONNECT_S_MAX):
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, trio.TooSlowError) as exc:
            raise Retryable(f"{host} cannot be resolved: {exc or 'no answer in time'}") from exc
        addresses = [str(one[4][0]) for one in found]
        usable = reachable(addresses, self._allowed_hosts, host, port)
        if not usable:
            raise DataFailed(
                Fault.JOB,
                f"{host} is at {', '.join(addresses[:3])}, which is not a public address; "
                "this node lets jobs reach only those (its operator can name hosts in allow_hosts)",
            )
        return usable


@contextmanager
def _lost(what: str) -> Iterator[None]:
    """Turns what a connection raises into `Retryable`."""
    try:
        yield
    except httpcore.TimeoutException as exc:
        raise Retryable(f"{what}: nothing came for {SILENCE_S_MAX:.0f} s") from exc
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as exc:
        # The libraries wrap what happened in errors without a text, and forget that they do.
        cause: BaseException = exc
        while not str(cause) and (inner := cause.__cause__ or cause.__context__):
            cause = inner
        raise Retryable(f"{what}: {str(cause) or type(cause).__name__}") from exc


@cache
def _ssl_context() -> ssl.SSLContext:
    """Trusts what httpcore brings and what this system trusts. Reading that takes some 20 ms."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context
