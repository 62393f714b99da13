"""First contact as a person sees it: given peers that are not reached, by real nodes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .nodes import Node, environment, running_nodes, until
from .programs import JOBS
from .test_network_discovery import port_free

NOBODY = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
_NO_RESOLV_CONF = 'cp -r /etc "$0" && rm -f "$0/resolv.conf" && mount --bind "$0" /etc && exec "$@"'


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes.start("a")


def refused() -> str:
    return f"/ip4/127.0.0.1/tcp/{port_free()}/p2p/{NOBODY}"


def test_a_given_peer_that_is_not_reached_is_in_the_log_and_in_the_list_of_nodes(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.start("b", "--peer", refused())
        until("it is told", lambda: "nothing listens there" in node.printed())
        listed = node.cli("node", "list")
        assert "not connected with /ip4/127.0.0.1" in listed.stderr
        assert "nothing listens there" in listed.stderr
        (given,) = json.loads(node.cli("node", "list", "--json").stdout)["unreached"]
        assert given["peer"] == NOBODY


def test_submit_names_each_peer_that_is_not_reached_and_goes_on_with_the_others(
    a: Node, tmp_path: Path
) -> None:
    nobody = Node("nobody", tmp_path / "nobody", [], tmp_path / "nobody.log")
    by_name = a.address.replace("/ip4/127.0.0.1/", "/dns4/localhost/")
    words = ("--peer", by_name, "--peer", refused(), str(JOBS / "noop.wasm"))
    done = nobody.cli("wasm", "run", *words)
    assert done.returncode == 0, done.stderr
    assert f"{NOBODY}: /ip4/127.0.0.1" in done.stderr and "nothing listens there" in done.stderr
    through_its_own = a.cli("wasm", "run", *words)
    assert through_its_own.returncode == 0, through_its_own.stderr
    assert "nothing listens there" in through_its_own.stderr
    alone = a.cli("wasm", "run", "--peer", refused(), str(JOBS / "noop.wasm"))
    assert alone.returncode != 0
    assert "nothing listens there" in alone.stderr


def test_submit_says_why_before_it_gives_up(a: Node, tmp_path: Path) -> None:
    nobody = Node("nobody", tmp_path / "nobody", [], tmp_path / "nobody.log")
    wrong = f"{a.address.partition('/p2p/')[0]}/p2p/{NOBODY}"
    done = nobody.cli("submit", "--peer", wrong, str(JOBS / "noop.yaml"))
    assert done.returncode == 6
    assert f"another peer answers there: {a.peer}" in done.stderr


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("flag", "--peer"),
        ("file", "config.toml: peers"),
        ("environment", "P2PNODE_PEERS"),
        ("submit", "--peer"),
    ],
)
def test_a_peer_without_an_id_is_wrong_usage_and_the_place_is_named(
    tmp_path: Path, place: str, said: str
) -> None:
    address, data_dir = "/ip4/192.0.2.1/tcp/4001", tmp_path / "node"
    data_dir.mkdir()
    environ = environment(data_dir)
    words = ["serve"]
    if place == "flag":
        words += ["--peer", address]
    elif place == "submit":
        words = ["submit", "--peer", address, str(JOBS / "noop.yaml")]
    elif place == "file":
        (data_dir / "config.toml").write_text(f'peers = ["{address}"]\n')
    else:
        environ["P2PNODE_PEERS"] = address
    done = subprocess.run(
        [sys.executable, "-m", "p2pnode", *words],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert said in done.stderr and f"'{address}' does not end in /p2p/" in done.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a mount namespace needs root"
)
def test_a_node_without_resolv_conf_serves_and_knows_the_names_of_the_hosts_file(
    a: Node, tmp_path: Path
) -> None:
    with running_nodes(tmp_path) as nodes:
        by_name = a.address.replace("/ip4/127.0.0.1/", "/dns4/localhost/")
        node = nodes.new("b", "--peer", by_name)
        node.within = ("unshare", "-m", "sh", "-c", _NO_RESOLV_CONF, str(tmp_path / "etc"))
        node.start()
        until("they are connected", lambda: not node.client.unreached())
