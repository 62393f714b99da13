"""A program's stdout and stderr on one pipe, in the order that it wrote them.

    stream (1 byte: 1 stdout, 2 stderr), length (4 bytes, big-endian), so many bytes; and again

The worker puts them there (`to_pipe`); the node takes them apart, whatever comes. It costs a program some
20 us for each write, as wasmtime has another thread do it; with two pipes it would be 1 us, and no order.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

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
        """What there is of each piece; what follows each other in one stream comes as one."""
        for stream, pieces in groupby(self._pieces(self._pending + data), key=itemgetter(0)):
            yield stream, b"".join(piece for _, piece in pieces)

    def _pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(data):
            if not self._left:
                if len(data) - at < _HEAD.size:
                    break
                self._stream, self._left = _HEAD.unpack_from(data, at)
                at += _HEAD.size
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield self._stream, piece
        self._pending = data[at:]
