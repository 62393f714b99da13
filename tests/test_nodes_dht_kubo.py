"""Real nodes and real Kubo daemons in one DHT: results are found by their CIDs alone, and so are peers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .kubo_daemon import address_of, running_daemon, told
from .nodes import Nodes, running_nodes, until
from .programs import JOBS


@dataclass
class KuboPair:
    """Two daemons that are connected; nodes know the first alone."""

    first: Path
    second: Path


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboPair]:
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    with running_daemon(first, dht=True), running_daemon(second, dht=True):
        told(second, "swarm", "connect", address_of(first))
        yield KuboPair(first, second)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with running_nodes(tmp_path) as found:
        yield found


def test_kubo_finds_and_fetches_a_result_by_its_cid_alone(kubo: KuboPair, nodes: Nodes) -> None:
    node = nodes.start("a", "--dht", "client", "--dht-peer", address_of(kubo.first), "--provide", "results")
    done = node.cli("wasm", "run", str(JOBS / "noop.wasm"), "--json")
    assert done.returncode == 0, done.stderr
    (root,) = [one["cid"] for one in node.client.pins() if one["what"] == "result"]
    until("it is provided", lambda: node.client.identity()["finding"]["provided"] == 1)
    assert "1 roots are provided" in node.cli("doctor").stdout
    assert told(kubo.second, "routing", "findprovs", root).split() == [node.peer]
    assert "stdout" in told(kubo.second, "ls", root)


def test_a_node_fetches_what_only_a_kubo_that_it_does_not_know_has(kubo: KuboPair, nodes: Nodes) -> None:
    cid = told(kubo.second, "add", "--quiet", "--cid-version=1", given="found in the DHT").strip()
    told(kubo.second, "routing", "provide", cid)
    node = nodes.start("a", "--dht", "client", "--dht-peer", address_of(kubo.first))
    done = node.cli("ipfs", "get", cid, "--output", str(nodes.directory / "got"))
    assert done.returncode == 0, done.stderr
    assert (nodes.directory / "got").read_text() == "found in the DHT"
    # Connections that the search has made, and nobody uses, are let go.
    connected = json.loads(told(kubo.first, "swarm", "peers", "--enc", "json"))["Peers"]
    assert node.peer not in [one["Peer"] for one in connected]
