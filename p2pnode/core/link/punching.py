"""Hole punching: with which peers it is tried, and when again, and what is dialled; decided without I/O."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire.addresses import LAN_BITS, Address

# Three as go-libp2p has it.
TRIES_MAX = 3
# A try is some sockets for some seconds.
PUNCHES_MAX = 4
# Routers do not change by themselves; a node that moves is another connection.
AGAIN_S = 600.0
# Ids cost a stranger nothing.
PEERS_REMEMBERED_MAX = 1_000
# Nobody else knows where a peer by a relay is: it may have this node dial others, who do not want it.
# Each side may begin its tries.
PER_PEER_BURST = 2.0 * TRIES_MAX
PER_PEER_PER_S = PER_PEER_BURST / AGAIN_S
# A node that starts meets as many as it keeps connections with; ids cost nothing.
IN_ALL_BURST = 64.0
IN_ALL_PER_S = 1 / 5


@dataclass(slots=True)
class Punching:
    """The peers that came by a relay, until there is a direct connection with them."""

    # When each is due.
    _due: dict[str, float] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)
    # The peers that failed, each with the end of the time in which nothing is tried.
    _failed_until: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def came(self, peer: str, now: float) -> None:
        """The peer has connected by a relay."""
        self._due[peer] = max(now, self._failed_until.get(peer, -inf))

    def gone(self, peer: str) -> None:
        """The peer has no connection any more, or a direct one."""
        self._due.pop(peer, None)

    def begin(self, now: float) -> list[str]:
        """The peers to try with now; each is to be `ended`."""
        due = sorted(
            (at, peer) for peer, at in self._due.items() if at <= now and peer not in self._under_way
        )
        chosen = [peer for _, peer in due[: PUNCHES_MAX - len(self._under_way)]]
        self._under_way.update(chosen)
        return chosen

    def ended(self, peer: str, now: float) -> None:
        """The tries are over; one that has come of it is `gone` from here."""
        self._under_way.discard(peer)
        if peer not in self._due:
            self._failed_until.pop(peer, None)
            return
        self._due[peer] = now + AGAIN_S
        self._failed_until[peer] = now + AGAIN_S
        self._failed_until.move_to_end(peer)
        if len(self._failed_until) > PEERS_REMEMBERED_MAX:
            self._failed_until.popitem(last=False)

    @property
    def deadline(self) -> float:
        """When the next is due."""
        if len(self._under_way) >= PUNCHES_MAX:
            return inf
        return min((at for peer, at in self._due.items() if peer not in self._under_way), default=inf)


@dataclass(slots=True)
class PunchPlaces:
    """How often addresses that peers name are dialled, whoever begins."""

    _in_all: TokenBucket = field(default_factory=lambda: TokenBucket(IN_ALL_PER_S, IN_ALL_BURST))
    _peers: OrderedDict[str, TokenBucket] = field(default_factory=OrderedDict)

    def allows(self, peer: str, now: float) -> bool:
        """Whether to dial for a peer once more."""
        bucket = self._peers.setdefault(peer, TokenBucket(PER_PEER_PER_S, PER_PEER_BURST))
        self._peers.move_to_end(peer)
        if len(self._peers) > PEERS_REMEMBERED_MAX:
            self._peers.popitem(last=False)
        return bucket.allows(1, now) and self._in_all.allows(1, now)


def of_one_line(targets: Iterable[Address]) -> list[Address]:
    """The targets at the first host of each family, in IPv6 in its network: a peer is at one line.

    Hosts are numbers.
    """
    lines: dict[str, object] = {}
    kept = []
    for target in targets:
        line: object = target.host
        if target.family == "ip6":
            line = ipaddress.IPv6Network((target.host, LAN_BITS), strict=False)
        if lines.setdefault(target.family, line) == line:
            kept.append(target)
    return kept
