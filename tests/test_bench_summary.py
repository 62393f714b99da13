"""The table at the end of `scripts/bench`: which ratios are as aimed, and which have become much worse."""

from __future__ import annotations

import pytest

from scripts.benchmarks.figures import Figure
from scripts.benchmarks.summary import warning


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
