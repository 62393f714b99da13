"""Has the router pass this node's ports on while the node lives, as `core.link.port_mapping` decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import trio

from p2pnode.core.link.port_mapping import LEASE_S, Behind, RouterMapping, is_double_nat, outer_ports

from .gateway import Gateway, NoGateway, default_gateway, find_gateway, own_host_towards
from .host import Host
from .scopes import shielded

log = logging.getLogger(__name__)

# To look whether this machine is on another network costs a millisecond.
LOOK_S = 30.0
# A node that ends waits for no router: its mappings end by themselves.
REMOVE_S_MAX = 1.0


def behind_here(listened: Iterable[str]) -> Behind | None:
    """This machine's place behind its router, for a node that listens at these addresses."""
    gateway = default_gateway()
    return Behind.of(gateway, own_host_towards(gateway) if gateway else "", listened)


class PortMapper:
    """`changed` is called with the addresses of the router that lead here, whenever these are others."""

    def __init__(self, host: Host, changed: Callable[[Sequence[str]], None]) -> None:
        self._host = host
        self._changed = changed
        self._mapping = RouterMapping()
        self._told: tuple[str, ...] = ()
        # With the ports that it passes on.
        self._gateway: tuple[Gateway, list[int]] | None = None
        self._reason = ""

    async def run(self) -> None:
        """Works until cancelled, and has the router forget all then."""
        try:
            while True:
                behind, now = behind_here(self._host.addresses()), trio.current_time()
                if self._mapping.is_due(behind, now) and behind is not None:
                    await self._map(behind)
                outside = self._mapping.outside(trio.current_time())
                if outside != self._told:
                    self._told = outside
                    self._changed(outside)
                await trio.sleep(LOOK_S)
        finally:
            with shielded(REMOVE_S_MAX):
                await self._remove()

    async def _map(self, behind: Behind) -> None:
        try:
            outside = await self._mapped(behind)
        except NoGateway as exc:
            self._mapping.failed(trio.current_time())
            if str(exc) != self._reason:
                self._reason = str(exc)
                log.info("no port is mapped: %s", exc)
            return
        self._reason = ""
        self._mapping.mapped(outside, trio.current_time())
        log.debug("the router passes %s on to this node", ", ".join(outside))

    async def _mapped(self, behind: Behind) -> list[str]:
        """Have the router map each port; the addresses outside. Raises `NoGateway`."""
        gateway = await find_gateway(behind.gateway, behind.own[0].host)
        external = await gateway.external_host()
        if is_double_nat(external):
            raise NoGateway(f"the router's own address, {external}, is private: it is behind another router")
        ports: list[int] = []
        self._gateway = gateway, ports
        outside = []
        for own in behind.own:
            for outer in outer_ports(own.port):
                if await gateway.add_mapping(outer, own.host, own.port, LEASE_S):
                    ports.append(outer)
                    outside.append(replace(own, host=external, port=outer, peer="").transport)
                    break
        if not outside:
            raise NoGateway("the router passes these ports on to another machine")
        return outside

    async def _remove(self) -> None:
        if self._gateway is None:
            return
        gateway, ports = self._gateway
        with suppress(NoGateway):
            for port in ports:
                await gateway.remove_mapping(port)
