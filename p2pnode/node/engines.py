"""The engines of a node, and the Docker engine that it has chosen."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from p2pnode.config.settings import NodeConfig
from p2pnode.core.values import capabilities
from p2pnode.core.values.images import ImageRule
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import Registries
from p2pnode.engines.docker import discovery
from p2pnode.engines.docker.discovery import DockerHost
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.docker.gpus import Gpus
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import Engine
from p2pnode.system.log_lines import concerning
from p2pnode.system.removal import remove_tree

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Docker:
    """The Docker engine, and where it is and why that one."""

    engine: DockerEngine
    host: DockerHost


class Engines:
    """The engines that run programs here; none on a node that computes for nobody."""

    def __init__(
        self, docker: Docker | None, by_name: Mapping[str, Engine], wasm: WasmEngine | None = None
    ) -> None:
        """`by_name` has the Docker and the WASM engine, too."""
        self.docker = docker
        self.by_name = by_name
        self._wasm = wasm

    async def keep_ready(self) -> None:
        """Have a WASM worker ready for the next program. Runs until cancelled."""
        if self._wasm is None:
            await trio.sleep_forever()
        else:
            await self._wasm.keep_ready()

    async def reap(self, known: Collection[str]) -> None:
        """Remove the containers of this node that belong to no execution in `known`."""
        if self.docker is not None and await self.docker.engine.available() is None:
            for execution in await self.docker.engine.reap(set(known)):
                with concerning(execution=execution):
                    log.info("removed the container of %s, which nobody waits for", execution)

    async def remove(self, directory: Path) -> str:
        """Remove an execution's directory; why some of it is left, or ""."""
        if self.docker is not None:
            return await self.docker.engine.remove(directory)
        return await trio.to_thread.run_sync(remove_tree, directory)


def engines_of(config: NodeConfig, me: str) -> Engines:
    """The engines that the settings choose, for the node with the peer id `me`."""
    if not config.compute:
        return Engines(None, {})
    docker = _docker(config, me)
    wasm = WasmEngine(config.data_dir / "wasm-cache")
    return Engines(docker, {"wasm": wasm, "docker": docker.engine}, wasm)


def _docker(config: NodeConfig, me: str) -> Docker:
    host = discovery.find(config.docker_host)
    if host.problem:
        log.warning("no containers run here: %s", host.problem)
    else:
        log.info("Docker engine: %s (%s)", host.address, host.why)
    engine = DockerEngine(
        me,
        socket_path=host.socket_path,
        unusable=host.problem,
        named=bool(config.docker_host or os.environ.get("DOCKER_HOST")),
        gpus=Gpus(host.socket_path, remembered=config.data_dir / "gpus"),
        hosts=tuple(map(AllowedHost.parse, config.allow_hosts)),
        rules=tuple(map(ImageRule.parse, config.image_rules)),
        networks=config.allow_network,
        allowed=capabilities.allowed_by(config.allow_capabilities),
        registries=Registries(
            allowed=tuple(map(AllowedHost.parse, config.allow_registries)),
            logins=config.registry_logins,
        ),
    )
    return Docker(engine, host)
