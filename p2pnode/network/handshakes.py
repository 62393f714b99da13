"""A connection that ends once a peer has shown by it that it is there: no part of the swarm's."""

from __future__ import annotations

from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID

from p2pnode.core.wire.addresses import Address

from .private_network import NetworkKeys, PrivateConnection
from .scopes import shielded
from .tcp import connected

CLOSE_S_MAX = 1.0


async def shake_hands(swarm: Swarm, keys: NetworkKeys | None, peer: str, at: Address) -> None:
    """Connect with a peer, and let it go; raises `OSError`, and what libp2p raises if it is another."""
    stream = await connected(at)
    raw = RawConnection(stream, initiator=True)
    if keys is not None:
        raw = PrivateConnection(raw, keys()[:1])
    try:
        await swarm.upgrader.upgrade_security(raw, True, ID.from_string(peer))
    finally:
        with shielded(CLOSE_S_MAX):
            await stream.close()
