"""Progress of a command that waits, on stderr: live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from p2pnode.cli.output import ProgramOutput, ask, draw, is_live, say

REFRESH_INTERVAL_S = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Progress:
    """Shows the latest of what it is told; leaving the block removes the live line.

    `plain`: whether it is worth a line each where there is no terminal.
    """

    def __init__(self, plain: bool = True) -> None:
        self._plain = plain
        self._live = is_live()
        self._started = time.monotonic()
        self._text = ""
        self._output = ProgramOutput("stderr")
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._painter = threading.Thread(target=self._paint, daemon=True)

    def __enter__(self) -> Self:
        if self._live:
            self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._live:
            self._painter.join()
            self._erase()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def show(self, text: str, at: str = "") -> None:
        """The step that now goes on; `at` is its time, shown on plain lines."""
        if self._live:
            self._text = text
        elif self._plain:
            say(f"{at}  {text}" if at else text)

    def show_once(self, text: str) -> None:
        """`show`, unless it says so already."""
        if text != self._text:
            self.show(text)
            self._text = text

    def above(self, about: str, line: bytes) -> None:
        """A line of a program's output to keep, written above the live line; `about`: whose it is."""
        with self._lock:
            if self._live:
                self._erase()
            self._output.line(about, line)

    def say(self, text: str) -> None:
        """A line of ours to keep, written above the live line."""
        with self._lock:
            if self._live:
                self._erase()
            say(text)

    def ask(self, question: str) -> bool:
        """Whether the person at the terminal says yes; the live line waits meanwhile."""
        with self._lock:
            if self._live:
                self._erase()
            return ask(question)

    def _paint(self) -> None:
        frame = 0
        while not self._done.wait(REFRESH_INTERVAL_S):
            frame += 1
            with self._lock:
                self._draw(_FRAMES[frame % len(_FRAMES)])

    def _draw(self, frame: str) -> None:
        draw(f"{frame} {self.elapsed_s:5.1f} s  {self._text}")

    def _erase(self) -> None:
        draw("")
