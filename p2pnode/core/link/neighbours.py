"""This node's neighbours: whom it dials, and which connections it lets go, decided without I/O.

A network of at most `HIGH` nodes is small: each node wants `WANTED` connections, comes back to its given
peers and to those lost a short while ago, and closes nothing. In a larger one a node dials while it has fewer
than `LOW`, and lets idle connections go above `HIGH`; a link or a transfer that needs another peer opens a
connection for itself. Each node chooses at random among all peers that it has heard of, so that it all is a
random graph of degree 8 or more, which does not come apart. What a node chose itself it keeps longest, and of
these it wants some however many others have come: nobody can fill its places by connecting to it. It chooses
peers of other ranges of addresses first, as who invents peers has few; and those that it has reached before
those that it only heard of.

A peer whose adverts are heard is in the same network, connected or not. So a given peer is dialled for as
long as it is not heard, and one that was met and is not heard any more, or was dialled in vain, is looked for
now and then: a network that was cut in two heals, however many neighbours each half has found in itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.values.rate import TokenBucket

from .redial import CASUAL_S_MIN, casual_redial_s, redial_s

# Gossip wants a degree of 8.
LOW = 8
# Some neighbours do not last.
WANTED = 12
# Twice what a node chooses: as many choose it.
HIGH = 16
# So many a node chooses itself, however many have connected: in a random graph three each hold it together.
OWN = 3
DIALS_MAX = 8
# Peers whose failures are remembered: all that a full table and the memory of earlier runs can name.
ATTEMPTS_MAX = 4_000
# Peers that are only heard of may be invented: a joiner dials so many at once, and then one each second.
CASUAL_DIALS_BURST = 32
CASUAL_DIALS_PER_S = 1.0
# A peer that was lost is looked for so long whether it is needed or not: it may be restarting.
LOST_S = 60.0
# Near the limit of file descriptors nobody says when there is room again.
NO_ROOM_LOOK_S = 5.0
# One of the peers that fell silent is looked for so often: two halves of 25 find each other within seconds.
FORGOTTEN_S = 60.0
# Adverts expire without a sign.
LOOK_S = 15.0
# A connection without traffic of ours for so long is idle: a joiner has the table, and was placed upon.
IDLE_S = 30.0
# This part of the connections above `HIGH` goes at once: those at the other ends let go, too.
CLOSE_SHARE = 4
CLOSE_AGAIN_S = 2.0
# A peer that is back so soon after it was let go has nobody else, perhaps: it stays twice as long each time.
BACK_S = 60.0
BACK_COUNT_MAX = 4
CLOSED_REMEMBERED_MAX = 1_000


@dataclass(slots=True)
class _Connection:
    since: float
    # A random order in which connections go, those that this node chose last.
    rank: tuple[bool, float]
    # How often it came back.
    backs: int


@dataclass(slots=True)
class _Attempts:
    failures: int = 0
    dial_at: float = -inf
    lost_until: float = -inf


@dataclass(frozen=True, slots=True)
class Look:
    """Peers to dial and connections to let go now, and when to look again."""

    dial: tuple[str, ...]
    close: tuple[str, ...]
    again_at: float


@dataclass(slots=True)
class Neighbours:
    """The decision for the node `me`, whose user named `given`; `chance` gives numbers of 0 to 1."""

    me: str
    given: frozenset[str]
    chance: Callable[[], float]
    _connected: dict[str, _Connection] = field(default_factory=dict)
    _attempts: dict[str, _Attempts] = field(default_factory=dict)
    _dialling: set[str] = field(default_factory=set)
    _chosen: set[str] = field(default_factory=set)
    # When a peer was let go, and how often it had come back by then.
    _closed: dict[str, tuple[float, int]] = field(default_factory=dict)
    _casual: TokenBucket = field(default_factory=lambda: TokenBucket(CASUAL_DIALS_PER_S, CASUAL_DIALS_BURST))
    _small: bool = True
    # As the look has it that is under way.
    _reached: Container[str] = ()
    _range_of: Callable[[str], str] = lambda peer: ""
    # When a peer that is not heard any more is dialled next.
    _forgotten_at: float = inf
    _close_at: float = -inf

    @property
    def is_many(self) -> bool:
        """Whether the network is larger than a node's connections, so that not all peers are neighbours."""
        return not self._small

    def found(self, peer: str) -> None:
        """The peer says where it is."""
        self._attempts.pop(peer, None)

    def moved(self) -> None:
        """This node is in another network: whoever failed before is worth a try."""
        for attempts in self._attempts.values():
            attempts.failures, attempts.dial_at = 0, -inf

    def choose(self, peer: str) -> None:
        """The user wants a connection with the peer."""
        self._chosen.add(peer)
        if peer in self._connected:
            self._connected[peer].rank = (True, self._connected[peer].rank[1])

    def dialled(self, peer: str, now: float, *, failed: bool) -> None:
        """The end of a dial that `look` has asked for."""
        self._dialling.discard(peer)
        if failed:
            self._chosen.discard(peer)
            attempts = self._attempts.setdefault(peer, _Attempts())
            self._forget_attempts()
            attempts.failures += 1
            pause_s = redial_s if self._is_needed(peer, (), now) else casual_redial_s
            attempts.dial_at = now + pause_s(attempts.failures, self.chance())

    def look(
        self,
        connected: Collection[str],
        known: Collection[str],
        heard: Collection[str],
        used: Callable[[str], float],
        needed: Container[str],
        now: float,
        *,
        has_room: bool = True,
        reached: Container[str] = (),
        range_of: Callable[[str], str] = lambda peer: "",
    ) -> Look:
        """Decide; the dials that are asked for count as begun.

        `known` are all peers with an address, `heard` those whose adverts count now. `used` tells when
        something of ours went over a connection last; `needed` are never let go. Only given peers are
        dialled without `has_room`. `reached` are the peers that were there themselves, in this run or before,
        `range_of` gives the range of addresses that a peer shares with those nearby; "": none of note.
        """
        self._take_stock(connected, now)
        self._small = len(heard) - (self.me in heard) <= HIGH
        close, close_again_at = self._let_go(used, needed, now)
        self._reached, self._range_of = reached, range_of
        dial, dial_again_at = self._dial(known, heard, now, has_room)
        return Look(tuple(dial), tuple(close), min(now + LOOK_S, close_again_at, dial_again_at))

    def _take_stock(self, connected: Collection[str], now: float) -> None:
        for peer in connected:
            if peer not in self._connected:
                closed_at, backs = self._closed.pop(peer, (-inf, 0))
                backs = min(backs + 1, BACK_COUNT_MAX) if now < closed_at + BACK_S else 0
                self._connected[peer] = _Connection(now, (peer in self._chosen, self.chance()), backs)
                self._attempts.pop(peer, None)
        gone = [peer for peer in self._connected if peer not in connected]
        for peer in gone:
            del self._connected[peer]
            self._chosen.discard(peer)
            self._attempts[peer] = _Attempts(lost_until=-inf if peer in self._closed else now + LOST_S)
        self._forget_attempts()
        if gone and not self._connected:
            # Alone: whoever failed before may be worth another try.
            for attempts in self._attempts.values():
                attempts.dial_at = min(attempts.dial_at, now + CASUAL_S_MIN)

    def _forget_attempts(self) -> None:
        """Forget the oldest of too many: strangers come and go under any number of ids."""
        extra = len(self._attempts) - ATTEMPTS_MAX
        for peer in [peer for peer in self._attempts if peer not in self.given][: max(0, extra)]:
            del self._attempts[peer]

    # Dials

    def _dial(
        self, known: Collection[str], heard: Container[str], now: float, has_room: bool
    ) -> tuple[list[str], float]:
        own = sum(one.rank[0] for one in self._connected.values())
        missing = max((WANTED if self._small else LOW) - len(self._connected), OWN - own) - len(
            self._dialling
        )
        again_at = inf if has_room else now + NO_ROOM_LOOK_S
        self._forgotten_at = min(self._forgotten_at, now + FORGOTTEN_S * 1.5)
        dial: list[str] = []
        for peer in self._candidates(known, heard, now, all_of_them=missing > 0):
            needed = self._is_needed(peer, heard, now)
            forgotten = not needed and missing <= 0
            if forgotten and not self._is_missed(peer, heard):
                continue
            dial_at = self._attempts[peer].dial_at if peer in self._attempts else -inf
            if forgotten and now < self._forgotten_at:
                again_at = min(again_at, self._forgotten_at)
                break
            if not has_room and peer not in self.given:
                continue
            if dial_at > now:
                again_at = min(again_at, dial_at)
                continue
            if len(self._dialling) >= DIALS_MAX:
                # The end of a dial has this node look again.
                break
            if not needed and not self._casual.allows(1, now):
                again_at = min(again_at, now + 1 / CASUAL_DIALS_PER_S)
                break
            if forgotten:
                self._forgotten_at = now + FORGOTTEN_S * (0.5 + self.chance())
            missing -= 1
            self._dialling.add(peer)
            self._chosen.add(peer)
            dial.append(peer)
        return dial, again_at

    def _candidates(
        self, known: Collection[str], heard: Container[str], now: float, *, all_of_them: bool
    ) -> list[str]:
        """Peers that may be dialled: the needed first, the lost last, and else in random order.

        Of one range a second comes after the first of all others, and what has been reached before what is
        only heard of. Unless `all_of_them`: the needed and the missed.
        """
        order: dict[str, tuple[bool, bool, float]] = {}
        for peer in known:
            if peer in self._connected or peer in self._dialling or peer == self.me:
                continue
            needed = self._is_needed(peer, heard, now)
            if needed or all_of_them or self._is_missed(peer, heard):
                order[peer] = (not needed, self._is_lost(peer, now), self.chance())
        there = Counter(self._range_of(peer) for peer in (*self._connected, *self._dialling))
        placed: dict[str, tuple[bool, bool, int, bool, float]] = {}
        for peer in sorted(order, key=lambda peer: (peer not in self._reached, *order[peer])):
            near = self._range_of(peer)
            needed_not, lost, chance = order[peer]
            placed[peer] = needed_not, lost, there[near] if near else 0, peer not in self._reached, chance
            there[near] += 1
        return sorted(placed, key=placed.__getitem__)

    def _is_missed(self, peer: str, heard: Container[str]) -> bool:
        """Is it not heard any more, or could not be reached: is it, and are others, cut off from here?"""
        return peer not in heard or (peer in self._attempts and self._attempts[peer].failures > 0)

    def _is_lost(self, peer: str, now: float) -> bool:
        return peer in self._attempts and self._attempts[peer].lost_until > now

    def _is_needed(self, peer: str, heard: Container[str], now: float) -> bool:
        if self._small:
            return peer in self.given or self._is_lost(peer, now)
        return peer in self.given and peer not in heard

    # Connections that go

    def _let_go(
        self, used: Callable[[str], float], needed: Container[str], now: float
    ) -> tuple[list[str], float]:
        if self._small or len(self._connected) <= HIGH:
            return [], inf
        if now < self._close_at:
            return [], self._close_at
        rest_at = {
            peer: max(used(peer) + IDLE_S, one.since + IDLE_S * 2**one.backs)
            for peer, one in self._connected.items()
            if peer not in needed
        }
        idle = sorted(
            (peer for peer, at in rest_at.items() if at <= now), key=lambda peer: self._connected[peer].rank
        )
        above = len(self._connected) - HIGH
        close = idle[: max(1, above // CLOSE_SHARE)]
        for peer in close:
            self._closed[peer] = now, self._connected[peer].backs
        while len(self._closed) > CLOSED_REMEMBERED_MAX:
            del self._closed[next(iter(self._closed))]
        if not close:
            return [], min(rest_at.values(), default=inf)
        self._close_at = now + CLOSE_AGAIN_S * (0.5 + self.chance())
        return close, self._close_at
