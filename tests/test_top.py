"""`top` decides by itself what a window of any size shows, and what a key does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pnode.cli.output import Styled
from p2pnode.cli.top.entries import age, node_state
from p2pnode.cli.top.keys import keys_of
from p2pnode.cli.top.seen import LIVE_JOBS_MAX
from p2pnode.cli.top.state import BOTH_ROWS_MIN, FOOTER_ROWS, HEADER_ROWS, Pane, Size, TopState, pressed
from p2pnode.cli.top.view import COLUMNS, snapshot, view
from p2pnode.core.values.text import visible, width
from tests.top_samples import NOW, OWN, a_job, a_node, held, resources, state

from .test_cli_terminal import EVIL

WIDE = Size(200, 30)


def shown(state: TopState, size: Size = WIDE) -> list[str]:
    return [
        "".join(part.text if isinstance(part, Styled) else part for part in row) for row in view(state, size)
    ]


def row_of(state: TopState, word: str, size: Size = WIDE) -> str:
    return next(row for row in shown(state, size) if row.startswith(word))


def press(state: TopState, *keys: str, size: Size = WIDE) -> TopState:
    for key in keys:
        state = pressed(state, key, size)
    return state


def many_jobs(count: int) -> TopState:
    return state(live=[a_job(f"n{number:03}", created=NOW - number) for number in range(count)])


def jobs_shown(state: TopState, size: Size = WIDE) -> list[str]:
    return [row.split()[1] for row in shown(state, size) if row.startswith("j-")]


@pytest.mark.parametrize("columns", [10, 20, 40, 60, 80, 120, 300])
@pytest.mark.parametrize("rows", [5, 8, 24, 60])
@pytest.mark.parametrize("name", ["plain", "\u5de5" * 100, "e\u0301" * 100, EVIL])
def test_a_window_of_any_size_is_filled_and_no_row_is_wider(columns: int, rows: int, name: str) -> None:
    one = state(
        nodes=[a_node(name, engines=[name], scheduling=name)],
        live=[a_job(name, owner_name=name, reason=name)],
        identity={"peer": OWN, "name": name},
        hosted=[held(name, "running")],
    )
    for given in (one, replace(one, help=True), replace(one, typing=True), replace(one, problem=name)):
        drawn = shown(given, Size(columns, rows))
        assert len(drawn) == rows
        assert [row for row in drawn if width(row) > columns or visible(row) != row] == []


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (200, "NAME STATE CPU MEMORY EXECS RUNS ENGINES CPU USED MEMORY USED PEER"),
        (80, "NAME STATE CPU MEMORY EXECS RUNS ENGINES CPU USED"),
        (60, "NAME STATE CPU MEMORY EXECS RUNS"),
        (48, "NAME STATE CPU MEMORY EXECS"),
        (42, "NAME STATE CPU MEMORY"),
    ],
)
def test_a_narrow_window_leaves_out_the_columns_that_matter_least(columns: int, headings: str) -> None:
    runs = a_job("a-long-name-of-a-job", "Running")
    one = state(nodes=[a_node("a-node-of-16-col", scheduling="draining")], live=[runs])
    assert " ".join(row_of(one, "NAME", Size(columns, 30)).split()) == headings
    assert row_of(one, "a-node", Size(columns, 30)).split()[1] == "draining"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "ready"),
        ({"self": True, "connected": False}, "self"),
        ({"connected": False}, "gone"),
        ({"connected": False, "scheduling": "draining"}, "gone"),
        ({"problem": "it speaks link/3"}, "unusable"),
        ({"scheduling": "draining"}, "draining"),
        ({"scheduling": "cordoned"}, "cordoned"),
        ({"self": True, "scheduling": "draining"}, "draining"),
    ],
)
def test_a_node_is_marked_by_what_keeps_it_from_work(changes: dict[str, Any], expected: str) -> None:
    assert node_state(a_node("ada", **changes)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")],
)
def test_an_age_is_told_in_one_unit(seconds: float, expected: str) -> None:
    assert age(seconds) == expected


@pytest.mark.parametrize(
    ("free", "expected"),
    [((4000, 8_000_000_000), "░░░░░░ 0%"), ((2000, 0), "███░░░ 50%"), ((-1, 0), "██████ 100%")],
)
def test_bars_show_what_is_taken(free: tuple[int, int], expected: str) -> None:
    assert expected in row_of(state(nodes=[a_node("ada", free=resources(*free))]), "ada")


def test_a_node_without_cpu_has_an_empty_bar() -> None:
    assert "░░░░░░ 0%" in row_of(state(nodes=[a_node("ada", total=resources(0, 0))]), "ada")


def test_what_is_known_to_run_on_a_node_is_counted_by_job() -> None:
    jobs = [a_job("b", "Running", "Preparing", "Completed"), a_job("a", "Publishing"), a_job("", "Running")]
    one = state(live=jobs, hosted=[held("own", "running"), held("", "preparing"), held("asked", "bid")])
    assert row_of(one, "ada").split()[6:12] == ["4", "a,", "b", "×2,", "j-", "wasm,docker"]
    assert row_of(one, "me    self").split()[6:10] == ["2", "j-held,", "own", "wasm,docker"]


def test_the_header_tells_of_peers_jobs_and_executions() -> None:
    jobs = [a_job("a", "Running", "Running"), a_job("b", state="Queued"), a_job("c", "Running")]
    one = state(
        live=jobs, ended=[a_job("d", state="Failed")], nodes=[a_node("x"), a_node("y", connected=False)]
    )
    assert shown(one)[:3] == [
        "me  1 of 2 peers connected  3 executions running",
        "jobs  0 Pending  1 Queued  2 Running  lately  1 Failed",
        "no problems on this node",
    ]


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ([{"aside": False}], "1 problem, 0 set aside: p2pnode node problems"),
        ([{"aside": True}, {"aside": False}], "2 problems, 1 set aside: p2pnode node problems"),
    ],
)
def test_the_header_points_at_problems(problems: list[Any], expected: str) -> None:
    assert shown(state(problems=problems))[2] == expected


def test_a_node_that_is_away_is_told_of_above_what_was_seen_last() -> None:
    rows = shown(replace(state(), problem="it cannot be reached"))
    assert rows[2] == "no answer, trying again: it cannot be reached"
    assert any(row.startswith("j-works") for row in rows)


def test_live_jobs_come_before_ended_ones_and_new_before_old() -> None:
    live = [a_job("young", created=NOW - 1), a_job("old", created=NOW - 9)]
    one = state(live=live, ended=[a_job("over", "Completed", created=NOW)])
    assert jobs_shown(one) == ["young", "old", "over"]
    assert jobs_shown(press(one, "s")) == ["old", "young", "over"]


@pytest.mark.parametrize(
    ("type", "count", "expected"),
    [("batch", 3, "1/3"), ("service", 2, "1/2"), ("daemon", 1, "1"), ("ops", 1, "1")],
)
def test_executions_are_counted_against_what_is_wanted(type: str, count: int, expected: str) -> None:
    one = state(live=[a_job("x", "Running", "Lost", type=type, count=count)])
    assert row_of(one, "j-x").split()[4] == expected


def test_sorting_goes_round() -> None:
    nodes = [
        a_node("b", free=resources(0, 1)),
        a_node("a", free=resources(4000, 1)),
        a_node("c", self=True, free=resources(2000, 1)),
    ]
    one = press(state(nodes=nodes, live=[]), "n")
    orders = []
    for _ in range(5):
        orders.append([row[0] for row in shown(one) if row[:3] in ("a  ", "b  ", "c  ")])
        one = press(one, "s")
    assert orders[:3] == [["c", "a", "b"], ["a", "b", "c"], ["b", "c", "a"]]
    assert one.choice.order == 0


def test_a_filter_narrows_one_pane_as_it_is_typed_in_any_case() -> None:
    one = press(state(live=[a_job("Alpha"), a_job("beta")]), "/", "A", "L", "x", "backspace")
    assert shown(one)[-1].startswith("/AL_")
    assert jobs_shown(one) == ["Alpha"]
    assert "1 of 2 with 'AL'" in row_of(one, "> JOBS")
    assert "ada" in row_of(one, "ada")
    kept = press(one, "enter", "q")
    assert kept.ended and kept.choice.filter == "AL"
    assert jobs_shown(press(one, "escape")) == ["Alpha", "beta"]
    assert jobs_shown(press(one, "enter", "escape")) == ["Alpha", "beta"]


def test_keys_of_commands_are_text_while_a_filter_is_typed() -> None:
    one = press(state(), "/", "q", "s", "tab", "up")
    assert (one.ended, one.choice.filter) == (False, "qs")


def test_scrolling_stops_at_both_ends() -> None:
    size = Size(100, 20)
    one = many_jobs(50)
    first = jobs_shown(one, size)
    page = len(first)
    assert first == [f"n{number:03}" for number in range(page)]
    assert jobs_shown(press(one, "up", size=size), size) == first
    assert jobs_shown(press(one, "down", size=size), size)[0] == "n001"
    assert jobs_shown(press(one, "page down", size=size), size)[0] == f"n{page:03}"
    last = press(one, *["page down"] * 40, size=size)
    assert jobs_shown(last, size)[-1] == "n049" and len(jobs_shown(last, size)) == page
    assert last == press(one, "end", size=size)
    assert jobs_shown(press(last, "up", size=size), size)[-1] == "n048"
    assert press(last, "home", size=size) == one


def test_rows_that_went_while_one_was_at_the_end_leave_no_empty_screen() -> None:
    size = Size(100, 20)
    one = replace(press(many_jobs(50), "end", size=size), seen=many_jobs(20).seen)
    assert jobs_shown(one, size)[-1] == "n019"
    assert jobs_shown(press(one, "up", size=size), size)[-1] == "n018"


def test_a_low_window_has_the_pane_that_keys_are_for() -> None:
    size = Size(80, HEADER_ROWS + FOOTER_ROWS + BOTH_ROWS_MIN - 1)
    jobs, nodes = shown(state(), size), shown(press(state(), "tab"), size)
    assert [any("JOBS" in row for row in rows) for rows in (jobs, nodes)] == [True, False]
    assert [any("NODES" in row for row in rows) for rows in (jobs, nodes)] == [False, True]
    both = shown(state(), Size(80, size.rows + 1))
    assert any("JOBS" in row for row in both) and any("NODES" in row for row in both)


def test_keys_move_between_panes_and_to_the_page_of_keys() -> None:
    one = state()
    assert [press(one, *keys).pane for keys in (["n"], ["n", "j"], ["tab"], ["tab", "tab"])] == [
        Pane.NODES,
        Pane.JOBS,
        Pane.NODES,
        Pane.JOBS,
    ]
    explained = press(one, "?")
    assert any("sort by something else" in row for row in shown(explained))
    assert press(explained, "n") == one
    assert press(explained, "q").ended
    assert press(one, "x") == one


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page up", "page down", "home", "end"]),
        (b"\t\r\x7f\x1b", ["tab", "enter", "backspace", "escape"]),
        ("\u5de5".encode() + b"\xff\x01", ["\u5de5"]),
        (b"\x1b[200~a\x1b[1;5C", ["a"]),
    ],
)
def test_bytes_of_a_terminal_are_keys(data: bytes, keys: list[str]) -> None:
    assert keys_of(data) == keys


def test_a_snapshot_has_all_rows_and_all_columns() -> None:
    lines = ["".join(p.text if isinstance(p, Styled) else p for p in row) for row in snapshot(many_jobs(50))]
    assert sum(line.startswith("j-") for line in lines) == 50
    headings = [line.split("  ") for line in lines if line.startswith(("NAME", "ID"))]
    assert [[*filter(None, map(str.strip, found))] for found in headings] == [
        [one.heading for one in COLUMNS[pane]] for pane in Pane
    ]
    assert not any("█" in line for line in lines)


def test_jobs_that_were_not_asked_for_are_owned_up_to() -> None:
    assert "the newest 200 live only" in row_of(many_jobs(LIVE_JOBS_MAX), "> JOBS")
    assert shown(many_jobs(LIVE_JOBS_MAX))[1].startswith("jobs  0+ Pending")
    assert "only" not in row_of(many_jobs(LIVE_JOBS_MAX - 1), "> JOBS")
