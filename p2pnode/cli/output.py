"""The one place that writes lines to the terminal: the answer on stdout, everything else on stderr.

What is written may quote peers, jobs and files, so all of it is made visible here (`core.values.text`),
whoever calls: no text can move the cursor, add a line, or look like another. Line breaks, colours
and live lines are this module's own. Other modules of the command line can't reach the streams:
a rule of ruff (pyproject.toml) forbids it. The full screen of `top.screen` keeps to the same.
"""

from __future__ import annotations

import codecs
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TextIO, TypeAlias

from p2pnode.client.shortening import short_id as short_id
from p2pnode.client.shortening import short_peer as short_peer
from p2pnode.core.values.text import (
    cut,
    ljust,
    visible,
    visible_lines,
    width,
)

# A table's cells are cut at this width, but for the last of a row, which widens no other row: a CID has 59.
CELL_COLUMNS_MAX = 60
# A narrow terminal breaks its lines: less of a reason would say nothing.
PROSE_COLUMNS_MIN = 20
_COLUMN_GAP = "  "
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "dim": 2, "bold": 1, "reverse": 7}
_STATE_COLOURS = {"Completed": "green", "Failed": "red", "Lost": "red", "Stopped": "yellow"}
_LIVE_SIGNS = "…⠋"
_ERASE_LINE = "\r\x1b[2K"
StreamName: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Styled:
    """Text that has a colour where it comes to a terminal and NO_COLOR is not set."""

    text: str
    colour: str


Part: TypeAlias = str | Styled


def answer(*parts: Part) -> None:
    """A line of what the command was asked for; its parts follow each other."""
    _write_line(sys.stdout, parts)


def say(*parts: Part) -> None:
    """A line for the person at the terminal; its parts follow each other."""
    _write_line(sys.stderr, parts)


def answer_json(value: Any) -> None:
    _write(sys.stdout, as_json(value))


def as_json(value: Any) -> str:
    """JSON in ASCII whose only control character is our own line break."""
    # json leaves this one as it is.
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n"


def answer_document(text: str) -> None:
    """A text of several lines that is the command's own, such as a script."""
    for line in text.removesuffix("\n").split("\n"):
        answer(line)


def answer_job_file(text: str) -> None:
    """A job of the user's own as a file; whoever made the YAML has escaped what can't be seen."""
    answer_document(text)
    if "{{" in text:
        say("it has braces that are no template: submit it with --no-template")


def ask(question: str) -> bool:
    """Whether the person at the terminal says yes; no where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    _write(sys.stderr, f"{visible(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, whole: bool = False, prose_last: bool = False
) -> list[str]:
    """Lines with aligned columns; on a terminal no cell is wide enough to push others out of sight.

    `whole`: nothing is cut there either. `prose_last`: the last column is cut where the terminal ends.
    """
    cuts = sys.stdout.isatty() and not whole
    shown = _short if cuts else visible
    cells = [list(headings), *([*map(shown, row[:-1]), visible(row[-1])] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(headings))]
    if cuts and prose_last:
        before = sum(widths[:-1]) + len(_COLUMN_GAP) * (len(headings) - 1)
        columns = max(shutil.get_terminal_size().columns - before, PROSE_COLUMNS_MIN)
        widths[-1] = min(widths[-1], columns)
        cells = [[*row[:-1], _cut(row[-1], columns)] for row in cells]
    return [_COLUMN_GAP.join(map(ljust, row, widths)).rstrip() for row in cells]


def _short(text: str) -> str:
    return _cut(visible(text), CELL_COLUMNS_MAX)


def _cut(text: str, columns: int) -> str:
    return text if width(text) <= columns else cut(text, columns - 1) + "…"


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines `Name  value` with aligned values; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    columns = max((width(name) for name, _ in shown), default=0)
    return [f"{ljust(name, columns)}  {visible(value)}" for name, value in shown]


def state(text: str) -> Styled:
    """A job's or execution's state in its colour."""
    return Styled(text, _STATE_COLOURS.get(text, "bold"))


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


def rfc3339(at: float) -> str:
    """A Unix time for programs and other time zones."""
    # Years of five digits too, which a peer may tell of and datetime has not.
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def rfc3339_ms(at: float) -> str:
    """The same to the millisecond."""
    return f"{rfc3339(at)[:-1]}.{int(at % 1 * 1000):03d}Z"


def is_live() -> bool:
    """Whether stderr is a terminal on which lines can be drawn anew, and has the signs for it."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _encodes(sys.stderr, _LIVE_SIGNS)


def is_whole_screen() -> bool:
    """Whether stdin and stdout are a terminal that can be drawn on as a whole."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def draw(line: str) -> None:
    """Replace the live line, the last one on stderr; "" removes it."""
    _write(sys.stderr, _ERASE_LINE + _fitting(line))


def draw_block(lines: Sequence[str], before: int) -> None:
    """Replace the last `before` lines on stderr, where the cursor is in the last of them; () removes them."""
    up_again = f"\x1b[{before - 1}A" if before > 1 else ""
    _write(sys.stderr, f"\r{up_again}\x1b[J" + "\n".join(map(_fitting, lines)))


def draw_again(lines: Sequence[str], before: int) -> None:
    """Replace the last `before` lines on stderr by these."""
    up_again = f"\x1b[{before}A" if before else ""
    _write(sys.stderr, up_again + "".join(f"\x1b[2K{_fitting(line)}\n" for line in lines))


class ProgramOutput:
    """The output of a job's program on one of its streams, in pieces that end anywhere.

    A terminal is shown it visibly, line breaks and tabs as they are; a file or pipe, or who asked for
    `raw`, gets the bytes.
    """

    def __init__(self, name: StreamName, raw: bool = False) -> None:
        self._stream = sys.stdout if name == "stdout" else sys.stderr
        self._raw = raw or not self._stream.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> None:
        if not self._raw:
            _write(self._stream, visible_lines(self._decoder.decode(data)))
            return
        self._stream.flush()
        self._stream.buffer.write(data)
        self._stream.buffer.flush()

    def line(self, about: str, data: bytes) -> None:
        """A whole line among our own, marked by what it is about so that it can't be taken for ours."""
        self.write(f"{visible(about)} | ".encode() + data + b"\n")


def close_stdout() -> None:
    """Whoever read our output has seen enough; Python must not find that out again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` for a fault of ours, whose text may quote others."""
    for piece in traceback.format_exception(kind, error, trace):
        for line in piece.removesuffix("\n").split("\n"):
            say(line)


def _write_line(stream: TextIO, parts: Iterable[Part]) -> None:
    _write(stream, "".join(_shown(part, stream) for part in parts) + "\n")


def _shown(part: Part, stream: TextIO) -> str:
    if isinstance(part, str):
        return visible(part)
    text = visible(part.text)
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[part.colour]}m{text}\x1b[0m"


def _fitting(line: str) -> str:
    # A line that wraps would put the next one in the wrong place.
    return cut(visible(line), shutil.get_terminal_size().columns - 1)


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _write(stream: TextIO, text: str) -> None:
    if not _encodes(stream, text):
        # A locale without UTF-8: what it lacks is shown by its number.
        text = text.replace("…", "~").encode(stream.encoding, "backslashreplace").decode(stream.encoding)
    stream.write(text)
    stream.flush()
