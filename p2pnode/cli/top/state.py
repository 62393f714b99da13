"""The state of `top`: what was seen last, and what the user has made of it by keys."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .columns import Entry
from .entries import JOB_ORDERS, NODE_ORDERS, job_entries, node_entries
from .seen import Seen

# A filter is a word or two.
FILTER_LENGTH_MAX = 60
HEADER_ROWS = 3
FOOTER_ROWS = 1
# A pane's title and its headings.
PANE_ROWS = 2
# Both panes are shown where each has room for some rows.
BOTH_ROWS_MIN = 2 * PANE_ROWS + 6
# So many of a hundred rows go to nodes, unless one of the panes needs fewer.
NODES_SHARE = 40


class Pane(enum.StrEnum):
    NODES = "nodes"
    JOBS = "jobs"


ORDERS: Mapping[Pane, tuple[str, ...]] = {Pane.NODES: NODE_ORDERS, Pane.JOBS: JOB_ORDERS}


@dataclass(frozen=True, slots=True)
class Size:
    """A window's."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Looking:
    """How a pane is looked at."""

    order: int = 0
    filter: str = ""
    offset: int = 0


def _choices() -> dict[Pane, Looking]:
    return {pane: Looking() for pane in Pane}


@dataclass(frozen=True, slots=True)
class TopState:
    """All that a view is made of."""

    seen: Seen
    # The moment that is shown, in Unix time.
    now: float
    # Why the node cannot be asked; "" while it can.
    problem: str = ""
    pane: Pane = Pane.JOBS
    choices: Mapping[Pane, Looking] = field(default_factory=_choices)
    # A filter is being typed.
    typing: bool = False
    # The page of keys is shown.
    help: bool = False
    ended: bool = False

    @property
    def choice(self) -> Looking:
        """The choice of the pane that keys are for."""
        return self.choices[self.pane]

    def chosen(self, **changes: object) -> TopState:
        """This with a change of that choice."""
        changed = replace(self.choice, **changes)  # type: ignore[arg-type]
        return replace(self, choices={**self.choices, self.pane: changed})

    def all_of(self, pane: Pane) -> list[Entry]:
        return node_entries(self.seen) if pane is Pane.NODES else job_entries(self.seen, self.now)

    def entries(self, pane: Pane) -> list[Entry]:
        """The entries of a pane that its filter lets through, in its order."""
        choice, order = self.choices[pane], ORDERS[pane][self.choices[pane].order]
        found = [one for one in self.all_of(pane) if one.has(choice.filter)]
        return sorted(found, key=lambda one: one.keys[order])


def heights(state: TopState, size: Size) -> dict[Pane, int]:
    """The rows of entries that each pane has in a window; one that is not shown is not there."""
    rows = size.rows - HEADER_ROWS - FOOTER_ROWS
    if rows < BOTH_ROWS_MIN:
        return {state.pane: max(0, rows - PANE_ROWS)}
    rows -= 2 * PANE_ROWS
    nodes, jobs = (len(state.entries(pane)) for pane in Pane)
    of_nodes = min(nodes, max(rows * NODES_SHARE // 100, rows - jobs))
    return {Pane.NODES: max(1, of_nodes), Pane.JOBS: rows - max(1, of_nodes)}


def pressed(state: TopState, key: str, size: Size) -> TopState:
    """The state after a key."""
    if state.typing:
        return _typed(state, key)
    if state.help:
        return replace(state, help=False, ended=key == "q")
    page = max(1, heights(state, size)[state.pane])
    moves = {"up": -1, "down": 1, "page up": -page, "page down": page, "home": -(10**9), "end": 10**9}
    if key in moves:
        last = max(0, len(state.entries(state.pane)) - page)
        # An offset behind the end, of entries that have gone, counts as the last.
        return state.chosen(offset=max(0, min(last, min(last, state.choice.offset) + moves[key])))
    match key:
        case "q":
            return replace(state, ended=True)
        case "tab":
            return replace(state, pane=Pane.NODES if state.pane is Pane.JOBS else Pane.JOBS)
        case "n":
            return replace(state, pane=Pane.NODES)
        case "j":
            return replace(state, pane=Pane.JOBS)
        case "s":
            return state.chosen(order=(state.choice.order + 1) % len(ORDERS[state.pane]), offset=0)
        case "/":
            return replace(state, typing=True)
        case "escape":
            return state.chosen(filter="", offset=0)
        case "?" | "h":
            return replace(state, help=True)
    return state


def _typed(state: TopState, key: str) -> TopState:
    text = state.choice.filter
    match key:
        case "enter":
            return replace(state, typing=False)
        case "escape":
            return replace(state.chosen(filter="", offset=0), typing=False)
        case "backspace":
            return state.chosen(filter=text[:-1], offset=0)
    if len(key) == 1:
        return state.chosen(filter=(text + key)[:FILTER_LENGTH_MAX], offset=0)
    return state
