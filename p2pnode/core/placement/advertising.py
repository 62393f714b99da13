"""This node's own adverts: when they are due, and which changes are worth one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from p2pnode.core.wire.messages import Capacity

from . import arrival
from .adverts import advert_gap_s, advert_interval_s

# Room that is taken for a shorter time nobody needs to hear of: bids tell what there is.
ROOM_LASTS_S = 2.0


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
