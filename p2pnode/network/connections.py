"""Where connections come from and go to, and where a host listens, as libp2p has them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import trio
from libp2p.abc import INetConn
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.rcmgr import Direction
from multiaddr import Multiaddr
from multiaddr.utils import get_network_addrs, get_thin_waist_addresses

from p2pnode.core.wire import addresses as addressing

from .tcp import TcpStream
from .websocket import WebSocketStream

# A connection says goodbye, which takes libp2p 0.1 s, all of them at once.
CLOSE_S_MAX = 2.0


def machine_hosts() -> set[str]:
    """The IP addresses of this machine, without those of loopback and of links alone."""
    return {host for family in (4, 6) for host in get_network_addrs(family)}


def bound_to(network: Swarm, hosts: Collection[str]) -> list[INetConn]:
    """The connections that begin or end at these addresses of this machine."""
    return [one for one in network.get_connections() if (local_address_of(one) or ("",))[0] in hosts]


async def close_all(connections: Iterable[INetConn]) -> None:
    with trio.move_on_after(CLOSE_S_MAX):
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.close)


def listening_at(bound: Iterable[Multiaddr]) -> list[str]:
    """Addresses at which a host is reached that is bound to these, wildcards replaced by all interfaces."""
    found = [
        concrete
        for one in bound
        for concrete in [*(f"{tcp}{_web(one)}" for tcp in get_thin_waist_addresses(one)), _loopback(one)]
        if concrete is not None
    ]
    return list(dict.fromkeys(found))


def _web(bound: Multiaddr) -> str:
    """The part of an address that says that WebSocket is listened for, which libp2p leaves out."""
    web = addressing.parse(str(bound)).web
    return f"/{web}" if web else ""


def remote_host_of(connection: INetConn) -> str:
    """The IP address at the other end; "" for a connection by a relay."""
    remote = connection.muxed_conn.get_remote_address()
    return str(remote[0]) if remote else ""


def local_address_of(connection: INetConn) -> tuple[str, int] | None:
    """The IP address and port at this end; None for a connection by a relay, or one that is closed."""
    below = connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer
    while isinstance(below, RawConnection | WebSocketStream):
        below = below.stream
    if not isinstance(below, TcpStream):
        return None
    try:
        host, port, *_ = below.socket.getsockname()
    except OSError:
        return None
    return str(host).partition("%")[0], int(port)


def dialled_at(connections: Iterable[INetConn]) -> list[str]:
    """Where this node has dialled, as multiaddrs without the peer; connections by relays left out."""
    return [
        str(address)
        for one in connections
        if one.direction == Direction.OUTBOUND and remote_host_of(one)
        for address in one.get_transport_addresses()
    ]


def _loopback(bound: Multiaddr) -> str | None:
    """Where a wildcard is reached on this machine itself, which libp2p leaves out; None for no wildcard."""
    for wildcard, loopback in (("/ip4/0.0.0.0/", "/ip4/127.0.0.1/"), ("/ip6/::/", "/ip6/::1/")):
        if str(bound).startswith(wildcard):
            return str(bound).replace(wildcard, loopback, 1)
    return None
