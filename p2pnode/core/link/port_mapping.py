"""The ports that a router is asked to pass on to this node, and when; decided without I/O.

A mapping lasts an hour, and is renewed after half of it: so a router that forgets, and a node that is
killed, leave nothing behind.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Address, Scope

LEASE_S = 3600
RENEW_S = LEASE_S / 2
# A router that starts takes a minute; one that has no UPnP never answers.
FAILED_AGAIN_S = 60.0
FAILED_AGAIN_S_MAX = 3600.0
# One of TCP and one of WebSocket.
PORTS_MAX = 2
# The own port, and those after it where that is another machine's at the router.
OUTER_PORTS_MAX = 3


class UpnpMode(enum.StrEnum):
    """The setting `upnp`: whether the router is asked to pass ports on."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Behind:
    """This node's place behind a router: the addresses at which it listens on the router's network."""

    gateway: str
    own: tuple[Address, ...]

    @classmethod
    def of(cls, gateway: str, own_host: str, listened: Iterable[str]) -> Behind | None:
        """None where no mapping is needed: router or node are public, or it does not listen there."""
        if not gateway or {addressing.scope_of(gateway), addressing.scope_of(own_host)} != {Scope.PRIVATE}:
            return None
        own = [one for one in addressing.understood(listened) if one.host == own_host]
        return cls(gateway, tuple(sorted(own, key=lambda one: one.web)[:PORTS_MAX])) if own else None


def outer_ports(own: int) -> range:
    """The ports to ask a router for, in their order."""
    return range(own, min(own + OUTER_PORTS_MAX, addressing.PORT_MAX + 1))


def is_double_nat(external: str) -> bool:
    """Whether a router with this address of its own is behind another one."""
    return addressing.scope_of(external) is not Scope.PUBLIC


@dataclass(slots=True)
class RouterMapping:
    """The ports that are mapped now, and when the router is to be asked again."""

    behind: Behind | None = None
    _outside: tuple[str, ...] = ()
    _ends_at: float = -inf
    _again_at: float = field(default=-inf)
    _failures: int = 0

    def is_due(self, behind: Behind | None, now: float) -> bool:
        """Whether to ask the router now, where this node is at this place."""
        if behind != self.behind:
            self.behind, self._outside, self._failures, self._again_at = behind, (), 0, now
        return behind is not None and now >= self._again_at

    def mapped(self, outside: Sequence[str], now: float) -> None:
        """Take in where the router passes on to this node."""
        self._outside, self._failures = tuple(outside), 0
        self._ends_at, self._again_at = now + LEASE_S, now + RENEW_S

    def failed(self, now: float) -> None:
        self._again_at = now + min(FAILED_AGAIN_S * 2**self._failures, FAILED_AGAIN_S_MAX)
        # No power of it is ever too large.
        self._failures = min(self._failures + 1, 16)

    def outside(self, now: float) -> tuple[str, ...]:
        """The addresses of the router that lead here."""
        return self._outside if now < self._ends_at else ()
