"""The libp2p host: TCP, Noise and Yamux, with what libp2p itself lacks to survive.

A handler that raises, or a peer that sends garbage, ends a stock py-libp2p host. Here
every inbound stream runs behind one guard, which resets the stream and logs a line. Dials
go to the addresses that are given, and not through libp2p's own dialling (`dialling`). Every
wait has a deadline. There are limits on the inbound streams of a peer, in all and for
each protocol, and on the time that a handler may take.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

import trio
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from multiaddr import Multiaddr

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.circuits import STOP
from p2pnode.core.wire.protocols import MEMBER
from p2pnode.identity import Identity
from p2pnode.system.log_lines import concerning

from .admission import Admission
from .circuits import Circuits
from .connections import dialled_at, listening_at, remote_host_of
from .dependency_logs import limit_dependency_logs
from .dialling import Dialler, Unreachable
from .handshakes import shake_hands
from .libp2p_host import (
    CannotListen,
    ConnectionNotifee,
    check_free,
    make_host,
    ports_chosen,
    process_key,
    to_process,
)
from .libp2p_tasks import guard_tasks
from .member_gate import MemberGate, OpenDoor, gated
from .private_network import NetworkKeys
from .scopes import shielded, unwrapped
from .streams import Stream

__all__ = [
    "CannotListen",
    "Connected",
    "Disconnected",
    "Handler",
    "Host",
    "PeerSilent",
    "Unreachable",
    "open_host",
]

log = logging.getLogger(__name__)

STREAMS_PER_PEER_MAX = 128  # Half of what Yamux allows on a connection; libp2p's own protocols take some.
STREAMS_PER_PROTOCOL_MAX = 32  # One peer's at once; a node has no use for more.
OPEN_RELAY_S_MAX = 5.0  # As a dial has, of which it is a part.
HANDLER_S_MAX = 600.0  # A large file's blocks over a slow line; a stuck handler is gone after that.
# libp2p takes 0.1 s for each connection that it closes; all at once they take no longer.
SHUTDOWN_S_MAX = 2.0
# Connections closed at once where there is no room; whoever sheds looks again.
SHED_MAX = 16


class PeerSilent(Unreachable):
    """The peer is connected, but does not answer any more."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A first connection with a peer is there, or a first direct one.

    `host` is its IP address as seen from here; "": by a relay.
    """

    peer: str
    host: str
    # The peer has dialled; never of what replaces a connection by a relay: both began it (hole_punching).
    inbound: bool = False


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last connection with a peer is gone."""

    peer: str


Handler = Callable[[Stream], Awaitable[None]]
Watcher = Callable[[Connected | Disconnected], None]
# Called with the peer and the keys of its processes; with the one that is gone and those that are left.
DoubleCame = Callable[[str, Collection[bytes]], None]
DoubleGone = Callable[[str, bytes, Collection[bytes]], None]


