"""The table of peers: the newest advert of each, until it expires; and when to send our own.

A later advert replaces an earlier one by its number, so replays change nothing. Numbers
of peers that left or fell silent are remembered, or a captured goodbye's predecessor
would bring a ghost back. Times in adverts are their sender's: what an advert is worth
here is counted from our own clock, and an `issued_ms` far from it is refused, which bounds
how long a captured advert can be replayed to a node that never saw its successors.

Anybody can invent peers. Those that were never heard themselves are counted against the neighbour that
brought them: it may bring so many, and gives way first when the table is full. `core.job.asking` asks them
with care.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Advert, Capacity
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import Resources

from . import arrival
from .matching import NOTHING, plus

# Enough to choose from; in a larger network each node knows a sample, as its neighbours bring it.
PEERS_MAX = 2_000
# Peers never heard themselves that one neighbour may bring: a joiner hears the rest from its others.
UNMET_PER_FORWARDER_MAX = 1_000
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
# Room that is taken for a shorter time nobody needs to hear of: bids tell what there is.
ROOM_LASTS_S = 2.0
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
    # The sum of what this node has given it to run since the advert came, which cannot tell of that yet.
    given: Resources = NOTHING

    def is_silent(self, now: float) -> bool:
        return self.asked is not None and ANSWER_S_MAX <= now - self.asked < ANSWER_S_MAX + SILENT_FOR_S


class KnownPeers(dict[str, Known]):
    """The newest advert of each peer, by its id, and who has something that takes long to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self._holders: dict[int, set[str]] = {}

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

    # Peers that were heard themselves, the longest unheard first.
    _met: dict[str, None] = field(default_factory=dict)
    # Peers that have a connection with this node.
    _near: set[str] = field(default_factory=set)
    # How many that were not each neighbour has brought.
    _unmet: Counter[str] = field(default_factory=Counter)

    def is_news(self, advert: Advert, forwarder: str) -> bool:
        """Would the table change by it, were its signature to hold? So it is asked before that is checked."""
        held = self.known.get(advert.peer)
        if held is not None:
            return advert.number > held.advert.number
        if advert.number <= self.gone.get(advert.peer, -1):
            return False
        met = advert.peer in self._met or forwarder in ("", advert.peer)
        return advert.leaving or self._has_place(None if met else forwarder)

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
        if forwarder in ("", advert.peer):
            self.met(advert.peer)
        brought_by = None if advert.peer in self._met else forwarder
        if held is None and not self._has_place(brought_by):
            return False
        if held is None:
            self._make_place()
        self.gone.pop(advert.peer, None)
        lifetime_ms = min(remaining_ms, ttl_ms)
        asked = held.asked if held else None
        if held is not None:
            # As `met` has left it.
            brought_by = self.known[advert.peer].brought_by
        elif brought_by is not None:
            self._unmet[brought_by] += 1
        near = advert.peer in self._near or not forwarder
        self.known[advert.peer] = Known(advert, signed, now + lifetime_ms / 1000, brought_by, asked, near)
        self.deadline = min(self.deadline, now + lifetime_ms / 1000)
        return held is None or held.advert.capacity != advert.capacity

    def connection_changed(self, peer: str, *, connected: bool) -> None:
        """The peer has a connection with this node, or has none any more."""
        if connected:
            self._near.add(peer)
        else:
            self._near.discard(peer)
        held = self.known.get(peer)
        if held is not None and held.near is not connected:
            self.known[peer] = replace(held, near=connected)

    def met(self, peer: str) -> None:
        """The peer itself has been heard."""
        self._met.pop(peer, None)
        self._met[peer] = None
        if len(self._met) > PEERS_MAX:
            del self._met[next(iter(self._met))]
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

    def _has_place(self, brought_by: str | None) -> bool:
        """Is there a place for a new peer, or one to be made at the cost of who brought most?"""
        if brought_by is not None and self._unmet[brought_by] >= UNMET_PER_FORWARDER_MAX:
            return False
        if len(self.known) < PEERS_MAX:
            return True
        most = self._unmet[self._brought_most()]
        return most > (0 if brought_by is None else self._unmet[brought_by] + 1)

    def _make_place(self) -> None:
        if len(self.known) >= PEERS_MAX:
            most = self._brought_most()
            peer = next(peer for peer, one in self.known.items() if one.brought_by == most)
            self._uncount(self.known.pop(peer))

    def _brought_most(self) -> str:
        return max(self._unmet, key=lambda one: (self._unmet[one], one), default="")

    def _uncount(self, held: Known) -> None:
        if held.brought_by is not None:
            self._unmet[held.brought_by] -= 1
            if not self._unmet[held.brought_by]:
                del self._unmet[held.brought_by]

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


@dataclass(slots=True)
class Advertising:
    """When this node's own advert is due: at intervals, and soon after what it offers changed."""

    capacity: Capacity | None = None
    sent: float = -inf
    due: float = inf
    # As the network was when it was sent.
    gap_s: float = advert_gap_s(0)
    # When other room than was told will have lasted long enough to be told.
    _room_due: float = inf

    def changed(self, capacity: Capacity, now: float) -> None:
        """Note the capacity as it is now; say so soon if somebody would decide otherwise for it.

        Other room is told where it lasts: what one short job takes, and gives back, is not worth an advert
        to everybody.
        """
        if self.capacity is None or _material(self.capacity, capacity):
            self.due = min(self.due, self.soonest(now))
        elif _other_room(self.capacity, capacity):
            self._room_due = min(self._room_due, max(self.soonest(now), now + ROOM_LASTS_S))
        else:
            self._room_due = inf

    @property
    def deadline(self) -> float:
        """When the next advert goes, if nothing changes."""
        return min(self.due, self._room_due)

    def leave(self) -> None:
        """Note that this node has said that it goes."""
        self.capacity, self.due, self._room_due = None, inf, inf

    def soonest(self, now: float) -> float:
        """When the next advert may go at the earliest."""
        return max(now, self.sent + self.gap_s)

    def take(self, capacity: Capacity, peers: int, jitter: float, now: float) -> None:
        """Note that `capacity` was sent; `jitter`, of 0 to 1, keeps peers from speaking in step."""
        self.capacity, self.sent, self.gap_s = capacity, now, advert_gap_s(peers)
        self.due = now + advert_interval_s(peers) * (0.75 + jitter / 2)
        self._room_due = inf


def _material(old: Capacity, new: Capacity) -> bool:
    """Would a requester choose differently, whatever room there is?"""
    if old is new:
        return False
    if (
        old.engines,
        old.networks,
        old.labels,
        old.total,
        old.publishers,
        old.sources,
        old.scheduling,
    ) != (
        new.engines,
        new.networks,
        new.labels,
        new.total,
        new.publishers,
        new.sources,
        new.scheduling,
    ):
        return True
    # Something large has come, which others need not fetch to elsewhere.
    return bool({one for one in new.cached if arrival.is_large(one[1])} - set(old.cached))


def _other_room(old: Capacity, new: Capacity) -> bool:
    """Is there so much more or less room that a requester might choose differently?"""
    for name in ("cpu_millis", "memory_bytes", "disk_bytes", "gpus"):
        total, before, after = (getattr(o, name) for o in (new.total, old.free, new.free))
        # A quarter of the machine decides between fitting and not fitting for common jobs.
        if total and abs(before - after) * 4 >= total:
            return True
    return False
