"""UnixFS read back from blocks: what a CID is, what a directory holds, what a path leads to.

Blocks come from a function, `BlockStore.get` or one that reads a CAR stream; it must give
out verified blocks only. Every graph counts as hostile: one small block can claim to hold
itself a million times over, so depth and the number of blocks read are limited.

These functions block; callers run them in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from p2pnode.core.values.text import visible
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import dagpb
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.ipfs.dagpb import DagLink, DagNode, NodeKind
from p2pnode.ipfs.unixfs import NAME_HASH_BITS, name_hash

GetBlock: TypeAlias = Callable[[str], bytes | None]

# 174 ** 8 chunks: no file has more levels, and a chain of nodes that hold nothing ends here.
FILE_LEVELS_MAX = 8
# A name's hash has 64 bits and a level of shards takes at least 3 of them (8 places).
SHARD_LEVELS_MAX = 22
# Blocks read for one file, directory listing or export, those of 256 KiB being 1 TiB.
BLOCKS_READ_MAX = 4_000_000
# As in Kubo: more places than this would let one node of a few bytes stand for any number.
FANOUT_MAX = 1024
# Names there instead of an entry that is missing: enough to see a slip, and still one line.
NAMES_TOLD_MAX = 10
NAME_SHOWN_LENGTH_MAX = 60


class NoSuchPath(Exception):
    """A path that leads nowhere in a graph; the message says which part and why."""


class Reader:
    """Reads nodes of one graph, and counts them against `BLOCKS_READ_MAX`."""

    def __init__(self, get_block: GetBlock) -> None:
        self._get_block = get_block
        self._blocks = 0

    def node(self, cid: str) -> DagNode:
        """The node; a raw block counts as a file that holds it.

        Raises `BlockUnavailable`, and `BadMessage` when the block is no UnixFS.
        """
        self._blocks += 1
        if self._blocks > BLOCKS_READ_MAX:
            raise BadMessage(f"a graph of more than {BLOCKS_READ_MAX} blocks")
        codec = cids.parse(cid).codec
        if codec == "dag-cbor":
            raise BadMessage(f"{cid} is a dag-cbor block, not a file or a directory")
        block = self._get_block(cid)
        if block is None:
            raise BlockUnavailable(cid, "it is not here")
        return DagNode((), NodeKind.FILE, block) if codec == "raw" else dagpb.decode_untrusted(block)

    def file(self, cid: str, node: DagNode) -> Iterator[bytes]:
        """The bytes of a file whose root is `node`, chunk by chunk."""
        # The nodes to read next, the last first, each with its depth.
        waiting: list[tuple[str, int]] = []
        depth = 0
        while True:
            if node.kind not in (NodeKind.FILE, NodeKind.RAW):
                raise BadMessage(f"{cid} is a {node.kind.name.lower()}, where a part of a file is expected")
            if node.data:
                yield node.data
            if node.links and depth == FILE_LEVELS_MAX:
                raise BadMessage(f"a file of more than {FILE_LEVELS_MAX} levels")
            waiting += [(link.cid, depth + 1) for link in reversed(node.links)]
            if not waiting:
                return
            cid, depth = waiting.pop()
            node = self.node(cid)

    def entries(self, node: DagNode, level: int = 0) -> Iterator[DagLink]:
        """A directory's entries in the order of its blocks; a shard's own prefix is taken off the names."""
        if node.kind is NodeKind.DIRECTORY and level == 0:
            yield from node.links
            return
        digits, _ = _shard_untrusted(node, level)
        for link in node.links:
            if len(link.name) > digits:
                yield DagLink(link.cid, link.name[digits:], link.size_bytes)
            else:
                yield from self.entries(self.node(link.cid), level + 1)

    def child(self, node: DagNode, name: str) -> str | None:
        """The CID of a directory's entry, or None."""
        level = 0
        shift_bits = NAME_HASH_BITS
        while node.kind is NodeKind.SHARD:
            digits, bits = _shard_untrusted(node, level)
            shift_bits -= bits
            if shift_bits < 0:
                return None
            place = f"{name_hash(name) >> shift_bits & (node.fanout - 1):0{digits}X}"
            found = {link.name: link.cid for link in node.links}
            if place + name in found:
                return found[place + name]
            if place not in found:
                return None
            node, level = self.node(found[place]), level + 1
        return next((link.cid for link in node.links if link.name == name), None)


