"""Runs a node from its start to its end: opens its parts in order, and closes them in reverse.

The node ends on SIGINT or SIGTERM: it kills what it runs for others and tells their owners, says
goodbye in an advert, and closes its links; a second signal ends it without all that. It also
ends when its journal can't be written.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

import trio

from p2pnode import descriptors, identity, log_streams, offering
from p2pnode.api.server import open_api
from p2pnode.config import NodeConfig
from p2pnode.ipfs.bitswap import open_bitswap
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.keeper import default_quota_bytes
from p2pnode.job_lists import serve_jobs
from p2pnode.network.addresses import BadAddress
from p2pnode.network.discovery import Discovery
from p2pnode.network.gossip import open_gossip
from p2pnode.network.host import open_host
from p2pnode.network.pull import serve_table
from p2pnode.network.streams import NetworkError
from p2pnode.node import Node
from p2pnode.service import Service
from p2pnode.store import Store, StoreError

log = logging.getLogger(__name__)

# Exit statuses of `serve`.
STATUS_OK = 0
STATUS_FAILED = 1


def serve(config: NodeConfig) -> int:
    """Run a node until it is told to end; its exit status."""
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    status = STATUS_OK
    descriptors.raise_limit()
    try:
        trio.run(_run, config)
    except* (StoreError, NetworkError, BadAddress, identity.IdentityError, OSError) as group:
        print(f"p2pnode: {_sentence(_first(group))}", file=sys.stderr)  # noqa: T201
        status = STATUS_FAILED
    return status


async def _run(config: NodeConfig) -> None:
    told_to_end = trio.Event()
    # Before anything is opened: a signal that comes while the node starts must not tear it.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                async for _ in signals:
                    if told_to_end.is_set():
                        nursery.cancel_scope.cancel()
                    told_to_end.set()

            nursery.start_soon(end_on_signal)
            await _run_node(config, told_to_end)
            nursery.cancel_scope.cancel()


async def _run_node(config: NodeConfig, told_to_end: trio.Event) -> None:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(config.data_dir)
    me = identity.load_or_create(config.data_dir)
    blocks = BlockStore(
        config.data_dir / "blocks", config.store_quota or default_quota_bytes(config.data_dir)
    )
    level = logging.DEBUG if config.log_level == "debug" else None
    try:
        async with (
            open_host(me, config.listen, has_room=has_room, dependency_log_level=level) as host,
            open_bitswap(host, blocks, NetworkError) as bitswap,
            trio.open_nursery() as effects,
        ):
            node = Node(config, me, store, host, blocks, bitswap, effects)
            async with open_gossip(host, node.adverts.heard) as node.adverts.gossip:
                await _work(node, told_to_end)
            effects.cancel_scope.cancel()
    finally:
        store.close()


async def _work(node: Node, told_to_end: trio.Event) -> None:
    config, host = node.config, node.host
    discovery = Discovery(
        host,
        given=config.peers,
        known=node.adverts.peers_to_join,
        reached=node.adverts.remember,
        mdns=config.mdns,
    )
    serve_table(host, lambda: node.driver.core.table.entries(node.clock.now()))
    serve_jobs(host, node.own_jobs)
    host.handle(log_streams.PROTOCOL, node.serve_logs, time_limit_s=log_streams.SERVE_TIME_S_MAX)
    host.watch(node.adverts.on_connection)

    async def shed_peers() -> None:
        await host.shed(node.driver.core.partners | discovery.given)

    async with trio.open_nursery() as nursery:
        await nursery.start(node.runner.run)
        await nursery.start(node.links.run)
        nursery.start_soon(node.driver.run)
        nursery.start_soon(node.keeper.run)
        await node.resume()
        await nursery.start(offering.watch, node)
        nursery.start_soon(node.peer_watch.run, node.links)
        nursery.start_soon(discovery.run)
        async with open_api(Service(node), config.data_dir, config.api_port, has_room) as api:
            nursery.start_soon(descriptors.watch, api.shed, shed_peers)
            _say_ready(config.name, node.me.peer_id, host.addresses(), api.url)
            async with trio.open_nursery() as waiting:

                async def end_when_empty() -> None:
                    await node.until_empty()
                    told_to_end.set()

                waiting.start_soon(end_when_empty)
                await told_to_end.wait()
                waiting.cancel_scope.cancel()
            # All parts still work: the others are to hear of it.
            await node.say_goodbye()
        nursery.cancel_scope.cancel()


def has_room() -> bool:
    """Whether strangers may have more connections."""
    return not descriptors.are_tight()


def _say_ready(name: str, peer: str, addresses: Sequence[str], api: str) -> None:
    lines = [
        f"p2pnode {name} is ready: {peer}",
        *(f"  listens at {one}" for one in addresses),
        f"  API {api}",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
