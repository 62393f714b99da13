"""A UnixFS graph written to disk, by someone who trusts nobody who made it.

Everything is written into a folder beside the destination and renamed in the end, so that
the destination is whole or not there; what a killed export left is cleared by the next one.
Names must be single path parts. A symbolic link is made only where it provably stays inside:
it is relative, and climbs ("..") only at its start and not above the root. Its first steps then
lead through real folders, and what links it may meet further on stay inside as well. Other
links are left out, with a note.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from p2pnode.core.wire import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.dagpb import Kind, Node
from p2pnode.ipfs.reading import GetBlock, Reader
from p2pnode.ipfs.unixfs import DEPTH_MAX

# The longest name that common file systems take, and the longest path that Linux takes as a link.
NAME_SIZE_BYTES_MAX = 255
LINK_SIZE_BYTES_MAX = 4096
# Of files, folders and links: a full table of inodes hurts like a full disk.
ENTRIES_MAX = 1_000_000
# A repeated chunk costs its sender nothing and us its size each time; callers know better limits.
EXPORT_SIZE_BYTES_MAX = 1 << 40


class CannotExport(Exception):
    """The destination cannot be used, or the graph is larger than allowed."""


def export(
    cid: str,
    get_block: GetBlock,
    destination: Path,
    *,
    size_bytes_max: int = EXPORT_SIZE_BYTES_MAX,
    entries_max: int = ENTRIES_MAX,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Write what `cid` names to `destination`, which must not exist or be an empty directory.

    Blocks are asked for once each time that they are met, in depth-first order, so that they can
    come from a CAR stream. `note` is told of each symbolic link that was left out. Raises
    `CannotExport`, `BlockUnavailable`, `BadMessage` and `OSError`, and then leaves nothing behind.
    """
    destination = Path(os.path.abspath(destination))
    if destination.is_symlink() or (destination.exists() and not _is_empty_directory(destination)):
        raise CannotExport(f"{destination} exists and is not an empty directory")
    with partial_folder(destination) as writing:
        try:
            _Export(Reader(get_block), size_bytes_max, entries_max, note).write(
                str(cids.parse(cid)), writing / "root"
            )
            os.rename(writing / "root", destination)
        except (NotADirectoryError, IsADirectoryError) as exc:
            raise CannotExport(f"{destination} is a directory, and {cid} is not") from exc


@contextmanager
def partial_folder(destination: Path) -> Iterator[Path]:
    """An empty folder beside `destination` for what is to become it; removed with what is left in it.

    Raises `CannotExport` when another process writes to the same destination now, and `OSError`.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    folder = destination.parent / f".{destination.name[:100]}.partial"
    folder.mkdir(exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotExport(f"another command is writing to {destination}") from None
        # Of one that was killed.
        _clear(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(opened)


def _clear(folder: Path) -> None:
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


class _Export:
    """One export under way: what may still be written, and the links that are made last."""

    def __init__(
        self, reader: Reader, size_bytes_max: int, entries_max: int, note: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._size_bytes_max = size_bytes_max
        self._entries_max = entries_max
        self._note = note
        self._size_bytes = 0
        self._entries = 0
        self._links: list[tuple[Path, bytes]] = []

    def write(self, cid: str, root: Path) -> None:
        node = self._reader.node(cid)
        if node.kind is Kind.SYMLINK:
            raise CannotExport(f"{cid} is a symbolic link, which leads nowhere by itself")
        self._write_node(cid, node, root, ())
        # Last, so that nothing is ever written through one.
        for path, target in self._links:
            os.symlink(os.fsdecode(target), path)

    def _write_node(self, cid: str, node: Node, path: Path, names: tuple[str, ...]) -> None:
        self._entries += 1
        if self._entries > self._entries_max:
            raise CannotExport(f"more than the {self._entries_max:,} files and directories that are allowed")
        match node.kind:
            case Kind.FILE | Kind.RAW:
                self._write_file(cid, node, path)
            case Kind.DIRECTORY | Kind.SHARD:
                self._write_directory(node, path, names)
            case Kind.SYMLINK if len(node.data) <= LINK_SIZE_BYTES_MAX and _stays_inside(node.data, names):
                self._links.append((path, node.data))
            case Kind.SYMLINK:
                target = os.fsdecode(node.data[:80])
                self._note(f"{'/'.join(names)} was left out: it is a link to {target!r}, outside")
            case _:
                raise BadMessage(
                    f"{cid} is a {node.kind.name.lower()}, which is neither a file nor a directory"
                )

    def _write_file(self, cid: str, node: Node, path: Path) -> None:
        with open(path, "xb") as file:
            for chunk in self._reader.file(cid, node):
                self._size_bytes += len(chunk)
                if self._size_bytes > self._size_bytes_max:
                    raise CannotExport(f"more than the {self._size_bytes_max:,} bytes that are allowed")
                file.write(chunk)

    def _write_directory(self, node: Node, path: Path, names: tuple[str, ...]) -> None:
        if len(names) == DEPTH_MAX:
            raise BadMessage(f"directories more than {DEPTH_MAX} deep")
        path.mkdir()
        seen: set[str] = set()
        for link in self._reader.entries(node):
            _check_name(link.name)
            # Also where upper and lower case are one: mkdir and "x" would fail, and say less.
            if link.name in seen:
                raise BadMessage(f"a directory has two entries {link.name!r}")
            seen.add(link.name)
            child = self._reader.node(link.cid)
            self._write_node(link.cid, child, path / link.name, (*names, link.name))


def _check_name(name: str) -> None:
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


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
