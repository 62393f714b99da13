"""Real nodes of a private network that prove themselves: roles decide, and who is expelled is left by all."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from p2pnode import own_network
from p2pnode.api.shapes import ServiceError
from p2pnode.core.wire import protocols
from p2pnode.network.host import open_host
from p2pnode.network.streams import StreamBroken

from . import network_support
from .network_support import LOOPBACK, WAIT_S, keys_of, new_identity
from .nodes import Node, Nodes, know_each_other, known, running_nodes, until
from .programs import JOBS, wasm_job


def invited(operator: Node, role: str) -> str:
    done = operator.cli("network", "invite", "--expires", "1h", "--role", role)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def joined(nodes: Nodes, name: str, token: str) -> Node:
    node = nodes.new(name)
    done = node.cli("join", token)
    assert done.returncode == 0, done.stderr
    return node.start()


async def served_nothing(node: Node, key: bytes) -> None:
    """A host with the network's key and no membership connects, gets no answer, and is left."""
    async with open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as stranger:
        await stranger.connect(node.peer, [node.address], WAIT_S)
        async with await stranger.open_stream(node.peer, [protocols.ADVERTS], WAIT_S) as stream:
            with pytest.raises(StreamBroken):
                await stream.read_exactly(1, 2 * WAIT_S)
        await network_support.until(lambda: stranger.connected() == [])


def test_guests_are_given_nothing_and_the_expelled_and_those_without_membership_are_left(
    tmp_path: Path,
) -> None:
    with running_nodes(tmp_path) as nodes:
        ada = nodes.new("ada")
        assert ada.cli("network", "create", "acme").returncode == 0
        ada.start()
        bob = joined(nodes, "bob", invited(ada, "member"))
        gus = joined(nodes, "gus", invited(ada, "guest"))
        know_each_other(ada, bob, gus)
        assert "role guest may not run jobs of others: ask the operator" in gus.printed()

        own = own_network.load(ada.data_dir)
        assert own is not None
        # Ten seconds, in which the others go on.
        at_once = ThreadPoolExecutor(1)
        stranger = at_once.submit(trio.run, served_nothing, ada, own.key)
        done = gus.ended(gus.submit(wasm_job(gus.add(JOBS / "noop.wasm"), Count=2)))
        assert done["state"] == "Completed", done
        assert gus.peer not in {one["peer"] for one in done["executions"]}
        only_gus = {"Key": "name", "Operator": "=", "Values": ["gus"]}
        failed = bob.ended(bob.submit(wasm_job(bob.add(JOBS / "noop.wasm"), Constraints=[only_gus])))
        assert failed["state"] == "Failed" and failed["executions"] == [], failed

        stranger.result(60)
        assert "is not let into the network: it has shown no membership" in ada.printed()

        began = time.monotonic()
        expelled = ada.cli("network", "expel", gus.peer)
        assert expelled.returncode == 0, expelled.stderr
        until("the expelled is gone", lambda: gus.peer not in known(ada) and gus.peer not in known(bob))
        assert time.monotonic() - began < 10
        assert gus.peer in ada.cli("network", "show").stdout
        assert gus.peer in bob.cli("network", "show").stdout
        assert bob.end() == 0
        bob.start()
        know_each_other(ada, bob)
        assert gus.peer not in known(bob)
        assert gus.end() == 0

        timeouts = {"QueueTimeout": 3600}
        job = wasm_job(bob.add(JOBS / "noop.wasm"), Constraints=[only_gus], Timeouts=timeouts)
        waits = bob.submit(job)
        assert controllers_of(bob, waits) == {ada.peer}
        new = joined(nodes, "new", invited(ada, "operator"))
        know_each_other(ada, bob, new)
        assert {one["name"]: one["role"] for one in new.client.nodes()} == {
            "ada": "operator",
            "bob": "member",
            "new": "operator",
        }
        until(
            "an operator that came later is named", lambda: controllers_of(bob, waits) == {ada.peer, new.peer}
        )
        stopped = new.cli("job", "stop", waits)
        assert stopped.returncode == 0, stopped.stderr
        assert bob.ended(waits)["state"] == "Stopped"

        waits = bob.submit(job)
        assert controllers_of(bob, waits) == {ada.peer, new.peer}
        assert ada.cli("network", "expel", new.peer).returncode == 0
        until("who is expelled controls no more", lambda: controllers_of(bob, waits) == {ada.peer})


def controllers_of(node: Node, job: str) -> set[str]:
    return {one["peer"] for one in node.job(job)["controllers"]}


def keys_known(node: Node) -> int:
    return len(json.loads(node.cli("network", "show", "-o", "json").stdout)["keys"])


def test_a_rotated_key_reaches_who_was_away_and_keeps_the_expelled_from_connecting(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        ada = nodes.new("ada")
        assert ada.cli("network", "create", "acme").returncode == 0
        ada.start()
        bob = joined(nodes, "bob", invited(ada, "member"))
        gus = joined(nodes, "gus", invited(ada, "member"))
        know_each_other(ada, bob, gus)
        assert bob.end() == 0
        for words in (("expel", gus.peer), ("rotate-key", "--grace", "1h")):
            done = ada.cli("network", *words)
            assert done.returncode == 0, done.stderr
        bob.start()
        know_each_other(ada, bob)
        until("who was away has the new key", lambda: keys_known(bob) == 2)
        assert keys_known(gus) == 1
        done = ada.cli("network", "rotate-key", "--grace", "0")
        assert done.returncode == 0, done.stderr
        until("the keys before have ended", lambda: keys_known(bob) == 1)
        for one in (ada, bob):
            with pytest.raises(ServiceError, match="another network key"):
                gus.client.connect(one.address)
        assert bob.end() == 0
        bob.start()
        know_each_other(ada, bob)
        only_bob = {"Key": "name", "Operator": "=", "Values": ["bob"]}
        done = ada.ended(ada.submit(wasm_job(ada.add(JOBS / "noop.wasm"), Constraints=[only_bob])))
        assert done["state"] == "Completed", done
