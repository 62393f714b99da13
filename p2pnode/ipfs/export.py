"""A UnixFS graph written to disk, by someone who trusts nobody who made it.

Everything is written into a private folder beside the destination (`partial`) and moved in the
end, so that the destination is whole or not there. Names must be single path parts. A symbolic
link is made only where it provably stays inside: it is relative, and climbs ("..") only at its
start and not above the root. Its first steps then lead through real folders, and what links it
may meet further on stay inside as well. Other links are left out, with a note. Of the modes that
files claim only this is taken: whether they are programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from p2pnode.core.values.units import ENTRY_SIZE_BYTES
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.dagpb import DagNode, NodeKind
from p2pnode.ipfs.partial import CannotExport, partial_folder
from p2pnode.ipfs.reading import GetBlock, Reader
from p2pnode.ipfs.unixfs import DEPTH_MAX
from p2pnode.system.trees import plain_mode

# The longest name that common file systems take, and the longest path that Linux takes as a link.
NAME_SIZE_BYTES_MAX = 255
LINK_SIZE_BYTES_MAX = 4096
# Counts files, folders and links: a full table of inodes hurts like a full disk.
ENTRIES_MAX = 1_000_000
# A repeated chunk costs its sender nothing and us its size each time; callers know better limits.
EXPORT_SIZE_BYTES_MAX = 1 << 40


class TooLarge(CannotExport):
    """The graph does not fit into its room."""


class ExportRoom:
    """The bytes and entries that may be written to disk: counted as they are, and refused beyond limits."""

    def __init__(self, size_bytes_max: int = EXPORT_SIZE_BYTES_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self.size_bytes_max = size_bytes_max
        self.entries_max = entries_max
        self.size_bytes = 0
        self.entries = 0

    def add(self, size_bytes: int, entries: int = 0) -> None:
        """Count what is written next; raises `TooLarge`."""
        self.size_bytes += size_bytes
        self.entries += entries
        if self.entries > self.entries_max or self.size_bytes > self.size_bytes_max:
            self.refuse()

    def refuse(self) -> None:
        """Raises `TooLarge` with the limit that is passed."""
        if self.entries > self.entries_max:
            raise TooLarge(f"more than the {self.entries_max:,} files and directories that are allowed")
        raise TooLarge(f"more than the {self.size_bytes_max:,} bytes that are allowed")


def export(
    cid: str,
    get_block: GetBlock,
    destination: Path,
    *,
    room: ExportRoom | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Write what `cid` names to `destination`, which must not exist or be an empty directory.

    Blocks are asked for once each time that they are met, in depth-first order, so that they can
    come from a CAR stream. `note` is told of each symbolic link that was left out. Raises
    `CannotExport`, `BlockUnavailable`, `BadMessage` and `OSError`, and then leaves nothing behind.
    """
    with partial_folder(destination) as partial:
        write(cid, get_block, partial.folder, "root", room or ExportRoom(), note)
        partial.place("root")


def write(
    cid: str, get_block: GetBlock, folder: int, name: str, room: ExportRoom, note: Callable[[str], None]
) -> None:
    """Write what `cid` names as `name` into an open folder that nobody else writes to; raises as `export`."""
    _Export(Reader(get_block), room, note).write(str(cids.parse(cid)), folder, name)


class _Export:
    """One export under way, with the links that are made last."""

    def __init__(self, reader: Reader, room: ExportRoom, note: Callable[[str], None]) -> None:
        self._reader = reader
        self._room = room
        self._note = note
        self._links: list[tuple[tuple[str, ...], bytes]] = []

    def write(self, cid: str, folder: int, name: str) -> None:
        node = self._reader.node(cid)
        if node.kind is NodeKind.SYMLINK:
            raise CannotExport(f"{cid} is a symbolic link, which leads nowhere by itself")
        self._write_node(cid, node, folder, name, ())
        # Last, so that nothing is ever written through one.
        for (*above, last), target in self._links:
            with _opened(folder, [name, *above]) as directory:
                os.symlink(os.fsdecode(target), last, dir_fd=directory)

    def _write_node(self, cid: str, node: DagNode, folder: int, name: str, names: tuple[str, ...]) -> None:
        self._room.add(ENTRY_SIZE_BYTES, entries=1)
        match node.kind:
            case NodeKind.FILE | NodeKind.RAW:
                self._write_file(cid, node, folder, name)
            case NodeKind.DIRECTORY | NodeKind.SHARD:
                self._write_directory(node, folder, name, names)
            case NodeKind.SYMLINK if len(node.data) <= LINK_SIZE_BYTES_MAX and _stays_inside(
                node.data, names
            ):
                self._links.append((names, node.data))
            case NodeKind.SYMLINK:
                target = os.fsdecode(node.data[:80])
                self._note(f"{'/'.join(names)} was left out: it is a link to {target!r}, outside")
            case _:
                raise BadMessage(
                    f"{cid} is a {node.kind.name.lower()}, which is neither a file nor a directory"
                )

    def _write_file(self, cid: str, node: DagNode, folder: int, name: str) -> None:
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        # The umask says who may read and write it.
        with open(os.open(name, new, plain_mode(node.mode) | 0o666, dir_fd=folder), "wb") as file:
            # Counted with the entry.
            free_bytes = ENTRY_SIZE_BYTES
            for chunk in self._reader.file(cid, node):
                self._room.add(max(len(chunk) - free_bytes, 0))
                free_bytes = max(free_bytes - len(chunk), 0)
                file.write(chunk)

    def _write_directory(self, node: DagNode, folder: int, name: str, names: tuple[str, ...]) -> None:
        if len(names) == DEPTH_MAX:
            raise BadMessage(f"directories more than {DEPTH_MAX} deep")
        os.mkdir(name, dir_fd=folder)
        seen: set[str] = set()
        with _opened(folder, [name]) as directory:
            for link in self._reader.entries(node):
                check_name(link.name)
                # Also where upper and lower case are one: mkdir and "x" would fail, and say less.
                if link.name in seen:
                    raise BadMessage(f"a directory has two entries {link.name!r}")
                seen.add(link.name)
                child = self._reader.node(link.cid)
                self._write_node(link.cid, child, directory, link.name, (*names, link.name))


@contextmanager
def _opened(folder: int, names: Sequence[str]) -> Iterator[int]:
    """A folder below an open one, reached through real folders only."""
    below = os.dup(folder)
    try:
        for name in names:
            above, below = (
                below,
                os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=below),
            )
            os.close(above)
        yield below
    finally:
        os.close(below)


def check_name(name: str) -> None:
    """Raise `BadMessage` for what can't be the name of a file."""
    encoded = name.encode(errors="surrogateescape")
    if not name or name in (".", "..") or b"/" in encoded or b"\0" in encoded:
        raise BadMessage(f"a directory has an entry with the name {name[:80]!r}")
    if len(encoded) > NAME_SIZE_BYTES_MAX:
        raise BadMessage(f"a directory has an entry whose name takes {len(encoded)} bytes")


def _stays_inside(target: bytes, names: tuple[str, ...]) -> bool:
    """Whether a link that stands at `names` below the root leads to something below the root."""
    if not target or target.startswith(b"/") or b"\0" in target:
        return False
    parts = PurePosixPath(os.fsdecode(target)).parts
    climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return climbs < len(names) and ".." not in parts[climbs:]
