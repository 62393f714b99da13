"""How long something took, told by Prometheus' histograms: counts below bounds, and a sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from time import perf_counter

# From a page in memory to a disk that is failing.
DISK_BOUNDS_S = (0.0001, 0.001, 0.01, 0.1, 1.0)


class Histogram:
    """Durations by upper bound. As a context manager it measures its block, one at a time."""

    __slots__ = ("_began", "bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        """`bounds_s` grow; what is above the last is counted as well."""
        self.bounds_s = tuple(bounds_s)
        self.counts = [0] * (len(self.bounds_s) + 1)
        self.sum_s = 0.0
        self._began = 0.0

    def note(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds_s, duration_s)] += 1
        self.sum_s += duration_s

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *failed: object) -> None:
        self.note(perf_counter() - self._began)
