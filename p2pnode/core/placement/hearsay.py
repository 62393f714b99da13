"""Peers that were never heard themselves, counted by who brought them and by where they say they are.

Ids cost nothing and neighbours lie, but an attacker has few addresses; and one that names others' takes them
no place, since where a range is full whoever brought most of it gives way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from p2pnode.core.values.ranges import LOOPBACK, ranges_of
from p2pnode.core.wire.addresses import BadAddress, parse

# So many one neighbour may bring: a joiner hears the rest from its others.
UNMET_PER_FORWARDER_MAX = 1_000
# Nodes behind one public address, by their ports; and in one range.
UNMET_PER_HOST_MAX = 16
UNMET_PER_NEAR_MAX = 64
UNMET_PER_WIDE_MAX = 256
# One machine of a LAN with its containers; and a lab on one machine, whose addresses are all the same.
UNMET_PER_PRIVATE_HOST_MAX = 64
UNMET_ON_LOOPBACK_MAX = 500


@lru_cache(maxsize=4096)
def _limits_of(addresses: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The ranges in which a peer of these addresses counts, each with its limit."""
    found: dict[str, int] = {}
    for text in addresses:
        try:
            ranges = ranges_of(parse(text).host)
        except BadAddress:
            continue
        if ranges.is_public:
            found[ranges.wide] = UNMET_PER_WIDE_MAX
            found[ranges.near] = UNMET_PER_NEAR_MAX
            # A name is all of these.
            found[ranges.host] = UNMET_PER_HOST_MAX
        elif ranges.wide == LOOPBACK:
            found[LOOPBACK] = UNMET_ON_LOOPBACK_MAX
        else:
            found[ranges.host] = UNMET_PER_PRIVATE_HOST_MAX
    return tuple(found.items())


@dataclass(slots=True)
class Hearsay:
    by_forwarder: Counter[str] = field(default_factory=Counter)
    # How many of each range each neighbour has brought.
    _by_range: dict[str, Counter[str]] = field(default_factory=dict)

    def has_place(self, forwarder: str, addresses: Sequence[str]) -> bool:
        """May it bring one more there, perhaps in the place of one of whoever brought more?"""
        if self.by_forwarder[forwarder] >= UNMET_PER_FORWARDER_MAX:
            return False
        return all(self._gives_way(forwarder, name) for name in self.full(addresses))

    def full(self, addresses: Sequence[str]) -> list[str]:
        """The ranges of these addresses that have no place left."""
        limits = _limits_of(tuple(addresses))
        return [name for name, most in limits if self._by_range.get(name, Counter()).total() >= most]

    def most_in(self, name: str) -> str:
        """Return who brought most of a range."""
        return _most(self._by_range[name])

    def brought_most(self) -> str:
        return _most(self.by_forwarder)

    def is_in(self, addresses: Sequence[str], name: str) -> bool:
        return any(name == one for one, _ in _limits_of(tuple(addresses)))

    def add(self, forwarder: str, addresses: Sequence[str]) -> None:
        self.by_forwarder[forwarder] += 1
        for name, _ in _limits_of(tuple(addresses)):
            self._by_range.setdefault(name, Counter())[forwarder] += 1

    def remove(self, forwarder: str, addresses: Sequence[str]) -> None:
        _subtract(self.by_forwarder, forwarder)
        for name, _ in _limits_of(tuple(addresses)):
            _subtract(self._by_range[name], forwarder)
            if not self._by_range[name]:
                del self._by_range[name]

    def _gives_way(self, forwarder: str, name: str) -> bool:
        counts = self._by_range[name]
        return counts[_most(counts)] > counts[forwarder] + 1


def _most(counts: Counter[str]) -> str:
    return max(counts, key=lambda one: (counts[one], one), default="")


def _subtract(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
