"""Columns of `top`: which of them a window has room for, how wide they are, and their cells cut to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from p2pnode.cli.bars import bar
from p2pnode.cli.output import Part, Styled
from p2pnode.core.values.text import cut, visible, width

GAP = "  "
BAR_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class PaneColumn:
    """A column; where there is no room for all, those of the highest `rank` go first, and of rank 0 none."""

    heading: str
    rank: int
    # Down to this all are made narrower before one goes.
    columns_min: int
    columns_max: int


@dataclass(frozen=True, slots=True)
class Cell:
    """Text as others wrote it; with `share` (from 0 to 1) it comes behind a bar."""

    text: str = ""
    colour: str = ""
    share: float | None = None

    @property
    def drawn(self) -> str:
        bar_of = "" if self.share is None else f"{bar(self.share, BAR_COLUMNS)} "
        return bar_of + visible(self.text)


@dataclass(frozen=True, slots=True)
class Entry:
    """A node or a job: a cell for each column, and what it is sorted by, by the order's name."""

    cells: tuple[Cell, ...]
    keys: dict[str, Any] = field(default_factory=dict)

    def has(self, text: str) -> bool:
        return any(text.casefold() in cell.text.casefold() for cell in self.cells)


def widths(columns: Sequence[PaneColumn], entries: Sequence[Entry], available: int) -> dict[int, int]:
    """The width of each column that is shown, by its index."""
    natural = [
        min(one.columns_max, max([width(one.heading), *(width(row.cells[index].drawn) for row in entries)]))
        for index, one in enumerate(columns)
    ]
    least = [min(wanted, one.columns_min) for wanted, one in zip(natural, columns, strict=True)]
    shown = set(range(len(columns)))
    for index in sorted(shown, key=lambda index: -columns[index].rank):
        if columns[index].rank and _taken(least, shown) > available:
            shown.discard(index)
    spare = available - _taken(least, shown)
    found = {}
    for index in sorted(shown, key=lambda index: columns[index].rank):
        more = max(0, min(spare, natural[index] - least[index]))
        found[index], spare = least[index] + more, spare - more
    return dict(sorted(found.items()))


def drawn(cells: Sequence[Cell], shown: dict[int, int]) -> list[Part]:
    """A row of these cells."""
    parts: list[Part] = []
    for index, columns in shown.items():
        text = shortened(cells[index].drawn, columns)
        colour = cells[index].colour
        parts += [Styled(text, colour) if colour else text, " " * (columns - width(text)) + GAP]
    return parts[:-1]


def shortened(text: str, columns: int) -> str:
    """Visible text in so many columns; what is cut ends in an ellipsis."""
    return text if width(text) <= columns else cut(text, columns - 1) + "…"


def _taken(least: Sequence[int], shown: set[int]) -> int:
    return sum(least[index] for index in shown) + len(GAP) * (len(shown) - 1)
