"""How much a peer may ask of this node: a token bucket, without a clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(slots=True)
class TokenBucket:
    """`burst` tokens at first, and `rate_per_s` more each second up to that many."""

    rate_per_s: float
    burst: float
    _tokens: float = inf
    _filled_at: float = 0.0

    def take(self, cost: float, now: float) -> float:
        """Takes `cost` tokens; returns how many seconds to wait before acting on it (0: none)."""
        self._fill(now)
        self._tokens -= cost
        return max(0.0, -self._tokens / self.rate_per_s)

    def allows(self, cost: float, now: float) -> bool:
        """Takes `cost` tokens if there are so many; else takes none."""
        self._fill(now)
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    @property
    def full_at(self) -> float:
        """When it has all its tokens again, should none be taken until then."""
        return self._filled_at + max(0.0, self.burst - self._tokens) / self.rate_per_s

    def _fill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate_per_s)
        self._filled_at = now
