"""A node behind a router that speaks UPnP, as real programs on a network of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .nat_network import HOME_HOST, Internet, internet
from .nodes import Nodes, know_each_other, running_nodes, until

DIRECT_S_MAX = 30.0


@pytest.fixture
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Internet, Nodes]]:
    with internet() as made, running_nodes(tmp_path_factory.mktemp("upnp")) as nodes:
        yield made, nodes


def test_a_node_behind_a_router_with_upnp_is_dialled_through_it(net: tuple[Internet, Nodes]) -> None:
    made, nodes = net
    first = made.public(nodes, "first", "--no-compute").start()
    home = made.at_home(nodes, "home", "--no-compute", peers=(first,))
    outside = made.outside_of("home")
    # Its own port is another machine's at the router.
    gateway = made.speak_upnp("home", outside, "718")
    know_each_other(first, home.start())
    mapped = f"/ip4/{outside}/tcp/{home.port + 1}/p2p/{home.peer}"

    def told() -> list[str]:
        return [address for one in first.client.nodes() for address in one["addresses"]]

    # A neighbour has dialled it there before.
    until("others hear of the router's address", lambda: mapped in told(), DIRECT_S_MAX)
    assert home.client.identity()["reach"] == "direct"
    assert [one["reach"] for one in first.client.nodes() if one["peer"] == home.peer] == ["direct"]
    home.end()
    gateway.terminate()
    asked = gateway.communicate()[0].splitlines()
    assert asked[-1].split() == ["DeletePortMapping", str(home.port + 1), "TCP"]
    assert f"{home.port + 1} TCP {home.port} {HOME_HOST} 1 p2pnode 3600" in asked[-2]
