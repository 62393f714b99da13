"""What this node can lend and what data it has already, looked up now and then for its offer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from p2pnode.core.placement import locality
from p2pnode.core.records.events import CapacityChanged
from p2pnode.core.values import capabilities, cards
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import CACHE_KEYS_MAX, Capacity
from p2pnode.core.wire.spec import NetworkType, Resources
from p2pnode.engines.workload import Engine
from p2pnode.system import host_resources

if TYPE_CHECKING:
    from .node import Node

log = logging.getLogger(__name__)

# Engines come and go rarely; Docker answers this question in 2 ms.
LOOK_INTERVAL_S = 5.0


async def watch(node: Node) -> None:
    """Tells the core what can be lent, whenever that changes."""
    capacity: Capacity | None = None
    offered: Capacity | None = None
    while True:
        await trio.sleep(LOOK_INTERVAL_S)
        try:
            capacity = await _capacity(node)
        except OSError as exc:
            # A full disk, or no descriptor left: what was told before stands until it can be looked at again.
            log.warning("cannot look at what is to lend: %s", exc)
        if capacity is not None and capacity != offered:
            offered = capacity
            node.tell(CapacityChanged(capacity))


async def tell(node: Node) -> None:
    """Tells the core what can be lent now."""
    node.tell(CapacityChanged(await _capacity(node)))


async def _capacity(node: Node) -> Capacity:
    config = node.config
    lent = sum(reservation.requirements.resources.disk_bytes for reservation in node.driver.core.worker.held)
    total = await trio.to_thread.run_sync(host_resources.lendable, config.data_dir, lent)
    if total is None:
        log.warning("the disk of %s is nearly full: nothing is lent", config.data_dir)
    available = [name for name, engine in node.engines.items() if total and await _works(name, engine)]
    networks = {NetworkType.NONE}.union(*[await node.engines[name].networks() for name in available])
    total = total or Resources(cpu_millis=0, memory_bytes=0)
    gpus = await node.docker.gpus() if "docker" in available else ()
    total = codec.replace(total, gpus=len(gpus))
    allowed = capabilities.labels(capabilities.allowed_by(config.allow_capabilities))
    return Capacity(
        engines=tuple(available),
        publishers=node.publishers.types,
        sources=node.inputs.types,
        networks=tuple(sorted(networks)),
        labels=host_resources.labels(config.name, {**cards.labels(gpus), **config.labels, **allowed}),
        total=total,
        free=total,
        cached=await _holds(node, available),
    )


async def _works(name: str, engine: Engine) -> bool:
    reason = await engine.available()
    if reason is not None:
        log.debug("the %s engine: %s", name, reason)
    return reason is None


async def _holds(node: Node, available: Sequence[str]) -> tuple[int, ...]:
    """Marks of the images and inputs that need no fetching: those of late first, then all others."""
    cached = await node.docker.cached_images() if "docker" in available else ()
    images = {locality.image_cache_key(image) for image in cached}
    used = node.driver.core.worker.cache_keys_used
    roots = await trio.to_thread.run_sync(node.results.newest_roots, CACHE_KEYS_MAX)
    return locality.advertised(
        [cache_key for cache_key in used if cache_key in images] + sorted(images),
        [cache_key for cache_key in used if cache_key not in images],
        map(locality.cid_cache_key, roots),
    )
