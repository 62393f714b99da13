"""This node's store, and how long it keeps: results, receipts, its quota, and what a Kubo daemon is to have.

A result is pinned here for a time and, where a Kubo daemon is configured, is to be pinned
there as well. What the daemon has not got yet stands in a directory, one file a root:

    kubo/bafy...   an empty file; removed when the daemon has pinned the root

So a daemon that is away costs nothing but the delay, over restarts too.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car, dagpb, unixfs
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.garbage import missing_block
from p2pnode.ipfs.kubo import KuboDaemon, KuboFailed

log = logging.getLogger(__name__)

# The default: inputs and results of others can be fetched again, images and running programs
# need the rest of the disk.
QUOTA_DISK_PERCENT = 20
# The node's journal, logs and results need this to end well, whatever the quota says.
DISK_FREE_BYTES_MIN = 2 * 1024**3
# Some 500 bytes each; whoever argues later about what was run needs it more than its result.
RECEIPT_RETENTION_S = 365 * 24 * 3600
# The size may grow by a few GB in between, and a put at the quota collects by itself.
LOOK_INTERVAL_S = 10.0
# As pins say what they are of. Those of a private network begin in their own way: a node that leaves it for
# another network still has them.
RESULT = "result"
_RECEIPT = "receipt"
PRIVATE_PREFIX = "private "
# Waits for a daemon that is away; an operator who starts it again sees results there within a minute.
KUBO_RETRY_S = 5.0
KUBO_RETRY_S_MAX = 60.0


def _stop_if_cancelled() -> None:
    """Ends a thread of trio's that nobody waits for any more; a large result may take it minutes."""
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        # A thread of somebody else's.
        return


def default_quota_bytes(directory: Path) -> int:
    """A share of the disk that `directory` is on."""
    return shutil.disk_usage(directory).total * QUOTA_DISK_PERCENT // 100


