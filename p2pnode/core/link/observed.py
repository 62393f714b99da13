"""Where others see this node from: what the router before it makes of its addresses; decided without I/O.

libp2p's own table takes four peers that see one address with its port. This node's connections go out from
ports of their own, so what says something is the host, and whether the router has kept the port.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Scope

# One may lie, or sit on this side of the router. (To try to be met, see `hosts_to_try`.)
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
        return self._seen_by(lambda host: AGREEING_MIN)

    def hosts_to_try(self) -> list[str]:
        """The hosts at which others may meet this node: a single observer's word is enough where it is alone.

        One that lies has others dial in vain, as often as `punching` tries.
        """
        return self._seen_by(lambda host: 1 if self._is_only_word(host) else AGREEING_MIN)

    def keeps_ports(self, host: str) -> bool:
        """Whether all who see this node there see its own ports: others can foresee where it will be."""
        return all(one.port_kept for one in self._sights.values() if one.host == host)

    def _seen_by(self, enough: Callable[[str], int]) -> list[str]:
        seen = {one.host: self._observers(one.host) for one in self._sights.values()}
        agreed = [host for host in seen if len(seen[host]) >= enough(host)]
        return sorted(agreed, key=lambda host: -len(seen[host]))[:HOSTS_MAX]

    def _observers(self, host: str) -> set[str]:
        return {one.observer_host for one in self._sights.values() if one.host == host}

    def _is_only_word(self, host: str) -> bool:
        """Whether it is one observer alone that sees this node at any public host of this one's family."""
        family = addressing.family_of(host)
        witnesses = {
            one.observer_host
            for one in self._sights.values()
            if addressing.family_of(one.host) == family and addressing.scope_of(one.host) is Scope.PUBLIC
        }
        return len(witnesses) == 1 and addressing.scope_of(host) is Scope.PUBLIC
