"""A host of libp2p with the parts and settings that were measured to hold: TCP, Noise and Yamux alone."""

from __future__ import annotations

import dataclasses
import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from libp2p import new_host
from libp2p.abc import IHost, IMuxedConn, INetConn, INetStream, INetwork, INotifee, IPeerStore
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.envelope import Envelope
from libp2p.peer.id import ID
from libp2p.rcmgr import new_resource_manager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from multiaddr import Multiaddr

from p2pnode.core.link.inbound import INBOUND_MAX
from p2pnode.core.link.knocking import HANDSHAKES_MAX
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Address, WebLayer
from p2pnode.identity import Identity

from .connections import close_all
from .multistream import limit_messages
from .noise import WholeMessageNoise
from .private_network import NetworkKeys, protect
from .streams import NetworkError
from .tcp import TcpTransport
from .yamux import BoundedYamux, use_bounded

# Connections that others open, those at the door, and so many that this node opens itself: jobs on as many
# peers. Each takes about 1 MiB with gossip.
OWN_MAX = 96
CONNECTIONS_MAX = INBOUND_MAX + HANDSHAKES_MAX + OWN_MAX
NEGOTIATE_S_MAX = 10  # libp2p's default: several round trips on the slowest lines.
# Two nodes that dial each other at once have two connections, of which both would close one; these begin
# within the round trips of a handshake.
CROSSING_S_MAX = 2.0
# Few free ports of one family are taken in the other.
PORT_TRIES_MAX = 16


class CannotListen(NetworkError):
    """A listen address cannot be used; the message says why."""


def make_host(identity: Identity, listen: Sequence[Multiaddr], network_keys: NetworkKeys | None) -> IHost:
    """A host of the private network of these keys; None: of the open network."""
    limit_messages()
    keys = create_new_key_pair(identity.seed)
    noise_keys = create_new_x25519_key_pair()
    inner = new_host(
        key_pair=keys,
        listen_addrs=listen,
        sec_opt={
            TProtocol(NOISE_ID): WholeMessageNoise(keys, noise_privkey=noise_keys.private_key),
        },
        muxer_opt={TProtocol(YAMUX_ID): BoundedYamux},
        negotiate_timeout=NEGOTIATE_S_MAX,
        # The breaker and the degradation refuse everyone after one bad peer.
        resource_manager=new_resource_manager(
            enable_circuit_breaker=False, enable_graceful_degradation=False, enable_memory_limits=False
        ),
        connection_config=ConnectionConfig(
            max_connections=CONNECTIONS_MAX,
            min_connections=0,
            low_watermark=0,
            high_watermark=CONNECTIONS_MAX,
            max_connections_per_peer=1,
            inbound_upgrade_timeout=NEGOTIATE_S_MAX,
        ),
        disable_identify_address_discovery=True,
    )
    network = inner.get_network()
    # Whoever dials tries again by itself, and knows newer addresses by then.
    network.retry_config = RetryConfig(max_retries=0)
    network.auto_connector = _NoAutoConnector(network)
    # No setting replaces it.
    network.transport_manager._transports[:] = [TcpTransport()]
    use_bounded(network.upgrader.muxer_multistream)
    if network_keys is not None:
        protect(network, network_keys)
    _select_by_process(network)
    _trim_of_a_kind(network)
    _close_given_up(network)
    _take_any_record(inner.get_peerstore())
    return inner


def process_key(connection: INetConn | INetStream) -> bytes:
    """The peer's static key of Noise, which a process makes when it starts."""
    return _key_of(connection.muxed_conn)


def _key_of(muxed: IMuxedConn) -> bytes:
    return bytes(muxed.secured_conn.get_remote_public_key().to_bytes())


_process: ContextVar[bytes | None] = ContextVar("process", default=None)


@contextmanager
def to_process(key: bytes | None) -> Iterator[None]:
    """Streams that are opened within go to the process of this key; None: to any of the peer."""
    token = _process.set(key)
    try:
        yield
    finally:
        _process.reset(token)


def _select_by_process(network: Swarm) -> None:
    """libp2p's own choice is the connection with the most streams, each time."""
    select = network._select_connection  # It has no setting for this.

    def selected(connections: list[INetConn], peer: ID) -> INetConn:
        key = _process.get()
        fitting = [one for one in connections if key in (None, process_key(one))]
        if not fitting:
            raise SwarmException("that process of the peer is not connected any more")
        return select(fitting, peer)

    network._select_connection = selected


def _trim_of_a_kind(network: Swarm) -> None:
    """libp2p closes what is too many; a direct connection beside one by a relay is not (hole_punching)."""
    trim = network._trim_connections

    def trimmed(peer: ID) -> None:
        kinds = {one.muxed_conn.get_remote_address() is None for one in network.get_connections(peer)}
        if len(kinds) == 1:
            trim(peer)

    network._trim_connections = trimmed


