"""Nodes that find out by themselves whether others reach them, as real programs on networks of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cut_network import inside
from .kubo_daemon import environment, program, running_daemon
from .nat_network import Internet, internet
from .nodes import Node, Nodes, know_each_other, running_nodes, until

DIRECT_S_MAX = 20.0


@pytest.fixture
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Internet, Nodes]]:
    with internet() as made, running_nodes(tmp_path_factory.mktemp("reach")) as nodes:
        yield made, nodes


def test_nodes_of_a_network_that_dial_each_other_take_no_relays(net: tuple[Internet, Nodes]) -> None:
    made, nodes = net
    first = made.public(nodes, "first", "--no-compute").start()
    second = made.public(nodes, "second", "--no-compute", peers=(first,)).start()
    _all_direct(first, second)
    third = made.public(nodes, "third", "--no-compute", peers=(first,)).start()
    know_each_other(first, second, third)
    _all_direct(first, second, third)
    for node in (first, second, third):
        assert "relay" not in node.printed()


def _all_direct(*nodes: Node) -> None:
    for node in nodes:
        until(f"{node.name} is direct", lambda node=node: _reach(node) == "direct", DIRECT_S_MAX)


def _reach(node: Node) -> str:
    return str(node.client.identity()["reach"])


def test_kubo_dials_a_node_back_when_it_asks(net: tuple[Internet, Nodes], tmp_path: Path) -> None:
    made, nodes = net
    netns, host = made.public_host("kubo")
    with inside(netns), running_daemon(tmp_path, relays=True, listen=host):
        told = subprocess.run([program(), "id"], env=environment(tmp_path), capture_output=True, check=True)
        kubo = next(one for one in json.loads(told.stdout)["Addresses"] if f"/{host}/tcp/" in one)
        node = made.public(nodes, "node", "--no-compute", "--peer", kubo).start()
        _all_direct(node)
        # A home's router lets nobody in.
        home = made.at_home(nodes, "home", "--no-compute", "--peer", kubo).start()
        until("it lives by a relay", lambda: _reach(home) == "relay", DIRECT_S_MAX)
