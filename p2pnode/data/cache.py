"""Downloaded files kept for the next execution that needs them, each under what names its content.

A file is shared by hard links, so keeping it costs nothing while an execution has it, and
removing it here takes it from nobody. What was not used for the longest time goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from pathlib import Path

# A node gives disk to jobs; this much may lie there for the next one.
CACHE_SIZE_BYTES_MAX = 4 * 1024**3
# With less than this free, files are worth more than what they spare.
DISK_FREE_BYTES_MIN = 4 * 1024**3
_SHARED = 0o444


class Cache:
    """Its methods block and may be called from several threads; one process owns the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def take(self, key: str, destination: Path) -> int | None:
        """Put the file of this key at `destination`; its bytes, None if it is not here. Raises `OSError`."""
        kept = self._directory / key
        with self._lock, contextlib.suppress(FileNotFoundError):
            os.link(kept, destination)
            os.utime(kept)
            return kept.stat().st_size
        return None

    def keep(self, key: str, path: Path) -> None:
        """Keep a file, which nobody writes to any more, under this key. Raises `OSError`."""
        path.chmod(_SHARED)
        with self._lock, contextlib.suppress(FileExistsError):
            self._directory.mkdir(parents=True, exist_ok=True)
            os.link(path, self._directory / key)
            self._make_room()

    def _make_room(self) -> None:
        entries = sorted(
            ((status.st_mtime, status.st_size, entry.path) for entry, status in self._files()), reverse=True
        )
        size_bytes = sum(size for _, size, _ in entries)
        free_bytes = shutil.disk_usage(self._directory).free
        # The newest stays: a link to a file that is in use takes no room.
        while len(entries) > 1 and (size_bytes > CACHE_SIZE_BYTES_MAX or free_bytes < DISK_FREE_BYTES_MIN):
            _, size, path = entries.pop()
            os.unlink(path)
            size_bytes -= size
            free_bytes += size

    def _files(self) -> list[tuple[os.DirEntry[str], os.stat_result]]:
        with os.scandir(self._directory) as entries:
            return [(entry, entry.stat()) for entry in entries]


def cache_key(*parts: object) -> str:
    """The name of a file that these say all about: where it is from, and which version."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()
