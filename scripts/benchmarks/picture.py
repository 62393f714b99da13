"""Pictures of figures as SVG: panels of lines over the size of a network, and bars of ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

# Told apart by people who do not see all colours, and on paper.
COLOURS = ("#2a78d6", "#eb6834")
WARNED, INK, PALE, GRID, PAPER = "#d03b3b", "#1f2328", "#59636e", "#d9dde2", "#ffffff"
FONT = 'font-family="system-ui, sans-serif"'
PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 300, 210, 16
ACROSS = 3
BAR_HEIGHT, NAMES_WIDTH, BARS_WIDTH, VALUES_WIDTH = 22, 450, 240, 330
# Bars end at so many times what is aimed at: more is told by its number.
RATIO_MAX = 2.0


@dataclass(frozen=True)
class Panel:
    """One small diagram: a value, or some of one unit, for each of the places along its foot."""

    title: str
    places: Sequence[str]
    # By name; a place that has no value is None.
    lines: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Bar:
    """One figure as so many times what is aimed at; `is_good` as its own aim has it."""

    name: str
    value: str
    ratio: float
    is_good: bool


def panels(title: str, note: str, shown: Sequence[Panel]) -> str:
    """A page of panels, three in a row."""
    rows = -(-len(shown) // ACROSS)
    width, height = ACROSS * PANEL_WIDTH + 2 * MARGIN, rows * PANEL_HEIGHT + 74
    parts = [
        _text(MARGIN, 28, title, 16, INK, "start", bold=True),
        _text(MARGIN, 48, note, 12, PALE, "start"),
    ]
    for number, panel in enumerate(shown):
        x = MARGIN + number % ACROSS * PANEL_WIDTH
        parts += _panel(panel, x, 62 + number // ACROSS * PANEL_HEIGHT)
    return _page(width, height, parts)


def bars(title: str, shown: Sequence[Bar]) -> str:
    """A page of bars; the upright line is what is aimed at."""
    width = NAMES_WIDTH + BARS_WIDTH + VALUES_WIDTH + 2 * MARGIN
    height = 70 + BAR_HEIGHT * len(shown)
    left = MARGIN + NAMES_WIDTH
    aim_x = left + BARS_WIDTH / RATIO_MAX
    parts = [
        _text(MARGIN, 28, title, 16, INK, "start", bold=True),
        _text(aim_x, 50, "as aimed", 12, PALE, "middle"),
    ]
    for number, bar in enumerate(shown):
        y = 58 + number * BAR_HEIGHT
        length = min(bar.ratio, RATIO_MAX) / RATIO_MAX * BARS_WIDTH
        colour = COLOURS[0] if bar.is_good else WARNED
        parts += [
            _text(left - 8, y + 15, bar.name, 12, INK, "end"),
            f'<rect x="{left}" y="{y + 4}" width="{length:.1f}" height="{BAR_HEIGHT - 8}" fill="{colour}"/>',
            _text(left + max(length, BARS_WIDTH / RATIO_MAX) + 8, y + 15, bar.value, 12, INK, "start"),
        ]
    parts.append(_line(aim_x, 56, aim_x, height - 10, INK))
    return _page(width, height, parts)


def _panel(panel: Panel, x: float, y: float) -> list[str]:
    left, right, top, foot = x + 10, x + PANEL_WIDTH - 30, y + 52, y + PANEL_HEIGHT - 36
    known = [value for values in panel.lines.values() for value in values if value is not None]
    highest = max(known, default=0) or 1
    step = (right - left - 40) / max(1, len(panel.places) - 1)
    across = [left + 20 + step * number for number in range(len(panel.places))]
    parts = [
        _text(left, y + 16, panel.title, 13, INK, "start", bold=True),
        _line(left, foot, right, foot, PALE),
        _line(left, top, right, top, GRID),
    ]
    for place, at in zip(panel.places, across, strict=True):
        parts.append(_text(at, foot + 16, place, 11, PALE, "middle"))
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (at, foot - value / highest * (foot - top), value)
            for at, value in zip(across, values, strict=True)
            if value is not None
        ]
        drawn = " ".join(f"{at:.1f},{height:.1f}" for at, height, _ in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        # The first line's numbers stand above it, the others' below: the first is the highest.
        gap = -8 if number == 0 else 17
        for at, height, value in points:
            parts.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="3.5" fill="{colour}"/>')
            parts.append(_text(at, height + gap, _short(value), 11, INK, "middle"))
        if len(panel.lines) > 1:
            parts.append(_text(right - 40 * number, y + 16, name, 11, colour, "end", bold=True))
    return parts


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, size: int, colour: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'


def _page(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>'
    paper = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    return "\n".join([head, paper, *parts, "</svg>", ""])
