"""The one way out of a container with Network Type HTTP: an HTTP proxy that holds it to its domains.

Two things are served: `CONNECT host:443` and requests for `http://host/...`, one per connection.
Both sides of a plain request are framed by h11, so what is forwarded is what was understood.
A name is resolved here and the connection goes to the address that was checked. A refusal is a
403 whose body says why. Every wait has a deadline and the number of connections a limit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import h11
import trio

from p2pnode.core.wire import BadMessage

from .http_policy import (
    HTTP_PORT,
    HTTPS_PORT,
    Policy,
    is_address,
    parse_authority_untrusted,
    resolved,
    same_name,
    server_name_untrusted,
)

# Where programs inside find it, on their loopback; the customary port of proxies.
PORT = 3128
CONNECTIONS_MAX = 128
# From the first byte to the end of a request's head, or of a TLS greeting.
HEAD_S_MAX = 15.0
RESOLVE_S_MAX = 10.0
CONNECT_S_MAX = 10.0
# No byte in either direction for so long: the other side is gone.
IDLE_S_MAX = 300.0
ADDRESSES_TRIED_MAX = 4
HEAD_SIZE_BYTES_MAX = 65_536
READ_SIZE_BYTES = 65_536
# RFC 9110 section 7.6.1: these concern one connection only, and each of ours carries one request.
HOP_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)

Resolve = Callable[[str, int], Awaitable[list[str]]]
log = logging.getLogger(__name__)


class _Refused(Exception):
    """The request is not served; `status` and the message go to the program."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def proxy_environment() -> dict[str, str]:
    """What makes programs use the proxy. Some read the lower-case names, some the others."""
    url = f"http://127.0.0.1:{PORT}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**dict.fromkeys(names, url), "no_proxy": "", "NO_PROXY": ""}


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by this machine's resolver; raises OSError."""
    return resolved(await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM))


async def serve(listener: trio.SocketListener, policy: Policy, resolve: Resolve = resolve) -> None:
    """Serve until cancelled; closes the listener."""
    connections = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def serve_one(client: trio.SocketStream) -> None:
        async with connections, client:
            # The guard: whatever one connection does, the others and the listener go on.
            try:
                await _serve_connection(client, policy, resolve)
            except Exception as error:  # noqa: BLE001
                log.debug("a proxied connection ended: %r", error)

    await trio.serve_listeners(serve_one, [listener])


async def _serve_connection(client: trio.SocketStream, policy: Policy, resolve: Resolve) -> None:
    inner = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_SIZE_BYTES_MAX)
    try:
        with trio.fail_after(HEAD_S_MAX):
            request = await _next(inner, client)
        if not isinstance(request, h11.Request):
            return
        target = request.target.decode("ascii")
        if request.method == b"CONNECT":
            await _tunnel(client, inner, target, policy, resolve)
        else:
            await _forward(client, inner, request, target, policy, resolve)
    except (_Refused, BadMessage, h11.RemoteProtocolError, UnicodeDecodeError) as error:
        if inner.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = error.status if isinstance(error, _Refused) else 400
            await _answer(client, inner, status, f"p2pnode: {error}\n")


async def _tunnel(
    client: trio.SocketStream, inner: h11.Connection, target: str, policy: Policy, resolve: Resolve
) -> None:
    """CONNECT: a TLS connection to the host that was asked for, unseen but for its greeting."""
    host, port = parse_authority_untrusted(target, HTTPS_PORT)
    async with await _connect(host, port, True, policy, resolve) as upstream:
        await client.send_all(
            inner.send(h11.Response(status_code=200, headers=[], reason=b"Connected")) or b""
        )
        greeting = inner.trailing_data[0]
        with trio.fail_after(HEAD_S_MAX):
            while (name := server_name_untrusted(greeting)) is None:
                some = await client.receive_some(READ_SIZE_BYTES)
                if not some:
                    return
                greeting += some
        # Too late for an answer: the program has its tunnel, and finds it cut.
        if not same_name(host, name):
            return
        await upstream.send_all(greeting)
        with trio.CancelScope(deadline=trio.current_time() + IDLE_S_MAX) as idle:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_relay, client, upstream, idle)
                nursery.start_soon(_relay, upstream, client, idle)


async def _relay(source: trio.SocketStream, sink: trio.SocketStream, idle: trio.CancelScope) -> None:
    while data := await source.receive_some(READ_SIZE_BYTES):
        idle.deadline = trio.current_time() + IDLE_S_MAX
        await sink.send_all(data)
    await sink.send_eof()


