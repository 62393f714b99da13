"""This node in the DHTs that Kubo nodes have: that of public addresses, and that of a LAN.

Each knows peers of its own kind alone, so nobody on the internet has a node dial into its own network. In a
private network all are one: none but its nodes connect.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import Scope
from p2pnode.core.wire.kad import KAD, LAN_KAD

from .host import Host
from .kademlia import DhtPorts, Fits, Kademlia

# As Kubo does: a server is known again by those that have lost it.
REFRESH_S = 600.0
# From the start: until then neighbours may speak for themselves.
FIRST_REFRESH_S = 5.0


class Dht:
    """A node's part in them; with `serves` it answers others."""

    def __init__(self, host: Host, ports: DhtPorts, *, serves: bool) -> None:
        fits: dict[str, Fits] = {
            KAD: (lambda address: True) if host.is_private else _is_public,
            LAN_KAD: lambda address: not _is_public(address),
        }
        self._serves = serves
        self._all = [Kademlia(host, protocol, one, ports, serves=serves) for protocol, one in fits.items()]

    @property
    def peers(self) -> int:
        """How many peers it knows that have answered."""
        return len({one.peer for dht in self._all for one in dht.contacts.all()})

    async def find_peer(self, peer: str) -> list[str]:
        """The addresses of a peer, without it; none where nobody tells them."""
        found: list[str] = []

        async def find(dht: Kademlia) -> None:
            found.extend(await dht.find_peer(peer))

        async with trio.open_nursery() as nursery:
            for dht in self._all:
                nursery.start_soon(find, dht)
        return list(dict.fromkeys(found))

    async def find_providers(self, key: bytes) -> dict[str, list[str]]:
        """The peers that said that they have a content, with their addresses."""
        found: dict[str, list[str]] = {}

        async def find(dht: Kademlia) -> None:
            for peer, addresses in (await dht.find_providers(key)).items():
                found[peer] = _together(found.get(peer, ()), addresses)

        async with trio.open_nursery() as nursery:
            for dht in self._all:
                nursery.start_soon(find, dht)
        return found

    async def provide(self, key: bytes) -> int:
        """Say that this node has a content; to how many peers it was said."""
        return sum([await dht.provide(key) for dht in self._all])

    async def refresh(self) -> None:
        """Get to know the peers that are closest to this node, and be known by them."""
        async with trio.open_nursery() as nursery:
            for dht in self._all:
                nursery.start_soon(dht.refresh)

    async def run(self) -> None:
        """Works until cancelled: a server stays known."""
        await trio.sleep(FIRST_REFRESH_S)
        while self._serves:
            await self.refresh()
            await trio.sleep(REFRESH_S)


def _is_public(address: addressing.Address) -> bool:
    return addressing.scope_of(address.host) is Scope.PUBLIC


def _together(known: Iterable[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*known, *more]))