def is_raw(cid: str) -> bool:
    """Whether a CID is of a raw block, which is a file."""
    return cids.parse(cid).codec == "raw"


def resolve(root: str, names: Sequence[str], get_block: GetBlock) -> str:
    """The CID that a path leads to from `root`; symbolic links are not followed.

    Only blocks of folders on the way are asked for. Raises `NoSuchPath`, `BlockUnavailable`, `BadMessage`.
    """
    reader = Reader(get_block)
    cid = str(cids.parse(root))
    walked = cid
    for name in names:
        node = reader.node(cid)
        if node.kind not in (NodeKind.DIRECTORY, NodeKind.SHARD):
            link = f" but a symbolic link to {_shown(os.fsdecode(node.data))}" * (
                node.kind is NodeKind.SYMLINK
            )
            raise NoSuchPath(f"{walked} is not a directory{link}")
        child = reader.child(node, name)
        if child is None:
            raise NoSuchPath(f"{walked} has no entry {_shown(name)}; {_what_is_there(node)}")
        cid, walked = child, f"{walked}/{visible(name)}"
    return cid


def _what_is_there(node: DagNode) -> str:
    """Some of a directory's entries, for a person who looks for another; of shards those in this one."""
    digits = len(f"{node.fanout - 1:X}") if node.kind is NodeKind.SHARD else 0
    found = sorted(link.name[digits:] for link in node.links if len(link.name) > digits)
    told = ", ".join(map(_shown, found[:NAMES_TOLD_MAX]))
    if not node.links:
        return "it is empty"
    if node.kind is NodeKind.SHARD:
        return f"it has many, such as {told}" if told else "it has many others"
    more = len(found) - NAMES_TOLD_MAX
    return f"it has {told} and {more} more" if more > 0 else f"it has {told}"


def _shown(name: str) -> str:
    text = visible(name)
    return f"'{text}'" if len(text) <= NAME_SHOWN_LENGTH_MAX else f"'{text[:NAME_SHOWN_LENGTH_MAX]}...'"


def list_directory(cid: str, get_block: GetBlock) -> Iterator[DagLink]:
    """A directory's entries; raises `NoSuchPath` when it is none, `BlockUnavailable`, `BadMessage`."""
    reader = Reader(get_block)
    node = reader.node(cid)
    if node.kind not in (NodeKind.DIRECTORY, NodeKind.SHARD):
        raise NoSuchPath(f"{cid} is not a directory")
    return reader.entries(node)


def read_file(cid: str, get_block: GetBlock) -> Iterator[bytes]:
    """A file's bytes in chunks; raises `NoSuchPath` when it is none, `BlockUnavailable`, `BadMessage`."""
    reader = Reader(get_block)
    node = reader.node(cid)
    if node.kind not in (NodeKind.FILE, NodeKind.RAW):
        raise NoSuchPath(f"{cid} is not a file but a {node.kind.name.lower()}")
    return reader.file(cid, node)


def _shard_untrusted(node: DagNode, level: int) -> tuple[int, int]:
    """How many hexadecimal digits and how many bits of the hash name a place in this shard."""
    if node.kind is not NodeKind.SHARD:
        raise BadMessage(f"a {node.kind.name.lower()} where a shard of a directory is expected")
    if level == SHARD_LEVELS_MAX:
        raise BadMessage(f"a directory of more than {SHARD_LEVELS_MAX} levels of shards")
    if not 8 <= node.fanout <= FANOUT_MAX or node.fanout & (node.fanout - 1):
        raise BadMessage(f"a shard of {node.fanout} places")
    return len(f"{node.fanout - 1:X}"), (node.fanout - 1).bit_length()