async def _forward(
    client: trio.SocketStream,
    inner: h11.Connection,
    request: h11.Request,
    target: str,
    policy: Policy,
    resolve: Resolve,
) -> None:
    """One plain request and its response, each written anew."""
    scheme, _, rest = target.partition("://")
    if scheme.lower() != "http":
        raise _Refused(400, "ask for http://host/path, or CONNECT host:443")
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, path = rest[:end], rest[end:] or "/"
    host, port = parse_authority_untrusted(authority, HTTP_PORT)
    async with await _connect(host, port, False, policy, resolve) as upstream:
        outer = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_SIZE_BYTES_MAX)
        headers = [
            (b"Host", authority.encode()),
            *_end_to_end(request.headers.raw_items()),
            (b"Connection", b"close"),
        ]
        if any(name == b"transfer-encoding" for name, _ in request.headers):
            headers.append((b"Transfer-Encoding", b"chunked"))
        head = h11.Request(
            method=request.method, target=path if path.startswith("/") else "/" + path, headers=headers
        )
        await upstream.send_all(outer.send(head) or b"")
        with trio.CancelScope(deadline=trio.current_time() + IDLE_S_MAX) as idle:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_request_body, client, inner, upstream, outer, idle)
                await _response(client, inner, upstream, outer, idle)
                nursery.cancel_scope.cancel()


async def _request_body(
    client: trio.SocketStream,
    inner: h11.Connection,
    upstream: trio.SocketStream,
    outer: h11.Connection,
    idle: trio.CancelScope,
) -> None:
    if inner.they_are_waiting_for_100_continue:
        await client.send_all(inner.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    while isinstance(event := await _next(inner, client), h11.Data):
        idle.deadline = trio.current_time() + IDLE_S_MAX
        await upstream.send_all(outer.send(event) or b"")
    if isinstance(event, h11.EndOfMessage):
        await upstream.send_all(outer.send(h11.EndOfMessage()) or b"")


async def _response(
    client: trio.SocketStream,
    inner: h11.Connection,
    upstream: trio.SocketStream,
    outer: h11.Connection,
    idle: trio.CancelScope,
) -> None:
    while True:
        event = await _next(outer, upstream)
        idle.deadline = trio.current_time() + IDLE_S_MAX
        if isinstance(event, h11.Response):
            headers = [*_end_to_end(event.headers.raw_items()), (b"Connection", b"close")]
            response = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
            await client.send_all(inner.send(response) or b"")
        elif isinstance(event, h11.Data):
            await client.send_all(inner.send(event) or b"")
        elif isinstance(event, h11.EndOfMessage):
            await client.send_all(inner.send(h11.EndOfMessage()) or b"")
            return
        elif event is None or isinstance(event, h11.ConnectionClosed):
            return


async def _connect(host: str, port: int, tunnel: bool, policy: Policy, resolve: Resolve) -> trio.SocketStream:
    """A connection to an address of the host that was checked; raises `_Refused`."""
    if reason := policy.refusal(host, port, tunnel):
        raise _Refused(403, reason)
    addresses = [host] if is_address(host) else []
    if not addresses:
        with trio.move_on_after(RESOLVE_S_MAX):
            try:
                addresses = await resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise _Refused(502, f"cannot resolve {host}: {error}") from error
    usable = [address for address in addresses if policy.reachable(address)]
    if addresses and not usable:
        raise _Refused(403, f"{host} is not at a public address")
    for address in usable[:ADDRESSES_TRIED_MAX]:
        with trio.move_on_after(CONNECT_S_MAX):
            try:
                return await trio.open_tcp_stream(address, port)
            except OSError:
                continue
    raise _Refused(502, f"cannot connect to {host}")


async def _next(connection: h11.Connection, stream: trio.SocketStream) -> h11.Event | None:
    """The next event, None where the connection's part is done; raises `h11.RemoteProtocolError`."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(READ_SIZE_BYTES))
    return event if isinstance(event, h11.Event) else None


async def _answer(client: trio.SocketStream, inner: h11.Connection, status: int, text: str) -> None:
    body = text.encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
    data = inner.send(h11.Response(status_code=status, headers=headers)) or b""
    data += inner.send(h11.Data(data=body)) or b""
    data += inner.send(h11.EndOfMessage()) or b""
    with trio.move_on_after(HEAD_S_MAX):
        await client.send_all(data)


def _end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that go on, without those of the connection and those that Connection names."""
    connection = b",".join(value for name, value in headers if name.lower() == b"connection")
    named = {token.strip().lower() for token in connection.split(b",")}
    dropped = HOP_HEADERS | named | {b"host"}
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in dropped and not name.lower().startswith(b"proxy-")
    ]
