"""Which graphs are to be kept, until when, and what for: one small file for each root.

    pins/bafy...    "1764000000 result of e-1234": the Unix time at which it ends, or "-", and what it is

A file is written beside its place and renamed, so a crash leaves the old pin or the new one.
An unreadable file counts as a pin without an end: nothing is lost by keeping too much.

All methods block and may be called from several threads.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from p2pnode.ipfs import cid as cids

# A line for a person; longer text is cut.
WHAT_LENGTH_MAX = 200
_FOREVER = "-"


@dataclass(frozen=True, slots=True)
class Pin:
    # CIDv1 in base32.
    root: str
    # Unix seconds; infinite for one that somebody has to remove.
    until_s: float
    what: str


class Pins:
    def __init__(self, directory: Path, writing: Path) -> None:
        """`writing` is a directory on the same file system for files that are not whole yet."""
        self._directory = directory
        self._writing = writing
        directory.mkdir(parents=True, exist_ok=True)
        self._serial = itertools.count()
        self._lock = threading.Lock()

    def add(self, root: str, what: str = "", until_s: float = math.inf) -> None:
        """Keep what is below `root`; of two pins of one root the one that lasts longer counts.

        Raises `BadCid`, `OSError`.
        """
        name = cids.canonical(root)
        with self._lock:
            old = self._read(name)
            if old is not None and old.until_s >= until_s:
                return
            end = _FOREVER if until_s == math.inf else f"{until_s:.0f}"
            temporary = self._writing / f"pin-{next(self._serial)}"
            temporary.write_text(f"{end} {' '.join(what.split())[:WHAT_LENGTH_MAX]}", errors="replace")
            os.replace(temporary, self._directory / name)

    def remove(self, root: str) -> bool:
        """Whether it was pinned."""
        with self._lock:
            try:
                (self._directory / cids.canonical(root)).unlink()
            except FileNotFoundError:
                return False
            return True

    def remove_ended(self, now_s: float) -> int:
        """Drop the pins whose time is over; how many these were."""
        ended = [pin.root for pin in self.all() if pin.until_s <= now_s]
        return sum(map(self.remove, ended))

    def __contains__(self, root: str) -> bool:
        return (self._directory / cids.canonical(root)).exists()

    def all(self) -> list[Pin]:
        """In the order of their roots."""
        pins = (self._read(name) for name in sorted(os.listdir(self._directory)))
        return [pin for pin in pins if pin is not None]

    def of(self, root: str) -> Pin | None:
        return self._read(cids.canonical(root))

    def newest(self, count: int) -> list[str]:
        """The roots that were pinned last, the newest first."""
        with os.scandir(self._directory) as entries:
            last = heapq.nlargest(count, ((entry.stat().st_mtime, entry.name) for entry in entries))
        return [name for _, name in last]

    def roots(self) -> list[str]:
        return sorted(os.listdir(self._directory))

    def _read(self, name: str) -> Pin | None:
        try:
            text = (self._directory / name).read_text(errors="replace")
        except FileNotFoundError:
            return None
        end, _, what = text.partition(" ")
        return Pin(name, float(end) if end.isascii() and end.isdecimal() else math.inf, what)
