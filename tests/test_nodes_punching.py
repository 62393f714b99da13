"""Nodes behind routers of their own that come to speak without a relay, as real programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .job_views import add_waiting
from .nat_network import Internet, internet
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import wasm_job

DIRECT_S_MAX = 40.0


@pytest.fixture
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Internet, Nodes]]:
    with internet() as made, running_nodes(tmp_path_factory.mktemp("punching")) as nodes:
        yield made, nodes


def _connection(node: Node, peer: Node) -> str:
    """How a node is connected with another."""
    (found,) = (one for one in node.client.nodes() if one["peer"] == peer.peer)
    return str(found["connection"])


def test_nodes_of_a_private_network_meet_with_one_public_node_where_routers_keep_ports(
    net: tuple[Internet, Nodes],
) -> None:
    made, nodes = net
    relay = made.public(nodes, "relay", "--no-compute")
    assert relay.cli("network", "create", "acme").returncode == 0
    relay.start()
    token = relay.cli("network", "invite", "--expires", "1h", "--member-for", "1h").stdout.strip()
    ada, bob = (made.at_home(nodes, name, "--reach", "relay") for name in ("ada", "bob"))
    for one in (ada, bob):
        done = one.cli("join", token)
        assert done.returncode == 0, done.stderr
        one.start(ready=False)
    for one in (ada, bob):
        one.wait_ready()
    know_each_other(ada, bob, relay)
    until("ada and bob need no relay", lambda: _connection(ada, bob) == "direct", DIRECT_S_MAX)
    assert "direct" in ada.cli("node", "list").stdout
    relay.kill()
    assert ada.cli("node", "cordon").returncode == 0
    job = ada.submit(wasm_job(add_waiting(ada, nodes.directory)))
    execution = ada.execution(job, "Running", bob.peer)["id"]
    bob.begun(execution)
    bob.finish(execution)
    assert ada.ended(job)["state"] == "Completed", ada.history(job)
    assert _connection(ada, bob) == "direct" == _connection(bob, ada)
