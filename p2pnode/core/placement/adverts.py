"""The table of peers: the newest advert of each, until it expires.

A later advert replaces an earlier one by its number, so replays change nothing. Numbers
of peers that left or fell silent are remembered, or a captured goodbye's predecessor
would bring a ghost back. Times in adverts are their sender's: what an advert is worth
here is counted from our own clock, and an `issued_ms` far from it is refused, which bounds
how long a captured advert can be replayed to a node that never saw its successors.

Anybody can invent peers. Those that were never heard themselves are counted against the neighbour that
brought them, and their addresses (`hearsay`): it may bring so many, and gives way first when the table is
full; then those that were heard, and have no connection now. `core.job.asking` asks the unheard with care.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from p2pnode.core.values.ranges import ranges_of
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Advert, Capacity
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import Resources

from . import arrival
from .hearsay import Hearsay
from .matching import NOTHING, plus
from .reliance import Doubts, Reliance

# Enough to choose from; in a larger network each node knows a sample, as its neighbours bring it.
PEERS_MAX = 2_000
# An answer to an ask takes longer only over a line that is no use for the job either (asking.BID_WINDOW_S).
ANSWER_S_MAX = 3.0
# A peer that did not answer is asked last for so long.
SILENT_FOR_S = 5 * 60.0
# One that brought more peers than these that do not answer may have invented them all.
SILENT_PER_FORWARDER_MAX = 2
# A missed advert or two must not make a peer vanish.
ADVERT_TTL_INTERVALS = 3
ADVERT_INTERVAL_S_MIN = 30.0
# Over the whole network: each, with all its copies, costs every node 5 ms of the 10 that an idle one may use.
ADVERTS_PER_S_MAX = 1.0
# Between two adverts of one peer, however much changes: so many in an interval.
ADVERT_GAPS = 15
# Clocks of machines without NTP are off by minutes, not by more.
CLOCK_SKEW_MS_MAX = 10 * 60 * 1000
ADVERT_TTL_MS_MAX = 60 * 60 * 1000
ADVERT_INTERVAL_S_MAX = ADVERT_TTL_MS_MAX / 1000 / ADVERT_TTL_INTERVALS


def advert_interval_s(peers: int) -> float:
    """Seconds between a peer's adverts: one a second from all of a network of up to 1,200."""
    return min(ADVERT_INTERVAL_S_MAX, max(ADVERT_INTERVAL_S_MIN, peers / ADVERTS_PER_S_MAX))


def advert_gap_s(peers: int) -> float:
    """Seconds between two adverts of one peer at least."""
    return advert_interval_s(peers) / ADVERT_GAPS


@dataclass(frozen=True, slots=True)
class Known:
    """A peer's newest advert, as signed, and when it ceases to count here."""

    advert: Advert
    signed: Signed
    expires: float
    # The neighbour that brought it; None: the peer itself has been heard, by a connection or an answer.
    brought_by: str | None = None
    # Since when an ask to it has been without an answer.
    asked: float | None = None
    # Whether it has a connection with this node, so that it need not be dialled.
    near: bool = False
    # Host of its last connection.
    host: str = ""
    # The sum of what this node has given it to run since the advert came, which cannot tell of that yet.
    given: Resources = NOTHING

    def is_silent(self, now: float) -> bool:
        return self.asked is not None and ANSWER_S_MAX <= now - self.asked < ANSWER_S_MAX + SILENT_FOR_S


