"""The terminal as a whole, drawn by `rich`, and its keys; all is put back at the end.

The second place that writes to it: as in `cli.output`, all is made visible here, whoever calls.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from p2pnode.cli.output import Part, Styled
from p2pnode.core.values.text import visible

from .keys import keys_of
from .state import Size

KEYS_SIZE_BYTES_MAX = 4096


class Screen:
    """The alternate screen, with keys as they are pressed, for as long as its block lasts."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.fd = sys.stdin.fileno()
        # The window was closed: nobody looks, and nothing is to be put back.
        self.gone = False
        self._before = termios.tcgetattr(self.fd)

    def __enter__(self) -> Screen:
        try:
            tty.setcbreak(self.fd)
            self._live.start()
        except BaseException:
            self._put_back()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    @property
    def size(self) -> Size:
        return Size(self._console.size.width, self._console.size.height)

    def show(self, rows: Iterable[Sequence[Part]]) -> None:
        """Fill the screen with these."""
        lines = [Text.assemble(*map(_rich, row)) for row in rows]
        whole = Text("\n", no_wrap=True, overflow="crop", end="").join(lines)
        with self._unless_gone():
            self._live.update(whole, refresh=True)

    def read_keys(self) -> list[str]:
        """The keys that were pressed, once there is something to read."""
        data = b""
        with self._unless_gone():
            data = os.read(self.fd, KEYS_SIZE_BYTES_MAX)
        self.gone = self.gone or not data
        return keys_of(data)

    def _put_back(self) -> None:
        try:
            with self._unless_gone():
                self._live.stop()
        finally:
            with self._unless_gone():
                termios.tcsetattr(self.fd, termios.TCSAFLUSH, self._before)

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        try:
            yield
        except (OSError, termios.error):
            self.gone = True


def _rich(part: Part) -> tuple[str, str]:
    return (visible(part.text), part.colour) if isinstance(part, Styled) else (visible(part), "")
