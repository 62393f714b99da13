"""One identity on two nodes, as a copied data directory makes them: how both notice, and the network heals.

A node notices by an advert of its own id with a number that it never issued. A neighbour of both notices by
the keys of their processes (of Noise, new at each start): it has two connections under one id. The second is
good for little, since a neighbour is greeted once; so both are ended, and whoever lives connects anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

# As many as may still be on their way: an advert counts for an hour at most, and goes every 2 s at most.
NUMBERS_REMEMBERED = 2_000
# Two nodes that answer each other's adverts: so often at most.
ANSWER_GAP_S = 10.0
# Heard again after so long it is told again.
TELL_GAP_S = 10 * 60.0
# Of one peer: each ending costs it what runs over its connections. And peers that are remembered.
PART_GAP_S = 60.0
PEERS_MAX = 1_000


@dataclass(slots=True)
class OwnNumbers:
    """The numbers of this node's own adverts, and what was heard under its id."""

    # The newest number of the runs before this one, all of which may be its own.
    before: int = -1
    # The newest that was heard of a twin: the next of one's own has to exceed it.
    twin: int = -1
    told: float = -inf
    answered: float = -inf
    _issued: deque[int] = field(default_factory=lambda: deque(maxlen=NUMBERS_REMEMBERED))

    def next(self, now_ms: int) -> int:
        """The number of the next advert: above all that were heard under this id, and noted as issued."""
        newest = self._issued[-1] if self._issued else self.before
        number = max(newest + 1, self.twin + 1, now_ms)
        self._issued.append(number)
        return number

    def is_foreign(self, number: int) -> bool:
        return number > self.before and number not in self._issued

    def heard(self, number: int, now: float, *, leaving: bool) -> tuple[bool, bool]:
        """A foreign advert: is it to be told to people, and is an advert of one's own to follow at once?"""
        is_news = number > self.twin
        self.twin = max(self.twin, number)
        tells = now >= self.told + TELL_GAP_S
        if tells:
            self.told = now
        answers = is_news and (leaving or now >= self.answered + ANSWER_GAP_S)
        if answers:
            self.answered = now
        return tells, answers


@dataclass(slots=True)
class _Sighting:
    keys: frozenset[bytes]
    parted: float
    told: float = -inf


@dataclass(slots=True)
class Doubles:
    """The peers that were connected under one id by two processes at a time."""

    _seen: dict[str, _Sighting] = field(default_factory=dict)

    def connected(self, peer: str, keys: Collection[bytes], now: float) -> tuple[bool, bool]:
        """Its connections now have these keys: are all to be ended, and is it to be told to people?

        A peer that was restarted leaves a dead connection behind: only keys that come back are two nodes.
        """
        both = frozenset(keys)
        if len(both) < 2:
            return False, False
        seen = self._seen.pop(peer, None)
        if seen is None or seen.keys != both:
            self._remember(peer, _Sighting(both, now))
            return True, False
        parts = now >= seen.parted + PART_GAP_S
        tells = now >= seen.told + TELL_GAP_S
        self._remember(peer, _Sighting(both, now if parts else seen.parted, now if tells else seen.told))
        return parts, tells

    def disconnected(self, peer: str, gone: bytes, left: Collection[bytes]) -> bool:
        """A connection has ended: are those that are left to be ended, too, since they were never greeted?"""
        return bool(left) and gone not in left

    def _remember(self, peer: str, seen: _Sighting) -> None:
        self._seen[peer] = seen
        if len(self._seen) > PEERS_MAX:
            del self._seen[next(iter(self._seen))]
