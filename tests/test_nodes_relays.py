"""Nodes behind routers that translate addresses, and relays between them, as real programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .job_views import add_waiting
from .nat_network import Internet, internet
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import wasm_job

RELAYS_S_MAX = 60.0


@dataclass
class _Homes:
    """Two nodes, each behind a router of its own, and three public nodes between them."""

    internet: Internet
    nodes: Nodes
    relays: list[Node]
    ada: Node
    bob: Node

    def relays_of(self, node: Node) -> set[str]:
        """The relays that a node names in what others hear of it."""
        (found,) = (one for one in self.relays[-1].client.nodes() if one["peer"] == node.peer)
        return {one.split("/")[6] for one in found["addresses"] if "/p2p-circuit/" in one}


@pytest.fixture
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Homes]:
    with internet() as net, running_nodes(tmp_path_factory.mktemp("homes")) as nodes:
        relays = [
            net.public(nodes, f"relay{number}", "--no-compute").start(ready=False) for number in (1, 2, 3)
        ]
        for one in relays:
            one.wait_ready()
        ada = net.at_home(nodes, "ada", "--reach", "relay", peers=(*relays,), symmetric=True).start(
            ready=False
        )
        # By itself it finds that it is dialled in vain.
        bob = net.at_home(nodes, "bob", peers=(*relays,), symmetric=True).start(ready=False)
        for node in (ada, bob):
            node.wait_ready()
        yield _Homes(net, nodes, relays, ada, bob)


def test_nodes_behind_two_routers_work_for_each_other_by_relays(homes: _Homes) -> None:
    ada, bob = homes.ada, homes.bob
    know_each_other(ada, bob, *homes.relays)
    for node in (ada, bob):
        until(f"{node.name} has two relays", lambda node=node: len(homes.relays_of(node)) == 2, RELAYS_S_MAX)
        assert node.client.identity()["reach"] == "relay"
    assert homes.relays[0].client.identity()["reach"] == "direct"
    waiting = add_waiting(ada, homes.nodes.directory)
    assert ada.cli("node", "cordon").returncode == 0
    job = ada.submit(wasm_job(waiting))
    execution = ada.execution(job, "Running", bob.peer)["id"]
    bob.begun(execution)
    (seen,) = (one for one in ada.client.nodes() if one["peer"] == bob.peer)
    assert seen["connection"] == "relay"
    # Links, logs and results go on by the others: both have one that goes, and each takes the third.
    shared = homes.relays_of(ada) & homes.relays_of(bob)
    gone = next(one for one in homes.relays if one.peer in shared)
    homes.relays.remove(gone)
    gone.kill()
    left = {one.peer for one in homes.relays}
    for node in (ada, bob):
        until(f"{node.name} has the third", lambda node=node: homes.relays_of(node) == left, RELAYS_S_MAX)
    homes.relays.pop(0).kill()
    left = {homes.relays[0].peer}
    until("the last relay alone is told", lambda: homes.relays_of(bob) == left, RELAYS_S_MAX)
    bob.finish(execution)
    assert ada.ended(job, RELAYS_S_MAX)["state"] == "Completed", ada.history(job)
    followed = ada.cli("job", "logs", "-f", job)
    assert "begun" in followed.stdout and "ended" in followed.stdout, followed
    got = ada.cli("get", job)
    assert got.returncode == 0, got.stderr

    assert ada.cli("node", "uncordon").returncode == 0
    assert bob.cli("node", "cordon").returncode == 0
    back = bob.submit(wasm_job(waiting))
    execution = bob.execution(back, "Running", ada.peer)["id"]
    ada.begun(execution)
    ada.finish(execution)
    assert bob.ended(back, RELAYS_S_MAX)["state"] == "Completed", bob.history(back)
