"""One identity on two nodes, as a copied data directory makes them: how both notice, and the network heals.

A node notices by an advert of its own id with a number that it never issued. A neighbour of both notices by
the keys of their processes (of Noise, new at each start): it has two connections under one id. The second is
good for little, since a neighbour is greeted once; so both are ended, and whoever lives connects anew.

Gossip brings no node what another publishes under its id, and of two adverts a table has the newer, which is
one's own for one of the two. So the neighbour asks each over its own connection before it ends that, and
gives what both said to whoever asks under that id: each finds what it never issued, under its own signature.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.wire.signing import Signed

# As many as may still be on their way: an advert counts for an hour at most, and goes every 2 s at most.
NUMBERS_REMEMBERED = 2_000
# Two nodes that answer each other's adverts: so often at most.
ANSWER_GAP_S = 10.0
# Heard again after so long it is told again.
TELL_GAP_S = 10 * 60.0
# The gap between two partings of one peer: each costs it what runs over its connections.
PART_GAP_S = 60.0
# Where one of them did not answer, as one that has just started may not, they are asked so often in a row.
ASKED_MAX = 3
# The words of both are told for so long: each asks when it has connected anew, mostly at once; later they
# may be of one that ended long ago.
SAID_KEPT_S = 5 * 60.0
# Processes that are asked, and peers that are remembered.
PROCESSES_MAX = 4
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
    asked: int = 1
    told: float = -inf
    # The word of each process about itself, by its key.
    said: dict[bytes, Signed] = field(default_factory=dict)
    # The newest that was heard of either, maybe a farewell.
    newest: Signed | None = None

    @property
    def unheard(self) -> frozenset[bytes]:
        return self.keys - self.said.keys()


@dataclass(slots=True)
class Doubles:
    """The peers that were connected under one id by two processes at a time."""

    _seen: dict[str, _Sighting] = field(default_factory=dict)

    def connected(self, peer: str, keys: Collection[bytes], now: float) -> tuple[bool, bool]:
        """Its connections now have these keys: are all to be ended, and is it to be told to people?

        A peer that was restarted leaves a dead connection behind: only keys that come back are two nodes.
        """
        both = frozenset(sorted(keys)[:PROCESSES_MAX])
        if len(both) < 2:
            return False, False
        seen = self._seen.pop(peer, None)
        if seen is None or seen.keys != both:
            self._remember(peer, _Sighting(both, now))
            return True, False
        parts = now >= seen.parted + PART_GAP_S
        again = bool(seen.unheard) and seen.asked < ASKED_MAX
        tells = now >= seen.told + TELL_GAP_S
        if parts or again:
            seen.parted, seen.asked = now, 1 if parts else seen.asked + 1
        seen.told = now if tells else seen.told
        self._remember(peer, seen)
        return parts or again, tells

    def unheard(self, peer: str) -> frozenset[bytes]:
        """The keys of those that have said nothing of themselves as yet."""
        seen = self._seen.get(peer)
        return seen.unheard if seen else frozenset()

    def heard(self, peer: str, key: bytes | None, signed: Signed) -> None:
        """An advert of a peer, from its process of this key, or the newest; its signature is right."""
        seen = self._seen.get(peer)
        if seen is None:
            return
        if key is None:
            seen.newest = signed
        elif key in seen.keys:
            seen.said[key] = signed

    def said(self, peer: str, now: float) -> list[Signed]:
        """For whoever asks under that id: what its two nodes said of late."""
        seen = self._seen.get(peer)
        if seen is None or now >= seen.parted + SAID_KEPT_S:
            return []
        return [*seen.said.values(), *([seen.newest] if seen.newest else [])]

    def disconnected(self, peer: str, gone: bytes, left: Collection[bytes]) -> bool:
        """A connection has ended: are those that are left to be ended, too, since they were never greeted?"""
        return bool(left) and gone not in left

    def _remember(self, peer: str, seen: _Sighting) -> None:
        self._seen[peer] = seen
        if len(self._seen) > PEERS_MAX:
            del self._seen[next(iter(self._seen))]
