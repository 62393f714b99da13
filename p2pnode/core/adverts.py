"""The table of peers: the newest advert of each, until it expires; and when to send our own.

A later advert replaces an earlier one by its number, so replays change nothing. Numbers
of peers that left or fell silent are remembered, or a captured goodbye's predecessor
would bring a ghost back. Times in adverts are their sender's: what an advert is worth
here is counted from our own clock, and an `issued_ms` far from it is refused, which bounds
how long a captured advert can be replayed to a node that never saw its successors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from .messages import Advert, Offer, Signed

# 10,000 peers are a few times what one topic can carry (DESIGN: links).
PEERS_MAX = 10_000
# A missed advert or two must not make a peer vanish.
ADVERT_TTL_INTERVALS = 3
ADVERT_INTERVAL_S_MIN = 30.0
# What a topic carries at most, over the whole network: each costs every node 5 to 10 ms.
ADVERTS_PER_S_MAX = 20.0
# Between two adverts of one peer, however much changes.
ADVERT_GAP_S = 2.0
# Clocks of machines without NTP are off by minutes, not by more.
CLOCK_SKEW_MS_MAX = 10 * 60 * 1000
ADVERT_TTL_MS_MAX = 60 * 60 * 1000


def advert_interval_s(peers: int) -> float:
    """Seconds between a peer's adverts in a network of `peers` (DESIGN: max(30 s, N / 20 s))."""
    return max(ADVERT_INTERVAL_S_MIN, peers / ADVERTS_PER_S_MAX)


@dataclass(frozen=True, slots=True)
class Known:
    """A peer's newest advert, as signed, and when it ceases to count here."""

    advert: Advert
    signed: Signed
    expires: float


@dataclass(slots=True)
class AdvertTable:
    """What this node knows of the peers that it could ask, itself among them."""

    known: dict[str, Known] = field(default_factory=dict)
    # Highest number seen of peers that are not in `known` any more.
    gone: dict[str, int] = field(default_factory=dict)
    # When the first may expire: never later than it does, so that a tick is never missed.
    deadline: float = inf

    def learn(self, signed: Signed, advert: Advert, remaining_ms: int, now: float) -> bool:
        """Take in an advert whose signature holds; true if the peer is new, or offers other things.

        `remaining_ms` is how long whoever handed it over would still have kept it; at most
        the advert's own time to live counts.
        """
        ttl_ms = min(advert.ttl_ms, ADVERT_TTL_MS_MAX)
        if abs(now * 1000 - advert.issued_ms) > CLOCK_SKEW_MS_MAX + ttl_ms:
            return False
        held = self.known.get(advert.peer)
        newest = held.advert.number if held else self.gone.get(advert.peer, -1)
        if advert.number <= newest:
            return False
        if advert.leaving:
            self._forget(advert.peer, advert.number)
            return True
        if held is None and len(self.known) >= PEERS_MAX:
            return False
        self.gone.pop(advert.peer, None)
        lifetime_ms = min(remaining_ms, ttl_ms)
        self.known[advert.peer] = Known(advert, signed, now + lifetime_ms / 1000)
        self.deadline = min(self.deadline, now + lifetime_ms / 1000)
        return held is None or held.advert.offer != advert.offer

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
        self.known.pop(peer, None)
        self.gone[peer] = number
        while len(self.gone) > PEERS_MAX:
            del self.gone[next(iter(self.gone))]


@dataclass(slots=True)
class Advertising:
    """When this node's own advert is due: at intervals, and soon after what it offers changed."""

    offer: Offer | None = None
    sent: float = -inf
    due: float = inf

    def changed(self, offer: Offer, now: float) -> None:
        """The offer is now this; say so soon if somebody would decide otherwise for it."""
        if self.offer is None or _material(self.offer, offer):
            self.due = min(self.due, self.soonest(now))

    def soonest(self, now: float) -> float:
        """When the next advert may go at the earliest."""
        return max(now, self.sent + ADVERT_GAP_S)

    def take(self, offer: Offer, peers: int, jitter: float, now: float) -> None:
        """Note that `offer` was sent; `jitter`, of 0 to 1, keeps peers from speaking in step."""
        self.offer, self.sent = offer, now
        self.due = now + advert_interval_s(peers) * (0.75 + jitter / 2)


def _material(old: Offer, new: Offer) -> bool:
    """Would a requester choose differently? Small moves of what is free can wait for the interval."""
    if (
        old.engines,
        old.networks,
        old.labels,
        old.total,
        old.publishers,
        old.sources,
        old.taking,
    ) != (
        new.engines,
        new.networks,
        new.labels,
        new.total,
        new.publishers,
        new.sources,
        new.taking,
    ):
        return True
    for name in ("cpu_millis", "memory_bytes", "disk_bytes", "gpus"):
        total, before, after = (getattr(o, name) for o in (new.total, old.free, new.free))
        # A quarter of the machine decides between fitting and not fitting for common jobs.
        if total and abs(before - after) * 4 >= total:
            return True
    return False
