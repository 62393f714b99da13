"""The figures of a run in one table, with a warning where a ratio is twice what it was in the run before.

`build/bench/last.json` keeps them for the next run; parts that did not run stay there as they were.
"""

from __future__ import annotations

import json

from .figures import NOW, Figure

LAST = NOW.with_name("last.json")
# Ratios of one machine move from run to run, by less than that.
WARNED_FROM = 2.0


def warning(figure: Figure, before: float | None) -> str:
    """A ratio that has become much worse, in words; "" for others."""
    if not before or not figure.ratio:
        return ""
    worse = before / figure.ratio if figure.at_least else figure.ratio / before
    return f"   WARNING: {worse:.1f} times as bad as before" if worse >= WARNED_FROM else ""


def main() -> None:
    last: dict[str, float] = json.loads(LAST.read_text()) if LAST.exists() else {}
    figures = [Figure(**json.loads(line)) for line in NOW.read_text().splitlines()]
    print(f"\n{'=' * 24} {len(figures)} figures {'=' * 24}")
    for figure in figures:
        key = f"{figure.what} / {figure.yardstick}"
        print(figure.row() + warning(figure, last.get(key)))
        last[key] = figure.ratio
    missed = [figure.what for figure in figures if not figure.is_met]
    print(f"{len(missed)} not as aimed: {', '.join(missed)}" if missed else "all as aimed")
    LAST.write_text(json.dumps(last, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
