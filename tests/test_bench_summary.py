"""The table and pictures of `scripts/bench`: which ratios are as aimed, which much worse; its wrong words."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.benchmarks import growth_shell
from scripts.benchmarks.figures import ROOT, Figure
from scripts.benchmarks.growth_picture import draw
from scripts.benchmarks.picture import WARNED, bars
from scripts.benchmarks.summary import bar, last_ratios, warning

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("ratio", "aim", "at_least", "met"),
    [
        (3.0, None, False, True),
        (1.0, 1.0, False, True),
        (1.1, 1.0, False, False),
        (1.1, 1.0, True, True),
        (0.9, 1.0, True, False),
    ],
)
def test_a_figure_is_as_aimed_or_missed(ratio: float, aim: float | None, at_least: bool, met: bool) -> None:
    figure = Figure("a job", "1 ms", ratio, "a bare request", aim, at_least)
    assert figure.is_met is met
    assert ("MISSED" in figure.row()) is not met


@pytest.mark.parametrize(
    ("ratio", "before", "at_least", "warned"),
    [
        (2.0, 1.0, False, True),
        (1.9, 1.0, False, False),
        (0.5, 1.0, False, False),
        (0.5, 1.0, True, True),
        (2.0, 1.0, True, False),
        (2.0, None, False, False),
    ],
)
def test_a_ratio_twice_as_bad_as_before_is_told(
    ratio: float, before: float | None, at_least: bool, warned: bool
) -> None:
    assert bool(warning(Figure("a job", "1 ms", ratio, "a bare request", 1, at_least), before)) is warned


def drawn(svg: str) -> tuple[list[str], list[str]]:
    """The texts of a picture, and the colours of its bars."""
    page = ElementTree.fromstring(svg)
    texts = [one.text or "" for one in page.iter(f"{SVG}text")]
    return texts, [one.attrib["fill"] for one in page.iter(f"{SVG}rect")][1:]


@pytest.mark.parametrize(
    ("figure", "before", "good"),
    [
        pytest.param(Figure("a", "1 ms", 0.5, "x", 1), 0.5, True, id="as aimed"),
        pytest.param(Figure("a", "1 ms", 1.5, "x", 1), 1.5, False, id="missed"),
        pytest.param(Figure("a", "1 ms", 0.0, "x", 1, True), None, False, id="nothing of the most"),
        pytest.param(Figure("a", "1 ms", 0.5, "x", 1), 0.1, False, id="as aimed, but five times as bad"),
        pytest.param(Figure("a", "1 ms", 9.0, "x"), None, True, id="without an aim"),
        pytest.param(Figure("a", "1 ms", 9.0, "x"), 3.0, False, id="without an aim, three times as bad"),
    ],
)
def test_the_picture_has_a_red_bar_for_what_is_missed_or_much_worse(
    figure: Figure, before: float | None, good: bool
) -> None:
    texts, colours = drawn(bars("all", [bar(figure, before)]))
    assert (colours == [WARNED]) is not good
    assert any("WARNING" in text for text in texts) is bool(warning(figure, before))


def test_names_in_a_picture_may_hold_any_character() -> None:
    assert "a <b> & c" in drawn(bars("all", [bar(Figure("a <b> & c", "1 ms", 1, "x"), None)]))[0]


@pytest.mark.parametrize("text", ["{bad", '["a"]', '{"a": "b"}'])
def test_ratios_that_cannot_be_read_are_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "last.json").write_text(text)
    assert last_ratios(tmp_path / "last.json") == {}


def test_the_picture_of_growth_shows_the_most_jobs_of_each_size() -> None:
    columns = ("message_bytes_per_job", "placed_p50_s", "placed_p99_s", "copies_per_node_s")
    rest = dict.fromkeys((*columns, "rank_ms", "table_bytes"), 1.0)
    rows = [{"nodes": n, "jobs": j, **rest, "messages_per_job": n + j} for n in (10, 1_000) for j in (1, 5)]
    texts, _ = drawn(draw(rows))
    assert {"10", "1,000", "15", "1,005"} <= set(texts) and "11" not in texts


def test_jobs_of_whole_nodes_are_placed_and_counted() -> None:
    figures = growth_shell.measured(3, 4)
    assert figures.placed == 4
    assert figures.messages_per_job > 1 and figures.wire_bytes_per_job > 1_000 and figures.placed_p99_s > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuchpart",), "no part is named 'nosuchpart'"),
        (("start", "nosuchpart"), "no part is named 'nosuchpart'"),
        (("start cli",), "no part is named 'start cli'"),
        (("",), "no part is named ''"),
        (("--nodes", "3"), "are for one part"),
        (("start", "cli", "--nodes"), "are for one part"),
    ],
)
def test_wrong_words_are_told_with_the_parts_that_there_are(words: tuple[str, ...], said: str) -> None:
    done = subprocess.run([ROOT / "scripts/bench", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr and "growth" in done.stderr
