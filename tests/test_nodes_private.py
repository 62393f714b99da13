"""Real nodes in private networks: by a token they work together, and nobody else is let in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.api.shapes import ServiceError
from p2pnode.own_network import NETWORK_FILE

from .nodes import Node, Nodes, alive, know_each_other, known, running_nodes, until
from .programs import JOBS, wasm_job

# A dial's own limit is 5 s, and an API's connect 10 s; both sides know at once.
REFUSED_S_MAX = 4.0


def made(nodes: Nodes, name: str, network: str) -> Node:
    """A node that has made a network, and runs in it."""
    node = nodes.new(name)
    assert node.cli("network", "create", network).returncode == 0
    return node.start()


def joined(nodes: Nodes, name: str, token: str) -> Node:
    node = nodes.new(name)
    done = node.cli("join", token)
    assert done.returncode == 0, done.stderr
    return node.start()


def token_of(node: Node) -> str:
    done = node.cli("network", "invite", "--expires", "1h", "--member-for", "1h")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_two_nodes_with_a_token_run_a_job_between_them_also_after_a_restart(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        ada = made(nodes, "ada", "acme")
        token = token_of(ada)
        bob = joined(nodes, "bob", token)
        know_each_other(ada, bob)
        for one, role in ((ada, "role operator"), (bob, "role member until")):
            assert "in network acme (private), operator 12D3KooW" in one.printed() and role in one.printed()
        runs_on(ada, bob)
        for one in (ada, bob):
            assert one.end() == 0
        ada.start()
        bob.start()
        know_each_other(ada, bob)
        runs_on(bob, ada)
        for one in (ada, bob):
            assert token not in one.printed() and token[20:60] not in one.printed()


def runs_on(requester: Node, worker: Node) -> None:
    module = requester.add(JOBS / "noop.wasm")
    job = wasm_job(module, Constraints=[{"Key": "name", "Operator": "=", "Values": [worker.name]}])
    done = requester.ended(requester.submit(job))
    assert done["state"] == "Completed", done
    assert [one["peer"] for one in done["executions"]] == [worker.peer]


@pytest.fixture(scope="module")
def three_networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    with running_nodes(tmp_path_factory.mktemp("three")) as nodes:
        ours = made(nodes, "ours", "acme")
        other = made(nodes, "other", "acme")
        yield {"ours": ours, "other": other, "open": nodes.start("open")}


@pytest.mark.parametrize(
    ("from_", "to", "why"),
    [
        ("open", "ours", "one of another network"),
        ("other", "ours", "another network key"),
        ("ours", "open", "a node of the open network"),
        ("ours", "other", "another network key"),
    ],
)
def test_nodes_of_different_networks_do_not_connect_and_say_so_soon(
    three_networks: dict[str, Node], from_: str, to: str, why: str
) -> None:
    node, stranger = three_networks[from_], three_networks[to]
    began = time.monotonic()
    with pytest.raises(ServiceError, match=why):
        node.client.connect(stranger.address)
    assert time.monotonic() - began < REFUSED_S_MAX
    for one in three_networks.values():
        assert known(one) == {one.peer}
        assert "WARN" not in one.printed() and "ERROR" not in one.printed()


def test_the_open_network_goes_on_beside_private_ones(
    three_networks: dict[str, Node], tmp_path: Path
) -> None:
    with running_nodes(tmp_path) as nodes:
        friend = nodes.start("friend", peers=(three_networks["open"],))
        know_each_other(friend, three_networks["open"])
        assert "in the open network" in friend.printed()
        runs_on(friend, three_networks["open"])


def test_strangers_by_the_dozen_leave_a_private_node_no_descriptor(three_networks: dict[str, Node]) -> None:
    node, stranger = three_networks["ours"], three_networks["open"]
    assert node.process is not None
    descriptors = Path(f"/proc/{node.process.pid}/fd")
    before = len(os.listdir(descriptors))
    for _ in range(30):
        with pytest.raises(ServiceError, match="another network"):
            stranger.client.connect(node.address)
    until("the descriptors are given back", lambda: len(os.listdir(descriptors)) <= before)
    assert alive(node) and "WARN" not in node.printed()


def test_a_damaged_network_file_keeps_the_node_from_starting_in_the_open_network(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.new("a")
        node.data_dir.mkdir()
        (node.data_dir / NETWORK_FILE).write_bytes(b"junk")
        node.start(ready=False)
        assert node.process is not None and node.process.wait(30) == 1
        assert "network.key is damaged" in node.printed()


def test_a_command_without_a_node_joins_by_the_token_s_addresses(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        ada, bob = made(nodes, "ada", "acme"), nodes.new("bob")
        assert bob.cli("join", token_of(ada)).returncode == 0
        done = bob.cli("plan", str(JOBS / "noop.yaml"), timeout_s=60)
        assert "no peer is named" not in done.stderr
        assert "ada" in done.stdout + done.stderr, done.stderr
