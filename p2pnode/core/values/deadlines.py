"""Deadlines by name, of which the earliest is at hand however many there are."""

from __future__ import annotations

import heapq
from math import inf

# Deadlines of before that wait in the queue for their time, to each name: the queue is made anew beyond that.
STALE_PER_NAME_MAX = 16


class Deadlines:
    """One deadline at most for each name."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        # The earliest first; those that `_at` does not have are of before.
        self._queue: list[tuple[float, str]] = []

    def put(self, name: str, at: float) -> None:
        """Set the deadline of `name`, instead of any before; `inf`: it has none."""
        if self._at.get(name, inf) == at:
            return
        if at == inf:
            del self._at[name]
            return
        self._at[name] = at
        heapq.heappush(self._queue, (at, name))
        if len(self._queue) > STALE_PER_NAME_MAX * (len(self._at) + 1):
            self._queue = [(at, one) for one, at in self._at.items()]
            heapq.heapify(self._queue)

    @property
    def first(self) -> float:
        """The earliest deadline; `inf` without any."""
        while self._queue and self._at.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else inf

    def due(self, now: float) -> set[str]:
        """The names whose deadline has come."""
        if self.first > now:
            return set()
        return {name for name, at in self._at.items() if at <= now}

    def __len__(self) -> int:
        """How many entries are kept, those of before included."""
        return len(self._queue)
