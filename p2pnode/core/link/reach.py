"""Whether others reach this node by themselves: they are asked to dial it; decided without I/O.

Up to three neighbours are asked in a round, each once. One that reached the node settles it. Else all that
were asked have to say that they did not: three at once, fewer after a while in which others might have come.
Hosts of this machine, and peers by relays, show nothing; what those of the own network show counts while
there are none beyond it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.wire.addresses import OwnNetworks, Scope

# As many as go-libp2p believes; one may be broken, or lie.
ASKED_MAX = 3
# For fewer: a node that starts has met those that it knows by then, and they have dialled (5 s at most).
FEW_WAIT_S = 6.0
# A router, or its owner, changes its mind.
ROUND_AGAIN_S = 15 * 60.0
# A round in which nobody has shown anything, as neighbours that had no place for a dial have then.
NOTHING_AGAIN_S = 60.0


class ReachMode(enum.StrEnum):
    """The setting `reach`: whether the node lives by relays."""

    AUTO = "auto"
    DIRECT = "direct"
    RELAY = "relay"


class RelayMode(enum.StrEnum):
    """The setting `relay`: whether the node is a relay of others."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class ReachState(enum.StrEnum):
    """How others reach the node, as far as there is evidence."""

    UNKNOWN = "unknown"
    DIRECT = "direct"
    RELAY = "relay"
    NONE = "none"


class DialBackAnswer(enum.StrEnum):
    """How a neighbour answers when it is asked to dial."""

    REACHED = "reached"
    FAILED = "failed"
    # No place, no such protocol, or silence.
    NOTHING = "nothing"


