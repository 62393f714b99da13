"""Files and directories as UnixFS blocks, with the CIDs that `ipfs add --cid-version=1` gives.

A file is cut into chunks of 256 KiB, each a raw block; 174 of them hang below a node, 174
of those below the next, and so on ("balanced"). A directory is one node with its entries
in the order of their names' bytes, or, when they would take over 256 KiB, a tree of shards
of 256 places, entered by a hash of the name (HAMT). A symbolic link is stored as one, as
Kubo does, and never followed. Files are streamed: memory holds two chunks and, a level of
the tree, at most 174 links; of a directory, its entries.

A file that anyone may execute is stored as `ipfs add --cid-version=1 --mode=0755` does: its root
has that mode, and its chunks are nodes, not raw blocks, which Kubo leaves wherever it writes a
mode. It is always this one, so that users and umasks make no difference. All else (plain files,
directories) has no mode, so its CID is the one that everybody gives it, and what is the same is
stored once.

These functions block; callers run them in a thread. `put` is `BlockStore.put`, or
`cid.make` to learn the CID and store nothing.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import mmh3

from p2pnode.ipfs import cid, dagpb
from p2pnode.system.trees import PROGRAM_MODE, plain_mode, readable

Put: TypeAlias = Callable[[bytes, cid.Codec], str]
Tree: TypeAlias = Mapping[str, "bytes | Path | Tree"]
Note: TypeAlias = Callable[[str], None]

# Kubo's defaults; changing one changes every CID.
CHUNK_SIZE_BYTES = 256 * 1024
LINKS_PER_NODE_MAX = 174
DIRECTORY_SIZE_BYTES_MAX = 256 * 1024
SHARD_PLACES = 256
SHARD_INDEX_BITS = 8
# murmur3-x64-64, the only hash that UnixFS shards are known to use.
SHARD_HASH_CODE = 0x22
NAME_HASH_BITS = 64
# Below this, a folder in a folder in a folder is a mistake or an attack; each costs an open file.
DEPTH_MAX = 64
# Each entry takes some 200 bytes of memory while its directory is read.
DIRECTORY_ENTRIES_MAX = 1_000_000


class CannotAdd(Exception):
    """Something that UnixFS cannot hold, with the path and the reason."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A finished graph: its root, the bytes of all its blocks, and the bytes of the file in it."""

    cid: str
    size_bytes: int
    content_size_bytes: int


def add_path(path: Path, put: Put, note: Note = lambda text: None) -> str:
    """Store a file, a directory with all that is below it, or a symbolic link; the root's CID.

    `note` is told of each thing that was left out: sockets, pipes and devices are never opened.
    Raises `CannotAdd`, `OSError`, and what `put` raises.
    """
    return _add_path(path, str(path), put, note).cid


def add_directory(entries: Tree, put: Put, note: Note = lambda text: None) -> str:
    """Store a directory made of named contents, paths and further such directories; its CID.

    Raises as `add_path` does.
    """
    return _add_tree(entries, put, note).cid


def add_file(stream: BinaryIO, put: Put, *, program: bool = False) -> str:
    """Store what a stream holds as one file, one to be executed if it is a `program`; its CID."""
    return _add_stream(stream, put, program).cid


def name_hash(name: str) -> int:
    """The 64 bits that say where in a sharded directory a name is; the highest come first."""
    digest = mmh3.hash_bytes(name.encode(errors="surrogateescape"), 0, True)[:8]
    return int.from_bytes(digest, "little")


def _add_tree(entries: Tree, put: Put, note: Note) -> _Part:
    links = []
    for name, content in entries.items():
        if isinstance(content, bytes):
            part = _add_stream(io.BytesIO(content), put)
        elif isinstance(content, Path):
            part = _add_path(content, name, put, note)
        else:
            part = _add_tree(content, put, note)
        links.append(dagpb.DagLink(part.cid, name, part.size_bytes))
    return _add_links(links, put)


def _add_path(path: Path, shown: str, put: Put, note: Note) -> _Part:
    """`shown` is what errors call the path: where a result lies on this machine is nobody's business."""
    path = Path(os.path.abspath(path))
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The root directory has no name; "." stands for it.
        part = _add_entry(parent, path.name or ".", shown, 0, put, note)
    finally:
        os.close(parent)
    if part is None:
        raise CannotAdd(f"{readable(shown)} is neither a file, a directory nor a symbolic link")
    return part


def _add_entry(parent: int, name: str, path: str, depth: int, put: Put, note: Note) -> _Part | None:
    """Store what `name` is in the open directory `parent`; None for what UnixFS has no form for."""
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        target = os.fsencode(os.readlink(name, dir_fd=parent))
        return _add_node((), dagpb.symlink_data(target), 0, put)
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return None
    # Whoever wrote the tree may still change it: no link is followed, no pipe waited for, and
    # names are looked up in the directory that was opened, wherever it is now.
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = os.fstat(opened).st_mode
        if stat.S_ISREG(mode):
            with os.fdopen(opened, "rb", closefd=False) as stream:
                return _add_stream(stream, put, program=plain_mode(mode) == PROGRAM_MODE)
        if stat.S_ISDIR(mode):
            return _add_opened_directory(opened, path, depth, put, note)
        return None
    finally:
        os.close(opened)


