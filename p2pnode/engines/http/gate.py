"""All ways out of a container with Network Type HTTP, served by this node on the container's own loopback.

There is a proxy for programs that use one (`proxy`), and for those that do not the ports of
the web themselves, where names lead (`names`): a plain request goes to the host in its Host
header, TLS to the name in its greeting. All hold to one policy, and one limit of connections.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from p2pnode.core.wire.codec import BadMessage

from . import names as http_names
from . import proxy as http_proxy
from .policy import HTTPS_PORT, Policy
from .upstream import (
    UNRECOGNIZED_NAME,
    HostRefused,
    Resolve,
    carry,
    connect,
    read_greeting,
    resolve,
)

# Each is two of the node's files, of which systems allow 1,024 by custom.
CONNECTIONS_MAX = 64
# The node's files are used up: something ends meanwhile.
RETRY_ACCEPT_S = 0.1

Serve = Callable[[trio.SocketStream], Awaitable[None]]
log = logging.getLogger(__name__)


def environment(proxy_port: int) -> dict[str, str]:
    """Return variables that make programs use the proxy. Some read the lower-case names, some the others."""
    url = f"http://127.0.0.1:{proxy_port}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**dict.fromkeys(names, url), "no_proxy": "", "NO_PROXY": ""}


async def serve(sockets: Sequence[socket.socket], policy: Policy, resolve: Resolve = resolve) -> None:
    """Serve on the sockets of proxy, plain web, TLS and names until cancelled; closes them."""
    proxy, plain, tls, names = map(trio.socket.from_stdlib_socket, sockets)
    connections = trio.Semaphore(CONNECTIONS_MAX)
    handlers: list[tuple[trio.socket.SocketType, Serve]] = [
        (proxy, partial(http_proxy.serve_proxied, policy=policy, resolve=resolve)),
        (plain, partial(http_proxy.serve_plain, policy=policy, resolve=resolve)),
        (tls, partial(serve_tls, policy=policy, resolve=resolve)),
    ]
    with proxy, plain, tls, names:
        async with trio.open_nursery() as nursery:
            for one, handler in handlers:
                nursery.start_soon(listen, trio.SocketListener(one), handler, connections)
            nursery.start_soon(http_names.serve, names, policy)


async def listen(listener: trio.SocketListener, handler: Serve, connections: trio.Semaphore) -> None:
    """Serve each connection; no more are accepted than `connections` has room for, the others wait."""
    async with trio.open_nursery() as nursery:
        while True:
            await connections.acquire()
            try:
                client = await listener.accept()
            except OSError as error:
                connections.release()
                log.warning("cannot accept a connection of a container: %s", error.strerror)
                await trio.sleep(RETRY_ACCEPT_S)
                continue
            except trio.Cancelled:
                connections.release()
                raise
            nursery.start_soon(_serve_one, client, handler, connections)


async def _serve_one(client: trio.SocketStream, handler: Serve, connections: trio.Semaphore) -> None:
    try:
        async with client:
            # The guard: whatever one connection does, the others and the listener go on.
            try:
                await handler(client)
            except Exception as error:  # noqa: BLE001
                log.debug("a container's connection ended: %r", error)
    finally:
        connections.release()


async def serve_tls(client: trio.SocketStream, policy: Policy, resolve: Resolve) -> None:
    """A TLS connection of a program that believes to be connected with the host it greets."""
    try:
        name, greeting = await read_greeting(client, b"")
        upstream = await connect(name, HTTPS_PORT, True, policy, resolve)
    except HostRefused as error:
        log.debug("TLS refused: %s", error)
        await client.send_all(UNRECOGNIZED_NAME)
        return
    except BadMessage:
        return
    async with upstream:
        await carry(client, upstream, greeting)
