"""This node's capacity for jobs and the data that it has, looked up now and then for its adverts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

import trio

from p2pnode.config.settings import NodeConfig
from p2pnode.core.placement import arrival, locality
from p2pnode.core.records.events import CapacityChanged
from p2pnode.core.values import capabilities, cards
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import CACHE_KEYS_MAX
from p2pnode.core.wire.messages import Capacity
from p2pnode.core.wire.spec import NetworkType, Resources
from p2pnode.core.worker.machine import Worker
from p2pnode.data.inputs import Access, Inputs
from p2pnode.data.local import AllowedPath
from p2pnode.data.publishers import Publishers
from p2pnode.data.s3_client import S3Account
from p2pnode.engines.workload import Engine
from p2pnode.ipfs.result_store import ResultStore
from p2pnode.system import host_resources

from .changes import Changes
from .engines import Engines

log = logging.getLogger(__name__)

# Engines, GPUs and the disk change outside of this node, rarely; Docker answers this question in 2 ms.
LOOK_INTERVAL_S = 5.0
# When many executions end at once, one look.
LOOK_GAP_S = 0.5


class CapacityWatch:
    """Looks at the engines, the disk and the caches of one node."""

    def __init__(
        self,
        config: NodeConfig,
        worker: Worker,
        engines: Engines,
        inputs: Inputs,
        publishers: Publishers,
        results: ResultStore,
        changes: Changes,
        tell: Callable[[CapacityChanged], object],
    ) -> None:
        """`worker` is the core's, read only here; `changes` says when it may have changed.

        `tell` gives the core events.
        """
        self._config = config
        self._worker = worker
        self._engines = engines
        self._inputs = inputs
        self._publishers = publishers
        self._results = results
        self._changes = changes
        self._tell = tell
        self._told: Capacity | None = None

    async def run(self) -> None:
        """Tell the core the capacity, whenever that changes; until cancelled."""
        while True:
            await self._until_due()
            try:
                await self.look()
            except OSError as exc:
                # A full disk, or no descriptor left: what was told before stands until it can be looked at.
                log.warning("cannot look at the capacity: %s", exc)

    async def _until_due(self) -> None:
        """Wait, not for ever, until an execution has ended here: it leaves an image, inputs and a result."""
        before, now = frozenset[str](), self._awarded()
        with trio.move_on_after(LOOK_INTERVAL_S):
            while before <= now:
                await self._changes.any().wait()
                before, now = now, self._awarded()
            await trio.sleep(LOOK_GAP_S)

    def _awarded(self) -> frozenset[str]:
        return frozenset(one.execution for one in self._worker.held if one.award is not None)

    async def look(self) -> None:
        """Tell the core the capacity, if that has changed; raises `OSError`."""
        capacity = await self._capacity()
        if capacity != self._told:
            self._told = capacity
            self._tell(CapacityChanged(capacity))

    async def _capacity(self) -> Capacity:
        config, engines = self._config, self._engines
        reserved = sum(one.requirements.resources.disk_bytes for one in self._worker.held)
        total = await trio.to_thread.run_sync(host_resources.usable, config.data_dir, reserved)
        if total is None:
            log.warning("the disk of %s is nearly full: no job is taken", config.data_dir)
        by_name = engines.by_name
        available = [name for name, engine in by_name.items() if total and await _works(name, engine)]
        networks = {NetworkType.NONE}.union(*[await by_name[name].networks() for name in available])
        total = total or Resources(cpu_millis=0, memory_bytes=0)
        docker = engines.docker.engine if engines.docker and "docker" in available else None
        gpus = await docker.gpus() if docker else ()
        total = codec.replace(total, gpus=len(gpus))
        allowed = capabilities.labels(capabilities.allowed_by(config.allow_capabilities))
        return Capacity(
            engines=tuple(available),
            publishers=self._publishers.types,
            sources=self._inputs.types,
            networks=tuple(sorted(networks)),
            labels=host_resources.labels(config.name, {**cards.labels(gpus), **config.labels, **allowed}),
            total=total,
            free=total,
            price_micros=self._worker.policy.price_micros,
            cached=await self._cached(await docker.cached_images() if docker else {}),
            fetch_rate=self._inputs.rate.told,
        )

    async def _cached(self, images: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
        """Cache keys of the images and inputs that need no fetching: those of late first, then all others."""
        keys = {locality.image_cache_key(name): arrival.size_class(size) for name, size in images.items()}
        used = self._worker.cache_keys_used
        roots = await trio.to_thread.run_sync(self._results.newest_roots, CACHE_KEYS_MAX)
        return locality.advertised(
            {key: keys[key] for key in [*(one for one in used if one in keys), *sorted(keys)]},
            {key: self._inputs.size_class(key) for key in used if key not in keys},
            {locality.cid_cache_key(root): arrival.size_class(size) for root, size in roots.items()},
        )


async def _works(name: str, engine: Engine) -> bool:
    reason = await engine.available()
    if reason is not None:
        log.debug("the %s engine: %s", name, reason)
    return reason is None


def access_of(config: NodeConfig) -> Access:
    """Return the surroundings of this node that jobs may reach."""
    return Access(
        paths=tuple(map(AllowedPath.parse, config.allow_paths)),
        hosts=tuple(map(AllowedHost.parse, config.allow_hosts)),
        s3=S3Account.of_environment(os.environ, config.s3_buckets),
        variables=config.allow_env,
        environment=os.environ,
    )
