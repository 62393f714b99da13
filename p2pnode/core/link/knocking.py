"""How many strangers may be at the door at once: handshakes that are under way, limited by address range.

A handshake that nobody goes on with holds its place until its time is up, and each costs this node work. So
each range has a part of the places and of the rate, and where it has none left its oldest gives way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from p2pnode.core.values.ranges import ranges_of
from p2pnode.core.values.rate import TokenBucket

Door = TypeVar("Door", bound=Hashable)

# A handshake takes some round trips and 10 ms; so many at once is a crowd, or somebody silent.
HANDSHAKES_MAX = 64
# A quarter: four ranges that are silent do not fill it all.
PER_RANGE_MAX = 16
# All nodes of a lab start at once.
PER_SCOPE_MAX = 56
# A handshake costs 10 ms of a core: at most a quarter of one, after the burst of a network that starts.
HANDSHAKES_PER_S = 25.0
HANDSHAKES_BURST = 200.0
# One public range: dozens behind one address that start together.
RANGE_PER_S = 5.0
RANGE_BURST = 50.0
# This machine, or the private network.
SCOPE_PER_S = 20.0
SCOPE_BURST = 180.0
# A longer wait is refused, and the peer comes again: a dial takes 5 s at most, its handshake included.
WAIT_S_MAX = 2.0
# Ranges whose rates are remembered: a full bucket is no different from a new one.
RANGES_MAX = 1_000


@dataclass(slots=True)
class Knocking(Generic[Door]):
    """The handshakes under way, each by what stands for it, the oldest first."""

    _under_way: dict[Door, str] = field(default_factory=dict)
    _all: TokenBucket = field(default_factory=lambda: TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST))
    _rates: dict[str, TokenBucket] = field(default_factory=dict)

    def wait_s(self, host: str, now: float) -> float | None:
        """How long a newcomer waits for its turn; None: it is sent away."""
        rates = (self._rate(host), self._all)
        if any(one.take(0, now) > WAIT_S_MAX for one in rates):
            return None
        return max(one.take(1, now) for one in rates)

    def gives_way(self, host: str) -> Door | None:
        """The handshake in whose place another from `host` begins, if there are too many."""
        found = ranges_of(host)
        counts = Counter(self._under_way.values())
        if counts[found.near] >= (PER_RANGE_MAX if found.is_public else PER_SCOPE_MAX):
            return self._oldest(found.near)
        return self.greediest() if len(self._under_way) >= HANDSHAKES_MAX else None

    def greediest(self) -> Door | None:
        """The oldest handshake of the range that has the most."""
        if not self._under_way:
            return None
        (near, _), *_ = Counter(self._under_way.values()).most_common(1)
        return self._oldest(near)

    def begin(self, door: Door, host: str) -> None:
        self._under_way[door] = ranges_of(host).near

    def end(self, door: Door) -> None:
        self._under_way.pop(door, None)

    def _oldest(self, near: str) -> Door:
        return next(door for door, one in self._under_way.items() if one == near)

    def _rate(self, host: str) -> TokenBucket:
        found = ranges_of(host)
        rate = self._rates.pop(found.near, None)
        if rate is None:
            per_s, burst = (RANGE_PER_S, RANGE_BURST) if found.is_public else (SCOPE_PER_S, SCOPE_BURST)
            rate = TokenBucket(per_s, burst)
        self._rates[found.near] = rate
        if len(self._rates) > RANGES_MAX:
            del self._rates[next(iter(self._rates))]
        return rate
