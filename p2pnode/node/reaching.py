"""How others reach this node: by itself, or by relays that it keeps; and whether it is a relay of others."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

import trio

from p2pnode.config.settings import NodeConfig
from p2pnode.core.link.port_mapping import UpnpMode
from p2pnode.core.link.reach import Reachability, ReachMode, ReachState, RelayMode
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import OwnNetworks
from p2pnode.network.dial_backs import DialBackService, ask_to_dial
from p2pnode.network.hole_punching import HolePuncher
from p2pnode.network.host import Connected, Disconnected, Host
from p2pnode.network.observations import Observations
from p2pnode.network.own_addresses import AddressWatch
from p2pnode.network.port_mapper import PortMapper
from p2pnode.network.relay_service import RelayService
from p2pnode.network.relay_upkeep import RelayUpkeep


class Reaching:
    """`changed` is called whenever this node is at other addresses than before."""

    def __init__(
        self,
        config: NodeConfig,
        host: Host,
        changed: Callable[[], None],
        addresses_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._host = host
        self._changed = changed
        self.own_addresses = AddressWatch(host)
        self.own_addresses.watch(self._on_move)
        self._addresses = host.addresses()
        self._reachability = Reachability(config.reach, config.relay, random.random, self._own_networks())
        self._upkeep = RelayUpkeep(host, self._tell)
        self._observed = Observations(host).observed
        self._puncher = HolePuncher(host, self._observed, addresses_of)
        self._mapped_at: Sequence[str] = ()
        # The dial-backs that are under way; those asked for before a move are waited for.
        self._asked = 0
        self._is_moved = False
        maps = config.upnp is not UpnpMode.OFF and config.reach is not ReachMode.RELAY
        self._mapper = PortMapper(host, self._mapped) if maps else None
        host.by_relays_alone = config.reach is ReachMode.RELAY
        self._announced = host.reached_at = config.announce
        self._told = self._tellable()
        self._wake = trio.Event()
        host.watch(self._on_connection)
        DialBackService(host)
        if config.relay is not RelayMode.OFF:
            RelayService(host, lambda: self._reachability.is_relay(trio.current_time()))

    def relays(self) -> Collection[str]:
        """The relays by which this node is reached now."""
        return self._upkeep.held()

    def state(self) -> ReachState:
        return self._reachability.state(trio.current_time(), has_relays=bool(self.relays()))

    async def run(self) -> None:
        """Works until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upkeep.run)
            nursery.start_soon(self._puncher.run)
            nursery.start_soon(self.own_addresses.run)
            if self._mapper is not None:
                nursery.start_soon(self._mapper.run)
            while True:
                now = trio.current_time()
                # An answer to what was asked before says nothing of now; nobody dials one peer twice at once.
                self._is_moved = self._is_moved and self._asked > 0
                for peer in () if self._is_moved else self._reachability.asks(now):
                    self._asked += 1
                    nursery.start_soon(self._ask, peer)
                self._upkeep.need(self._reachability.needs_relays(now))
                self._tell()
                with trio.move_on_at(self._reachability.deadline(now)):
                    await self._wake.wait()
                self._wake = trio.Event()

    async def _ask(self, peer: str) -> None:
        answer, address = await ask_to_dial(self._host, peer, self._mapped_at)
        self._asked -= 1
        self._reachability.answered(peer, answer, address)
        self._wake.set()

    def _on_move(self, elsewhere: bool) -> None:
        self._addresses = self._host.addresses()
        if elsewhere:
            self._observed.forget()
        self._ask_anew(elsewhere)
        self._tell()

    def _mapped(self, outside: Sequence[str]) -> None:
        """Have neighbours dial the router where it leads here: told is what they have reached."""
        self._mapped_at = outside
        self._ask_anew(elsewhere=False)

    def _ask_anew(self, elsewhere: bool) -> None:
        self._reachability.moved(self._own_networks(), trio.current_time(), elsewhere=elsewhere)
        self._is_moved = True
        self._wake.set()

    def _own_networks(self) -> OwnNetworks:
        return OwnNetworks.of(addressing.parse(one).host for one in self._addresses)

    def _tell(self) -> None:
        """Have neighbours hear where this node is, where that is another place than they have heard."""
        believed = [one for one in self._reachability.reached_at() if self._is_believed(one)]
        self._host.reached_at = [*self._announced, *believed]
        # Others dial its own addresses in vain; while it has no relay they are better than none.
        alone = self.state() is ReachState.RELAY and not self._announced
        self._host.by_relays_alone = alone or self._reachability.reach is ReachMode.RELAY
        if (told := self._tellable()) != self._told:
            self._told = told
            self._changed()

    def _is_believed(self, address: str) -> bool:
        """Whether others see this node there, too, where enough have said where they see it."""
        host = addressing.parse(address).host
        seen = [one for one in self._observed.hosts() if (":" in one) == (":" in host)]
        return not seen or host in seen

    def _tellable(self) -> tuple[object, ...]:
        """The addresses that change by themselves; what neighbours there are says which of them are told."""
        host = self._host
        return host.by_relays_alone, *self._addresses, *host.reached_at, *host.relayed_addresses

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Connected):
            self._reachability.met(event.peer, event.host, trio.current_time(), inbound=event.inbound)
        else:
            self._reachability.gone(event.peer)
        self._wake.set()
