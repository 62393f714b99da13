"""This node's connections with others: joining the network, and coming back to it.

Known peers come from the user (`--peer`), from the LAN (mDNS), and from the owner's
memory: peers of earlier runs, and adverts. The given ones and those lost a short while
ago are dialled until they are there. Of the others, as many as gossip needs. A node that
is alone tries all that it knows, again and again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import trio

from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire import addresses as addressing

from .host import Connected, Disconnected, Host, Unreachable
from .mdns import announce_and_find
from .redial import CASUAL_S_MIN, casual_redial_s, redial_s
from .streams import NetworkError

log = logging.getLogger(__name__)

# Gossip wants a degree of 8; some neighbours do not last.
PEERS_WANTED = 12
CONNECT_S_MAX = 5.0
DIALS_MAX = 8
# Peers that are only heard of may be invented: a joiner dials so many at once, and then one each second.
CASUAL_DIALS_BURST = 32
CASUAL_DIALS_PER_S = 1.0
# A peer that was lost is looked for so long whether it is needed or not: it may be restarting.
LOST_S = 60.0
FOUND_MAX = 256  # A LAN has no more nodes than that, but a liar might say so.
# A given peer that is started at the same time as this node is there by then.
STARTING_S = 1.0
# The most that is told of one peer in a row: what answers at its address may be another each time.
REASONS_TOLD_MAX = 8
_OWN_ID = "that is this node's own id; a copy of a data directory needs an identity of its own"
# Near the limit of file descriptors nobody says when there is room again.
NO_ROOM_LOOK_S = 5.0


@dataclass(slots=True)
class GivenPeer:
    """A peer that the user named; `reason` says why it is not connected, "" while that is not known."""

    peer: str
    addresses: tuple[str, ...]
    reason: str = ""
    # Since when it could not be reached, and the reasons that were told since.
    since: float = inf
    told: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Attempts:
    failures: int = 0
    dial_at: float = -inf
    lost_until: float = -inf


class Discovery:
    """Keeps a host connected.

    `given` are multiaddrs with `/p2p/ID`; raises `BadAddress` for others. `known` gives
    the owner's peers with their addresses, best first. `reached` is told each peer that
    was dialled, with the addresses that were tried: worth remembering for the next start.
    `grown` gives the event that is set once `known` gives more than now; without, it never does.
    """

    def __init__(
        self,
        host: Host,
        *,
        given: Sequence[str] = (),
        known: Callable[[], Mapping[str, Sequence[str]]] = dict,
        reached: Callable[[str, Sequence[str]], None] = lambda peer, addresses: None,
        mdns: bool = True,
        grown: Callable[[], trio.Event] = trio.Event,
    ) -> None:
        self._host = host
        self._given = addressing.by_peer(given)
        self._watched = {peer: GivenPeer(peer, tuple(found)) for peer, found in self._given.items()}
        self._given.pop(host.peer_id, None)
        self._known = known
        self._reached = reached
        self._mdns = mdns
        self._grown = grown
        self._found: dict[str, list[str]] = {}
        self._last: dict[str, Sequence[str]] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._dialling: set[str] = set()
        self._casual = TokenBucket(CASUAL_DIALS_PER_S, CASUAL_DIALS_BURST)
        self._wake = trio.Event()

    @property
    def given(self) -> frozenset[str]:
        return frozenset(self._given)

    def unreached(self) -> list[GivenPeer]:
        """The given peers that are not connected."""
        connected = set(self._host.connected())
        return [one for peer, one in self._watched.items() if peer not in connected]

    async def run(self) -> None:
        """Works until cancelled."""
        if itself := self._watched.get(self._host.peer_id):
            itself.since = -inf
            self._failed(itself, _OWN_ID)
        self._host.watch(self._on_connection)
        async with trio.open_nursery() as nursery:
            if self._mdns:
                own = self._host.addresses()
                nursery.start_soon(announce_and_find, self._host.peer_id, own, self._on_found)
            nursery.start_soon(self._wake_when_grown)
            while True:
                wake_at = self._dial_those_due(nursery)
                with trio.move_on_at(wake_at):
                    await self._wake.wait()
                self._wake = trio.Event()

    async def _wake_when_grown(self) -> None:
        while True:
            await self._grown().wait()
            self._wake.set()

    def _on_connection(self, event: Connected | Disconnected) -> None:
        given = self._watched.get(event.peer)
        if given is not None:
            given.reason, given.since = "", inf
            given.told.clear()
        if isinstance(event, Connected):
            self._attempts.pop(event.peer, None)
        else:
            now = trio.current_time()
            self._attempts[event.peer] = _Attempts(lost_until=now + LOST_S)
            if not self._host.connected():
                # Alone: whoever failed before may be worth another try.
                for attempts in self._attempts.values():
                    attempts.dial_at = min(attempts.dial_at, now + CASUAL_S_MIN)
        self._wake.set()

    def _on_found(self, peer: str, addresses: list[str]) -> None:
        if peer in self._found or len(self._found) < FOUND_MAX:
            self._found[peer] = addresses
            self._attempts.pop(peer, None)
            self._wake.set()

    def _dial_those_due(self, nursery: trio.Nursery) -> float:
        """Starts the dials that are due; returns when to look again."""
        now = trio.current_time()
        connected = set(self._host.connected())
        known = {**self._last, **self._known(), **self._found, **self._given}
        known.pop(self._host.peer_id, None)
        missing = PEERS_WANTED - len(connected) - len(self._dialling)
        has_room = self._host.has_room()
        again_at = inf if has_room else now + NO_ROOM_LOOK_S
        for peer in sorted(known, key=lambda peer: not self._is_needed(peer, now)):
            attempts = self._attempts.get(peer, _Attempts())
            needed = self._is_needed(peer, now)
            if peer in connected or peer in self._dialling or (missing <= 0 and not needed):
                continue
            if not has_room and peer not in self._given:
                continue
            if attempts.dial_at > now:
                again_at = min(again_at, attempts.dial_at)
                continue
            if len(self._dialling) >= DIALS_MAX:
                return again_at  # The end of a dial wakes this.
            if not needed and not self._casual.allows(1, now):
                return min(again_at, now + 1 / CASUAL_DIALS_PER_S)
            self._dialling.add(peer)
            missing -= 1
            addresses = [*self._given.get(peer, ()), *known[peer]]
            nursery.start_soon(self._dial, peer, list(dict.fromkeys(addresses)))
        return again_at

    def _is_needed(self, peer: str, now: float) -> bool:
        return peer in self._given or (peer in self._attempts and self._attempts[peer].lost_until > now)

    def _failed(self, given: GivenPeer, reason: str) -> None:
        """Warns of a reason once, until the peer has been connected."""
        now = trio.current_time()
        given.reason, given.since = reason, min(given.since, now)
        overdue = now - given.since >= STARTING_S
        if overdue and reason not in given.told and len(given.told) < REASONS_TOLD_MAX:
            given.told.add(reason)
            log.warning("the given peer %s is not reached: %s", given.peer, reason)

    async def _dial(self, peer: str, addresses: Sequence[str]) -> None:
        try:
            await self._host.connect(peer, addresses, CONNECT_S_MAX)
        except NetworkError as exc:
            log.debug("%s", exc)
            if peer in self._watched:
                why = exc.why if isinstance(exc, Unreachable) else str(exc)
                self._failed(self._watched[peer], why)
            now = trio.current_time()
            attempts = self._attempts.setdefault(peer, _Attempts())
            attempts.failures += 1
            pause_s = redial_s if self._is_needed(peer, now) else casual_redial_s
            attempts.dial_at = now + pause_s(attempts.failures, random.random())
        else:
            self._last[peer] = addresses
            self._reached(peer, addresses)
        finally:
            self._dialling.discard(peer)
            self._wake.set()
