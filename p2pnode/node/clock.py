"""The clock of a node: the time that its core is given."""

from __future__ import annotations

import time

import trio


class Clock:
    """Unix time that never goes back while the process lives, however the machine's clock is set."""

    def __init__(self) -> None:
        self._offset = time.time() - trio.current_time()

    def now(self) -> float:
        """Seconds since 1970, by the machine's clock as it stood at the start."""
        return trio.current_time() + self._offset

    def set_by_s(self) -> float:
        """How far the machine's clock has been set since: what other machines go by is `now` and this."""
        return time.time() - self.now()

    def monotonic(self, at: float) -> float:
        """The same moment on trio's clock."""
        return at - self._offset
