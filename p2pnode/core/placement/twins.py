"""One identity on two nodes, as a copied data directory makes them: how both notice, and the network heals.

A node notices by an advert of its own id with a number that it never issued. A neighbour of both notices by
the keys of their processes (of Noise, new at each start): it has two connections under one id. The second is
good for little, since a neighbour is greeted once; so both are ended, and whoever lives connects anew.

Gossip brings no node what another publishes under its id, and of two adverts a table has the newer, which is
one's own for one of the two. So the neighbour asks each before it ends its connection, and gives what both
said to whoever asks under that id: each finds there what it never issued, under its own signature.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.wire.messages import Signed

# As many as may still be on their way: an advert counts for an hour at most, and goes every 2 s at most.
NUMBERS_REMEMBERED = 2_000
# Two nodes that answer each other's adverts: so often at most.
ANSWER_GAP_S = 10.0
# Heard again after so long it is told again.
TELL_GAP_S = 10 * 60.0
# Of one peer: each ending costs it what runs over its connections. And peers that are remembered.
PART_GAP_S = 60.0
# What both said, since each asks when it has connected anew, at the latest after 30 s; later it may be of one
# that ended long ago. Of each what it said when it was asked, and meanwhile.
SAID_KEPT_S = 5 * 60.0
SAID_MAX = 4
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
    # What was heard from either itself, by number.
    said: dict[int, Signed] = field(default_factory=dict)


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
        seen.parted = now if parts else seen.parted
        seen.told = now if tells else seen.told
        self._remember(peer, seen)
        return parts, tells

    def is_one(self, peer: str) -> bool:
        return peer in self._seen

    def heard(self, peer: str, number: int, signed: Signed) -> None:
        """An advert of a double, from itself; its signature is right."""
        said = self._seen[peer].said
        said[number] = said.pop(number, signed)
        if len(said) > SAID_MAX:
            del said[next(iter(said))]

    def said(self, peer: str, now: float) -> list[Signed]:
        """For whoever asks under that id: what its two nodes said of late."""
        seen = self._seen.get(peer)
        return list(seen.said.values()) if seen and now < seen.parted + SAID_KEPT_S else []

    def disconnected(self, peer: str, gone: bytes, left: Collection[bytes]) -> bool:
        """A connection has ended: are those that are left to be ended, too, since they were never greeted?"""
        return bool(left) and gone not in left

    def _remember(self, peer: str, seen: _Sighting) -> None:
        self._seen[peer] = seen
        if len(self._seen) > PEERS_MAX:
            del self._seen[next(iter(self._seen))]
