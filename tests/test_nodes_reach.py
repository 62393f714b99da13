"""Nodes that find out by themselves whether others reach them, as real programs on networks of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.link.reach import DialBackAnswer
from p2pnode.network.dial_backs import ask_to_dial
from p2pnode.network.host import open_host

from .cut_network import inside
from .kubo_daemon import environment, program, running_daemon
from .nat_network import Internet, internet
from .network_support import new_identity
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
    third = made.public(nodes, "third", "--no-compute", peers=(first,)).start(ready=False)
    # A router that lets others in at this port.
    home = made.at_home(nodes, "home", "--no-compute", peers=(first,), forwarded=4101).start(ready=False)
    know_each_other(first, second, third.wait_ready(), home.wait_ready())
    _all_direct(first, second, third, home)
    for node in (first, second, third, home):
        assert "relay" not in node.printed()

    def told() -> list[str]:
        return [address for one in first.client.nodes() for address in one["addresses"]]

    until("others hear of the router's address", lambda: any("/tcp/4101/" in one for one in told()))


def test_a_node_that_is_reached_by_ip6_alone_keeps_relays_for_peers_of_ip4(
    net: tuple[Internet, Nodes],
) -> None:
    made, nodes = net
    four = made.public(nodes, "four", "--no-compute").start(ready=False)
    six = made.public_by_ip6(nodes, "six", "--no-compute").start(ready=False)
    for node in (four, six):
        node.wait_ready()
    home = made.at_home(nodes, "home", "--no-compute", peers=(four, six))
    at = f"/ip6/{made.route_ip6('home', 'six')}/tcp/"
    home.start("--listen", f"{at}0")
    how = {"ip4": "relay", "ip6": "direct"}
    until("the families differ", lambda: home.client.identity()["reach_by"] == how, DIRECT_S_MAX)
    assert "IPv4 relay, IPv6 direct" in home.cli("id").stdout

    def told() -> bool:
        (found,) = [one for one in four.client.nodes() if one["name"] == "home"] or [{"addresses": []}]
        relayed = {"/p2p-circuit/" in one for one in found["addresses"] if not one.startswith(at)}
        return relayed == {True} and any(one.startswith(at) for one in found["addresses"])

    until("others hear of its IPv6 and its relays", told, DIRECT_S_MAX)
    assert "IPv4 relay, IPv6 direct" in four.cli("node", "list", "-o", "wide").stdout


def _all_direct(*nodes: Node) -> None:
    for node in nodes:
        until(f"{node.name} is direct", lambda node=node: _reach(node) == "direct", DIRECT_S_MAX)


def _reach(node: Node) -> str:
    return str(node.client.identity()["reach"])


def test_kubo_dials_back_whoever_asks(net: tuple[Internet, Nodes], tmp_path: Path) -> None:
    made, _ = net
    kubo_place, kubo_host = made.public_host("kubo")
    place, host = made.public_host("host")
    with inside(kubo_place), running_daemon(tmp_path, relays=True, listen=kubo_host):
        told = subprocess.run([program(), "id"], env=environment(tmp_path), capture_output=True, check=True)
        kubo = next(one for one in json.loads(told.stdout)["Addresses"] if f"/{kubo_host}/tcp/" in one)
        transport, _, peer = kubo.rpartition("/p2p/")

        async def asked(listens: str) -> tuple[DialBackAnswer, str]:
            async with open_host(new_identity(), [f"/ip4/{listens}/tcp/4101"]) as one:
                await one.connect(peer, [transport], DIRECT_S_MAX)
                return await ask_to_dial(one, peer)

        with inside(place):
            assert trio.run(asked, host) == (DialBackAnswer.REACHED, f"/ip4/{host}/tcp/4101")
