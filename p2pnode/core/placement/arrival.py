"""How soon a job could begin at a peer: the bytes that it lacks, over the rate of its fetches.

Sizes and rates are told in classes, each of which reaches to twice the one before: closer than that nobody
knows them, and whoever lies about them gains a choice at most. Times are compared in steps that double, too,
so what takes less than a second is no reason to choose a peer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median_low

from p2pnode.core.wire.fields import SIZE_CLASS_MAX
from p2pnode.core.wire.messages import Capacity, Requirements
from p2pnode.core.wire.spec import DockerTask, Task

from .locality import image_cache_key

# Class 0 is what is smaller: it comes in the time of a few messages over any line.
SMALL_SIZE_BYTES = 64 * 1024


def size_class(size_bytes: float) -> int:
    """The class of a size, or of what comes in a second."""
    return min(SIZE_CLASS_MAX, (int(size_bytes) // SMALL_SIZE_BYTES).bit_length())


def bytes_of(size_class: int) -> int:
    """The middle of a class; nothing, of what is small."""
    return (3 * SMALL_SIZE_BYTES << size_class) // 4 if size_class else 0


# An image whose size nobody tells: Debian with a language and some libraries.
IMAGE_CLASS = size_class(300 * 1024**2)
# An input that nobody tells of: nobody is known to have it, so it is no reason to choose a peer.
UNTOLD_INPUT_CLASS = 0
# An input that a node has kept, and not measured since its start: large enough to be worth a choice.
KEPT_INPUT_CLASS = size_class(64 * 1024**2)
# The rate of a peer that has fetched nothing of late: a line of 100 Mbit/s.
UNSEEN_RATE_CLASS = size_class(12_500_000)
# Smaller things come in bursts, and say more of the way than of its width.
RATED_SIZE_BYTES_MIN = 1024**2
# Fetching takes no longer (data.inputs.FETCH_S_MAX).
START_S_MAX = 6 * 3600.0
# Nobody waits longer for a peer that has the data and no room.
PATIENCE_S_MAX = 5 * 60.0


@dataclass(slots=True)
class FetchRate:
    """The rate that this node's fetches got, the last of them most."""

    _size_bytes: float = 0.0
    _seconds: float = 0.0

    def note(self, size_bytes: int, seconds: float) -> None:
        """So much came in so long."""
        if size_bytes >= RATED_SIZE_BYTES_MIN and seconds > 0:
            self._size_bytes = self._size_bytes / 2 + size_bytes
            self._seconds = self._seconds / 2 + seconds

    @property
    def told(self) -> int:
        """The class for an advert; 0: none was seen."""
        return max(1, size_class(self._size_bytes / self._seconds)) if self._seconds else 0


def fetch_s(size_classes: Iterable[int], rate_class: int) -> float:
    """Seconds until things of these sizes have come."""
    return min(START_S_MAX, sum(map(bytes_of, size_classes)) / bytes_of(rate_class or UNSEEN_RATE_CLASS))


def start_s(sizes: Mapping[int, int], capacity: Capacity) -> float:
    """Seconds until a peer has what a job uses, of these cache keys and sizes."""
    large = {cache_key: size for cache_key, size in sizes.items() if size}
    if not large:
        return 0.0
    here = dict(capacity.cached)
    return fetch_s((size for one, size in large.items() if one not in here), capacity.fetch_rate)


def is_large(size: int) -> bool:
    """Does a thing of this class decide where jobs run that use it?"""
    return step(fetch_s((size,), UNSEEN_RATE_CLASS)) > 0


def step(seconds: float) -> int:
    """The step of a time: 0 is below a second, each other one reaches to twice the one before."""
    return int(seconds).bit_length()


def sizes_told(
    need: Requirements, task: Task, own: Capacity | None, others: Collection[Capacity]
) -> dict[int, int]:
    """The sizes of what a job uses, by cache key: by one's own word, by that of most others, or none.

    A few that lie about a size do not move the middle of what is told.
    """
    if not need.cache_keys:
        return {}
    image = image_cache_key(task.engine.image) if isinstance(task.engine, DockerTask) else None
    known = dict(own.cached) if own is not None else {}
    told: dict[int, list[int]] = {one: [] for one in need.cache_keys if one not in known}
    if told:
        for capacity in others:
            for cache_key, size in capacity.cached:
                if cache_key in told:
                    told[cache_key].append(size)
    unknown = {one: IMAGE_CLASS if one == image else UNTOLD_INPUT_CLASS for one in told}
    middle = {one: median_low(sizes) if sizes else unknown[one] for one, sizes in told.items()}
    return {one: known[one] if one in known else middle[one] for one in need.cache_keys}
