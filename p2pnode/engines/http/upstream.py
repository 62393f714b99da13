"""From a container with Network Type HTTP to the web: what its ways out do alike.

A name is resolved here, by this machine, and the connection goes to the address that was checked.
TLS is carried unseen but for its greeting, whose name must be the one that was asked for.
Every wait has a deadline.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import trio

from p2pnode.core.values.internet import reachable

from .greeting import Greeting
from .policy import Policy, is_address, same_name

# From the first byte to the end of a request's head, or of a TLS greeting.
HEAD_S_MAX = 15.0
RESOLVE_S_MAX = 10.0
CONNECT_S_MAX = 10.0
# No byte in either direction for so long: the other side is gone.
IDLE_S_MAX = 300.0
ADDRESSES_TRIED_MAX = 4
READ_SIZE_BYTES = 65_536
# A job's own name servers may be as slow as they like; the node's other threads must not wait for them.
RESOLVING_AT_ONCE_MAX = 16
# A fatal alert, unrecognized_name (RFC 8446 section 6): what the program's TLS library says of it is clear.
UNRECOGNIZED_NAME = bytes.fromhex("15 0301 0002 02 70")

Resolve = Callable[[str, int], Awaitable[list[str]]]
_resolving = trio.CapacityLimiter(RESOLVING_AT_ONCE_MAX)


class HostRefused(Exception):
    """The request is not served; `status` and the message go to the program."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by this machine's resolver; raises OSError."""
    found = await trio.to_thread.run_sync(
        lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
        abandon_on_cancel=True,
        limiter=_resolving,
    )
    return [str(one[4][0]) for one in found]


async def connect(host: str, port: int, tunnel: bool, policy: Policy, resolve: Resolve) -> trio.SocketStream:
    """A connection to an address of the host that was checked; raises `HostRefused`."""
    if reason := policy.refusal(host, port, tunnel):
        raise HostRefused(403, reason)
    addresses = [host] if is_address(host) else []
    if not addresses:
        with trio.move_on_after(RESOLVE_S_MAX):
            try:
                addresses = await resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise HostRefused(502, f"cannot resolve {host}: {error}") from error
    usable = reachable(addresses, policy.hosts, host, port)
    if addresses and not usable:
        raise HostRefused(403, f"{host} is not at a public address")
    for address in usable[:ADDRESSES_TRIED_MAX]:
        with trio.move_on_after(CONNECT_S_MAX):
            try:
                return await trio.open_tcp_stream(address, port)
            except OSError:
                continue
    raise HostRefused(502, f"cannot connect to {host}")


async def read_greeting(client: trio.SocketStream, first: bytes) -> tuple[str, bytes]:
    """The name in a client's TLS greeting ("" if it has none), and the greeting; `first` was read already.

    Raises `BadMessage`, `trio.TooSlowError`, and `HostRefused` if the client leaves.
    """
    greeting, data = Greeting(), first
    with trio.fail_after(HEAD_S_MAX):
        while (name := greeting.name_untrusted(data)) is None:
            data = await client.receive_some(READ_SIZE_BYTES)
            if not data:
                raise HostRefused(400, "there was no TLS greeting")
            first += data
    return name, first


async def tunnel(client: trio.SocketStream, upstream: trio.SocketStream, host: str, first: bytes) -> None:
    """Carry a TLS connection that greets `host`; another is cut, with an alert that says why."""
    name, greeting = await read_greeting(client, first)
    if not same_name(host, name):
        await client.send_all(UNRECOGNIZED_NAME)
        return
    await carry(client, upstream, greeting)


async def carry(client: trio.SocketStream, upstream: trio.SocketStream, first: bytes) -> None:
    """Send `first`, then all that comes, both ways, until both have ended or nothing moves any more."""
    await upstream.send_all(first)
    with trio.CancelScope(deadline=trio.current_time() + IDLE_S_MAX) as idle:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_relay, client, upstream, idle)
            nursery.start_soon(_relay, upstream, client, idle)


async def _relay(source: trio.SocketStream, sink: trio.SocketStream, idle: trio.CancelScope) -> None:
    while data := await source.receive_some(READ_SIZE_BYTES):
        idle.deadline = trio.current_time() + IDLE_S_MAX
        await sink.send_all(data)
    await sink.send_eof()
