"""Output of several streams at once, cut into lines."""

from __future__ import annotations

from collections.abc import Iterator

# A program that writes no line break must not fill our memory.
LINE_SIZE_BYTES_MAX = 64 * 1024

Key = tuple[str, str]


class Lines:
    """Holds what has come of each stream's last line."""

    def __init__(self) -> None:
        self._begun: dict[Key, bytes] = {}

    def of(self, key: Key, data: bytes) -> list[bytes]:
        """The lines that this piece of a stream ends, without their line breaks."""
        *lines, begun = (self._begun.get(key, b"") + data).split(b"\n")
        while len(begun) > LINE_SIZE_BYTES_MAX:
            lines.append(begun[:LINE_SIZE_BYTES_MAX])
            begun = begun[LINE_SIZE_BYTES_MAX:]
        self._begun[key] = begun
        return lines

    def rest(self) -> Iterator[tuple[Key, bytes]]:
        """Yield the text that no line break has ended."""
        for key, begun in self._begun.items():
            if begun:
                yield key, begun
