"""Where connections come from and go to, and where a host listens, as libp2p has them."""

from __future__ import annotations

from collections.abc import Iterable

from libp2p.abc import INetConn
from libp2p.rcmgr import Direction
from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses


def listening_at(bound: Iterable[Multiaddr]) -> list[str]:
    """Addresses at which a host is reached that is bound to these, wildcards replaced by all interfaces."""
    found = [
        str(concrete)
        for one in bound
        for concrete in [*get_thin_waist_addresses(one), _loopback(one)]
        if concrete is not None
    ]
    return list(dict.fromkeys(found))


def remote_host_of(connection: INetConn) -> str:
    """The IP address at the other end; "" for a connection by a relay."""
    remote = connection.muxed_conn.get_remote_address()
    return str(remote[0]) if remote else ""


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
