"""The addresses of this machine, which change while it runs: a laptop goes from network to network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from p2pnode.core.values.rate import TokenBucket

# Each change has neighbours dialled and adverts sent; an interface that flaps is heeded so many times in a
# row, and then so often.
CHANGES_BURST = 4.0
CHANGE_AGAIN_S = 15.0


@dataclass(frozen=True, slots=True)
class AddressChange:
    """The IP addresses that this machine has got, and those that it has lost."""

    came: frozenset[str]
    gone: frozenset[str]

    def is_move(self, bound: int, connections: int) -> bool:
        """Whether the machine is elsewhere: of its connections so many were bound to addresses gone."""
        return bool(self.gone) and (bound > 0 or not connections)


@dataclass(slots=True)
class OwnAddresses:
    """The addresses as they were when a change was heeded last."""

    hosts: frozenset[str]
    _changes: TokenBucket = field(default_factory=lambda: TokenBucket(1 / CHANGE_AGAIN_S, CHANGES_BURST))

    def look(self, hosts: Collection[str], now: float) -> AddressChange | None:
        """The change to these addresses; None where there is none, or it is heeded later."""
        found = frozenset(hosts)
        if found == self.hosts or not self._changes.allows(1, now):
            return None
        change = AddressChange(found - self.hosts, self.hosts - found)
        self.hosts = found
        return change
