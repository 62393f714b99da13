"""What happens while a command waits, on stderr: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from types import TracebackType

from p2pnode.cli.output import clean, say

REFRESH_INTERVAL_S = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ERASE_LINE = "\r\x1b[2K"


class Progress:
    """Shows the latest of what it is told; leaving the block removes the live line.

    `plain`: whether it is worth a line each where there is no terminal.
    """

    def __init__(self, plain: bool = True) -> None:
        self._plain = plain
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._started = time.monotonic()
        self._text = ""
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._painter = threading.Thread(target=self._paint, daemon=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._live:
            self._painter.join()
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def show(self, text: str, at: str = "") -> None:
        """The step that now goes on; `at` is its time, shown on plain lines."""
        text = clean(text).replace("\n", " ")
        if self._live:
            self._text = text
        elif self._plain:
            say(f"{at}  {text}" if at else text)

    def show_once(self, text: str) -> None:
        """`show`, unless it says so already."""
        if text != self._text:
            self.show(text)
            self._text = text

    def above(self, data: bytes) -> None:
        """Output to keep, written above the live line as it is, so it should end at a line's end."""
        with self._lock:
            if self._live:
                sys.stderr.write(_ERASE_LINE)
                sys.stderr.flush()
            sys.stderr.buffer.write(data)
            sys.stderr.flush()

    def _paint(self) -> None:
        frame = 0
        while not self._done.wait(REFRESH_INTERVAL_S):
            frame += 1
            line = f"{_FRAMES[frame % len(_FRAMES)]} {self.elapsed_s:5.1f} s  {self._text}"
            width = shutil.get_terminal_size().columns - 1
            with self._lock:
                sys.stderr.write(_ERASE_LINE + line[:width])
                sys.stderr.flush()
