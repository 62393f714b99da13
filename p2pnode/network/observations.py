"""Where peers see this node, as libp2p's identify tells it: in place of libp2p's own table of that."""

from __future__ import annotations

from libp2p.abc import INetConn
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from p2pnode.core.link.observed import Observed
from p2pnode.core.wire import addresses as addressing

from .host import Host


class Observations:
    """The table of a host; libp2p calls it by the names of its own."""

    def __init__(self, host: Host) -> None:
        self.observed = Observed()
        # No setting of libp2p's does this.
        host.inner._observed_addr_manager = self

    def record_observation(self, connection: INetConn, seen_at: Multiaddr, _listens: object) -> None:
        """Take in what a peer has said, which may be anything; raises `ValueError` for no address."""
        remote, port = connection.muxed_conn.get_remote_address(), _local_port(connection)
        found = addressing.parse(str(seen_at))
        if remote is None or port is None or found.relay or found.family not in ("ip4", "ip6"):
            return
        peer = str(connection.muxed_conn.peer_id)
        self.observed.saw(peer, str(remote[0]), found.host, port_kept=found.port == port)

    def addrs(self) -> list[Multiaddr]:
        """None: adverts tell where this node is."""
        return []

    def remove_conn(self, connection: INetConn) -> None:
        """Keep the word of a peer that is gone: what it saw is so still."""


def _local_port(connection: INetConn) -> int | None:
    """The port on this side of a connection; None for one by a relay."""
    below = connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer
    while isinstance(below, RawConnection):
        below = below.stream
    return int(below.stream.socket.getsockname()[1]) if isinstance(below, TrioTCPStream) else None