class ResultStore:
    def __init__(
        self,
        blocks: BlockStore,
        directory: Path,
        result_retention_s: int,
        kubo: KuboDaemon | None,
        stored: Callable[[], None] = lambda: None,
        *,
        is_private: bool = False,
    ) -> None:
        """`directory` is for the list of what the Kubo daemon has not got yet.

        `stored` is called, in any thread, when a result is there; `is_private`: all are a private network's.
        """
        self._blocks = blocks
        self._directory = directory
        self._result_retention_s = result_retention_s
        self._kubo = kubo
        self._stored = stored
        self._origin = PRIVATE_PREFIX if is_private else ""
        self._free_directory = directory.parent
        self._to_deliver = trio.Event()
        # Sizes of the roots that were told last: nothing needs reading twice.
        self._sizes: dict[str, int] = {}

    def add_result(self, tree: unixfs.Tree) -> str:
        """Store a result and pin it for its time; its CID. Blocking, for any thread.

        Raises `OSError` (`StoreFull`), `BadMessage`, `CannotAdd`.
        """
        with adding(self._blocks) as put:

            def put_or_stop(data: bytes, codec: cids.Codec) -> str:
                _stop_if_cancelled()
                return put(data, codec)

            root = unixfs.add_directory(tree, put_or_stop)
            self._blocks.pin(root, self._origin + RESULT, time.time() + self._result_retention_s)
        if self._kubo is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / root).touch()
            self._wake()
        self._stored()
        return root

    def add_receipt(self, signed: bytes) -> str:
        """Store a signed receipt and pin it; its CID. Raises `OSError`."""
        with self._blocks.using():
            cid = self._blocks.put(signed, "dag-cbor")
            self._blocks.pin(cid, self._origin + _RECEIPT, time.time() + RECEIPT_RETENTION_S)
        return cid

    def newest_roots(self, count: int) -> dict[str, int]:
        """Return those of the last `count` pinned roots that are no receipts, the newest first. Blocking.

        With each stands the size of its graph, as its root has it.
        """
        roots = [root for root in self._blocks.pins.newest(count) if cids.parse(root).codec != "dag-cbor"]
        self._sizes = {root: self._sizes.get(root) or self._size_below(root) for root in roots}
        return self._sizes

    def _size_below(self, root: str) -> int:
        data = self._blocks.get(root) or b""
        if cids.parse(root).codec != "dag-pb":
            return len(data)
        try:
            return len(data) + sum(link.size_bytes for link in dagpb.decode_untrusted(data).links)
        except BadMessage:
            return len(data)

    async def fetch_from_kubo(self, cid: str, progress: Callable[[int], None], size_bytes_max: int) -> None:
        """Bring all blocks below `cid` from the Kubo daemon; raises `BlockUnavailable` and `OSError`."""
        assert self._kubo is not None

        def tell(size_bytes: int) -> None:
            trio.from_thread.run_sync(progress, size_bytes)

        fetch = partial(self._kubo.fetch, cid, self._blocks, tell, size_bytes_max)
        try:
            await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)
            missing = await trio.to_thread.run_sync(missing_block, cid, self._blocks.get)
        except KuboFailed as exc:
            raise BlockUnavailable(cid, str(exc)) from exc
        if missing is not None:
            raise BlockUnavailable(missing, "the Kubo daemon ended its answer before it")

    async def block_from_kubo(self, cid: str) -> None:
        """Bring one block from the Kubo daemon; raises `BlockUnavailable` and `OSError`."""
        assert self._kubo is not None
        fetch = partial(self._kubo.fetch_block, cid, self._blocks)
        try:
            await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)
        except KuboFailed as exc:
            raise BlockUnavailable(cid, str(exc)) from exc

    @property
    def has_kubo(self) -> bool:
        return self._kubo is not None

    async def run(self) -> None:
        """Drops pins whose time is over, collects garbage, serves the Kubo daemon; until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._kubo is not None:
                nursery.start_soon(self._deliver_all, self._kubo)
            while True:
                try:
                    freed_bytes = await trio.to_thread.run_sync(self._keep_within)
                except OSError as exc:
                    log.warning("cannot collect garbage in the block store: %s", exc)
                else:
                    if freed_bytes:
                        log.info("removed %s of blocks that nobody uses", about_bytes(freed_bytes))
                await trio.sleep(LOOK_INTERVAL_S)

    def _keep_within(self) -> int:
        size_bytes, quota_bytes = self._blocks.size_bytes, self._blocks.quota_bytes
        free_bytes = shutil.disk_usage(self._free_directory).free
        limit_bytes = max(0, size_bytes + free_bytes - DISK_FREE_BYTES_MIN)
        return self._blocks.keep_within(min(limit_bytes, quota_bytes or limit_bytes), time.time())

    # Kubo

    def _wake(self) -> None:
        try:
            trio.from_thread.run_sync(self._to_deliver.set)
        except RuntimeError:
            # Not in a thread of trio's: a test or a tool without a loop.
            self._to_deliver.set()

    async def _deliver_all(self, kubo: KuboDaemon) -> None:
        wait_s = KUBO_RETRY_S
        while True:
            self._to_deliver = trio.Event()
            try:
                for root in await trio.to_thread.run_sync(self._undelivered):
                    await trio.to_thread.run_sync(self._deliver, kubo, root, abandon_on_cancel=True)
                wait_s = KUBO_RETRY_S
                await self._to_deliver.wait()
            except (KuboFailed, OSError) as exc:
                log.warning("results are not on the Kubo daemon yet: %s; trying again in %.0f s", exc, wait_s)
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, KUBO_RETRY_S_MAX)

    def _undelivered(self) -> list[str]:
        return sorted(os.listdir(self._directory)) if self._directory.exists() else []

    def _deliver(self, kubo: KuboDaemon, root: str) -> None:
        with self._blocks.using(root):
            try:
                kubo.add(root, car.write_car(root, self._blocks.get))
            except BlockUnavailable as exc:
                # Its time was over before the daemon came back, or it was unpinned by hand.
                log.warning("the Kubo daemon does not get %s: %s", root, exc)
        (self._directory / root).unlink(missing_ok=True)
