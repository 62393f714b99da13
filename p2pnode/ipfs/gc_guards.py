"""Guards for the blocks being added, fetched or read now, which must not be collected as garbage.

An operation keeps two things: the graph below its root, if it has one, and each block that
was stored or found while it went on, whoever did so. The second is why an add is safe before
it has a root, and a fetch that has found a block here can count on it.

Blocks are noted in the set of the newest operation. When an operation ends, what was noted
in its set may still be needed by an older one, so it passes to the next older, if any: what
an operation that goes on for long keeps is only what was used since it began. A collection
is an operation too, and what others leave while it goes on passes to it: it may have looked
at their pins too early.
"""

from __future__ import annotations

import itertools
import threading


class Uses:
    def __init__(self, lock: threading.Lock) -> None:
        """`lock` is held while a block is removed, so that none is noted between the look and the removal."""
        self._lock = lock
        self._serial = itertools.count()
        # By operation, the oldest first.
        self._noted: dict[int, set[bytes]] = {}
        self._roots: dict[int, str] = {}
        self._collection: int | None = None

    def begin(self, root: str | None = None, collects: bool = False) -> int:
        """`collects`: it is a collection, of which there is one at a time."""
        with self._lock:
            use = next(self._serial)
            self._noted[use] = set()
            if collects:
                self._collection = use
            if root is not None:
                self._roots[use] = root
            return use

    def end(self, use: int) -> None:
        with self._lock:
            older = [one for one in self._noted if one < use]
            noted = self._noted.pop(use)
            if use == self._collection:
                self._collection = None
            heir = older[-1] if older else self._collection
            if heir is not None:
                self._noted[heir] |= noted
            self._roots.pop(use, None)

    def note(self, multihash: bytes) -> None:
        """The block is being stored, or was looked for."""
        with self._lock:
            if self._noted:
                next(reversed(self._noted.values())).add(multihash)

    def roots(self) -> list[str]:
        with self._lock:
            return list(self._roots.values())

    def keeps(self, multihash: bytes) -> bool:
        """Whether the block was noted; the caller holds the lock."""
        return any(multihash in noted for noted in self._noted.values())
