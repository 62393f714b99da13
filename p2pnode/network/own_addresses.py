"""Looks at this machine's addresses, and has what a change of them ends begin anew."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from p2pnode.core.link.own_addresses import OwnAddresses

from .connections import bound_to, close_all, machine_hosts
from .host import Host

log = logging.getLogger(__name__)

# Nothing portable tells of a change; to list the addresses takes half a millisecond.
LOOK_S = 3.0

# Told whether the machine is elsewhere, before connections close: what is told by the next ones is of here.
Moved = Callable[[bool], None]


class AddressWatch:
    """Closes connections from addresses that are gone: nothing comes by them, and TCP waits for minutes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._own = OwnAddresses(frozenset(machine_hosts()))
        self._watchers: list[Moved] = []

    def watch(self, moved: Moved) -> None:
        """Has `moved` called after each change; it must not block or raise."""
        self._watchers.append(moved)

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            change = self._own.look(machine_hosts(), trio.current_time())
            if change is None:
                continue
            network = self._host.inner.get_network()
            bound = bound_to(network, change.gone)
            came, gone = (", ".join(sorted(hosts)) or "none" for hosts in (change.came, change.gone))
            log.info(
                "new addresses of this machine: %s; gone: %s, with %d connections", came, gone, len(bound)
            )
            is_move = change.is_move(len(bound), len(network.get_connections()))
            for moved in self._watchers:
                moved(is_move)
            await close_all(bound)
