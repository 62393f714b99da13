"""This node's own relays: reservations made and renewed as `core.link.relays` decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio
from multiaddr import Multiaddr

from p2pnode.core.link.relays import (
    AskRelay,
    RelayEvent,
    RelayGone,
    RelayMet,
    RelayRefused,
    Relays,
    RelaysNeeded,
    RelayTick,
    Reserved,
)
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.circuits import HOP, CircuitKind, CircuitMessage

from .circuits import ask
from .host import Connected, Disconnected, Host
from .streams import NetworkError

log = logging.getLogger(__name__)

OPEN_S_MAX = 5.0
# One relay's: where it was dialled, and one that it names. An advert has 2 KiB for all.
ADDRESSES_PER_RELAY_MAX = 2
# A relay that says more is held to this, so that one that has restarted is noticed.
RESERVATION_S_MAX = 3600.0
# One that ends sooner would be renewed all the time.
RESERVATION_S_MIN = 30.0


class RelayUpkeep:
    """`changed` is called whenever the addresses by relays are other ones."""

    def __init__(self, host: Host, changed: Callable[[], None]) -> None:
        self._host = host
        self._changed = changed
        self._relays = Relays()
        self._addresses: dict[str, list[str]] = {}
        self._told: list[str] = []
        self._asks: list[str] = []
        self._wake = trio.Event()
        for peer in host.connected():
            self._on_connection(Connected(peer, host.remote_host(peer)))
        host.watch(self._on_connection)
        host.take_relays(self.held)

    def held(self) -> list[str]:
        """The relays by which this node is reached now."""
        return self._relays.held(trio.current_time())

    def need(self, needed: bool, families: frozenset[str] = frozenset()) -> None:
        """Have relays from now on, or none; `families` are those in which this node is not reached."""
        if (needed, families) != (self._relays.needed, self._relays.families):
            self._give(RelaysNeeded(needed, families))

    async def run(self) -> None:
        """Works until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_at(self._relays.deadline) as waiting:
                    await self._wake.wait()
                self._wake = trio.Event()
                if waiting.cancelled_caught:
                    self._give(RelayTick())
                asks, self._asks = self._asks, []
                for peer in asks:
                    nursery.start_soon(self._ask, peer)

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Disconnected):
            self._give(RelayGone(event.peer))
        elif event.host:
            public = addressing.scope_of(event.host) is addressing.Scope.PUBLIC
            self._give(RelayMet(event.peer, public, addressing.family_of(event.host)))

    def _give(self, event: RelayEvent) -> None:
        actions = self._relays.handle(event, trio.current_time())
        self._asks += [action.peer for action in actions if isinstance(action, AskRelay)]
        told = [address for relay in self.held() for address in self._addresses.get(relay, ())]
        if told != self._told:
            self._told = told
            self._host.relayed_addresses = told
            self._changed()
        self._wake.set()

    async def _ask(self, peer: str) -> None:
        try:
            stream = await self._host.open_stream(peer, [HOP], OPEN_S_MAX)
            async with stream:
                made = await ask(stream, CircuitMessage(CircuitKind.RESERVE), hop=True)
        except NetworkError as exc:
            log.debug("%s is no relay of this node: %s", peer, exc)
            self._give(RelayRefused(peer))
            return
        self._addresses[peer] = self._addresses_by(peer, made)
        lasts_s = min(max(made.expires_s - time.time(), RESERVATION_S_MIN), RESERVATION_S_MAX)
        log.info("this node is reached by its relay %s", peer)
        self._give(Reserved(peer, lasts_s))

    def _addresses_by(self, relay: str, made: CircuitMessage) -> list[str]:
        """This node's addresses by a relay, the widest first: where it was dialled, and what it says."""
        found = {
            where: addressing.scope_of(addressing.parse(where).host) for where in self._host.dialled_at(relay)
        }
        for data in made.addresses:
            try:
                address = addressing.parse(str(Multiaddr(data)))
            except ValueError:
                # Another transport than TCP, or no address at all.
                continue
            if not address.relay and address.peer in ("", relay):
                found.setdefault(address.dialled, addressing.scope_of(address.host))
        seen_at = addressing.scope_of(self._host.remote_host(relay))
        useful = sorted((one for one in found if found[one] >= seen_at), key=lambda one: -found[one])
        # One of each family, where it has both.
        useful = addressing.interleaved(useful)
        return [
            f"{one}/p2p/{relay}/p2p-circuit/p2p/{self._host.peer_id}"
            for one in useful[:ADDRESSES_PER_RELAY_MAX]
        ]
