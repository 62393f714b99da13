"""Admission of connections from outside: to the handshake, and with a peer behind it to a place.

libp2p takes every connection, waits 10 s for its handshake, and counts each that ever was until the node
ends: a silent stranger holds all places of a node, and after as many visits nobody gets in any more. Which
handshakes and connections there may be `core.link.knocking` and `core.link.inbound` decide.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf

import trio
from libp2p.abc import IMuxedConn, INetConn, IRawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from p2pnode.core.link.inbound import Inbound, admit
from p2pnode.core.link.knocking import Knocking
from p2pnode.core.values.ranges import ranges_of

log = logging.getLogger(__name__)

# A crowd that is refused is one line a minute for each reason.
TOLD_AGAIN_S = 60.0
REASONS_MAX = 100


class Admission:
    """Limits the handshakes and the inbound connections of a swarm.

    `has_room` says whether the machine can hold more connections, `used_at` when each peer's were used last.
    """

    def __init__(
        self,
        swarm: Swarm,
        has_room: Callable[[], bool],
        used_at: Mapping[str, float],
        is_acquainted: Callable[[str], bool],
    ) -> None:
        self._has_room = has_room
        self._used_at = used_at
        self._is_acquainted = is_acquainted
        self._upgrade = swarm.upgrade_inbound_raw_conn
        self._add = swarm.add_conn
        self._handshakes = Knocking[IRawConnection]()
        # The connections that others opened, with when they did.
        self._inbound: dict[IMuxedConn, float] = {}
        self._refused = _Refused()
        swarm.upgrade_inbound_raw_conn = self._admit
        swarm.add_conn = self._give_place

    async def _admit(self, raw: IRawConnection, multiaddr: Multiaddr) -> IMuxedConn:
        """In place of the swarm's own: a handshake; and then until the connection is closed.

        What it raises has the swarm close the connection and count it no more.
        """
        host = _host(raw)
        if not self._has_room():
            await self._close_one(self._handshakes.greediest())
        wait_s = self._handshakes.wait_s(host, trio.current_time())
        if wait_s is None:
            raise self._refuse(host, "too many connections come from there")
        oldest = self._handshakes.gives_way(host)
        if oldest is not None:
            await self._close_one(oldest)
        self._handshakes.begin(raw, host)
        try:
            await trio.sleep(wait_s)
            muxed = await self._upgrade(raw, multiaddr)
        finally:
            self._handshakes.end(raw)
        assert isinstance(muxed, Yamux)
        try:
            await muxed.event_closed.wait()
        finally:
            self._inbound.pop(muxed, None)
        raise SwarmException("the connection is closed")

    async def _close_one(self, handshake: IRawConnection | None) -> None:
        """Closes a handshake in whose place another begins; raises `SwarmException` where there is none."""
        if handshake is None:
            raise SwarmException("there is no room for more connections")
        self._handshakes.end(handshake)
        await handshake.close()

    async def _give_place(self, muxed: IMuxedConn, direction: str = "unknown") -> INetConn:
        """In place of the swarm's own: what others opened is counted, and closed where there is no place."""
        if direction != "inbound" or muxed in self._inbound:
            return await self._add(muxed, direction)
        verdict = admit(_host(muxed), self._is_acquainted(str(muxed.peer_id)), self._held())
        if verdict.refused:
            await muxed.close()
            raise self._refuse(_host(muxed), verdict.refused)
        self._inbound[muxed] = trio.current_time()
        for one in [one for one in self._inbound if verdict.goes and str(one.peer_id) == verdict.goes]:
            del self._inbound[one]
            log.debug("the connection with %s makes place for a newcomer", verdict.goes)
            await one.close()
        try:
            return await self._add(muxed, direction)
        except BaseException:
            self._inbound.pop(muxed, None)
            raise

    def _held(self) -> list[Inbound]:
        """The inbound connections as the decision wants them."""
        peers = {one: str(one.peer_id) for one in self._inbound}
        return [
            Inbound(peer, _host(one), self._inbound[one], self._used(peer), self._is_acquainted(peer))
            for one, peer in peers.items()
        ]

    def _used(self, peer: str) -> float:
        return self._used_at.get(peer, -inf)

    def _refuse(self, host: str, reason: str) -> SwarmException:
        count = self._refused.tells(reason, trio.current_time())
        if count:
            near = ranges_of(host).near
            log.info(
                "refused a connection from %s (%s): %s; %d so since last told", host, near, reason, count
            )
        return SwarmException(reason)


class _Refused:
    """Counts what is refused for each reason, and tells it now and then."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}

    def tells(self, reason: str, now: float) -> int:
        """How many have been refused for the reason since that was last told; 0: it is too early to tell."""
        self._counts[reason] += 1
        if now < self._told_at.get(reason, -inf) + TOLD_AGAIN_S:
            return 0
        self._told_at.pop(reason, None)
        self._told_at[reason] = now
        if len(self._told_at) > REASONS_MAX:
            oldest = next(iter(self._told_at))
            del self._told_at[oldest], self._counts[oldest]
        return self._counts.pop(reason, 0)


def _host(connection: IRawConnection | IMuxedConn) -> str:
    remote = connection.get_remote_address()
    return str(remote[0]) if remote else ""