def _close_given_up(network: Swarm) -> None:
    """Connections that a peer has no more, as it dials anew, go before the new one: nothing comes by them."""
    add = network.add_conn

    async def added(muxed: IMuxedConn, direction: str = "unknown") -> INetConn:
        if direction == "inbound" and muxed.get_remote_address() is not None:
            await close_all(one for one in network.get_connections(muxed.peer_id) if _is_given_up(one, muxed))
        return await add(muxed, direction)

    network.add_conn = added


def _is_given_up(connection: INetConn, newer: IMuxedConn) -> bool:
    """Whether the process that has opened the newer one has moved; where two dial each other it has not."""
    old = connection.muxed_conn
    return (
        old.get_remote_address() is not None
        and time.time() - connection._created_at > CROSSING_S_MAX
        and _key_of(old) == _key_of(newer)
    )


def _take_any_record(store: IPeerStore) -> None:
    """libp2p ignores all gossip of a peer whose record of addresses is older than one that it had.

    So it is with who lives on of two nodes with one identity, and with a node whose clock was set back.
    The newest record is kept, but dials go by adverts, and who sent a message is known by its connection.
    """
    consume = store.consume_peer_record

    def consumed(envelope: Envelope, ttl_s: int) -> bool:
        consume(envelope, ttl_s)
        return True

    store.consume_peer_record = consumed


class _NoAutoConnector(AutoConnector):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """libp2p's own dialling of whomever it has heard of, off: no setting does that. See discovery.py."""

    async def maybe_connect(self) -> None:
        return


def check_free(text: str) -> None:
    """Raises `CannotListen` for an address that is wrong or taken.

    libp2p sets SO_REUSEPORT, with which two nodes would share a port and each get some
    of the other's connections.
    """
    try:
        address = addressing.parse(text)
    except addressing.BadAddress as exc:
        raise CannotListen(f"cannot listen: {exc}") from exc
    if not addressing.is_listened_at(address):
        raise CannotListen(f"cannot listen on {text}: an IP address is needed, without TLS")
    try:
        with _bound(address, address.port) as probe:
            probe.listen(1)
    except OSError as exc:
        raise CannotListen(f"cannot listen on {text}: {exc.strerror}") from exc


@contextmanager
def ports_chosen(listen: Sequence[str]) -> Iterator[list[str]]:
    """The addresses, with one free port for all of plain TCP that leave theirs open, and one for WebSocket.

    They are held within. Raises `CannotListen`.
    """
    parsed = [addressing.parse(text) for text in listen]
    given = [
        {one.port for one in parsed if one.port and one.web is web} for web in (WebLayer.NONE, WebLayer.PLAIN)
    ]
    if shared := given[0] & given[1]:
        raise CannotListen(f"cannot listen on port {min(shared)} for /ws and without: it needs another port")
    with ExitStack() as held:
        chosen = dict[WebLayer, int]()
        for web in (WebLayer.NONE, WebLayer.PLAIN):
            if open_ones := [one for one in parsed if not one.port and one.web is web]:
                chosen[web] = _hold_one_port(held, open_ones)
        yield [str(one if one.port else dataclasses.replace(one, port=chosen[one.web])) for one in parsed]


def _hold_one_port(held: ExitStack, addresses: Sequence[Address]) -> int:
    """Hold a port at all of these addresses; raises `CannotListen`."""
    for _ in range(PORT_TRIES_MAX):
        with ExitStack() as tried:
            port = 0
            try:
                for one in addresses:
                    bound = tried.enter_context(_bound(one, port))
                    # The listeners come beside it.
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    port = bound.getsockname()[1]
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    continue
                raise CannotListen(f"cannot listen on {one}: {exc.strerror}") from exc
            held.push(tried.pop_all())
            return port
    raise CannotListen(f"cannot listen: no port is free at all of {', '.join(map(str, addresses))}")


def _bound(address: Address, port: int) -> socket.socket:
    """A socket at a port that no other listens at; raises `OSError`."""
    made = socket.socket(socket.AF_INET6 if address.family == "ip6" else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of the last run that linger do not count.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == "ip6":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address.host, port))
    except BaseException:
        made.close()
        raise
    return made


class ConnectionNotifee(INotifee):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """Passes on what libp2p says of connections."""

    def __init__(
        self, connected: Callable[[INetConn], None], disconnected: Callable[[INetConn], None]
    ) -> None:
        self._connected = connected
        self._disconnected = disconnected

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._connected(conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._disconnected(conn)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...
