"""Peers that were reached or heard themselves, remembered for this run and the next: to join through again.

Whoever comes is remembered, and strangers come with many ids: where there are too many, one of the range of
addresses that has most is forgotten, so that a crowd from few addresses drives out itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from p2pnode.core.values.ranges import NOWHERE, Ranges, ranges_of
from p2pnode.core.wire.addresses import BadAddress, parse

# To join again, a few that are alive suffice.
PEERS_REMEMBERED_MAX = 200


def public_range(addresses: Sequence[str]) -> str:
    """The range of a peer's first public address; "" where it has none, and so shares one rightly."""
    found = range_of_addresses(tuple(addresses))
    return found.near if found.is_public else ""


@lru_cache(maxsize=4096)
def range_of_addresses(addresses: tuple[str, ...]) -> Ranges:
    """The ranges of the first public address, or of the first that there is."""
    first = NOWHERE
    for text in addresses:
        try:
            found = ranges_of(parse(text).host)
        except BadAddress:
            continue
        if found.is_public:
            return found
        first = found if first is NOWHERE else first
    return first


@dataclass(slots=True)
class Remembered:
    """Addresses by peer, the longest unseen first."""

    peers: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Mapping[str, Sequence[str]]) -> Remembered:
        """Take those of an earlier run, which come with the last seen first."""
        return cls({peer: list(addresses) for peer, addresses in reversed(list(stored.items()))})

    def add(self, peer: str, addresses: Sequence[str]) -> list[str]:
        """Note that the peer was seen; return the peers that are forgotten for it."""
        self.peers.pop(peer, None)
        self.peers[peer] = list(addresses)
        gone = []
        while len(self.peers) > PEERS_REMEMBERED_MAX:
            near = {one: range_of_addresses(tuple(found)).near for one, found in self.peers.items()}
            (crowded, _), *_ = Counter(near.values()).most_common(1)
            gone.append(next(one for one in self.peers if near[one] == crowded))
            del self.peers[gone[-1]]
        return gone
