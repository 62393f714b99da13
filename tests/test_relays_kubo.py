"""A real Kubo daemon as the relay of this node."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
import trio

from p2pnode.network.host import open_host

from .kubo_daemon import environment, program, running_daemon
from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import TIMEOUT_S, echoed, open_behind


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
