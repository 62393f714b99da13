"""A program's stdout and stderr on one pipe, in the order that it wrote them.

    stream (1 byte: 1 stdout, 2 stderr), length (4 bytes, big-endian), so many bytes; and again

The worker puts them there (`to_pipe`); the node takes them apart, whatever comes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

STDOUT, STDERR = 1, 2
_HEAD = struct.Struct(">BI")


def to_pipe(descriptor: int, stream: int) -> Callable[[bytes], None]:
    """What writes to that stream; it raises `OSError` when nobody reads any more."""

    def write(data: bytes) -> None:
        rest = memoryview(_HEAD.pack(stream, len(data)) + data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


class Pieces:
    """Takes apart what was read. Any bytes are pieces of something, and what is wrong is the worker's own."""

    def __init__(self) -> None:
        self._pending = b""
        self._stream, self._left = STDOUT, 0

    def take_untrusted(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._pending += data
        while self._pending:
            if not self._left:
                if len(self._pending) < _HEAD.size:
                    return
                self._stream, self._left = _HEAD.unpack_from(self._pending)
                self._pending = self._pending[_HEAD.size :]
                continue
            piece, self._pending = self._pending[: self._left], self._pending[self._left :]
            self._left -= len(piece)
            yield self._stream, piece