class KnownPeers(dict[str, Known]):
    """The newest advert of each peer, by its id, and who has something that takes long to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self._holders: dict[int, set[str]] = {}
        self.reliance = Reliance()

    def __setitem__(self, peer: str, known: Known) -> None:
        self._note_held(peer, known)
        super().__setitem__(peer, known)

    def pop(self, peer: str, *default: Any) -> Any:
        """Take a peer out, as a dict does."""
        self._note_held(peer, None)
        return super().pop(peer, *default)

    def holders(self, cache_keys: Iterable[int]) -> set[str]:
        """The peers that have something large of these cache keys."""
        return set().union(*(self._holders.get(one, ()) for one in cache_keys))

    def _note_held(self, peer: str, known: Known | None) -> None:
        before = self.get(peer)
        cached = known.advert.capacity.cached if known is not None else ()
        if before is not None and before.advert.capacity.cached is not cached:
            for cache_key in _large(before.advert.capacity.cached):
                self._holders[cache_key].discard(peer)
                if not self._holders[cache_key]:
                    del self._holders[cache_key]
        if before is None or before.advert.capacity.cached is not cached:
            for cache_key in _large(cached):
                self._holders.setdefault(cache_key, set()).add(peer)


def _large(cached: Iterable[tuple[int, int]]) -> set[int]:
    return {cache_key for cache_key, size in cached if arrival.is_large(size)}


@dataclass(slots=True)
class AdvertTable:
    """The peers that this node could ask, itself among them, and what it knows of them."""

    known: KnownPeers = field(default_factory=KnownPeers)
    # Highest number seen of peers that are not in `known` any more.
    gone: dict[str, int] = field(default_factory=dict)
    # When the first may expire: never later than it does, so that a tick is never missed.
    deadline: float = inf

    # Peers that were heard themselves, the longest unheard first, each with the host of its last connection.
    _met: dict[str, str] = field(default_factory=dict)
    # Peers that have a connection with this node.
    _near: dict[str, str] = field(default_factory=dict)
    # Peers that were not.
    _unmet: Hearsay = field(default_factory=Hearsay)

    def is_news(self, advert: Advert, forwarder: str) -> bool:
        """Would the table change by it, were its signature to hold? So it is asked before that is checked."""
        held = self.known.get(advert.peer)
        if held is not None:
            return advert.number > held.advert.number
        if advert.number <= self.gone.get(advert.peer, -1):
            return False
        met = advert.peer in self._met or forwarder in ("", advert.peer)
        return advert.leaving or self._has_place(None if met else forwarder, advert)

    def learn(
        self,
        signed: Signed,
        advert: Advert,
        remaining_ms: int,
        now: float,
        forwarder: str = "",
        clock_set_s: float = 0.0,
    ) -> bool:
        """Take in an advert whose signature holds; true if the peer is new, or offers other things.

        `remaining_ms` is how long whoever handed it over would still have kept it; at most
        the advert's own time to live counts. `clock_set_s` is how far the machine's clock is from `now`.
        """
        ttl_ms = min(advert.ttl_ms, ADVERT_TTL_MS_MAX)
        if abs((now + clock_set_s) * 1000 - advert.issued_ms) > CLOCK_SKEW_MS_MAX + ttl_ms:
            return False
        held = self.known.get(advert.peer)
        newest = held.advert.number if held else self.gone.get(advert.peer, -1)
        if advert.number <= newest:
            return False
        if advert.leaving:
            self._forget(advert.peer, advert.number)
            return True
        asked = held.asked if held else None
        if forwarder in ("", advert.peer):
            self.met(advert.peer)
            held = self.known.get(advert.peer)
        elif advert.peer in self._met:
            self._met[advert.peer] = self._met.pop(advert.peer)
        brought_by = held.brought_by if held else None if advert.peer in self._met else forwarder
        if held is not None:
            self._uncount(held)
        if (held is None or brought_by is not None) and not self._has_place(brought_by, advert):
            self._count(held)
            return False
        if held is None or brought_by is not None:
            self._make_place(brought_by, advert, grows=held is None)
        self.gone.pop(advert.peer, None)
        lifetime_ms = min(remaining_ms, ttl_ms)
        near = advert.peer in self._near or not forwarder
        host = self._met.get(advert.peer, "")
        known = Known(advert, signed, now + lifetime_ms / 1000, brought_by, asked, near, host)
        self.known[advert.peer] = known
        self._count(known)
        self.deadline = min(self.deadline, now + lifetime_ms / 1000)
        return held is None or held.advert.capacity != advert.capacity

    def connection_changed(self, peer: str, *, connected: bool, host: str = "") -> None:
        """The peer has a connection with this node, from or to `host`, or has none any more."""
        if connected:
            self._near[peer] = host
        else:
            self._near.pop(peer, None)
        held = self.known.get(peer)
        if held is not None and held.near is not connected:
            self.known[peer] = replace(held, near=connected, host=host or held.host)

    def met(self, peer: str) -> None:
        """The peer itself has been heard."""
        host = self._met.pop(peer, "")
        self._met[peer] = self._near.get(peer, host)
        if len(self._met) > 2 * PEERS_MAX:
            del self._met[next(one for one in self._met if one not in self.known)]
        held = self.known.get(peer)
        if held is not None and (held.brought_by is not None or held.asked is not None):
            self._uncount(held)
            self.known[peer] = replace(held, brought_by=None, asked=None)

    def asked(self, peer: str, now: float) -> None:
        """An ask goes to the peer."""
        held = self.known.get(peer)
        if held is not None and (held.asked is None or now >= held.asked + ANSWER_S_MAX + SILENT_FOR_S):
            self.known[peer] = replace(held, asked=now)

    def refresh(self, me: str, capacity: Capacity) -> None:
        """Have this node's own entry tell what it has now, which its advert will tell others in time."""
        held = self.known.get(me)
        if held is not None:
            now = codec.replace(held.advert.capacity, cached=capacity.cached, fetch_rate=capacity.fetch_rate)
            self.known[me] = replace(held, advert=codec.replace(held.advert, capacity=now))

    def gave(self, peer: str, resources: Resources) -> None:
        """The peer is awarded something that takes so much."""
        held = self.known.get(peer)
        if held is not None:
            self.known[peer] = replace(held, given=plus(held.given, resources))

    def _has_place(self, brought_by: str | None, advert: Advert) -> bool:
        """Is there a place for a new peer, or one to be made at the cost of who brought most?"""
        if brought_by is not None and not self._unmet.has_place(brought_by, advert.addresses):
            return False
        if len(self.known) < PEERS_MAX or advert.peer in self.known:
            return True
        counts = self._unmet.by_forwarder
        most = counts[self._unmet.brought_most()]
        if brought_by is not None:
            return most > counts[brought_by] + 1
        return most > 0 or self._quietest() is not None

    def _make_place(self, brought_by: str | None, advert: Advert, *, grows: bool) -> None:
        """Take out what has to go for a peer; `grows`: it has no entry yet."""
        for name in self._unmet.full(advert.addresses) if brought_by is not None else ():
            most = self._unmet.most_in(name)
            self._drop(
                peer
                for peer, one in self.known.items()
                if one.brought_by == most
                and peer != advert.peer
                and self._unmet.is_in(one.advert.addresses, name)
            )
        if grows and len(self.known) >= PEERS_MAX:
            most = self._unmet.brought_most()
            if most:
                self._drop(peer for peer, one in self.known.items() if one.brought_by == most)
            else:
                self._drop(filter(None, [self._quietest()]))

    def _drop(self, peers: Iterable[str]) -> None:
        """Take out the first of these, if there is any."""
        for peer in peers:
            self._uncount(self.known.pop(peer))
            return

    def _quietest(self) -> str | None:
        """The peer that was heard itself, has no connection, and is to go first.

        Where many connected from one range it is one of those; then who was heard longest ago.
        """
        away = {peer: self._met.get(peer, "") for peer, one in self.known.items() if not one.near}
        if not away:
            return None
        near = {peer: ranges_of(host).near for peer, host in away.items()}
        crowds = Counter(near.values())
        heard = {peer: number for number, peer in enumerate(self._met)}
        return min(away, key=lambda peer: (-crowds[near[peer]], heard.get(peer, -1)))

    def _count(self, held: Known | None) -> None:
        if held is not None and held.brought_by is not None:
            self._unmet.add(held.brought_by, held.advert.addresses)

    def _uncount(self, held: Known) -> None:
        if held.brought_by is not None:
            self._unmet.remove(held.brought_by, held.advert.addresses)

    def expire(self, now: float) -> bool:
        """At `deadline` or later: forget what is too old; true if anything was."""
        old = [peer for peer, known in self.known.items() if known.expires <= now]
        for peer in old:
            self._forget(peer, self.known[peer].advert.number)
        self.deadline = min((known.expires for known in self.known.values()), default=inf)
        return bool(old)

    def entries(self, now: float) -> Iterator[tuple[Signed, int]]:
        """The table as a joiner gets it: each advert, and for how many milliseconds it still counts."""
        for known in self.known.values():
            if known.expires > now:
                yield known.signed, int((known.expires - now) * 1000)

    def _forget(self, peer: str, number: int) -> None:
        held = self.known.pop(peer, None)
        if held is not None:
            self._uncount(held)
        self.gone[peer] = number
        while len(self.gone) > PEERS_MAX:
            del self.gone[next(iter(self.gone))]


def out_of_reach(known: Mapping[str, Known], now: float) -> frozenset[str]:
    """The peers that would probably not answer: they did not, or who brought them brought such peers."""
    silent = {peer for peer, one in known.items() if one.asked is not None and one.is_silent(now)}
    forwarders = Counter(known[peer].brought_by for peer in silent)
    forwarders.pop(None, None)
    liars = {one for one, count in forwarders.items() if count > SILENT_PER_FORWARDER_MAX}
    if not liars:
        return frozenset(silent)
    return frozenset(silent | {peer for peer, one in known.items() if one.brought_by in liars})


def doubts(
    known: KnownPeers, me: str, suspects: Collection[str], now: float, *, wary: bool = False
) -> Doubts:
    """Doubts of the requester `me`, by what it was promised before.

    `suspects` have kept a job of it waiting against their word; `wary`: one has lost it.
    """
    silent = [*suspects]
    silent += [peer for peer, one in known.items() if one.asked is not None and one.is_silent(now)]

    def range_of(peer: str) -> str:
        held = known.get(peer)
        ranges = ranges_of(held.host if held else "")
        return ranges.near if ranges.is_public else ""

    return known.reliance.doubts(known.keys() - {me}, range_of, silent, now, wary=wary)
