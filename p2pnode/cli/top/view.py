"""Decides what `top` shows: the rows of a window, and of a snapshot without one."""

from __future__ import annotations

from collections.abc import Mapping

from p2pnode.cli.output import Part, Styled, table
from p2pnode.cli.output import state as state_of
from p2pnode.core.values.text import visible, width

from .columns import Cell, PaneColumn, drawn, shortened, widths
from .entries import JOB_COLUMNS, NODE_COLUMNS
from .seen import ENDED_JOBS_MAX, LIVE_JOBS_MAX, Seen
from .state import ORDERS, Pane, Size, TopState, heights

COLUMNS: Mapping[Pane, tuple[PaneColumn, ...]] = {Pane.NODES: NODE_COLUMNS, Pane.JOBS: JOB_COLUMNS}
KEYS = (
    ("q", "quit"),
    ("Tab", "the other pane"),
    ("n j", "nodes, jobs"),
    ("Up Down", "scroll by a row"),
    ("PgUp PgDn", "scroll by a page"),
    ("Home End", "to the first, the last"),
    ("s", "sort by something else"),
    ("/", "filter by text; Enter keeps it, Esc clears it"),
    ("?", "these keys"),
)
FOOTER = "q quit  Tab pane  s sort  / filter  ? keys"
Shown = list[Part]


def view(state: TopState, size: Size) -> list[Shown]:
    """The rows of a window, as many as it has or fewer, none of them wider than it is."""
    rows = _header(state)
    if state.help:
        rows += [[Styled(f"  {keys:<10}", "bold"), f"  {does}"] for keys, does in KEYS]
    else:
        for pane, height in heights(state, size).items():
            rows += _pane(state, pane, height, size.columns)
    rows = rows[: size.rows - 1]
    rows += [[] for _ in range(size.rows - 1 - len(rows))]
    return [_fitting(row, size.columns) for row in [*rows, _footer(state)]]


def snapshot(state: TopState) -> list[Shown]:
    """The same once, for a pipe or a file: all rows with all columns, and numbers for bars."""
    lines = _header(state)
    for pane in Pane:
        cells = [[cell.text for cell in one.cells] for one in state.entries(pane)]
        shown = table([one.heading for one in COLUMNS[pane]], cells)
        lines.append([])
        lines += [[line] for line in shown]
        if more := _more(state.seen, pane):
            lines.append([more])
    return lines


def _header(state: TopState) -> list[Shown]:
    seen = state.seen
    node: Shown = [
        Styled(visible(seen.identity["name"]) or "p2pnode", "bold"),
        f"  {seen.connected_peers} of {seen.known_peers} peers connected",
        f"  {seen.running_executions} executions running",
    ]
    jobs: Shown = ["jobs"]
    for name, count in seen.live_counts():
        jobs += [f"  {count} ", state_of(name)]
    if lately := seen.ended_counts():
        jobs.append("  lately")
        for name, count in lately:
            jobs += [f"  {count} ", state_of(name)]
    return [node, jobs, [_trouble(state)]]


def _trouble(state: TopState) -> Styled:
    if state.problem:
        return Styled(f"no answer, trying again: {state.problem}", "red")
    problems = state.seen.problems
    if not problems:
        return Styled("no problems on this node", "dim")
    aside = sum(one["aside"] for one in problems)
    many = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    return Styled(f"{many}, {aside} set aside: p2pnode node problems", "red" if aside else "yellow")


def _pane(state: TopState, pane: Pane, height: int, columns: int) -> list[Shown]:
    choice, entries = state.choices[pane], state.entries(pane)
    offset = max(0, min(choice.offset, len(entries) - height))
    rows = entries[offset : offset + height]
    shown = widths(COLUMNS[pane], entries, columns)
    headings = [Cell(one.heading, "dim") for one in COLUMNS[pane]]
    lines: list[Shown] = [_title(state, pane, len(entries), offset, height), drawn(headings, shown)]
    lines += [drawn(row.cells, shown) for row in rows]
    return lines + [[] for _ in range(height - len(rows))]


def _title(state: TopState, pane: Pane, count: int, offset: int, height: int) -> Shown:
    choice = state.choices[pane]
    mark, style = (">", "reverse") if pane is state.pane else (" ", "bold")
    total = len(state.all_of(pane)) if choice.filter else count
    parts = [f"{count} of {total} with {visible(choice.filter)!r}" if choice.filter else str(count)]
    if count > height:
        parts.append(f"rows {offset + 1} to {min(count, offset + height)}")
    parts.append(f"by {ORDERS[pane][choice.order]}")
    if more := _more(state.seen, pane):
        parts.append(more)
    return [Styled(f"{mark} {pane.upper()} ", style), "  ".join(["", *parts])]


def _more(seen: Seen, pane: Pane) -> str:
    if pane is Pane.NODES:
        return ""
    cut_off = [
        f"the newest {limit} {kind} only"
        for found, limit, kind in ((seen.live, LIVE_JOBS_MAX, "live"), (seen.ended, ENDED_JOBS_MAX, "ended"))
        if len(found) >= limit
    ]
    return ", ".join(cut_off)


def _footer(state: TopState) -> Shown:
    if state.typing:
        return [Styled(f"/{visible(state.choice.filter)}", "bold"), Styled("_", "reverse"), "  Enter, Esc"]
    return [Styled(FOOTER, "dim")]


def _fitting(row: Shown, columns: int) -> Shown:
    found: Shown = []
    for part in row:
        text = visible(part.text if isinstance(part, Styled) else part)
        text = shortened(text, columns) if columns else ""
        columns -= width(text)
        found.append(Styled(text, part.colour) if isinstance(part, Styled) else text)
    return found
