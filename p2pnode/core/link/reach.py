"""Whether others reach this node by themselves, told by who has connected to it; decided without I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from math import inf

from p2pnode.core.wire.addresses import Scope, scope_of

# From its first neighbour on: a node that is reached is found by others meanwhile, who dial it by its advert.
UNREACHED_WAIT_S = 15.0


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


@dataclass(slots=True)
class Reachability:
    """The evidence, and what follows from it."""

    reach: ReachMode
    relay: RelayMode
    # Others have connected to this node from elsewhere.
    reached: bool = False
    # Since this node has neighbours elsewhere.
    _met_at: float = inf

    def met(self, host: str, now: float, *, inbound: bool) -> None:
        """Take in a connection with a peer at this address; "": by a relay."""
        if host and scope_of(host) > Scope.LOOPBACK:
            self._met_at = min(self._met_at, now)
            self.reached = self.reached or inbound

    def needs_relays(self, now: float) -> bool:
        if self.reach is not ReachMode.AUTO:
            return self.reach is ReachMode.RELAY
        return not self.reached and now >= self._met_at + UNREACHED_WAIT_S

    def is_relay(self, now: float) -> bool:
        """Whether others may live by this node: one that lives by relays itself is no use to them."""
        if self.relay is RelayMode.AUTO:
            return not self.needs_relays(now)
        return self.relay is RelayMode.ON

    def state(self, now: float, *, has_relays: bool) -> ReachState:
        if self.needs_relays(now):
            return ReachState.RELAY if has_relays else ReachState.NONE
        known = self.reached or self.reach is ReachMode.DIRECT
        return ReachState.DIRECT if known else ReachState.UNKNOWN

    @property
    def deadline(self) -> float:
        """When it may need relays though nothing happens; the past, where that is decided."""
        return self._met_at + UNREACHED_WAIT_S
