"""How far a requester relies on each compute peer for what it was asked, and awarded, before.

    proven      a program of ours has ended there, and it has kept its word since
    stranger    nothing has yet: new identities cost nothing, and offers even less
    failing     it did not begin what it won, of late, or failed it by its own fault; so may others of its
                range of addresses

While some strangers have failed, others are asked only where the proven and this node itself have no room: so
a crowd of them costs each requester a few awards, however many they are. Nothing of it outlives the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

# Peers that are remembered in each way: as many as the table holds.
PEERS_MAX = 2_000
# A crowd that fails is gone by then, or costs another few awards.
FAILING_FOR_S = 10 * 60.0
# An honest peer fails by accident; more in that time are no accident.
STRANGERS_FAILED_MAX = 1
# Silence is more common: a peer that was there and left still has its advert.
STRANGERS_SILENT_MAX = 2
# An award whose program does not begin for so long counts as failed until it does: small inputs are fetched.
SLOW_S = 10.0
# Failing peers of one range of addresses, after which all others of it are doubted.
RANGE_FAILED_MAX = 1

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Doubts:
    """Peers to be asked after others: those that are `strangers` now, and the `failing` after all."""

    strangers: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    # Offers of the doubted say nothing: who fails by design offers most.
    by_lot: bool = False

    def lateness(self, peer: str) -> int:
        """The peers of a lower number win before."""
        return 2 if peer in self.failing else int(peer in self.strangers)

    def draws(self, peer: str) -> bool:
        """Is it drawn by lot from among its like?"""
        return self.by_lot and self.lateness(peer) > 0


NO_DOUBTS = Doubts()


@dataclass(slots=True)
class Reliance:
    _proven: dict[str, None] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)
    # When each peer that has not begun what it won got it.
    _won: dict[str, float] = field(default_factory=dict)

    def awarded(self, peer: str, now: float) -> None:
        if peer not in self._won:
            _renew(self._won, peer, now)

    def began(self, peer: str) -> None:
        """The program runs there, as it says, or is not wanted any more."""
        self._won.pop(peer, None)

    def ended(self, peer: str) -> None:
        """A program has run there, and is over."""
        self._won.pop(peer, None)
        self._failed.pop(peer, None)
        _renew(self._proven, peer, None)

    def failed(self, peer: str, now: float) -> None:
        """The peer won, and did not begin, or failed by its own fault."""
        self._won.pop(peer, None)
        if peer not in self._proven:
            _renew(self._failed, peer, now)
        self._proven.pop(peer, None)

    def doubts(
        self,
        peers: Collection[str],
        range_of: Callable[[str], str],
        silent: Iterable[str],
        now: float,
        *,
        wary: bool = False,
    ) -> Doubts:
        """Tell the `peers` to ask late; `range_of` gives a peer's range of addresses, "": none of note.

        `wary`: what asks has met a failing peer itself.
        """
        failing = {peer for peer, at in self._failed.items() if now < at + FAILING_FOR_S}
        failing |= {peer for peer, at in self._won.items() if at + SLOW_S <= now and peer not in self._proven}
        many = len(failing) > STRANGERS_FAILED_MAX
        mute = {peer for peer in silent if peer not in self._proven}
        if not wary and not many and len(mute) <= STRANGERS_SILENT_MAX:
            return Doubts(failing=frozenset(failing))
        crowds = Counter(range_of(peer) for peer in failing | mute)
        bad = {near for near, count in crowds.items() if near and count > RANGE_FAILED_MAX}
        strangers = {peer for peer in peers if peer not in self._proven}
        failing |= {peer for peer in strangers if bad and range_of(peer) in bad}
        return Doubts(frozenset(strangers - failing), frozenset(failing), many)


def _renew(of: dict[str, _Value], peer: str, value: _Value) -> None:
    of.pop(peer, None)
    of[peer] = value
    if len(of) > PEERS_MAX:
        del of[next(iter(of))]
