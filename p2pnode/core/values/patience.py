"""For how long a peer that keeps sending what is refused is left alone: without a clock."""

from __future__ import annotations

from dataclasses import dataclass

# An honest peer of another version is refused a message now and then; one that floods, all the time.
REFUSALS_MAX = 16
# One refusal is forgiven in this time.
FORGIVEN_AFTER_S = 15.0
ALONE_S_MIN = 10.0
ALONE_S_MAX = 30 * 60.0


@dataclass(slots=True)
class Patience:
    """This node's patience with one peer."""

    # How often the peer has been left alone, less what was forgiven since.
    times: int = 0
    alone_until: float = 0.0
    _refusals: float = 0.0
    _counted_at: float = 0.0

    def refuse(self, now: float) -> float:
        """Count a refusal; for how many seconds the peer is left alone from now on, or 0.

        Twice as long as the time before, up to `ALONE_S_MAX`.
        """
        self._forgive(now)
        self._refusals += 1
        if self._refusals <= REFUSALS_MAX:
            return 0.0
        alone_s = min(ALONE_S_MAX, ALONE_S_MIN * 2.0 ** min(self.times, 20))
        self.times += 1
        self._refusals, self.alone_until = 0.0, now + alone_s
        return alone_s

    def is_spent(self, now: float) -> bool:
        """Is the peer left alone now?"""
        return now < self.alone_until

    @property
    def clear_at(self) -> float:
        """When all is forgiven, should nothing be refused until then."""
        wait_s = max(self._refusals * FORGIVEN_AFTER_S, self.times * ALONE_S_MAX)
        return max(self._counted_at, self.alone_until) + wait_s

    def _forgive(self, now: float) -> None:
        quiet_s = now - max(self._counted_at, self.alone_until)
        self._counted_at = now
        if quiet_s > 0:
            self._refusals = max(0.0, self._refusals - quiet_s / FORGIVEN_AFTER_S)
            self.times = max(0, self.times - int(quiet_s / ALONE_S_MAX))