@dataclass(slots=True)
class _Round:
    """The evidence that neighbours of one scope have given since they were asked last."""

    begun_at: float
    inbound: bool = False
    asked: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    # Where the node was reached.
    reached_at: dict[str, str] = field(default_factory=dict)
    # The last round's, which counts until this one has shown something.
    before: bool | None = None
    addresses_before: tuple[str, ...] = ()

    @property
    def few_until(self) -> float:
        return self.begun_at + FEW_WAIT_S

    @property
    def again_at(self) -> float:
        """When all is to be asked again."""
        shown = self.inbound or self.reached_at or self.failed
        return self.begun_at + (ROUND_AGAIN_S if shown else NOTHING_AGAIN_S)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The places where the node was reached."""
        own = tuple(dict.fromkeys(filter(None, self.reached_at.values())))
        return own or (() if self.failed else self.addresses_before)

    def shows(self, now: float) -> bool | None:
        """Whether the node is reached; None: nobody knows."""
        if self.inbound or self.reached_at:
            return True
        settled = now >= self.few_until and not self.waiting
        if len(self.failed) >= ASKED_MAX or (settled and self.failed):
            return False
        return self.before


@dataclass(slots=True)
class Reachability:
    """The evidence, and what follows from it. `random` gives numbers between 0 and 1."""

    reach: ReachMode
    relay: RelayMode
    random: Callable[[], float]
    own_networks: OwnNetworks = field(default_factory=lambda: OwnNetworks(frozenset()))
    # The neighbours beyond this machine that were met, with their hosts.
    _neighbours: dict[str, str] = field(default_factory=dict)
    _rounds: dict[Scope, _Round] = field(default_factory=dict)

    def met(self, peer: str, host: str, now: float, *, inbound: bool) -> None:
        """Take in a connection with a peer at this address; "": by a relay."""
        if not host or self.own_networks.scope_of(host) == Scope.LOOPBACK:
            return
        self._neighbours[peer] = host
        found = self._rounds.setdefault(self.own_networks.scope_of(host), _Round(now))
        found.inbound = found.inbound or inbound

    def gone(self, peer: str) -> None:
        """The peer is not connected any more, and answers no more."""
        self._neighbours.pop(peer, None)
        for found in self._rounds.values():
            found.waiting.discard(peer)

    def moved(self, own_networks: OwnNetworks, now: float, *, elsewhere: bool = False) -> None:
        """This node is at other addresses than before: all is to be asked again.

        `elsewhere`: where it was reached it is not any more.
        """
        self.own_networks = own_networks
        for scope in self._rounds:
            begun = self._begin(scope, now)
            if elsewhere:
                begun.addresses_before = ()

    def asks(self, now: float) -> list[str]:
        """The neighbours to ask now; each is to be `answered`."""
        found = self._current()
        if self.reach is ReachMode.RELAY or found is None:
            return []
        if now >= found.again_at:
            found = self._begin(self._scope, now)
        if found.reached_at:
            return []
        chosen: list[str] = []
        there = (self._neighbours.get(one) for one in found.failed | found.waiting)
        ranges = {_range(host) for host in there if host is not None}
        others = [one for one in self._widest() if one not in found.asked]
        shuffled = sorted(others, key=lambda one: self.random())
        while shuffled and len(found.failed | found.waiting) < ASKED_MAX:
            # One of another range than those before, where there is one.
            peer = min(shuffled, key=lambda one: _range(self._neighbours[one]) in ranges)
            shuffled.remove(peer)
            ranges.add(_range(self._neighbours[peer]))
            found.asked.add(peer)
            found.waiting.add(peer)
            chosen.append(peer)
        return chosen

    def answered(self, peer: str, answer: DialBackAnswer, address: str = "") -> None:
        """Take in what a peer that was asked says; `address` is where it reached this node."""
        for found in self._rounds.values():
            if peer not in found.waiting:
                continue
            found.waiting.discard(peer)
            if answer is DialBackAnswer.REACHED:
                found.reached_at[peer] = address
            elif answer is DialBackAnswer.FAILED:
                found.failed.add(peer)

    def reached_at(self) -> tuple[str, ...]:
        """The places where others have reached this node."""
        found = self._current()
        return found.addresses if found else ()

    def needs_relays(self, now: float) -> bool:
        if self.reach is not ReachMode.AUTO:
            return self.reach is ReachMode.RELAY
        found = self._current()
        return found is not None and found.shows(now) is False

    def is_relay(self, now: float) -> bool:
        """Whether others may live by this node: one that lives by relays itself is no use to them."""
        if self.relay is RelayMode.AUTO:
            return not self.needs_relays(now)
        return self.relay is RelayMode.ON

    def state(self, now: float, *, has_relays: bool) -> ReachState:
        if self.needs_relays(now):
            return ReachState.RELAY if has_relays else ReachState.NONE
        found = self._current()
        known = self.reach is ReachMode.DIRECT or (found is not None and found.shows(now))
        return ReachState.DIRECT if known else ReachState.UNKNOWN

    def deadline(self, now: float) -> float:
        """When to look again though nothing happens."""
        found = self._current()
        if self.reach is ReachMode.RELAY or found is None:
            return inf
        return found.few_until if now < found.few_until else found.again_at

    def _begin(self, scope: Scope, now: float) -> _Round:
        before = self._rounds[scope]
        shown, addresses = before.shows(now), before.addresses
        self._rounds[scope] = _Round(now, before=shown, addresses_before=addresses)
        return self._rounds[scope]

    @property
    def _scope(self) -> Scope:
        return max(
            map(self.own_networks.scope_of, self._neighbours.values()),
            default=max(self._rounds, default=Scope.LOOPBACK),
        )

    def _current(self) -> _Round | None:
        return self._rounds.get(self._scope)

    def _widest(self) -> list[str]:
        scope, scope_of = self._scope, self.own_networks.scope_of
        return [peer for peer, host in self._neighbours.items() if scope_of(host) == scope]


def _range(host: str) -> str:
    """The part of an address that one owner often has: a /16, or a /48."""
    return ":".join(host.split(":")[:3]) if ":" in host else ".".join(host.split(".")[:2])
