"""Pages of nodes: each node is in one of them, whoever comes and goes meanwhile."""

from __future__ import annotations

import pytest

from p2pnode.api.node_pages import page
from p2pnode.api.queries import NodesQuery
from p2pnode.api.shapes import NodeJson, ResourcesJson

NOTHING = ResourcesJson(cpu_millis=0, memory_bytes=0, disk_bytes=0, gpus=0)


def a_node(name: str, peer: str, *, me: bool = False, connected: bool = False, **labels: str) -> NodeJson:
    return NodeJson(
        peer=peer,
        name=name,
        engines=[],
        labels=labels,
        total=NOTHING,
        free=NOTHING,
        addresses=[],
        connected=connected,
        connection="direct" if connected and not me else "",
        reach="none",
        issued=0.0,
        role=None,
        invitation=None,
        self=me,
        scheduling="schedulable",
        price=0,
        protocols=[],
        problem=None,
    )


# As the service gives them: this node first, the others by name and peer.
NODES = [
    a_node("m", "p5", me=True, connected=True, zone="north"),
    a_node("", "p9"),
    a_node("a", "p2", zone="north"),
    a_node("a", "p3", connected=True),
    a_node("a@b", "p1", zone="south"),
    a_node("z", "p0", connected=True, zone="north"),
]


@pytest.mark.parametrize("limit", range(1, 8))
def test_pages_hold_each_node_once_in_their_order(limit: int) -> None:
    found, after = list[NodeJson](), ""
    for _ in range(len(NODES) + 1):
        rows, following = page(NODES, NodesQuery(limit=limit, after=after))
        found += rows
        if following is None:
            break
        after = following
    assert found == NODES


def test_a_page_goes_on_where_its_last_node_has_left() -> None:
    rows, following = page(NODES, NodesQuery(limit=3))
    left = [one for one in NODES if one not in rows[1:]]
    assert following is not None
    assert page(left, NodesQuery(after=following))[0] == NODES[3:]


@pytest.mark.parametrize(
    ("asked", "peers"),
    [
        (NodesQuery(label=["zone"]), ["p5", "p2", "p1", "p0"]),
        (NodesQuery(label=["zone=north"]), ["p5", "p2", "p0"]),
        (NodesQuery(label=["zone=north", "zone=south"]), []),
        (NodesQuery(text="A@"), ["p1"]),
        (NodesQuery(text="P9"), ["p9"]),
        (NodesQuery(connected=True), ["p5", "p3", "p0"]),
        (NodesQuery(connected=False, label=["zone"]), ["p2", "p1"]),
    ],
)
def test_a_filter_leaves_just_the_nodes_that_are_so(asked: NodesQuery, peers: list[str]) -> None:
    assert [one["peer"] for one in page(NODES, asked)[0]] == peers
