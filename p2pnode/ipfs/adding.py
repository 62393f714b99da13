"""Adding to the store: blocks are hashed in the caller's thread and written in others meanwhile.

Hashing and writing take about as long as each other, and Python lets go of its lock for both.
Nothing that was added is garbage before the block is left, so its root can be pinned in it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.unixfs import Put

# A second one hides the moments in which the disk makes the first wait; a third gained nothing.
WRITERS = 2
# 8 MiB of full chunks: enough to bridge a short stall of the disk.
BLOCKS_WAITING_MAX = 32
# Blocks that are written in the caller's thread: most results are some short files, and a thread costs more.
BLOCKS_WITHOUT_WRITERS = 8


@contextmanager
def adding(store: BlockStore) -> Iterator[Put]:
    """Gives a `put` for `unixfs`; all that it was given is stored when the block is left.

    `put` and leaving the block raise `OSError` and `BadBlock` of any block so far. One thread may use it.
    """
    waiting: queue.Queue[tuple[cids.Cid, bytes] | None] = queue.Queue(BLOCKS_WAITING_MAX)
    errors: list[Exception] = []
    threads: list[threading.Thread] = []
    written = 0

    def write() -> None:
        while (item := waiting.get()) is not None:
            # After an error the queue is still emptied, or the caller would wait for room in it.
            if errors:
                continue
            try:
                store.write(*item)
            except Exception as exc:  # noqa: BLE001 - it is raised in the caller's thread
                errors.append(exc)

    def put(data: bytes, codec: cids.Codec) -> str:
        nonlocal written
        if errors:
            raise errors[0]
        cid = cids.of(data, codec)
        if written < BLOCKS_WITHOUT_WRITERS:
            written += 1
            store.write(cid, data)
            return str(cid)
        while len(threads) < WRITERS:
            threads.append(threading.Thread(target=write, name="block writer"))
            threads[-1].start()
        waiting.put((cid, data))
        return str(cid)

    with store.using():
        try:
            yield put
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]
