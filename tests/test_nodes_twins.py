"""Two nodes with one identity, from a copied data directory: they are noticed, and the network heals."""

from __future__ import annotations

import shutil
from pathlib import Path

from .nodes import Node, know_each_other, running_nodes, until

# Within a second or two on a quiet machine; an advert's interval (30 s) would be no healing.
HEAL_S_MAX = 15.0
# Adverts of the two that cross are said again after an interval.
TOLD_S_MAX = 45.0
FOREIGN = "another node runs with this node's identity"


def warned(node: Node, said: str) -> bool:
    return said in node.printed() and any(said in one["reason"] for one in node.client.problems())


def test_both_and_their_neighbour_are_told_and_the_right_one_is_listed_when_the_copy_has_gone(
    tmp_path: Path,
) -> None:
    with running_nodes(tmp_path) as nodes:
        first = nodes.start("a")
        right = nodes.start("right", peers=(first,))
        know_each_other(first, right)
        right.end()
        copy = nodes.new("copy", peers=(first,))
        shutil.copytree(right.data_dir, copy.data_dir)
        right.start()
        know_each_other(first, right)
        copy.start()
        peer = right.peer
        until("the copy is told", lambda: warned(copy, FOREIGN))
        until("the neighbour is told", lambda: warned(first, f"two nodes run with the identity of {peer}"))
        # Its advert is the newest now: the neighbour's table has nothing that it does not know.
        assert right.cli("node", "cordon").returncode == 0
        until("the right one is told", lambda: warned(right, FOREIGN), TOLD_S_MAX)
        copy.end()

        def listed() -> bool:
            return any(one["name"] == "right" and one["connected"] for one in first.client.nodes())

        until("the right one is listed again", listed, HEAL_S_MAX)
