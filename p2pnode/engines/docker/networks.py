"""The networks of containers: which kinds there are here, and each one's set-up for an execution.

Network Type HTTP is a namespace without any network, which a container of its own holds (`pause`); its
proxy listens there and runs in this node (`netns`, `http.gate`). Bridge is fenced in by `bridge`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.spec import NetworkType
from p2pnode.engines.http import gate as http_gate
from p2pnode.engines.http import netns, pause
from p2pnode.engines.http.policy import Policy
from p2pnode.engines.http.upstream import Resolve
from p2pnode.engines.workload import Workload
from p2pnode.system.removal import clear_directory

from . import api, bridge
from .sdk import ContainerFailed, Sdk

# The folder of an execution's directory that its container's sockets come from.
GATE = "gate"

log = logging.getLogger(__name__)


class Networks:
    """Sets up and takes down the networks of one engine's containers."""

    def __init__(
        self, sdk: Sdk, kinds: Collection[NetworkType], hosts: Collection[AllowedHost], resolve: Resolve
    ) -> None:
        """`kinds` are allowed besides None and HTTP; `hosts` are what HTTP may reach outside the internet."""
        self._sdk = sdk
        self._kinds = frozenset(kinds)
        self._hosts = tuple(hosts)
        self._resolve = resolve
        self._fencing = trio.Lock()
        # Why there is no Network Type Bridge, as last told.
        self._no_bridge = ""

    def allows(self, kind: NetworkType) -> bool:
        """Whether programs may have it; HTTP needs the program that holds a namespace (`pause`)."""
        if kind is NetworkType.HTTP:
            return pause.possible()
        return kind is NetworkType.NONE or kind in self._kinds

    async def offered(self) -> frozenset[NetworkType]:
        """The allowed kinds that work here now: Bridge as long as its fence stands."""
        found = {kind for kind in NetworkType if self.allows(kind)}
        if NetworkType.BRIDGE in found:
            reason = ""
            try:
                await self.bridge()
            except* (ContainerFailed, bridge.NoFence, OSError) as errors:
                reason = reason_of(errors)
                found.remove(NetworkType.BRIDGE)
            if reason and reason != self._no_bridge:
                log.warning("network bridge is allowed, but not offered: %s", reason)
            self._no_bridge = reason
        return frozenset(found)

    @asynccontextmanager
    async def ready(
        self, workload: Workload, labels: dict[str, str]
    ) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """The container's network mode and variables, while what they need is running.

        Raises `ContainerFailed`, `bridge.NoFence`, `netns.NoSockets` and OSError.
        """
        kind = workload.task.network.type
        if kind is not NetworkType.HTTP:
            yield await self.bridge() if kind is NetworkType.BRIDGE else kind.value, {}
            return
        name = _pause_name(workload)
        await api.remove_container(self._sdk.socket_path, name)
        await self._sdk.call(_make_gate, workload)
        await self._sdk.create_pause(name, labels, workload.directory / GATE)
        await self._sdk.start(name)
        async with self.gate(workload):
            yield f"container:{name}", http_gate.environment(pause.PROXY_PORT)

    async def bridge(self) -> str:
        """The network of Bridge containers, fenced in. Raises `ContainerFailed`, `NoFence`, OSError."""
        async with self._fencing:
            network, interface = await self._sdk.bridge()
            await bridge.put_up(interface)
        return network

    async def name_servers(self, workload: Workload) -> list[str]:
        """The internet's name servers for Bridge; none for others, which get what the engine finds."""
        if workload.task.network.type is not NetworkType.BRIDGE:
            return []
        return await self._sdk.call(bridge.machines_name_servers)

    @asynccontextmanager
    async def gate(self, workload: Workload, *, running: bool = True) -> AsyncIterator[None]:
        """The ways out of an HTTP-only container, as long as it runs. Raises `netns.NoSockets`."""
        if workload.task.network.type is not NetworkType.HTTP or not running:
            yield
            return
        sockets = await netns.sockets_of(workload.directory / GATE)
        policy = Policy(domains=workload.task.network.domains, hosts=self._hosts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http_gate.serve, sockets, policy, self._resolve)
            yield
            nursery.cancel_scope.cancel()

    async def remove(self, workload: Workload) -> None:
        """Remove what `ready` has made for an execution."""
        if workload.task.network.type is NetworkType.HTTP:
            await api.remove_container(self._sdk.socket_path, _pause_name(workload))


def _pause_name(workload: Workload) -> str:
    return f"{workload.execution_id}-pause"


def _make_gate(workload: Workload) -> None:
    """Make an empty directory in which `pause` listens, whatever user that is there. Blocking."""
    gate = workload.directory / GATE
    gate.mkdir(exist_ok=True)
    clear_directory(gate)
    gate.chmod(0o777)
