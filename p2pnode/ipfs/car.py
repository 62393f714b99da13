"""CAR streams: a graph's blocks one after the other, to send them over HTTP.

Version 1, blocks in depth-first order, each as often as it is met
(`application/vnd.ipld.car; version=1; order=dfs; dups=y`): a reader needs no memory of
what came before, so it can write files while the stream still comes.
Format: https://ipld.io/specs/transport/car/carv1/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import dagpb
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.ipfs.reading import BLOCKS_READ_MAX, GetBlock

MEDIA_TYPE = "application/vnd.ipld.car; version=1; order=dfs; dups=y"
# A root takes some 45 bytes.
HEADER_SIZE_BYTES_MAX = 2048
SECTION_SIZE_BYTES_MAX = dagpb.BLOCK_SIZE_BYTES_MAX + cids.CID_SIZE_BYTES_MAX
# About as much as the largest blocks that are usual.
CHUNK_SIZE_BYTES = 256 * 1024
# Levels of directories, shards and file nodes together.
_LEVELS_MAX = 1000

# The header is the canonical DAG-CBOR of {"roots": [CID...], "version": 1}; a CID is tag 42 over
# a byte string that starts with a zero. Nothing else is accepted, so no general decoder is needed.
_ROOTS = b"\xa2\x65roots"
# As many as the length of a CBOR array holds in one byte.
ROOTS_MAX = 23
_CID_TAG = b"\xd8\x2a\x58"
_VERSION = b"\x67version\x01"


def write_car(root: str, get_block: GetBlock) -> Iterator[bytes]:
    """The stream, in pieces; raises `BlockUnavailable` and `BadMessage` on the way."""
    yield header([root])
    yield from sections(root, get_block)


def chunks_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A stream in larger pieces, none empty: each costs a thread and a frame, and blocks may be tiny."""
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= CHUNK_SIZE_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def header(roots: Sequence[str]) -> bytes:
    """Return the header of a stream of these graphs, at most 23."""
    assert 1 <= len(roots) <= ROOTS_MAX
    addresses = [b"\0" + bytes(cids.parse(root)) for root in roots]
    tagged = b"".join(_CID_TAG + bytes((len(address),)) + address for address in addresses)
    body = _ROOTS + bytes((0x80 + len(roots),)) + tagged + _VERSION
    return protobuf.varint(len(body)) + body


def sections(root: str, get_block: GetBlock) -> Iterator[bytes]:
    """The blocks of one graph, in pieces; raises `BlockUnavailable` and `BadMessage` on the way."""
    waiting = [(str(cids.parse(root)), 0)]
    count = 0
    while waiting:
        next_cid, depth = waiting.pop()
        data = get_block(next_cid)
        if data is None:
            raise BlockUnavailable(next_cid, "it is not here")
        count += 1
        if count > BLOCKS_READ_MAX or depth > _LEVELS_MAX:
            raise BadMessage(f"a graph of more than {BLOCKS_READ_MAX} blocks or {_LEVELS_MAX} levels")
        encoded = bytes(cids.parse(next_cid))
        yield protobuf.varint(len(encoded) + len(data)) + encoded
        yield data
        waiting += [(link, depth + 1) for link in reversed(dagpb.links_untrusted(next_cid, data))]


def read_car_untrusted(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Each block and its CID, verified, as they come; raises `BadMessage`."""
    source = _Source(chunks)
    head = source.section(HEADER_SIZE_BYTES_MAX)
    if head is None:
        raise BadMessage("an empty CAR stream")
    _check_header_untrusted(head)
    while (section := source.section(SECTION_SIZE_BYTES_MAX)) is not None:
        cid, end = cids.read_untrusted(section, 0)
        data = section[end:]
        if not cid.matches(data):
            raise BadMessage(f"{len(data)} bytes that are not the block {cid}")
        yield str(cid), data


def blocks_in_order(chunks: Iterable[bytes]) -> GetBlock:
    """A source of blocks for `export`, which asks for them in the order of the stream.

    It raises `BadMessage` when the stream is wrong or ends too early.
    """
    blocks = read_car_untrusted(chunks)

    def get_block(cid: str) -> bytes:
        wanted = cids.parse(cid)
        # Inline blocks may be left out of a stream, and need not be looked for.
        if wanted.identity is not None:
            return wanted.identity
        for address, data in blocks:
            found = cids.parse(address)
            if found.multihash == wanted.multihash:
                return data
            if found.identity is None:
                raise BadMessage(f"the CAR stream has block {address} where {cid} is expected")
        raise BadMessage(f"the CAR stream ends before block {cid}")

    return get_block


def _check_header_untrusted(header: bytes) -> None:
    at = len(_ROOTS)
    count = header[at] - 0x80 if header.startswith(_ROOTS) and len(header) > at else 0
    if not 1 <= count <= ROOTS_MAX:
        raise BadMessage("not a CAR stream of version 1")
    at += 1
    for _ in range(count):
        start = at + len(_CID_TAG) + 1
        if header[at : start - 1] != _CID_TAG or header[start : start + 1] != b"\0":
            raise BadMessage("a CAR header whose root is not a CID")
        at = start + header[start - 1]
        cids.from_bytes_untrusted(header[start + 1 : at])
    if header[at:] != _VERSION:
        raise BadMessage("not a CAR stream of version 1")


class _Source:
    """Cuts chunks of any size into sections, each with its length before it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()

    def section(self, size_bytes_max: int) -> bytes | None:
        """The next one, or None at the end of the stream; raises `BadMessage`."""
        if not self._fill(1):
            return None
        # A length of nine bytes at most; fewer are there when the stream ends.
        self._fill(protobuf.VARINT_SIZE_BYTES_MAX)
        size_bytes, at = protobuf.varint_untrusted(bytes(self._buffer[: protobuf.VARINT_SIZE_BYTES_MAX]), 0)
        if size_bytes > size_bytes_max:
            raise BadMessage(f"a CAR section of {size_bytes} bytes, over the limit of {size_bytes_max}")
        if not self._fill(at + size_bytes):
            raise BadMessage("a CAR stream that ends inside a block")
        section = bytes(memoryview(self._buffer)[at : at + size_bytes])
        del self._buffer[: at + size_bytes]
        return section

    def _fill(self, size_bytes: int) -> bool:
        while len(self._buffer) < size_bytes:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer += chunk
        return True
