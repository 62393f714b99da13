"""The relays by which a node that nobody reaches is reached: whom it asks, and when again.

It keeps reservations at `RELAYS_WANTED` of its connected peers, asks another at once when one goes or
refuses, and asks none while it does without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

# One may go; each costs the relay a place, and the advert some hundred bytes.
RELAYS_WANTED = 2
# The part of a reservation's time after which it is renewed: time for some more tries.
RENEW_SHARE = 0.75
# A peer that refuses has no place now, or is no relay and may become one; each time twice as long.
REFUSED_AGAIN_S = 60.0
REFUSED_AGAIN_S_MAX = 960.0


@dataclass(frozen=True, slots=True)
class RelayMet:
    """A peer is connected, not by a relay itself; `public`: at an address of the public network."""

    peer: str
    public: bool
    family: str = "ip4"


@dataclass(frozen=True, slots=True)
class RelayGone:
    """The peer is not connected any more, and with the connection its reservation is gone."""

    peer: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The peer has made, or renewed, a reservation for so long."""

    peer: str
    lasts_s: float


@dataclass(frozen=True, slots=True)
class RelayRefused:
    """The peer makes none, or has not answered."""

    peer: str


@dataclass(frozen=True, slots=True)
class RelaysNeeded:
    """Whether this node needs relays from now on; `families` are those in which it is not reached."""

    needed: bool
    families: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RelayTick:
    """The deadline has come."""


@dataclass(frozen=True, slots=True)
class AskRelay:
    """Ask this peer for a reservation, or to renew the one that is there."""

    peer: str


RelayEvent = RelayMet | RelayGone | Reserved | RelayRefused | RelaysNeeded | RelayTick


@dataclass(slots=True)
class _Candidate:
    public: bool
    family: str
    asked: bool = False
    refusals: int = 0
    ask_at: float = -inf
    # The end of a reservation, which is renewed at `ask_at`.
    held_until: float = -inf


@dataclass(slots=True)
class Relays:
    """The decision; without I/O."""

    needed: bool = False
    families: frozenset[str] = frozenset()
    _candidates: dict[str, _Candidate] = field(default_factory=dict)

    def held(self, now: float) -> list[str]:
        """The relays by which this node is reached now."""
        return [peer for peer, one in self._candidates.items() if self.needed and one.held_until > now]

    def handle(self, event: RelayEvent, now: float) -> list[AskRelay]:
        match event:
            case RelayMet(peer, public, family):
                self._candidates[peer] = _Candidate(public, family)
            case RelayGone(peer):
                self._candidates.pop(peer, None)
            case Reserved(peer, lasts_s) if one := self._candidates.get(peer):
                one.asked, one.refusals = False, 0
                one.held_until, one.ask_at = now + lasts_s, now + lasts_s * RENEW_SHARE
            case RelayRefused(peer) if one := self._candidates.get(peer):
                one.asked, one.held_until = False, -inf
                one.ask_at = now + min(REFUSED_AGAIN_S * 2**one.refusals, REFUSED_AGAIN_S_MAX)
                one.refusals += 1
            case RelaysNeeded(needed, families):
                self.needed, self.families = needed, families
                if not needed:
                    for one in self._candidates.values():
                        one.held_until = -inf
        return self._ask(now)

    @property
    def deadline(self) -> float:
        """When something is to be done next; never while relays are not needed or all have been asked."""
        if not self.needed:
            return inf
        ends = [one.held_until for one in self._candidates.values() if one.held_until > -inf]
        asks = [one.ask_at for one in self._candidates.values() if not one.asked and one.ask_at > -inf]
        return min([*ends, *asks], default=inf)

    def _ask(self, now: float) -> list[AskRelay]:
        for one in self._candidates.values():
            if one.held_until <= now:
                one.held_until = -inf
        if not self.needed:
            return []
        due = [peer for peer, one in self._candidates.items() if not one.asked and one.ask_at <= now]
        held = set(self.held(now))
        renewed = [peer for peer in due if peer in held]
        asked = sum(one.asked for peer, one in self._candidates.items() if peer not in held)
        missing = RELAYS_WANTED - len(held) - asked
        others = sorted((peer for peer in due if peer not in held), key=self._rank)
        chosen = [*renewed, *others[: max(missing, 0)]]
        for peer in chosen:
            self._candidates[peer].asked = True
        for peer in others[max(missing, 0) :]:
            # Not asked again before somebody goes: no deadline is due to them.
            self._candidates[peer].ask_at = -inf
        return [AskRelay(peer) for peer in chosen]

    def _rank(self, peer: str) -> tuple[int, bool, bool]:
        """The least refusing first, then those at public addresses, then of a family that needs them."""
        one = self._candidates[peer]
        return one.refusals, not one.public, bool(self.families) and one.family not in self.families
