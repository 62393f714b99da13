"""How much a fetch may write to disk before a person is asked, or a flag must allow it.

A few blocks can stand for a hundred gigabytes or a billion folders: a chunk, or a folder, that is
named many times is sent once. So what is written is held against what came.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.core.values.units import about_bytes
from p2pnode.ipfs.export import ENTRIES_MAX, EXPORT_SIZE_BYTES_MAX, ExportRoom, TooLarge

# More than this is written only to who said so, however honest it looks.
UNASKED_SIZE_BYTES_MAX = 1_000_000_000
# Results of programs repeat themselves, but not more often than this.
UNASKED_TIMES_MAX = 10
# Less than this hurts no disk, whatever it came from.
HARMLESS_SIZE_BYTES = 256_000_000
# Takes some seconds to make, and a tree of sources has fewer.
UNASKED_ENTRIES_MAX = 100_000
HARMLESS_ENTRIES = 10_000
# The bytes that a directory's block takes for an entry with a name of a few letters.
LINK_SIZE_BYTES = 45


class Unfolding(ExportRoom):
    """The room of one command: what its flags say, else what no one need be asked for."""

    def __init__(self, size_bytes_max: int | None, entries_max: int | None, yes: bool) -> None:
        """None: the limit is no flag's, so that `yes`, or a person who is asked, lifts it."""
        super().__init__(
            size_bytes_max or (EXPORT_SIZE_BYTES_MAX if yes else HARMLESS_SIZE_BYTES),
            entries_max or (ENTRIES_MAX if yes else HARMLESS_ENTRIES),
        )
        self._size_is_given = size_bytes_max is not None or yes
        self._entries_are_given = entries_max is not None or yes
        self._blocks_size_bytes = 0
        self.ask: Callable[[str], bool] = lambda question: False

    def has_come(self, size_bytes: int) -> None:
        """Blocks of so many bytes are to be written, besides those before."""
        self._blocks_size_bytes += size_bytes
        if not self._size_is_given:
            folded_bytes = UNASKED_TIMES_MAX * self._blocks_size_bytes
            self.size_bytes_max = min(max(HARMLESS_SIZE_BYTES, folded_bytes), UNASKED_SIZE_BYTES_MAX)
        if not self._entries_are_given:
            named = UNASKED_TIMES_MAX * self._blocks_size_bytes // LINK_SIZE_BYTES
            self.entries_max = min(max(HARMLESS_ENTRIES, named), UNASKED_ENTRIES_MAX)

    def refuse(self) -> None:
        """Asks whether to go on, where no flag has set the limit; raises `TooLarge`."""
        by_entries = self.entries > self.entries_max
        if self._entries_are_given if by_entries else self._size_is_given:
            super().refuse()
        what = (
            f"more than {self.entries_max:,} files and directories"
            if by_entries
            else f"more than {about_bytes(self.size_bytes_max)} on this disk"
        )
        from_what = f"{about_bytes(self._blocks_size_bytes)} of blocks unfold to {what}"
        if not self.ask(f"{from_what}: go on?"):
            raise TooLarge(f"{from_what}, which is not allowed unless you say so")
        if by_entries:
            self.entries_max, self._entries_are_given = ENTRIES_MAX, True
        else:
            self.size_bytes_max, self._size_is_given = EXPORT_SIZE_BYTES_MAX, True
