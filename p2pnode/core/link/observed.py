"""Where others see this node from: what the router before it makes of its addresses; decided without I/O.

libp2p's own table takes four peers that see one address with its port. This node's connections go out from
ports of their own, so what says something is the host, and whether the router has kept the port.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

# One may lie, or sit on this side of the router.
AGREEING_MIN = 2
# Two addresses of each kind, where there are two lines.
HOSTS_MAX = 4
# As many as a node keeps connections with; who was seen longest ago goes first.
OBSERVERS_MAX = 64


@dataclass(frozen=True, slots=True)
class _Sight:
    observer_host: str
    host: str
    port_kept: bool


@dataclass(slots=True)
class Observed:
    """The newest word of each observer."""

    _sights: OrderedDict[str, _Sight] = field(default_factory=OrderedDict)

    def saw(self, observer: str, observer_host: str, host: str, *, port_kept: bool) -> None:
        """Take in where a peer at `observer_host` sees this node; `port_kept`: with its own port."""
        self._sights.pop(observer, None)
        self._sights[observer] = _Sight(observer_host, host, port_kept)
        if len(self._sights) > OBSERVERS_MAX:
            self._sights.popitem(last=False)

    def forget(self) -> None:
        """Begin anew: this node is somewhere else."""
        self._sights.clear()

    def hosts(self) -> list[str]:
        """The hosts at which enough others see this node, those of most first."""
        seen = {one.host: self._observers(one.host) for one in self._sights.values()}
        agreed = sorted(
            (host for host in seen if len(seen[host]) >= AGREEING_MIN), key=lambda host: -len(seen[host])
        )
        return agreed[:HOSTS_MAX]

    def keeps_ports(self, host: str) -> bool:
        """Whether all who see this node there see its own ports: others can foresee where it will be."""
        return all(one.port_kept for one in self._sights.values() if one.host == host)

    def _observers(self, host: str) -> set[str]:
        return {one.observer_host for one in self._sights.values() if one.host == host}
