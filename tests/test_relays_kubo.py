"""A real Kubo daemon as the relay of this node, and the other way round."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.network.host import open_host

from .kubo_daemon import environment, program, running_daemon
from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import TIMEOUT_S, echoed, open_behind, open_relay


@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
async def test_kubo_is_a_relay_of_this_node(tmp_path: Path, key: bytes | None) -> None:
    with running_daemon(tmp_path, swarm_key=key, relays=True):
        told = await trio.run_process([program(), "id"], env=environment(tmp_path), capture_stdout=True)
        found = json.loads(told.stdout)
        tcp = [one for one in found["Addresses"] if "/ip4/127.0.0.1/tcp/" in one and one.count("/") == 6]
        async with (
            open_behind(key) as behind,
            open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as visitor,
        ):
            await behind.host.connect(found["ID"], [tcp[0].partition("/p2p/")[0]], TIMEOUT_S)
            await until(lambda: behind.addresses)
            await visitor.connect(behind.host.peer_id, behind.addresses, TIMEOUT_S)
            # Kubo's circuits carry 128 KiB.
            data = secrets.token_bytes(50_000)
            assert await echoed(visitor, behind.host.peer_id, data) == data


async def test_this_node_is_a_relay_of_kubo_for_kubo_and_for_this_node(tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    (tmp_path / "visitor").mkdir()
    async with open_relay() as (relay, service), open_behind() as behind:
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.addresses)
        by_relay = f"{relay.addresses()[0]}/p2p-circuit/p2p/"
        async with (
            _running(tmp_path / "behind", relay=relay.addresses()[0]) as kubo,
            _running(tmp_path / "visitor") as visitor,
        ):
            await until(lambda: kubo in service.places.reserved)
            for peer in (behind.host.peer_id, kubo):
                await _ipfs(tmp_path / "visitor", "swarm", "connect", by_relay + peer)
            assert service.places.circuits == 2
            assert visitor in behind.host.connected() and not behind.host.remote_host(visitor)


@asynccontextmanager
async def _running(directory: Path, relay: str = "") -> AsyncIterator[str]:
    """A daemon while this one's relay goes on; its peer id."""
    with ExitStack() as stack:
        # A daemon that begins asks the relay, which this thread is to be.
        await trio.to_thread.run_sync(lambda: stack.enter_context(running_daemon(directory, relay=relay)))
        try:
            yield json.loads(await _ipfs(directory, "id"))["ID"]
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(stack.close)


async def _ipfs(directory: Path, *arguments: str) -> bytes:
    done = await trio.run_process([program(), *arguments], env=environment(directory), capture_stdout=True)
    return done.stdout
