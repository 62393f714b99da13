"""What commands print: the answer on stdout, everything else on stderr.

Text that comes from peers (names, reasons) is stripped of control characters, so that no
peer can write to the terminal what looks like ours.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

SHORT_ID_LENGTH = 8
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "dim": 2, "bold": 1}
# C0, DEL, C1, and the marks that reorder text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_STATE_COLOURS = {"Completed": "green", "Failed": "red", "Lost": "red", "Stopped": "yellow"}


def answer(text: str) -> None:
    """A line of what the command was asked for."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def answer_json(value: Any) -> None:
    # JSON escapes control characters by itself.
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def answer_job_file(text: str) -> None:
    """A job of the user's own as a file, exactly as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()
    if "{{" in text:
        say("it has braces that are no template: submit it with --no-template")


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def clean(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def style(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour where the stream is a terminal and NO_COLOR is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with aligned columns."""
    cells = [list(headings), *([clean(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines `Name  value` with aligned values; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name.ljust(width)}  {clean(value)}" for name, value in shown]


def state(text: str) -> str:
    """A job's or execution's state in its colour, for a line on stderr."""
    return style(text, _STATE_COLOURS.get(text, "bold"), sys.stderr)


def short_id(text: str) -> str:
    """`j-1234abcd` for a job's or execution's id."""
    prefix, dash, rest = text.partition("-")
    return f"{prefix}{dash}{rest[:SHORT_ID_LENGTH]}" if dash else text


def short_peer(peer: str) -> str:
    """The end of a peer id; all ids begin alike."""
    return peer[-SHORT_ID_LENGTH:]


def clock(at: float) -> str:
    """A Unix time as a person in this time zone reads it: the time of today, or the date."""
    local = time.localtime(at)
    today = time.localtime()[:3] == local[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", local)


def clock_ms(at: float) -> str:
    """The same to the millisecond, for what happens many times a second."""
    local = time.localtime(at)
    today = time.localtime()[:3] == local[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", local) + f".{int(at % 1 * 1000):03d}"
