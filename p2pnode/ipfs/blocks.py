"""The node's block store: one file a block, named by the block's hash.

    blocks/9f/12209f...   the bytes of a block, under the hexadecimal of its multihash
    pins/bafy...          an empty file for each root that is to be kept
    tmp/                  blocks being written

A block is found whichever CID it is asked for with, as only the multihash counts. It is
written beside its place and renamed into it, and its hash is checked whenever it is read,
so neither a crash nor a bad disk makes us serve wrong bytes: a damaged block is removed and
counts as missing. Therefore nothing is synced to the disk block by block.

All methods block and may be called from several threads; one process owns a store.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from p2pnode.core.wire import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.dagpb import BLOCK_SIZE_BYTES_MAX


class BadBlock(BadMessage):
    """Bytes that are not the block that they were said to be, or too many of them."""


class BlockUnavailable(Exception):
    """A block that is needed cannot be had, and why."""

    def __init__(self, cid: str, reason: str) -> None:
        super().__init__(f"block {cid} cannot be had: {reason}")
        self.cid = cid
        self.reason = reason


class BlockStore:
    def __init__(self, directory: Path) -> None:
        self._blocks = directory / "blocks"
        self._pins = directory / "pins"
        self._writing = directory / "tmp"
        # What a crash left half written.
        shutil.rmtree(self._writing, ignore_errors=True)
        for folder in (self._blocks, self._pins, self._writing):
            folder.mkdir(parents=True, exist_ok=True)
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._size_bytes = sum(entry.stat().st_size for entry in self._entries())

    def put(self, data: bytes, codec: cids.Codec = "raw") -> str:
        """Store a block of ours; its CID. Raises `BadBlock` when it is too large, and `OSError`."""
        cid = cids.make(data, codec)
        self._write(cids.parse(cid), data)
        return cid

    def put_verified(self, cid: str, data: bytes) -> None:
        """Store a block that a peer sent; raises `BadBlock` when it is not that block, and `OSError`."""
        parsed = cids.parse(cid)
        if not parsed.matches(data):
            raise BadBlock(f"{len(data)} bytes that are not the block {cid}")
        self._write(parsed, data)

    def get(self, cid: str) -> bytes | None:
        """The block, or None when it is not here (any more). Raises `BadCid`, `OSError`."""
        parsed = cids.parse(cid)
        if parsed.identity is not None:
            return parsed.identity
        path = self._path(parsed)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if not parsed.matches(data):
            self._remove(path, len(data))
            return None
        return data

    def has(self, cid: str) -> bool:
        """Whether the block is here; reading it may still show that it is damaged."""
        return self.block_size(cid) is not None

    def block_size(self, cid: str) -> int | None:
        """The block's bytes, or None when it is not here."""
        parsed = cids.parse(cid)
        if parsed.identity is not None:
            return len(parsed.identity)
        try:
            return self._path(parsed).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, cid: str) -> None:
        """Forget one block, pinned or not; nothing happens when it is not here."""
        path = self._path(cids.parse(cid))
        with contextlib.suppress(FileNotFoundError):
            self._remove(path, path.stat().st_size)

    @property
    def size_bytes(self) -> int:
        """The bytes of all blocks."""
        return self._size_bytes

    def pin(self, root: str) -> None:
        """Remember that what is below `root` is to be kept."""
        (self._pins / cids.canonical(root)).touch()

    def unpin(self, root: str) -> None:
        (self._pins / cids.canonical(root)).unlink(missing_ok=True)

    def is_pinned(self, root: str) -> bool:
        return (self._pins / cids.canonical(root)).exists()

    def pins(self) -> list[str]:
        """The pinned roots, as CIDv1 in base32, sorted."""
        return sorted(path.name for path in self._pins.iterdir())

    def _path(self, parsed: cids.Cid) -> Path:
        name = parsed.multihash.hex()
        # The last byte spreads evenly; the first two name the hash function.
        return self._blocks / name[-2:] / name

    def _write(self, parsed: cids.Cid, data: bytes) -> None:
        if len(data) > BLOCK_SIZE_BYTES_MAX:
            raise BadBlock(f"a block of {len(data)} bytes, over the limit of {BLOCK_SIZE_BYTES_MAX}")
        path = self._path(parsed)
        if parsed.identity is not None or path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        temporary = self._writing / f"{next(self._serial)}"
        try:
            temporary.write_bytes(data)
            with self._lock:
                if not path.exists():
                    self._size_bytes += len(data)
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _remove(self, path: Path, size_bytes: int) -> None:
        with self._lock, contextlib.suppress(FileNotFoundError):
            path.unlink()
            self._size_bytes -= size_bytes

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in self._blocks.iterdir():
            with os.scandir(folder) as entries:
                yield from entries
