"""A text whose templates were filled in, and where each part of it came from."""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple


class Piece(NamedTuple):
    """A part of the text, from `at` (in characters) of the file as it was written."""

    text: str
    at: int
    # Whether the file has it there just so; else an action wrote it.
    copied: bool


class Expanded:
    """The pieces as a text, whose places can be found again in the file as it was written."""

    def __init__(self, pieces: tuple[Piece, ...], source: str) -> None:
        self.text = "".join(piece.text for piece in pieces)
        self.source = source
        self._pieces = pieces
        self._starts = [0, *itertools.accumulate(len(piece.text) for piece in pieces)]

    def origin(self, line: int, column: int) -> tuple[int, int]:
        """The line and column, from 1, in the file of a place in the text.

        Of what an action wrote, that is where the action begins.
        """
        if not self._pieces:
            return 1, 1
        offset = self.offset(line, column)
        index = bisect.bisect_right(self._starts, offset, hi=len(self._pieces)) - 1
        piece = self._pieces[index]
        return position(self.source, piece.at + (offset - self._starts[index]) * piece.copied)

    def offset(self, line: int, column: int) -> int:
        """Where in the text a line and column, from 1, are."""
        return self._lines[min(line, len(self._lines)) - 1] + column - 1

    def written(self) -> Iterator[tuple[Piece, int]]:
        """The pieces that actions wrote, and where each begins in the text."""
        for piece, start in zip(self._pieces, self._starts, strict=False):
            if not piece.copied:
                yield piece, start

    @functools.cached_property
    def _lines(self) -> list[int]:
        """Where each line begins."""
        return [0, *(match.end() for match in re.finditer("\n", self.text))]


def position(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
