"""Direct connections with peers that came by a relay: both dial each other at the same time.

As libp2p's DCUtR has it. Whoever was dialled by a relay begins: it dials the other where that says it is, for
only one of them may be behind a router; then they agree when each dials the other from the port at which it
listens. Once there is a direct connection, the one by the relay is closed when nothing runs over it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from libp2p.abc import INetConn
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.link.observed import Observed
from p2pnode.core.link.punching import PUNCHES_MAX, TRIES_MAX, Punching
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Address, Scope
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.hole_punching import (
    DCUTR,
    PUNCH_ADDRESSES_MAX,
    PUNCH_MESSAGE_SIZE_BYTES_MAX,
    PunchKind,
    PunchMessage,
    decode_punch_untrusted,
    encode_punch,
)

from .gossip import STREAM_PROTOCOLS
from .host import Connected, Disconnected, Host
from .links import PROTOCOL as LINK
from .prefixed import read_prefixed, write_prefixed
from .streams import NetworkError, Stream
from .tcp import TcpStream, shared

log = logging.getLogger(__name__)

# A round trip by a relay.
MESSAGE_S_MAX = 5.0
# A dial of a peer that may be reached, as any other's.
REVERSE_S_MAX = 5.0
# A first packet that comes too early is dropped by the router, and sent again after 1 s and 3 s.
PUNCH_S_MAX = 4.0
# A router that refuses what comes too early has refused it for this long.
REFUSED_AGAIN_S = 0.05
# Handshakes that begin on both sides.
UPGRADE_S_MAX = 10.0
# How often what runs by a relay is looked at, once there is a direct connection.
IDLE_LOOK_S = 1.0
# Streams that are kept for as long as there is a connection, and opened anew on another.
KEPT = frozenset({LINK, *STREAM_PROTOCOLS})


class HolePuncher:
    """`addresses_of` gives the addresses that a peer tells of itself."""

    def __init__(self, host: Host, observed: Observed, addresses_of: Callable[[str], Sequence[str]]) -> None:
        self._host = host
        self._swarm: Swarm = host.inner.get_network()
        self._observed = observed
        self._addresses_of = addresses_of
        self._punching = Punching()
        self._asked = trio.CapacityLimiter(PUNCHES_MAX)
        self._nursery: trio.Nursery | None = None
        self._wake = trio.Event()
        # Set when a connection comes; those that dial now wait for it.
        self._came: dict[str, trio.Event] = {}
        host.watch(self._on_connection)
        host.handle(DCUTR, self._serve, time_limit_s=4 * MESSAGE_S_MAX, streams_per_peer_max=1)

    async def run(self) -> None:
        """Works until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while True:
                    for peer in self._punching.begin(trio.current_time()):
                        nursery.start_soon(self._meet, peer)
                    with trio.move_on_at(self._punching.deadline):
                        await self._wake.wait()
                    self._wake = trio.Event()
            finally:
                self._nursery = None

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Connected) and not event.host:
            if event.inbound:
                self._punching.came(event.peer, trio.current_time())
        else:
            self._punching.gone(event.peer)
            if event.peer in self._came:
                self._came[event.peer].set()
            if isinstance(event, Connected) and self._relayed(event.peer) and self._nursery is not None:
                log.info("%s is connected directly, and no more by a relay", event.peer)
                self._nursery.start_soon(self._close_relayed, event.peer)
        self._wake.set()

    # Both sides

    async def _meet(self, peer: str) -> None:
        """Try to have a direct connection with a peer that came by a relay."""
        try:
            await self._reverse(peer)
            for _ in range(TRIES_MAX):
                if self._host.remote_host(peer) or not self._relayed(peer):
                    return
                await self._punch(peer)
        except (NetworkError, BadMessage) as exc:
            log.debug("no direct connection with %s: %s", peer, exc)
        finally:
            self._punching.ended(peer, trio.current_time())
            self._wake.set()

    async def _reverse(self, peer: str) -> None:
        """Dial a peer where it says it is."""
        targets = []
        for text in self._addresses_of(peer):
            with suppress(addressing.BadAddress):
                targets.append(addressing.parse(text))
        direct = [one for one in targets if not one.relay and one.family in ("ip4", "ip6")]

        async def dial(target: Address) -> None:
            with suppress(BaseLibp2pError, OSError):
                await self._swarm.dial_addr(Multiaddr(target.transport), ID.from_string(peer))
                nursery.cancel_scope.cancel()

        with trio.move_on_after(REVERSE_S_MAX):
            async with trio.open_nursery() as nursery:
                for target in direct[:PUNCH_ADDRESSES_MAX]:
                    nursery.start_soon(dial, target)

    async def _punch(self, peer: str) -> None:
        """Agree with a peer when to dial, and do so; raises `NetworkError` and `BadMessage`."""
        own = self._own_addresses()
        if not own:
            raise NetworkError("others cannot foresee at which port the router here lets them in")
        async with await self._host.open_stream(peer, [DCUTR], MESSAGE_S_MAX) as stream:
            asked_at = trio.current_time()
            await _write(stream, PunchMessage(PunchKind.CONNECT, own))
            targets = _targets_untrusted(await _read(stream, PunchKind.CONNECT))
            round_trip_s = trio.current_time() - asked_at
            if not targets:
                raise NetworkError("it is not known where the peer's router lets others in")
            await _write(stream, PunchMessage(PunchKind.SYNC))
        await trio.sleep(round_trip_s / 2)
        await self._dial_all(peer, targets, inbound=True)

    async def _serve(self, stream: Stream) -> None:
        if self._host.remote_host(stream.peer):
            raise NetworkError("there is a direct connection")
        async with self._asked:
            targets = _targets_untrusted(await _read(stream, PunchKind.CONNECT))
            await _write(stream, PunchMessage(PunchKind.CONNECT, self._own_addresses()))
            await _read(stream, PunchKind.SYNC)
            await self._dial_all(stream.peer, targets, inbound=False)

    def _own_addresses(self) -> tuple[bytes, ...]:
        """The addresses where this node may be met: its public ones, or of a router that keeps its ports."""
        # Both sides of a WebSocket cannot be the one that listens.
        own = [one for one in map(addressing.parse, self._host.addresses()) if not one.web]
        found = [one for one in own if addressing.scope_of(one.host) is Scope.PUBLIC]
        for host in filter(self._observed.keeps_ports, self._observed.hosts()):
            family = "ip6" if ":" in host else "ip4"
            found += [Address(family, host, one.port) for one in own if one.family == family]
        texts = dict.fromkeys(one.transport for one in found)
        return tuple(Multiaddr(text).to_bytes() for text in texts)[:PUNCH_ADDRESSES_MAX]

    async def _dial_all(self, peer: str, targets: Sequence[Address], *, inbound: bool) -> None:
        """Dial until there is a direct connection, whichever of the dials it comes from."""
        # Both sides may have begun: then two tries wait for one connection.
        came = self._came.setdefault(peer, trio.Event())
        try:
            with trio.move_on_after(PUNCH_S_MAX):
                async with trio.open_nursery() as nursery:
                    for target in targets:
                        nursery.start_soon(self._dial_one, peer, target, inbound)
                    await came.wait()
                    nursery.cancel_scope.cancel()
        finally:
            if self._came.get(peer) is came:
                del self._came[peer]

    async def _dial_one(self, peer: str, target: Address, inbound: bool) -> None:
        source = self._source(target.family)
        while source is not None and self._nursery is not None:
            try:
                connected = await _connect(source, target)
            except OSError as exc:
                log.debug("%s is not met at %s: %s", peer, target, exc)
                await trio.sleep(REFUSED_AGAIN_S)
                continue
            # The connection lives on after the tries.
            self._nursery.start_soon(self._upgrade, peer, connected, target, inbound)
            return

    def _source(self, family: str) -> tuple[str, int] | None:
        """Where this node listens: the router's hole is to lead there."""
        bound = (addressing.parse(str(one)) for one in self._host.inner.get_transport_addrs())
        return next(((one.host, one.port) for one in bound if one.family == family and not one.web), None)

    async def _upgrade(self, peer: str, stream: trio.SocketStream, target: Address, inbound: bool) -> None:
        """Make a connection of what has become one on both sides, where each has a part that is agreed on."""
        raw = RawConnection(TcpStream(stream), initiator=not inbound)
        made = False
        try:
            if inbound:
                # Admission ends it with the connection.
                await self._swarm.upgrade_inbound_raw_conn(raw, Multiaddr(target.transport))
            else:
                with trio.move_on_after(UPGRADE_S_MAX):
                    await self._swarm.upgrade_outbound_raw_conn(raw, ID.from_string(peer))
                    made = True
        except (BaseLibp2pError, OSError) as exc:
            log.debug("a connection met with %s has ended: %s", peer, exc)
        finally:
            if not made:
                await trio.aclose_forcefully(stream)

    # Connections by relays

    def _relayed(self, peer: str) -> list[INetConn]:
        connections = self._swarm.get_connections(ID.from_string(peer))
        return [one for one in connections if one.muxed_conn.get_remote_address() is None]

    async def _close_relayed(self, peer: str) -> None:
        """Close the connections by relays once nothing ends with them."""
        while self._host.remote_host(peer) and (relayed := self._relayed(peer)):
            await trio.sleep(IDLE_LOOK_S)
            for connection in relayed:
                if all(stream.get_protocol() in KEPT for stream in connection.get_streams()):
                    await connection.close()


async def _connect(source: tuple[str, int], target: Address) -> trio.SocketStream:
    """A connection from the port at which this node listens; raises `OSError`."""
    made = shared(target.family)
    try:
        await made.bind(source)
        await made.connect((target.host, target.port))
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)


def _targets_untrusted(message: PunchMessage) -> list[Address]:
    """Public addresses alone: nobody has this node dial those of its own network."""
    found = []
    for data in message.addresses:
        # Another transport than TCP, or no address at all, is passed over.
        with suppress(ValueError):
            address = addressing.parse(str(Multiaddr(data)))
            public = addressing.scope_of(address.host) is Scope.PUBLIC
            if addressing.is_listened_at(address) and address.port and not address.web and public:
                found.append(address)
    return found


async def _read(stream: Stream, kind: PunchKind) -> PunchMessage:
    data = await read_prefixed(stream, PUNCH_MESSAGE_SIZE_BYTES_MAX, MESSAGE_S_MAX)
    message = decode_punch_untrusted(data)
    if message.kind != kind:
        raise BadMessage(f"a message of hole punching that is no {kind.name}")
    return message


async def _write(stream: Stream, message: PunchMessage) -> None:
    await write_prefixed(stream, encode_punch(message), MESSAGE_S_MAX)
