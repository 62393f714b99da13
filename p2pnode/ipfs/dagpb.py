"""dag-pb nodes and the UnixFS data inside them, to and from bytes.

A node is a list of links, each a CID, a name and a size, and some data; in UnixFS the data
says whether the node is a file, a part of one, a directory, a shard of a large directory
or a symbolic link.
Formats: https://ipld.io/specs/codecs/dag-pb/spec/ and https://specs.ipfs.tech/unixfs/.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.protobuf import bytes_field, bytes_untrusted, number_untrusted, varint_field
from p2pnode.ipfs import cid

# Bitswap carries this in one block (https://specs.ipfs.tech/bitswap-protocol/#block-sizes), so that
# every peer can pass it on. It also bounds the links of a node, as each takes at least 36 bytes.
BLOCK_SIZE_BYTES_MAX = 2 * 1024 * 1024
# UnixFS's mode: the twelve bits of POSIX.
PERMISSIONS = 0o7777


class NodeKind(enum.IntEnum):
    """UnixFS's type of a node."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


@dataclass(frozen=True, slots=True)
class DagLink:
    cid: str
    # Bytes that are not UTF-8 are kept as surrogates, as the file system's names are.
    name: str
    # The size of the graph below the link, blocks included ("Tsize"); a claim of whoever made the node.
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DagNode:
    links: tuple[DagLink, ...]
    kind: NodeKind
    # A file's own bytes, a symbolic link's target, or the bit field of a shard.
    data: bytes = b""
    # A shard's number of places.
    fanout: int = 0
    # The permissions that it claims, untrusted (`trees.plain_mode` takes what is honoured); 0 without any.
    mode: int = 0


def encode(links: Sequence[DagLink], data: bytes) -> bytes:
    """The bytes of a node. Links stand before the data, and are not sorted here."""
    parts = []
    for link in links:
        body = (
            bytes_field(1, bytes(cid.parse(link.cid)))
            + bytes_field(2, link.name.encode(errors="surrogateescape"))
            + varint_field(3, link.size_bytes)
        )
        parts.append(bytes_field(2, body))
    parts.append(bytes_field(1, data))
    return b"".join(parts)


def file_data(size_bytes: int, part_sizes_bytes: Sequence[int], own: bytes = b"", mode: int = 0) -> bytes:
    """UnixFS data of a file: `own` bytes, and links to parts of these sizes; without a field of mode 0."""
    content = bytes_field(2, own) if own else b""
    parts = b"".join(varint_field(4, part) for part in part_sizes_bytes)
    permissions = varint_field(7, mode) if mode else b""
    return varint_field(1, NodeKind.FILE) + content + varint_field(3, size_bytes) + parts + permissions


def directory_data() -> bytes:
    return varint_field(1, NodeKind.DIRECTORY)


def symlink_data(target: bytes) -> bytes:
    return varint_field(1, NodeKind.SYMLINK) + bytes_field(2, target)


def shard_data(occupied: int, hash_code: int, fanout: int) -> bytes:
    """UnixFS data of one shard of a large directory; bit i of `occupied` says that place i is in use."""
    bits = occupied.to_bytes((occupied.bit_length() + 7) // 8, "big")
    return (
        varint_field(1, NodeKind.SHARD)
        + bytes_field(2, bits)
        + varint_field(5, hash_code)
        + varint_field(6, fanout)
    )


def decode_untrusted(block: bytes) -> DagNode:
    """A dag-pb block that holds UnixFS; raises `BadMessage` whatever the bytes are."""
    if len(block) > BLOCK_SIZE_BYTES_MAX:
        raise BadMessage(f"a block of {len(block)} bytes, over the limit of {BLOCK_SIZE_BYTES_MAX}")
    links: list[DagLink] = []
    data: bytes | None = None
    for number, value in protobuf.fields_untrusted(block):
        match number:
            case 2:
                links.append(_link_untrusted(bytes_untrusted(value)))
            case 1 if data is None:
                data = bytes_untrusted(value)
            case _:
                raise BadMessage(f"not a dag-pb node: field {number} is unknown or stands twice")
    if data is None:
        raise BadMessage("not a UnixFS node: it has no data")
    return _unixfs_untrusted(tuple(links), data)


def links_untrusted(address: str, block: bytes) -> tuple[str, ...]:
    """The CIDs that a block leads to; raises `BadMessage`.

    Raw blocks have none. Nor has dag-cbor here: what we write in it (receipts) names others as text.
    """
    if cid.parse(address).codec != "dag-pb":
        return ()
    return tuple(link.cid for link in decode_untrusted(block).links)


def _link_untrusted(body: bytes) -> DagLink:
    address: str | None = None
    name = b""
    size_bytes = 0
    for number, value in protobuf.fields_untrusted(body):
        match number:
            case 1:
                address = str(cid.from_bytes_untrusted(bytes_untrusted(value)))
            case 2:
                name = bytes_untrusted(value)
            case 3:
                size_bytes = number_untrusted(value)
            case _:
                raise BadMessage(f"not a dag-pb link: field {number} is unknown")
    if address is None:
        raise BadMessage("not a dag-pb link: it has no CID")
    return DagLink(address, name.decode(errors="surrogateescape"), size_bytes)


def _unixfs_untrusted(links: tuple[DagLink, ...], encoded: bytes) -> DagNode:
    kind: NodeKind | None = None
    data = b""
    fanout = mode = 0
    for number, value in protobuf.fields_untrusted(encoded):
        match number:
            case 1:
                try:
                    kind = NodeKind(number_untrusted(value))
                except ValueError as exc:
                    raise BadMessage(f"not a UnixFS node: {exc}") from exc
            case 2:
                data = bytes_untrusted(value)
            case 6:
                fanout = number_untrusted(value)
            case 7:
                # The bits above are kept for extensions (UnixFS 1.5).
                mode = number_untrusted(value) & PERMISSIONS
            case _:
                # Sizes, which the links prove anyway, and times, which nobody here needs.
                pass
    if kind is None:
        raise BadMessage("not a UnixFS node: it has no type")
    return DagNode(links, kind, data, fanout, mode)
