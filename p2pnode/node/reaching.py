"""How others reach this node: by itself, or by relays that it keeps; and whether it is a relay of others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf

import trio

from p2pnode.config.settings import NodeConfig
from p2pnode.core.link.reach import Reachability, ReachMode, ReachState, RelayMode
from p2pnode.network.host import Connected, Disconnected, Host
from p2pnode.network.relay_service import RelayService
from p2pnode.network.relay_upkeep import RelayUpkeep


class Reaching:
    """`changed` is called whenever this node is at other addresses than before."""

    def __init__(self, config: NodeConfig, host: Host, changed: Callable[[], None]) -> None:
        self._reachability = Reachability(config.reach, config.relay)
        self._upkeep = RelayUpkeep(host, changed)
        self._wake = trio.Event()
        host.by_relays_alone = config.reach is ReachMode.RELAY
        host.watch(self._on_connection)
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
            while True:
                now = trio.current_time()
                self._upkeep.need(self._reachability.needs_relays(now))
                deadline = self._reachability.deadline
                with trio.move_on_at(deadline if deadline > now else inf):
                    await self._wake.wait()
                self._wake = trio.Event()

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Connected):
            self._reachability.met(event.host, trio.current_time(), inbound=event.inbound)
            self._wake.set()
