"""Whether others reach this node by themselves: they are asked to dial it; decided without I/O.

Each family of addresses, IPv4 and IPv6, is judged by itself: a neighbour dials back where it is connected.
Up to three neighbours of a family are asked in a round, each once. One that reached the node settles it. Else
all that were asked have to say that they did not: three at once, fewer after a while in which others might
have come. Hosts of this machine, and peers by relays, show nothing; what those of the own network show counts
while there are none beyond it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import OwnNetworks, Scope, family_of

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


@dataclass(frozen=True, slots=True)
class Reached:
    """How others reach the node: the worse where families differ, and each of which it is known."""

    state: ReachState
    by_family: Mapping[str, ReachState]


@dataclass(slots=True)
class _Round:
    """The evidence that neighbours of one scope and family have given since they were asked last."""

    begun_at: float
    inbound: bool = False
    asked: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    # Where the node was reached.
    reached_at: dict[str, str] = field(default_factory=dict)
    # Shown before those were asked who have not answered yet: it counts until they have.
    before: bool | None = None
    addresses_before: tuple[str, ...] = ()
    # When the last of these neighbours went.
    alone_since: float = inf

    @property
    def few_until(self) -> float:
        return self.begun_at + FEW_WAIT_S

    @property
    def again_at(self) -> float:
        """When all is to be asked again."""
        return self.begun_at + self._counts_s

    @property
    def lapses_at(self) -> float:
        """When it counts no more, while there are neighbours of the other family alone."""
        return self.alone_since + self._counts_s

    @property
    def _counts_s(self) -> float:
        shown = self.inbound or self.reached_at or self.failed
        return ROUND_AGAIN_S if shown else NOTHING_AGAIN_S

    def addresses(self, now: float) -> tuple[str, ...]:
        """The places where the node was reached."""
        own = tuple(dict.fromkeys(filter(None, self.reached_at.values())))
        return own or (() if self._all_failed(now) else self.addresses_before)

    def shows(self, now: float) -> bool | None:
        """Whether the node is reached; None: nobody knows."""
        if self.inbound or self.reached_at:
            return True
        return False if self._all_failed(now) else self.before

    def ask(self, peers: Collection[str], now: float) -> None:
        """Wait for what these say; what is shown now counts until then."""
        self.before = self.shows(now)
        self.addresses_before = self.addresses(now)
        self.asked.update(peers)
        self.waiting.update(peers)

    def _all_failed(self, now: float) -> bool:
        """Whether enough have dialled in vain."""
        settled = now >= self.few_until and not self.waiting
        return len(self.failed) >= ASKED_MAX or bool(settled and self.failed)


@dataclass(slots=True)
class Reachability:
    """The evidence, and what follows from it. `random` gives numbers between 0 and 1."""

    reach: ReachMode
    relay: RelayMode
    random: Callable[[], float]
    own_networks: OwnNetworks = field(default_factory=lambda: OwnNetworks(frozenset()))
    # The neighbours beyond this machine that were met, with their hosts.
    _neighbours: dict[str, str] = field(default_factory=dict)
    _rounds: dict[tuple[Scope, str], _Round] = field(default_factory=dict)

    def met(self, peer: str, host: str, now: float, *, inbound: bool) -> None:
        """Take in a connection with a peer at this address; "": by a relay."""
        if not host or self.own_networks.scope_of(host) == Scope.LOOPBACK:
            return
        if self._neighbours.get(peer, host) != host:
            self.gone(peer, now)
        self._neighbours[peer] = host
        found = self._rounds.setdefault(self._kind(host), _Round(now))
        found.inbound = found.inbound or inbound
        found.alone_since = inf

    def gone(self, peer: str, now: float) -> None:
        """The peer is not connected any more, and answers no more."""
        host = self._neighbours.pop(peer, None)
        for found in self._rounds.values():
            found.waiting.discard(peer)
        if host is not None and (kind := self._kind(host)) not in self._kinds() and kind in self._rounds:
            self._rounds[kind].alone_since = now

    def moved(self, own_networks: OwnNetworks, now: float, *, elsewhere: bool = False) -> None:
        """This node is at other addresses than before: all is to be asked again.

        `elsewhere`: where it was reached it is not any more.
        """
        self.own_networks = own_networks
        for kind in self._rounds:
            begun = self._begin(kind, now)
            if elsewhere:
                begun.addresses_before = ()
            if begun.alone_since == inf and kind not in self._kinds():
                # Its neighbours are of another scope from here.
                begun.alone_since = now

    def asks(self, now: float) -> list[str]:
        """The neighbours to ask now; each is to be `answered`."""
        if self.reach is ReachMode.RELAY:
            return []
        asked: list[str] = []
        for family, found in self._judged(now).items():
            kind = self._scope, family
            if not (near := self._near(kind)):
                continue
            if now >= found.again_at:
                found = self._begin(kind, now)
            if not found.reached_at:
                chosen = self._chosen(found, near)
                found.ask(chosen, now)
                asked += chosen
        return asked

    def _chosen(self, found: _Round, near: Collection[str]) -> list[str]:
        """The neighbours to ask besides those that are waited for."""
        chosen: list[str] = []
        there = (self._neighbours.get(one) for one in found.failed | found.waiting)
        ranges = {_range(host) for host in there if host is not None}
        others = [one for one in near if one not in found.asked]
        shuffled = sorted(others, key=lambda one: self.random())
        while shuffled and len(found.failed | found.waiting) + len(chosen) < ASKED_MAX:
            # One of another range than those before, where there is one.
            peer = min(shuffled, key=lambda one: _range(self._neighbours[one]) in ranges)
            shuffled.remove(peer)
            ranges.add(_range(self._neighbours[peer]))
            chosen.append(peer)
        return chosen

    def answered(self, peer: str, answer: DialBackAnswer, address: str = "") -> None:
        """Take in what a peer that was asked says; `address` is where it reached this node."""
        for (_, family), found in self._rounds.items():
            if peer not in found.waiting:
                continue
            found.waiting.discard(peer)
            if answer is DialBackAnswer.FAILED:
                found.failed.add(peer)
            # One that has dialled another family than that by which it is connected shows nothing of this.
            elif answer is DialBackAnswer.REACHED and (not address or _family(address) == family):
                found.reached_at[peer] = address

    def reached_at(self, now: float) -> tuple[str, ...]:
        """The places where others have reached this node."""
        return tuple(one for found in self._judged(now).values() for one in found.addresses(now))

    def families(self, now: float, *, reached: bool) -> frozenset[str]:
        """The families of addresses in which it is known that this node is reached, or that it is not."""
        if self.reach is not ReachMode.AUTO:
            shown = self.reach is ReachMode.DIRECT
            return frozenset(self._judged(now) if shown is reached else ())
        judged = self._judged(now).items()
        return frozenset(family for family, found in judged if found.shows(now) is reached)

    def needs_relays(self, now: float) -> bool:
        return self.reach is ReachMode.RELAY or bool(self.families(now, reached=False))

    def is_relay(self, now: float) -> bool:
        """Whether others may live by this node: one that lives by relays alone is no use to them."""
        if self.relay is RelayMode.AUTO:
            return not self.needs_relays(now) or bool(self.families(now, reached=True))
        return self.relay is RelayMode.ON

    def state(self, now: float, *, has_relays: bool) -> Reached:
        lives_by = ReachState.RELAY if has_relays else ReachState.NONE
        direct = self.families(now, reached=True)
        by_family = dict.fromkeys(self.families(now, reached=False), lives_by)
        by_family.update(dict.fromkeys(direct, ReachState.DIRECT))
        state = ReachState.DIRECT if direct or self.reach is ReachMode.DIRECT else ReachState.UNKNOWN
        state = lives_by if self.needs_relays(now) else state
        return Reached(state, dict(sorted(by_family.items())))

    def deadline(self, now: float) -> float:
        """When to look again though nothing happens."""
        if self.reach is ReachMode.RELAY:
            return inf
        there = self._kinds()
        ends = [inf]
        for family, found in self._judged(now).items():
            if (self._scope, family) in there:
                ends.append(found.few_until if now < found.few_until else found.again_at)
            elif there:
                ends.append(found.lapses_at)
        return min(ends)

    def _begin(self, kind: tuple[Scope, str], now: float) -> _Round:
        before = self._rounds[kind]
        self._rounds[kind] = _Round(
            now,
            before=before.shows(now),
            addresses_before=before.addresses(now),
            alone_since=before.alone_since,
        )
        return self._rounds[kind]

    @property
    def _scope(self) -> Scope:
        """How far away the farthest neighbours are, or were."""
        kinds = self._kinds() or self._rounds
        return max((scope for scope, _ in kinds), default=Scope.LOOPBACK)

    def _judged(self, now: float) -> dict[str, _Round]:
        """The rounds that count, by family: those of which there are neighbours, or have been of late."""
        widest, there = self._scope, self._kinds()
        return {
            family: found
            for (scope, family), found in self._rounds.items()
            if scope == widest and (not there or (scope, family) in there or now < found.lapses_at)
        }

    def _kind(self, host: str) -> tuple[Scope, str]:
        return self.own_networks.scope_of(host), family_of(host)

    def _kinds(self) -> set[tuple[Scope, str]]:
        """The kinds of neighbours that there are."""
        return set(map(self._kind, self._neighbours.values()))

    def _near(self, kind: tuple[Scope, str]) -> list[str]:
        return [peer for peer, host in self._neighbours.items() if self._kind(host) == kind]


def _family(address: str) -> str:
    return addressing.parse(address).family


def _range(host: str) -> str:
    """The part of an address that one owner often has: a /16, or a /48."""
    return ":".join(host.split(":")[:3]) if ":" in host else ".".join(host.split(".")[:2])
