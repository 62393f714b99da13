"""Hole punching: with which peers it is tried, and when again; decided without I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf

# Three as go-libp2p has it.
TRIES_MAX = 3
# A try is some sockets for some seconds.
PUNCHES_MAX = 4
# Routers do not change by themselves; a node that moves is another connection.
AGAIN_S = 600.0
# Ids cost a stranger nothing.
PEERS_REMEMBERED_MAX = 1_000


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