class Host:
    """This node on the network. Made by `open_host`."""

    def __init__(
        self,
        inner: IHost,
        peer_id: str,
        has_room: Callable[[], bool],
        door: MemberGate | None = None,
        network_keys: NetworkKeys | None = None,
    ) -> None:
        self.inner = inner
        self._network_keys = network_keys
        # None but the nodes of a private network connect.
        self.is_private = network_keys is not None
        self.peer_id = peer_id
        # Tells whether the machine can hold more connections.
        self.has_room = has_room
        self._network = inner.get_network()
        # Lets streams of members alone through, where these are asked for.
        self.door: MemberGate = door or OpenDoor()
        if door is not None:
            inner.set_stream_handler = gated(inner.set_stream_handler, door)
        guard_tasks(self._network.manager)
        self._watchers: list[Watcher] = []
        self._doubles: tuple[DoubleCame, DoubleGone] | None = None
        self._inbound: Counter[tuple[str, str]] = Counter()
        # Connected peers alone.
        self._used_at: dict[str, float] = {}
        self._keeps: Callable[[str], bool] = lambda peer: False
        Admission(self._network, has_room, self._used_at, lambda peer: self._keeps(peer))
        # This node's addresses by its relays, and which these are (relay_upkeep).
        self.relayed_addresses: Sequence[str] = ()
        # Where others have reached it, without the peer, beside where it listens (an address of its router).
        self.reached_at: Sequence[str] = ()
        # Others are told of its own addresses of these families alone.
        self.dialled_by: Container[str] = addressing.FAMILIES
        self._relays: Callable[[], Collection[str]] = tuple
        self._circuits = Circuits(self._network, self._open_relay_stream, lambda peer: peer in self._relays())
        self._dialler = Dialler(self._network, peer_id, self._circuits.dial, network_keys)
        self._guard()
        self._network.register_notifee(ConnectionNotifee(self._notify_connected, self._notify_disconnected))

    def addresses(self) -> list[str]:
        """Where this node listens, with real ports and `/p2p/ID`, wildcards replaced by all interfaces."""
        return [f"{one}/p2p/{self.peer_id}" for one in listening_at(self.inner.get_transport_addrs())]

    def tellable_addresses(self) -> list[str]:
        """The addresses that may be gossiped: those that all peers connected now can use; by relays last."""
        seen = filter(None, map(self.remote_host, self.connected()))
        own = [*self.addresses(), *(f"{one}/p2p/{self.peer_id}" for one in self.reached_at)]
        own = [one for one in own if addressing.parse(one).family in self.dialled_by]
        return addressing.tellable(dict.fromkeys([*own, *self.relayed_addresses]), list(seen))

    def remote_host(self, peer: str) -> str:
        """The IP address of a connected peer as seen from here; "" if it is not connected but by a relay."""
        # The newest first: a peer that has moved may still have others here.
        hosts = map(remote_host_of, reversed(self._network.get_connections(ID.from_string(peer))))
        return next(filter(None, hosts), "")

    def dialled_at(self, peer: str) -> list[str]:
        """Where this node has dialled a connected peer, as multiaddrs without the peer."""
        return dialled_at(self._network.get_connections(ID.from_string(peer)))

    def take_relays(self, relays: Callable[[], Collection[str]]) -> None:
        """Let in whom these relays bring; `relays` gives those with which this node has reservations."""
        self._relays = relays
        self.handle(
            STOP, self._circuits.serve_stop, time_limit_s=inf, streams_per_peer_max=STREAMS_PER_PEER_MAX // 2
        )

    async def _open_relay_stream(self, relay: str, protocol: str) -> Stream:
        return await self.open_stream(relay, [protocol], OPEN_RELAY_S_MAX)

    def connected(self) -> list[str]:
        """The peers that have a connection with this node."""
        return [str(peer) for peer, connections in self._network.connections.items() if connections]

    def used_at(self, peer: str) -> float:
        """When something of this node's own protocols came from a connected peer, or went to it, last."""
        return self._used_at.get(peer, -inf)

    def _note_use(self, peer: str) -> None:
        # A stream may end after its connection.
        if self._dialler.is_connected(peer):
            self._used_at[peer] = trio.current_time()

    def keep(self, acquainted: Callable[[str], bool]) -> None:
        """Has the connections of peers of which `acquainted` is true stay when strangers come in crowds."""
        self._keeps = acquainted

    def watch(self, watcher: Watcher) -> None:
        """Has `watcher` called on every `Connected` and `Disconnected`; it must not block or raise."""
        self._watchers.append(watcher)

    def handle(
        self,
        protocol: str,
        handler: Handler,
        *,
        time_limit_s: float = HANDLER_S_MAX,
        streams_per_peer_max: int = STREAMS_PER_PROTOCOL_MAX,
    ) -> None:
        """Has `handler` serve the streams that peers open with `protocol`.

        The stream is closed when the handler returns, and reset when it raises or takes
        longer than `time_limit_s`; a peer's streams beyond `streams_per_peer_max` are refused.
        """

        async def serve(inner: INetStream) -> None:
            stream = Stream(inner, self._note_use)
            key = (stream.peer, protocol)
            if self._inbound[key] >= streams_per_peer_max:
                log.info("refused %s a stream of %s: it has %d", stream.peer, protocol, self._inbound[key])
                await stream.reset()
                return
            self._inbound[key] += 1
            try:
                with trio.fail_after(time_limit_s):
                    async with stream:
                        await handler(stream)
            finally:
                self._forget_one(key)

        self.inner.set_stream_handler(TProtocol(protocol), serve)

    async def connect(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        """Sees to it that there is a connection with `peer`; raises `Unreachable`.

        The addresses are tried in their order, each a little after the one before.
        """
        if (why := self.door.why_not_dialled(peer)) is not None:
            raise Unreachable(f"{peer} is not dialled", why)
        await self._dialler.connect(peer, addresses, timeout_s)

    async def shake_hands(self, peer: str, at: addressing.Address) -> None:
        """See whether a peer is at an address, whatever connections it has; raises what libp2p does."""
        await shake_hands(self._network, self._network_keys, peer, at)

    async def disconnect(self, peer: str) -> None:
        """Closes the connections with `peer`, if there are any."""
        with trio.move_on_after(SHUTDOWN_S_MAX):
            async with trio.open_nursery() as nursery:
                # All at once: a peer that was closed dials again while the next one is.
                for connection in list(self._network.get_connections(ID.from_string(peer))):
                    nursery.start_soon(connection.close)

    async def shed(self, needed: Container[str]) -> None:
        """Closes some connections with peers that are not needed, the newest first."""
        others = [peer for peer in reversed(self.connected()) if peer not in needed]
        async with trio.open_nursery() as nursery:
            for peer in others[:SHED_MAX]:
                nursery.start_soon(self.disconnect, peer)

    async def open_stream(
        self, peer: str, protocols: Sequence[str], timeout_s: float, process: bytes | None = None
    ) -> Stream:
        """A stream to a connected peer, in the first of `protocols` that it speaks.

        Where several processes are connected as that peer it goes to the one with the key `process`.
        Raises `Unreachable` if it is not connected, speaks none, or does not answer in time.
        """
        if not self._dialler.is_connected(peer):
            raise Unreachable(f"{peer} is not connected")
        if MEMBER not in protocols:
            await self.door.admitted(peer)
        try:
            with trio.fail_after(timeout_s), to_process(process):
                inner = await self.inner.new_stream(
                    ID.from_string(peer), [TProtocol(protocol) for protocol in protocols]
                )
        except trio.TooSlowError as exc:
            raise PeerSilent(f"{peer} opened no stream within {timeout_s:.1f} s") from exc
        except (BaseLibp2pError, OSError) as exc:
            raise Unreachable(f"{peer} opened no stream of {', '.join(protocols)}: {exc}") from exc
        stream = Stream(inner, self._note_use)
        if process not in (None, process_key(inner)):
            # libp2p takes another connection where one fails.
            await stream.reset()
            raise Unreachable(f"{peer} opened no stream", "that process of it does not answer")
        return stream

    def _guard(self) -> None:
        """Puts all handlers, also libp2p's own, behind one that lets no exception out."""
        handle = self._network.common_stream_handler

        async def guarded(inner: INetStream) -> None:
            peer = str(inner.muxed_conn.peer_id)
            with concerning(anew=True, peer=peer):
                await serve(inner, peer)

        async def serve(inner: INetStream, peer: str) -> None:
            key = (peer, "")
            if self._inbound[key] >= STREAMS_PER_PEER_MAX:
                await inner.reset()
                return
            self._inbound[key] += 1
            # The guard: whatever a peer or a handler does costs this stream and nothing else.
            try:
                await handle(inner)
            except Exception as exc:  # noqa: BLE001
                log.info("a stream of %s from %s was reset: %r", inner.get_protocol(), peer, exc)
                with shielded(SHUTDOWN_S_MAX):
                    await inner.reset()
            finally:
                self._forget_one(key)

        self._network.set_stream_handler(guarded)

    def _forget_one(self, key: tuple[str, str]) -> None:
        self._inbound[key] -= 1
        if not self._inbound[key]:
            del self._inbound[key]

    def watch_doubles(self, came: DoubleCame, gone: DoubleGone) -> None:
        """Has `came` and `gone` called where a peer has, or had, connections of more than one process."""
        self._doubles = came, gone

    def processes(self, peer: str) -> set[bytes]:
        """The keys of the processes that are connected as this peer."""
        connections = self._network.get_connections(ID.from_string(peer))
        return {process_key(one) for one in connections if not one.is_closed}

    def _notify_connected(self, connection: INetConn) -> None:
        peer = str(connection.muxed_conn.peer_id)
        keys = self.processes(peer)
        if len(keys) > 1 and self._doubles is not None:
            self._doubles[0](peer, keys)
        others = [one for one in self._network.get_connections(ID.from_string(peer)) if one is not connection]
        host = remote_host_of(connection)
        if not others or (host and not any(map(remote_host_of, others))):
            self._tell(Connected(peer, host, not others and connection.direction == Direction.INBOUND))

    def _notify_disconnected(self, connection: INetConn) -> None:
        peer = str(connection.muxed_conn.peer_id)
        if not self._dialler.is_connected(peer):
            self._used_at.pop(peer, None)
            self._tell(Disconnected(peer))
        elif self._doubles is not None:
            gone = process_key(connection)
            self._doubles[1](peer, gone, self.processes(peer) - {gone})

    def _tell(self, event: Connected | Disconnected) -> None:
        for watcher in self._watchers:
            watcher(event)

    async def close(self) -> None:
        """Closes the listeners and all connections at once, within `SHUTDOWN_S_MAX`."""
        with shielded(SHUTDOWN_S_MAX):
            async with trio.open_nursery() as nursery:
                # libp2p leaves its listeners open when it is stopped by cancellation.
                for listener in self._network.listeners.values():
                    nursery.start_soon(listener.close)
                for peer in self.connected():
                    nursery.start_soon(self.disconnect, peer)


@asynccontextmanager
async def open_host(
    identity: Identity,
    listen: Sequence[str],
    *,
    has_room: Callable[[], bool] = lambda: True,
    dependency_log_level: int | None = None,
    network_keys: NetworkKeys | None = None,
    door: MemberGate | None = None,
) -> AsyncIterator[Host]:
    """A running host that listens on the multiaddrs `listen`; port 0 takes a free port, one for all.

    Nobody new is let in while `has_room` is not true; none but who has one of the `network_keys`, if given.
    Nothing is served to, and asked of, whom `door` has not admitted.

    Raises `CannotListen` if an address is wrong or taken. libp2p's log records below
    `dependency_log_level` are dropped, all of them by default.
    """
    limit_dependency_logs(dependency_log_level)
    for text in listen:
        check_free(text)
    with ports_chosen(listen) as chosen, unwrapped():
        multiaddrs = [Multiaddr(text) for text in chosen]
        inner = make_host(identity, multiaddrs, network_keys)
        async with inner.run(listen_addrs=multiaddrs):
            for text, multiaddr in zip(listen, multiaddrs, strict=True):
                if str(multiaddr) not in inner.get_network().listeners:
                    raise CannotListen(f"cannot listen on {text}")
            host = Host(inner, identity.peer_id, has_room, door, network_keys)
            try:
                yield host
            finally:
                await host.close()
