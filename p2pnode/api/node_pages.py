"""Lists of nodes: which a user asks for, and a page of them."""

from __future__ import annotations

from collections.abc import Sequence

from .queries import NodesQuery
from .shapes import NodeJson


def page(nodes: Sequence[NodeJson], asked: NodesQuery) -> tuple[list[NodeJson], str | None]:
    """The nodes that are asked for, in the order that they have, and the `after` of the next page.

    A place is that behind a name and a peer, so one that has left since does not matter.
    """
    place = tuple(asked.after.rsplit("@", 1)) if asked.after else None
    found = [
        one
        for one in nodes
        # This node is the first of the first page.
        if (place is None or (not one["self"] and (one["name"], one["peer"]) > place)) and _fits(one, asked)
    ]
    rows = found[: asked.limit]
    if len(rows) == len(found):
        return rows, None
    last = rows[-1]
    return rows, "@" if last["self"] else f"{last['name']}@{last['peer']}"


def _fits(one: NodeJson, asked: NodesQuery) -> bool:
    if asked.connected is not None and (one["connected"] or one["self"]) is not asked.connected:
        return False
    if not all(_has_label(one["labels"], label) for label in asked.label):
        return False
    text = asked.text.casefold()
    return any(text in part.casefold() for part in (one["name"], one["peer"]))


def _has_label(labels: dict[str, str], label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in labels and (not equals or labels[key] == value)