def _add_opened_directory(opened: int, path: str, depth: int, put: Put, note: Note) -> _Part:
    if depth == DEPTH_MAX:
        raise CannotAdd(f"{readable(path)} is more than {DEPTH_MAX} directories deep")
    with os.scandir(opened) as entries:
        names = [entry.name for _, entry in zip(range(DIRECTORY_ENTRIES_MAX + 1), entries, strict=False)]
    if len(names) > DIRECTORY_ENTRIES_MAX:
        raise CannotAdd(f"{readable(path)} has more than {DIRECTORY_ENTRIES_MAX} entries")
    links = []
    # Sorted, so that what is stored and noted comes in the same order everywhere.
    for name in sorted(names):
        entry_path = f"{path}/{name}"
        part = _add_entry(opened, name, entry_path, depth + 1, put, note)
        if part is None:
            note(
                f"{readable(entry_path)} was left out: it is neither a file, a directory nor a symbolic link"
            )
        else:
            links.append(dagpb.DagLink(part.cid, name, part.size_bytes))
    return _add_links(links, put)


def _add_stream(stream: BinaryIO, put: Put, program: bool = False) -> _Part:
    mode = PROGRAM_MODE if program else 0
    chunk = stream.read(CHUNK_SIZE_BYTES)
    following = stream.read(CHUNK_SIZE_BYTES) if chunk else b""
    if not following:
        return _add_chunk(chunk, put, program, mode)
    # levels[0] holds finished chunks, levels[n] nodes of n levels, each waiting for a node above.
    levels: list[list[_Part]] = []
    while chunk:
        _add_to_level(levels, 0, _add_chunk(chunk, put, program), put)
        chunk, following = following, stream.read(CHUNK_SIZE_BYTES) if following else b""
    height = 0
    while height + 1 < len(levels) or len(levels[height]) > 1:
        # The root is above the last level; it alone has the mode.
        _close_level(levels, height, put, mode if height + 1 == len(levels) else 0)
        height += 1
    return levels[height][0]


def _add_chunk(chunk: bytes, put: Put, program: bool, mode: int = 0) -> _Part:
    if program:
        return _add_node((), dagpb.file_data(len(chunk), (), chunk, mode), len(chunk), put)
    return _Part(put(chunk, "raw"), len(chunk), len(chunk))


def _add_to_level(levels: list[list[_Part]], height: int, part: _Part, put: Put) -> None:
    if height == len(levels):
        levels.append([])
    # Not before there is more: what is full may be all that hangs below the root.
    if len(levels[height]) == LINKS_PER_NODE_MAX:
        _close_level(levels, height, put)
    levels[height].append(part)


def _close_level(levels: list[list[_Part]], height: int, put: Put, mode: int = 0) -> None:
    """Hang the parts that wait at this height below a node of the next."""
    parts = levels[height]
    levels[height] = []
    size_bytes = sum(part.content_size_bytes for part in parts)
    data = dagpb.file_data(size_bytes, [part.content_size_bytes for part in parts], mode=mode)
    links = [dagpb.DagLink(part.cid, "", part.size_bytes) for part in parts]
    _add_to_level(levels, height + 1, _add_node(links, data, size_bytes, put), put)


def _add_links(links: Sequence[dagpb.DagLink], put: Put) -> _Part:
    """Store a directory of these entries, in shards if it is large."""
    if any(not link.name or "/" in link.name for link in links):
        raise CannotAdd("a directory entry needs a name without a slash")
    # A link's CID counts as its bytes do, 36 for those that we make (Kubo: HAMTShardingSize).
    size_bytes = sum(
        len(link.name.encode(errors="surrogateescape")) + len(bytes(cid.parse(link.cid))) for link in links
    )
    if size_bytes > DIRECTORY_SIZE_BYTES_MAX:
        return _add_shard([(name_hash(link.name), link) for link in links], 0, put)
    ordered = sorted(links, key=lambda link: link.name.encode(errors="surrogateescape"))
    return _add_node(ordered, dagpb.directory_data(), 0, put)


def _add_shard(entries: Sequence[tuple[int, dagpb.DagLink]], depth: int, put: Put) -> _Part:
    if depth * SHARD_INDEX_BITS == NAME_HASH_BITS:
        names = " and ".join(repr(link.name) for _, link in entries[:2])
        raise CannotAdd(f"{names} have the same hash, which a large directory cannot hold")
    shift_bits = NAME_HASH_BITS - SHARD_INDEX_BITS * (depth + 1)
    places: dict[int, list[tuple[int, dagpb.DagLink]]] = {}
    for entry in entries:
        places.setdefault(entry[0] >> shift_bits & (SHARD_PLACES - 1), []).append(entry)
    links = []
    for place in sorted(places):
        inside = places[place]
        if len(inside) == 1:
            link = inside[0][1]
            links.append(dagpb.DagLink(link.cid, f"{place:02X}{link.name}", link.size_bytes))
        else:
            shard = _add_shard(inside, depth + 1, put)
            links.append(dagpb.DagLink(shard.cid, f"{place:02X}", shard.size_bytes))
    occupied = sum(1 << place for place in places)
    return _add_node(links, dagpb.shard_data(occupied, SHARD_HASH_CODE, SHARD_PLACES), 0, put)


def _add_node(links: Iterable[dagpb.DagLink], data: bytes, content_size_bytes: int, put: Put) -> _Part:
    links = tuple(links)
    block = dagpb.encode(links, data)
    return _Part(
        put(block, "dag-pb"), len(block) + sum(link.size_bytes for link in links), content_size_bytes
    )
