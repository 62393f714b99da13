"""A program's stdout and stderr on one pipe, in the order that it wrote them.

Stdout is there as it is written. What goes to stderr has a head before it:

    mark (16 bytes, by chance for each run), length (4 bytes, big-endian), so many bytes

The program never learns the mark, so what it writes to stdout is never taken for a head. The worker writes
the pieces of stderr (`to_pipe`); the node takes all apart, whatever comes. A write to stderr costs a program
some 20 us, as wasmtime calls back for it; one to stdout, of which programs write more, 1 us as to any pipe.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

STDOUT, STDERR = 1, 2
# A program that tries a thousand million marks in a second needs 10^22 years for one of two that fits.
MARK_SIZE_BYTES = 16
_LENGTH = struct.Struct(">I")


def to_pipe(descriptor: int, mark: bytes) -> Callable[[bytes], None]:
    """Return a function that writes to stderr; it raises `OSError` when nobody reads any more."""

    def write(data: bytes) -> None:
        rest = memoryview(mark + _LENGTH.pack(len(data)) + data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


class Pieces:
    """Takes apart what was read. Any bytes are pieces of something, and what is wrong is the worker's own."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._pending = b""
        # Bytes of stderr that are still to come.
        self._left = 0

    def take_untrusted(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes there are of each piece; those that follow each other in one stream come as one."""
        pieces: list[tuple[int, list[bytes]]] = []
        for stream, piece in self._pieces(self._pending + data):
            if pieces and pieces[-1][0] == stream:
                pieces[-1][1].append(piece)
            else:
                pieces.append((stream, [piece]))
        for stream, parts in pieces:
            yield stream, b"".join(parts)

    def rest(self) -> bytes:
        """Return the bytes left at the end, where they began a mark: they belong to stdout."""
        return self._pending if len(self._pending) < len(self._mark) else b""

    def _pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at, mark = 0, self._mark
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield STDERR, piece
                continue
            found = data.find(mark, at)
            end = len(data) - _begun(data, mark) if found < 0 else found
            if end > at:
                yield STDOUT, data[at:end]
            at = max(end, at)
            if found < 0 or len(data) - at < len(mark) + _LENGTH.size:
                break
            (self._left,) = _LENGTH.unpack_from(data, at + len(mark))
            at += len(mark) + _LENGTH.size
        self._pending = data[at:]


def _begun(data: bytes, mark: bytes) -> int:
    """How many bytes at the end may be the beginning of a mark."""
    return next((size for size in range(len(mark) - 1, 0, -1) if data.endswith(mark[:size])), 0)
