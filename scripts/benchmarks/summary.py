"""The figures of a run in a table and a picture, with a warning where a ratio is twice what it was before.

In build/bench: `figures.json` and `figures.svg` have this run's, `last.json` the ratios that the next run
is held against; parts that did not run stay there as they were.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .figures import NOW, Figure
from .picture import Bar, bars

LAST = NOW.with_name("last.json")
FIGURES, PICTURE = NOW.with_name("figures.json"), NOW.with_name("figures.svg")
# Ratios of one machine move from run to run, by less than that.
WARNED_FROM = 2.0


def worse(figure: Figure, before: float | None) -> float:
    """How many times as bad as before a ratio is; 0 where that cannot be said."""
    if not before or not figure.ratio:
        return 0.0
    return before / figure.ratio if figure.at_least else figure.ratio / before


def warning(figure: Figure, before: float | None) -> str:
    """A ratio that has become much worse, in words; "" for others."""
    times = worse(figure, before)
    return f"   WARNING: {times:.1f} times as bad as before" if times >= WARNED_FROM else ""


def bar(figure: Figure, before: float | None) -> Bar:
    """A figure as so many times what is aimed at, or without an aim, as so many times what it was before.

    The more, the worse: a figure of which the most is wanted is turned round.
    """
    doubled = bool(warning(figure, before))
    if figure.aim is None:
        ratio = worse(figure, before)
        value = f"{figure.value}, {figure.ratio:.3g} x {figure.yardstick}"
    else:
        ratio = figure.ratio / figure.aim if not figure.at_least else figure.aim / (figure.ratio or 1e-9)
        value = figure.value
    return Bar(
        figure.what.strip(), value + (", WARNING" if doubled else ""), ratio, figure.is_met and not doubled
    )


def last_ratios(path: Path) -> dict[str, float]:
    """The ratios of the runs before, by figure; none where there is no whole file of them."""
    try:
        found: Any = json.loads(path.read_text())
        return {str(key): float(ratio) for key, ratio in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        print(f"{path} is damaged, so nothing is compared with the last run", file=sys.stderr)
        return {}


def key_of(figure: Figure) -> str:
    return f"{figure.what} / {figure.yardstick}"


def show(figures: Sequence[Figure], last: dict[str, float]) -> None:
    print(f"\n{'=' * 24} {len(figures)} figures {'=' * 24}")
    for figure in figures:
        print(figure.row() + warning(figure, last.get(key_of(figure))))
    missed = [figure.what.strip() for figure in figures if not figure.is_met]
    print(f"{len(missed)} not as aimed: {', '.join(missed)}" if missed else "all as aimed")


def keep(figures: Sequence[Figure], last: dict[str, float]) -> None:
    before = {key_of(figure): last.get(key_of(figure)) for figure in figures}
    rows = [asdict(figure) | {"before": before[key_of(figure)]} for figure in figures]
    FIGURES.write_text(json.dumps(rows, indent=1))
    drawn = [bar(figure, before[key_of(figure)]) for figure in figures]
    PICTURE.write_text(bars("Figures, as times what is aimed at (without an aim: the last run's)", drawn))
    ratios = last | {key_of(figure): figure.ratio for figure in figures}
    LAST.write_text(json.dumps(ratios, indent=1, sort_keys=True))
    print(f"kept: {FIGURES}, {PICTURE}; for the next run: {LAST}")


def main() -> None:
    if not NOW.exists():
        print("no figures of this run that could be held against others")
        return
    figures = [Figure(**json.loads(line)) for line in NOW.read_text().splitlines()]
    last = last_ratios(LAST)
    show(figures, last)
    keep(figures, last)


if __name__ == "__main__":
    main()
