"""Admission of connections from outside, until they have shown that a peer is behind them.

libp2p takes every connection, waits 10 s for its handshake, and counts each that ever was until the node
ends: a silent stranger holds all places of a node, and after as many visits nobody gets in any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio
from libp2p.abc import IMuxedConn, IRawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from p2pnode.core.values.rate import TokenBucket

# A handshake takes some round trips and 10 ms; so many at once is a crowd, or somebody silent.
HANDSHAKES_MAX = 64
# A handshake costs 10 ms of a core: at most a quarter of one, after the burst of a network that starts.
HANDSHAKES_PER_S = 25.0
HANDSHAKES_BURST = 200.0


class Admission:
    """Limits the handshakes of a swarm; `has_room` says whether the machine can hold more connections."""

    def __init__(self, swarm: Swarm, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._upgrade = swarm.upgrade_inbound_raw_conn
        # With the hosts they come from, the oldest first.
        self._handshakes: dict[IRawConnection, str] = {}
        self._rate = TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST)
        swarm.upgrade_inbound_raw_conn = self._admit

    async def _admit(self, raw: IRawConnection, multiaddr: Multiaddr) -> IMuxedConn:
        """In place of the swarm's own: a handshake; and then until the connection is closed.

        What it raises has the swarm close the connection and count it no more.
        """
        if len(self._handshakes) >= HANDSHAKES_MAX or not self._has_room():
            await self._close_one()
        remote = raw.get_remote_address()
        self._handshakes[raw] = remote[0] if remote else ""
        try:
            await trio.sleep(self._rate.take(1, trio.current_time()))
            muxed = await self._upgrade(raw, multiaddr)
        finally:
            self._handshakes.pop(raw, None)
        assert isinstance(muxed, Yamux)
        await muxed.event_closed.wait()
        raise SwarmException("the connection is closed")

    async def _close_one(self) -> None:
        """Closes the oldest handshake of the host that has the most, so that the others are not locked out.

        Raises `SwarmException` where there is none to take the place of.
        """
        if not self._handshakes:
            raise SwarmException("there is no room for more connections")
        (greediest, _), *_ = Counter(self._handshakes.values()).most_common(1)
        oldest = next(raw for raw, host in self._handshakes.items() if host == greediest)
        del self._handshakes[oldest]
        await oldest.close()
