"""HTTP from a container with Network Type HTTP: as to a proxy, or as to the host itself.

A proxy is asked for `CONNECT host:443` and for `http://host/...`, a host for `/...` with its name
in the Host header; one request per connection. Both sides of a plain request are framed by h11,
so what is forwarded is what was understood. A refusal is a 403 whose body says why.
"""

from __future__ import annotations

import h11
import trio

from p2pnode.core.wire.codec import BadMessage

from .policy import (
    HTTP_PORT,
    HTTPS_PORT,
    Policy,
    parse_authority_untrusted,
)
from .upstream import (
    HEAD_S_MAX,
    IDLE_S_MAX,
    READ_SIZE_BYTES,
    HostRefused,
    Resolve,
    connect,
    tunnel,
)

HEAD_SIZE_BYTES_MAX = 65_536
# RFC 9110 section 7.6.1: these concern one connection only, and each of ours carries one request.
HOP_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)


async def serve_proxied(client: trio.SocketStream, policy: Policy, resolve: Resolve) -> None:
    """One connection of a program that knows that it talks to a proxy."""
    await _serve(client, policy, resolve, as_proxy=True)


async def serve_plain(client: trio.SocketStream, policy: Policy, resolve: Resolve) -> None:
    """One connection of a program that believes to be connected with a host's port 80."""
    await _serve(client, policy, resolve, as_proxy=False)


async def _serve(client: trio.SocketStream, policy: Policy, resolve: Resolve, *, as_proxy: bool) -> None:
    inner = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_SIZE_BYTES_MAX)
    try:
        with trio.fail_after(HEAD_S_MAX):
            request = await _next(inner, client)
        if not isinstance(request, h11.Request):
            return
        target = request.target.decode("ascii")
        if not as_proxy:
            await _forward(client, inner, request, _host(request), target, policy, resolve)
        elif request.method == b"CONNECT":
            await _connect(client, inner, target, policy, resolve)
        else:
            authority, path = _split(target)
            await _forward(client, inner, request, authority, path, policy, resolve)
    except (HostRefused, BadMessage, h11.RemoteProtocolError, UnicodeDecodeError) as error:
        if inner.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = error.status if isinstance(error, HostRefused) else 400
            await _answer(client, inner, status, f"p2pnode: {error}\n")


def _host(request: h11.Request) -> str:
    """The host that a request itself names; h11 has refused a second Host header."""
    for name, value in request.headers:
        if name == b"host":
            return value.decode("ascii")
    raise HostRefused(400, "the request has no Host header")


def _split(target: str) -> tuple[str, str]:
    """The authority and the path of http://authority/path."""
    scheme, _, rest = target.partition("://")
    if scheme.lower() != "http":
        raise HostRefused(400, "ask for http://host/path, or CONNECT host:443")
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    path = rest[end:]
    return rest[:end], path if path.startswith("/") else "/" + path


async def _connect(
    client: trio.SocketStream, inner: h11.Connection, target: str, policy: Policy, resolve: Resolve
) -> None:
    """A TLS connection to the host that was asked for."""
    host, port = parse_authority_untrusted(target, HTTPS_PORT)
    async with await connect(host, port, True, policy, resolve) as upstream:
        established = h11.Response(status_code=200, headers=[], reason=b"Connected")
        await client.send_all(inner.send(established) or b"")
        await tunnel(client, upstream, host, inner.trailing_data[0])


async def _forward(
    client: trio.SocketStream,
    inner: h11.Connection,
    request: h11.Request,
    authority: str,
    path: str,
    policy: Policy,
    resolve: Resolve,
) -> None:
    """One plain request and its response, each written anew."""
    if not path.startswith("/"):
        raise HostRefused(400, "ask for a path")
    host, port = parse_authority_untrusted(authority, HTTP_PORT)
    async with await connect(host, port, False, policy, resolve) as upstream:
        outer = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_SIZE_BYTES_MAX)
        headers = [
            (b"Host", authority.encode()),
            *_end_to_end(request.headers.raw_items()),
            (b"Connection", b"close"),
        ]
        if any(name == b"transfer-encoding" for name, _ in request.headers):
            headers.append((b"Transfer-Encoding", b"chunked"))
        head = h11.Request(method=request.method, target=path, headers=headers)
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
