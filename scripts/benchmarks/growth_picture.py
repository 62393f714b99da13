"""The picture of growth: what a network costs each of its nodes, over its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .picture import Panel, panels

Row = Mapping[str, Any]


def draw(rows: Sequence[Row]) -> str:
    """An SVG of the table's rows: of each size the one with the most jobs."""
    largest: dict[int, Row] = {}
    for row in rows:
        if row["nodes"] not in largest or row["jobs"] >= largest[row["nodes"]]["jobs"]:
            largest[row["nodes"]] = row
    sizes = sorted(largest)
    places = [f"{size:,}" for size in sizes]

    def panel(title: str, factor: float = 1.0, **lines: str) -> Panel:
        values = {
            name.replace("_", " "): [largest[size][column] * factor for size in sizes]
            for name, column in lines.items()
        }
        return Panel(title, places, values)

    jobs = " and ".join(f"{count:,}" for count in sorted({int(largest[size]["jobs"]) for size in sizes}))
    return panels(
        f"What a network of {places[0]} to {places[-1]} nodes costs each of them",
        f"By number of nodes: real cores, a simulated network (1 to 20 ms a message), {jobs} jobs each",
        [
            panel("Messages for a job", messages="messages_per_job"),
            panel("Kilobytes of messages for a job", 1e-3, bytes="message_bytes_per_job"),
            panel("Submit to start, ms", 1e3, p99="placed_p99_s", p50="placed_p50_s"),
            panel("Copies of adverts per node, per second", copies="copies_per_node_s"),
            panel("Ranking of all known peers, ms", rank="rank_ms"),
            panel("Memory of the table of peers, MB", 1e-6, table="table_bytes"),
        ],
    )
