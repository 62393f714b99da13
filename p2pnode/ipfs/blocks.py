"""The node's block store: one file a block, named by the block's hash.

    blocks/9f/12209f...   the bytes of a block, under the hexadecimal of its multihash
    pins/bafy...          what is to be kept (`pins`)
    tmp/                  files being written
    boot                  the boot of this machine in which the store was last opened

A block is found whichever CID it is asked for with, as only the multihash counts. It is
written beside its place and renamed into it, and its hash is checked whenever it is read,
so neither a crash nor a bad disk makes us serve wrong bytes: a damaged block is removed and
counts as missing. So nothing is synced to the disk block by block; when the machine itself
has died, what was written in its last moments is read through at the next start.

The store has a quota. Above it the blocks that are neither pinned nor in use (`using`) are
removed, the least recently used first; a file's time of change is when its block was last used.

All methods block and may be called from several threads; one process owns a store.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import garbage
from p2pnode.ipfs.dagpb import BLOCK_SIZE_BYTES_MAX
from p2pnode.ipfs.pins import Pins

from .gc_guards import Uses

# A full table of inodes hurts like a full disk. At full size these blocks take 1 TiB.
BLOCKS_MAX = 4_000_000
# Collecting begins near the quota, and makes room enough not to begin again at once.
NEAR_QUOTA_PERCENT = 90
COLLECT_TO_PERCENT = 80
# Linux writes to the disk within 35 s (vm.dirty_expire_centisecs, dirty_writeback_centisecs).
UNSAFE_AFTER_CRASH_S = 60
_NAME = re.compile("(?:[0-9a-f]{2})+")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BadBlock(BadMessage):
    """Bytes that are not the block that they were said to be, or too many of them."""


class BlockUnavailable(Exception):
    """A block that is needed cannot be had, and why."""

    def __init__(self, cid: str, reason: str) -> None:
        super().__init__(f"block {cid} cannot be had: {reason}")
        self.cid = cid
        self.reason = reason


class StoreFull(OSError):
    """The quota is reached, and all that is stored is pinned or in use."""

    def __init__(self, quota_bytes: int) -> None:
        super().__init__(
            errno.EDQUOT,
            f"the block store is full: its {about_bytes(quota_bytes)} are pinned or in use"
            " (see: p2pnode ipfs pin ls; the setting store_quota allows more)",
        )


class BlockStore:
    def __init__(self, directory: Path, quota_bytes: int | None = None) -> None:
        """Opens the store, making it where there is none. No quota: for a store that is soon removed.

        Raises `OSError`.
        """
        self._blocks = directory / "blocks"
        self._writing = directory / "tmp"
        # A crash may have left something half written there.
        shutil.rmtree(self._writing, ignore_errors=True)
        for folder in (self._blocks, self._writing):
            folder.mkdir(parents=True, exist_ok=True)
        self.pins = Pins(directory / "pins", self._writing)
        self.quota_bytes = quota_bytes
        self._serial = itertools.count()
        # Guards the sizes, the notes of what is in use, and removals.
        self._lock = threading.Lock()
        self._uses = Uses(self._lock)
        self._collecting = threading.Lock()
        # Whether anything has been let go since the last collection freed too little.
        self._let_go = True
        self._folders = {entry.name for entry in os.scandir(self._blocks)}
        self._size_bytes = 0
        self._count = 0
        self._count_blocks(directory / "boot")

    # Blocks

    def put(self, data: bytes, codec: cids.Codec = "raw") -> str:
        """Store a block of ours; its CID. Raises `BadBlock` when it is too large, and `OSError`."""
        cid = cids.of(data, codec)
        self.write(cid, data)
        return str(cid)

    def put_verified(self, cid: str, data: bytes) -> None:
        """Store a block that a peer sent; raises `BadBlock` when it is not that block, and `OSError`."""
        parsed = cids.parse(cid)
        if not parsed.matches(data):
            raise BadBlock(f"{len(data)} bytes that are not the block {cid}")
        self.write(parsed, data)

    def write(self, cid: cids.Cid, data: bytes) -> None:
        """Store a block whose CID was made of it. Raises `BadBlock` when it is too large, and `OSError`."""
        if len(data) > BLOCK_SIZE_BYTES_MAX:
            raise BadBlock(f"a block of {len(data)} bytes, over the limit of {BLOCK_SIZE_BYTES_MAX}")
        if cid.identity is not None:
            return
        # Before the look: what is here then cannot be collected any more.
        self._uses.note(cid.multihash)
        path = self._path(cid.multihash)
        if os.path.exists(path):
            return
        self._take_room(len(data))
        temporary = f"{self._writing}/{next(self._serial)}"
        try:
            _write_file(temporary, data)
            with self._lock:
                # Somebody else stored the same meanwhile, and counted it.
                if os.path.exists(path):
                    self._count_in(-1, -len(data))
                os.replace(temporary, path)
        except BaseException:
            with self._lock:
                self._count_in(-1, -len(data))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def get(self, cid: str) -> bytes | None:
        """The block, or None when it is not here (any more). Raises `BadCid`, `OSError`."""
        parsed = cids.parse(cid)
        self._uses.note(parsed.multihash)
        return self._read(parsed, used=True)

    def has(self, cid: str) -> bool:
        """Whether the block is here; reading it may still show that it is damaged."""
        return self.block_size(cid) is not None

    def block_size(self, cid: str) -> int | None:
        """The block's bytes, or None when it is not here."""
        parsed = cids.parse(cid)
        if parsed.identity is not None:
            return len(parsed.identity)
        self._uses.note(parsed.multihash)
        try:
            return os.stat(self._path(parsed.multihash)).st_size
        except FileNotFoundError:
            return None

    def remove(self, cid: str) -> None:
        """Forget one block, pinned or not; nothing happens when it is not here."""
        self._remove(self._path(cids.parse(cid).multihash))

    @property
    def size_bytes(self) -> int:
        """The bytes of all blocks."""
        return self._size_bytes

    # Garbage

    @contextlib.contextmanager
    def using(self, root: str | None = None, collects: bool = False) -> Iterator[None]:
        """While in this block nothing is collected of what is below `root`, or was stored or found in it."""
        use = self._uses.begin(root, collects)
        try:
            yield
        finally:
            self._uses.end(use)
            self._let_go = True

    def pin(self, root: str, what: str = "", until_s: float = math.inf) -> None:
        """Keep what is below `root` until a Unix time; `what` says what for. Raises `BadCid`, `OSError`.

        Of two pins of one root the one that lasts longer counts.
        """
        self.pins.add(root, what, until_s)

    def unpin(self, root: str) -> bool:
        """Whether it was pinned."""
        self._let_go = True
        return self.pins.remove(root)

    def keep_within(self, size_bytes_max: int, now_s: float) -> int:
        """Drop the pins whose time is over and collect garbage where the size is near this; bytes freed."""
        if self.pins.remove_ended(now_s):
            self._let_go = True
        if self._size_bytes * 100 < size_bytes_max * NEAR_QUOTA_PERCENT or not self._let_go:
            return 0
        return self.collect(size_bytes_max * COLLECT_TO_PERCENT // 100)

    def collect(self, size_bytes: int = 0) -> int:
        """Remove what is neither pinned nor in use until at most `size_bytes` are left; bytes freed.

        A crash in the middle leaves a store with fewer blocks, no more.
        """
        with self._collecting, self.using(collects=True):
            to_free_bytes = self._size_bytes - size_bytes
            keep = garbage.reachable(
                [*self.pins.roots(), *self._uses.roots()],
                lambda cid: self._read(cids.parse(cid), used=False),
            )
            sizes_bytes: Counter[int] = Counter()
            for entry in self._entries():
                if _multihash(entry.name) not in keep:
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat()
                        sizes_bytes[garbage.age_step(found.st_mtime)] += found.st_size
            last = garbage.last_step_to_go(sizes_bytes, to_free_bytes)
            freed_bytes = 0
            for entry in self._entries() if last is not None else ():
                if freed_bytes >= to_free_bytes:
                    break
                if _multihash(entry.name) not in keep:
                    freed_bytes += self._remove_unused(entry, last)
        self._let_go = freed_bytes >= to_free_bytes
        return freed_bytes

    def _remove_unused(self, entry: os.DirEntry[str], last_step: int | None) -> int:
        """Remove a block unless it is in use or younger; the bytes freed."""
        try:
            # A new look: it may have been used since it was counted.
            step = garbage.age_step(os.stat(entry.path).st_mtime)
        except FileNotFoundError:
            return 0
        if last_step is None or step > last_step:
            return 0
        return self._remove(entry.path, _multihash(entry.name))

    def _take_room(self, size_bytes: int) -> None:
        """Count in a block that is about to be written; raises `StoreFull` where there is no room for it."""
        while not self._took_room(size_bytes):
            assert self.quota_bytes is not None
            target_bytes = self.quota_bytes * COLLECT_TO_PERCENT // 100
            # Others may take what is freed before this block can; a collection that freed enough is repeated.
            if not self._let_go or target_bytes + size_bytes > self.quota_bytes:
                raise StoreFull(self.quota_bytes)
            self.collect(target_bytes)

    def _took_room(self, size_bytes: int) -> bool:
        with self._lock:
            if self.quota_bytes is not None and (
                self._size_bytes + size_bytes > self.quota_bytes or self._count >= BLOCKS_MAX
            ):
                return False
            self._count_in(1, size_bytes)
            return True

    def _count_in(self, blocks: int, size_bytes: int) -> None:
        self._count += blocks
        self._size_bytes += size_bytes

    # Files

    def _path(self, multihash: bytes) -> str:
        name = multihash.hex()
        # The last byte spreads evenly; the first two name the hash function.
        folder = name[-2:]
        if folder not in self._folders:
            (self._blocks / folder).mkdir(exist_ok=True)
            self._folders.add(folder)
        return f"{self._blocks}/{folder}/{name}"

    def _read(self, cid: cids.Cid, used: bool) -> bytes | None:
        if cid.identity is not None:
            return cid.identity
        path = self._path(cid.multihash)
        try:
            with open(path, "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                data = file.read()
                if used and time.time() - found.st_mtime > garbage.AGE_STEP_S:
                    os.utime(file.fileno())
        except FileNotFoundError:
            return None
        if not cid.matches(data):
            self._remove(path)
            return None
        return data

    def _remove(self, path: str, unless_used: bytes | None = None) -> int:
        """Remove a file, unless this block is in use; the bytes freed."""
        with self._lock, contextlib.suppress(FileNotFoundError):
            if unless_used is not None and self._uses.keeps(unless_used):
                return 0
            size_bytes = os.stat(path).st_size
            os.unlink(path)
            self._count_in(-1, -size_bytes)
            return size_bytes
        return 0

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in sorted(self._folders):
            with os.scandir(self._blocks / folder) as entries:
                yield from (entry for entry in entries if _NAME.fullmatch(entry.name))

    def _count_blocks(self, boot: Path) -> None:
        """Learn the store's size; after a crash of the machine, read what was written just before it."""
        newest_s = 0.0
        for entry in self._entries():
            found = entry.stat()
            self._count_in(1, found.st_size)
            newest_s = max(newest_s, found.st_mtime)
        this = _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
        if boot.exists() and boot.read_text() == this != "":
            return
        for entry in self._entries():
            if entry.stat().st_mtime >= newest_s - UNSAFE_AFTER_CRASH_S:
                self._read(cids.Cid(1, "raw", _multihash(entry.name)), used=False)
        boot.write_text(this)


def _multihash(name: str) -> bytes:
    return bytes.fromhex(name)


def _write_file(path: str, data: bytes) -> None:
    # Bare calls: a file object takes longer to make than a block to write.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)
