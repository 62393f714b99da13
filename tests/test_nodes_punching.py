"""Nodes behind routers of their own that come to speak without a relay, as real programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .nat_network import Internet, internet
from .nodes import Nodes, know_each_other, running_nodes, until

DIRECT_S_MAX = 40.0


@pytest.fixture
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Internet, Nodes]]:
    with internet() as made, running_nodes(tmp_path_factory.mktemp("punching")) as nodes:
        yield made, nodes


def test_nodes_behind_two_routers_meet_where_these_keep_ports(net: tuple[Internet, Nodes]) -> None:
    made, nodes = net
    relays = tuple(made.public(nodes, f"relay{number}", "--no-compute").start(ready=False) for number in (1, 2))
    for one in relays:
        one.wait_ready()
    homes = [
        made.at_home(nodes, name, "--reach", "relay", "--log-level", "debug", peers=relays, symmetric=name == "carol").start(ready=False)
        for name in ("ada", "bob", "carol")
    ]
    for one in homes:
        one.wait_ready()
    know_each_other(*homes, *relays)
    ada, bob, carol = homes
    until("ada and bob are connected directly", lambda: bob.printed().count(f"{ada.peer} is connected directly"), DIRECT_S_MAX)
