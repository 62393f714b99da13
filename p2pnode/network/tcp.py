"""TCP below libp2p: in place of its own, which takes what comes by IPv6 for a connection by a relay.

Listeners share their ports with dials that go out from them (hole_punching), and one of IPv6 takes no IPv4.
Where an address says so, WebSocket is above it, and TLS between the two.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio
from libp2p.abc import IListener, IRawConnection, ITransport
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Address, WebLayer

from .websocket import UPGRADE_S_MAX, NoWebSocket, WebSocketStream

log = logging.getLogger(__name__)

# As libp2p has it, and more than there may be handshakes.
BACKLOG = 128

Serve = Callable[[ReadWriteCloser], Awaitable[None]]


class TcpStream(TrioTCPStream):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """The bytes of a connection, which knows the address at its other end also where that is of IPv6."""

    def __init__(
        self, stream: trio.SocketStream, tls: trio.SSLStream[trio.SocketStream] | None = None
    ) -> None:
        super().__init__(tls or stream)
        self.socket = stream.socket
        # Else the other side has gone meanwhile.
        with suppress(OSError):
            host, port, *_ = stream.socket.getpeername()
            self._cached_remote_address = str(host).partition("%")[0], int(port)


class TcpTransport(ITransport):  # type: ignore[misc]
    """Dials and listeners of a swarm."""

    def protocols(self) -> list[str]:
        return ["tcp"]

    def can_dial(self, multiaddr: Multiaddr) -> bool:
        try:
            return addressing.parse(str(multiaddr)).family in ("ip4", "ip6")
        except addressing.BadAddress:
            return False

    def can_listen(self, multiaddr: Multiaddr) -> bool:
        return self.can_dial(multiaddr) and addressing.is_listened_at(addressing.parse(str(multiaddr)))

    async def dial(self, multiaddr: Multiaddr) -> IRawConnection:
        target = addressing.parse(str(multiaddr))
        try:
            stream = await connected(target)
        except (OSError, NoWebSocket) as exc:
            raise OpenConnectionError(f"no connection to {target.dialled}: {exc}") from exc
        return RawConnection(stream, initiator=True, addresses=[Multiaddr(target.dialled)])

    def create_listener(self, serve: Serve) -> TcpListener:
        return TcpListener(serve)


async def connected(target: Address) -> ReadWriteCloser:
    """A stream to an address of numbers, upgraded as it says; raises `OSError` and `NoWebSocket`."""
    stream = await trio.open_tcp_stream(target.host, target.port)
    try:
        if target.web is WebLayer.NONE:
            return TcpStream(stream)
        tls = await _with_tls(stream, target) if target.web is WebLayer.TLS else None
        host = target.name or (f"[{target.host}]" if target.family == "ip6" else target.host)
        web = WebSocketStream(TcpStream(stream, tls), f"{host}:{target.port}")
        await web.open()
        return web
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _with_tls(stream: trio.SocketStream, target: Address) -> trio.SSLStream[trio.SocketStream]:
    """TLS by the machine's certificate authorities; who is dialled Noise finds out, inside of it."""
    name = target.name or target.host
    tls = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=name, https_compatible=True)
    try:
        with trio.fail_after(UPGRADE_S_MAX):
            await tls.do_handshake()
    except trio.TooSlowError as exc:
        raise NoWebSocket(f"no TLS within {UPGRADE_S_MAX:.0f} s") from exc
    except trio.BrokenResourceError as exc:
        raise NoWebSocket(f"no TLS with {name}: {exc.__cause__ or exc}") from exc
    return tls


class TcpListener(IListener):  # type: ignore[misc]
    """Accepts connections; the swarm gives `background_nursery`, which ends with it."""

    background_nursery: trio.Nursery

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._bound: list[tuple[trio.socket.SocketType, WebLayer]] = []
        self._scope = trio.CancelScope()

    async def listen(self, multiaddr: Multiaddr) -> None:
        """Raises `OSError`."""
        address = addressing.parse(str(multiaddr))
        bound = await listening(address)
        self._bound.append((bound, address.web))
        self.background_nursery.start_soon(self._accept, trio.SocketListener(bound), address.web)

    async def _accept(self, listener: trio.SocketListener, web: WebLayer) -> None:
        with self._scope:
            await trio.serve_listeners(partial(self._take, web), [listener])

    async def _take(self, web: WebLayer, stream: trio.SocketStream) -> None:
        # The guard: whatever one connection does, the others and the listener go on.
        try:
            below = TcpStream(stream)
            await self._serve(WebSocketStream(below) if web else below)
        except Exception as exc:  # noqa: BLE001
            log.debug("a connection from outside has failed: %r", exc)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        there = (_listened_at(one, web) for one, web in self._bound if one.fileno() >= 0)
        return tuple(Multiaddr(one.transport) for one in there)

    async def close(self) -> None:
        self._scope.cancel()
        for one, _ in self._bound:
            one.close()
        await trio.lowlevel.checkpoint()


async def listening(address: Address) -> trio.socket.SocketType:
    """A socket that listens at an address; raises `OSError`."""
    made = shared(address.family)
    try:
        await made.bind((address.host, address.port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def shared(family: str) -> trio.socket.SocketType:
    """A socket of "ip4" or "ip6", to be bound to a port that others of this node are bound to, too."""
    made = trio.socket.socket(socket.AF_INET6 if family == "ip6" else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == "ip6":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _listened_at(bound: trio.socket.SocketType, web: WebLayer) -> Address:
    host, port, *_ = bound.getsockname()
    return Address("ip6" if bound.family == socket.AF_INET6 else "ip4", str(host), int(port), web=web)
