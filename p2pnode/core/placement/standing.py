"""How far a compute peer trusts each requester with room that it only bids: earned here, and lost here.

    proven      a program of its has run here, and it has left no bids unused of late
    stranger    none has yet: new identities cost nothing, so all strangers share one allowance
    doubted     it held bids to no use of late: the more, the smaller its allowance

An award takes one miss back, and so does each minute. Nothing of it outlives the node: a restart finds
the proven again by the reservations that ended within the hour.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

# Requesters that are remembered; the longest unseen is forgotten first, and is a stranger again.
REQUESTERS_MAX = 10_000
# One requester must not be able to reserve a whole machine by asking and never awarding.
OPEN_BIDS_PER_PEER_MAX = 32
# A stranger's job of many replicas goes on as its first awards come.
OPEN_BIDS_PER_STRANGER_MAX = 4
# Each halves the allowance: after so many, one bid is left of 32.
MISSES_MAX = 5
# A requester that was cut off for a moment is itself again before a person would notice.
MISS_FORGOTTEN_S = 60.0

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Standing:
    # The node itself: always proven, since it shares its own room with nobody by asking itself.
    me: str = ""
    _proven: dict[str, None] = field(default_factory=dict)
    # Misses, which leak away, and when that was so.
    _missed: dict[str, tuple[float, float]] = field(default_factory=dict)
    # When each party got its last bid.
    _served: dict[str, float] = field(default_factory=dict)

    def ran(self, peer: str) -> None:
        """A program of its has run here, and is over."""
        _renew(self._proven, peer, None)

    def served(self, share: str, now: float) -> None:
        """Note that a bid was made to `share`."""
        _renew(self._served, share, now)

    def served_at(self, share: str) -> float:
        return self._served.get(share, 0.0)

    def missed(self, peer: str, now: float) -> None:
        """Count a bid that `peer` held to no use."""
        misses = min(MISSES_MAX, self._level(peer, now) + 1)
        _renew(self._missed, peer, (misses, now))
        if misses > MISSES_MAX - 1:
            self._proven.pop(peer, None)

    def awarded(self, peer: str, now: float) -> None:
        if peer in self._missed:
            _renew(self._missed, peer, (max(0.0, self._level(peer, now) - 1), now))

    def misses(self, peer: str, now: float) -> int:
        return 0 if peer == self.me else ceil(self._level(peer, now))

    @property
    def proven(self) -> Collection[str]:
        """The peers whose programs have run here, doubted of late or not."""
        return self._proven.keys()

    def is_proven(self, peer: str, now: float) -> bool:
        return peer == self.me or (peer in self._proven and not self.misses(peer, now))

    def open_bids_max(self, peer: str, now: float) -> int:
        most = OPEN_BIDS_PER_PEER_MAX
        if peer not in self._proven and peer != self.me:
            most = OPEN_BIDS_PER_STRANGER_MAX
        return max(1, most >> self.misses(peer, now))

    def better_at(self, peer: str, now: float) -> float | None:
        """When a miss of its is forgotten next."""
        misses = self.misses(peer, now)
        if not misses:
            return None
        level, at = self._missed[peer]
        return at + (level - (misses - 1)) * MISS_FORGOTTEN_S

    def _level(self, peer: str, now: float) -> float:
        level, at = self._missed.get(peer, (0.0, now))
        # To the millisecond, or a tick at `better_at` could come a rounding error too early for ever.
        return round(max(0.0, level - (now - at) / MISS_FORGOTTEN_S), 5)


def _renew(of: dict[str, _Value], peer: str, value: _Value) -> None:
    of.pop(peer, None)
    of[peer] = value
    if len(of) > REQUESTERS_MAX:
        del of[next(iter(of))]
