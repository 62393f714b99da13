"""The terminal of a command: raw while a program elsewhere has it, and then as it was, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from p2pnode.cli.standard import STDIN

# A TERM as nodes let it in; programs know nothing of this one.
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,63}")
NO_TYPE = "dumb"
NO_SIZE = (80, 24)
STDOUT = 1
# Signals that end this program, and would leave the terminal raw.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def size() -> tuple[int, int]:
    """Columns and rows of the terminal, or of one that is not there."""
    for descriptor in (STDIN, STDOUT):
        with suppress(OSError):
            found = os.get_terminal_size(descriptor)
            return max(found.columns, 1), max(found.lines, 1)
    return NO_SIZE


def kind() -> str:
    """The TERM that programs know it by."""
    named = os.environ.get("TERM", "")
    return named if _TYPE.fullmatch(named) else NO_TYPE


@contextmanager
def raw() -> Iterator[None]:
    """Have each key go through as it is pressed, Ctrl-C too, during the block."""
    before = termios.tcgetattr(STDIN)

    def restore() -> None:
        termios.tcsetattr(STDIN, termios.TCSANOW, before)

    def end(number: int, frame: FrameType | None) -> None:
        restore()
        raise SystemExit(128 + number)

    with _signals(_ENDING, end):
        try:
            tty.setraw(STDIN)
            yield
        finally:
            restore()


@contextmanager
def resized(tell: Callable[[], object]) -> Iterator[None]:
    """Call `tell`, which has to be quick, for each change of the size during the block."""
    with _signals((signal.SIGWINCH,), lambda number, frame: tell()):
        yield


@contextmanager
def _signals(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], object]
) -> Iterator[None]:
    before = {one: signal.signal(one, handler) for one in numbers}
    try:
        yield
    finally:
        for one, earlier in before.items():
            signal.signal(one, earlier)
