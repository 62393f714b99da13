"""One search in a DHT: those closest to a place are asked for closer ones, until there are none.

A liar among them can only add peers: each has to be at the place that its id has, and few of one range of
addresses are asked, and so many in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from p2pnode.core.wire.kad import CLOSEST_MAX

from .contacts import Contact, distance

# At once, as go-libp2p asks: dials of peers that are gone take their time.
ASKS_AT_ONCE_MAX = 10
# Twenty million peers are found in five rounds of asks; half of them may be gone.
ASKED_MAX = 100
# Peers of one range of public addresses.
ASKED_PER_RANGE_MAX = 5
# Peers of one answer; the rest is further away.
TAKEN_PER_ANSWER_MAX = CLOSEST_MAX
# Heard of in one search: a hundred answers of twenty.
HEARD_MAX = 2_000


@dataclass(frozen=True, slots=True)
class CloserTold:
    """A peer has answered with peers that are closer."""

    peer: str
    closer: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class PeerMute:
    """A peer could not be asked."""

    peer: str


@dataclass(frozen=True, slots=True)
class AskCloser:
    contact: Contact


LookupEvent: TypeAlias = CloserTold | PeerMute


class DhtLookup:
    """The search for `place` that begins with the peers `known`; `me` is never asked."""

    def __init__(self, me: str, place: bytes, known: Iterable[Contact]) -> None:
        self._me = me
        self._place = place
        self._heard: dict[str, Contact] = {}
        self._waited_for: set[str] = set()
        self._answered: set[str] = set()
        self._mute: set[str] = set()
        self._ranges = Counter[str]()
        self._hear(known)

    @property
    def is_over(self) -> bool:
        return not self._waited_for

    def closest(self) -> list[Contact]:
        """The k closest of those that have answered, the nearest first."""
        return self._nearest(self._answered)[:CLOSEST_MAX]

    def begin(self) -> list[AskCloser]:
        return self._asks()

    def handle(self, event: LookupEvent) -> list[AskCloser]:
        """Gives what is to be asked next."""
        self._waited_for.discard(event.peer)
        if isinstance(event, CloserTold):
            self._answered.add(event.peer)
            self._hear(event.closer[:TAKEN_PER_ANSWER_MAX])
        else:
            self._mute.add(event.peer)
        return self._asks()

    def _hear(self, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            known = self._heard.get(contact.peer)
            is_news = not known.addresses if known else len(self._heard) < HEARD_MAX
            if is_news and contact.peer != self._me:
                self._heard[contact.peer] = contact

    def _asks(self) -> list[AskCloser]:
        asks: list[AskCloser] = []
        while len(self._waited_for) < ASKS_AT_ONCE_MAX:
            contact = self._next()
            if contact is None:
                break
            self._waited_for.add(contact.peer)
            self._ranges[contact.range] += 1
            asks.append(AskCloser(contact))
        return asks

    def _next(self) -> Contact | None:
        """The nearest that was not asked, if it is among the k nearest of those that may answer."""
        if len(self._answered) + len(self._mute) + len(self._waited_for) >= ASKED_MAX:
            return None
        asked = self._answered | self._waited_for
        nearest = (
            one for one in self._nearest(self._heard.keys() - self._mute) if self._has_place(one, asked)
        )
        return next((one for one in islice(nearest, CLOSEST_MAX) if one.peer not in asked), None)

    def _has_place(self, contact: Contact, asked: Container[str]) -> bool:
        """Whether the peer was asked, or its range of addresses may be asked once more."""
        range = contact.range
        return contact.peer in asked or not range or self._ranges[range] < ASKED_PER_RANGE_MAX

    def _nearest(self, peers: Iterable[str]) -> list[Contact]:
        return sorted((self._heard[peer] for peer in peers), key=lambda one: distance(one.place, self._place))
