"""Publishers: where the result of an execution goes.

Whatever the job says, a result first goes into this node's own store, as a UnixFS directory that
everybody can fetch by its CID. `ipfs` and `none` ask for no more. `s3` puts it into a bucket as
well, `local` into a directory of this node, as one archive. What fails there is tried again, and
then said; the result is still in the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.spec import Source
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import Left
from p2pnode.ipfs.unixfs import CannotAdd
from p2pnode.system.trees import space_bytes

from . import tries
from .archive import Tree, fit, write_archive
from .failures import DataFailed, Retryable, of_disk
from .inputs import DISK_FREE_BYTES_MIN, Access
from .s3_client import Bucket
from .s3_publisher import S3Publication
from .web import open_web

# Adding to the store is disk and hashing; two at once fill both cores of a small machine.
STORING_AT_ONCE_MAX = 2
PUBLISH_S_MAX = 3600.0
# Results lie there until somebody takes them: the oldest go first.
LOCAL_SIZE_BYTES_MAX = 10 * 1024**3
LOCAL_SUFFIX = ".tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The files that an execution left, and what names them."""

    tree: Tree
    job: str
    execution: str
    peer: str
    ended_ms: int
    # The job's limit of its disk, 0 for none.
    disk_bytes: int
    # For what publishing needs on the way, on the file system of `Publishers`; ends with the execution.
    scratch: Path


def needs_publishing(publisher: Source | None) -> bool:
    """Does the job want its result elsewhere than in the network's store?"""
    return publisher is not None and publisher.type not in ("ipfs", "none")


class Publishers:
    def __init__(
        self,
        store: Callable[[Tree], str],
        access: Access,
        directory: Path,
    ) -> None:
        """`store` adds a tree to this node's store and pins it, for its CID; blocking.

        It raises `BadMessage` or `CannotAdd` for a tree that no store can hold.
        """
        self._store = store
        self._access = access
        self._directory = directory
        self._storing = trio.CapacityLimiter(STORING_AT_ONCE_MAX)

    @property
    def types(self) -> tuple[str, ...]:
        """The publishers that this node has, for its advert."""
        return ("ipfs", "local", "none", *(["s3"] if self._access.s3.may_write else []))

    async def store(self, result: Result) -> tuple[str, Result, list[Left]]:
        """The CID of what can be kept of a result, that, and what cannot; it is in this node's store then.

        Raises `DataFailed`.
        """
        try:
            return await trio.to_thread.run_sync(
                self._fit_and_store, result, limiter=self._storing, abandon_on_cancel=True
            )
        except (BadMessage, CannotAdd) as exc:
            raise DataFailed(Fault.JOB, f"the result cannot be stored: {exc}") from exc
        except OSError as exc:
            raise of_disk("cannot store the result", exc) from exc

    def _fit_and_store(self, result: Result) -> tuple[str, Result, list[Left]]:
        if result.disk_bytes:
            limit_bytes, whose = (
                space_bytes(result.disk_bytes),
                "the job's disk limit and what a file system takes",
            )
        else:
            limit_bytes = max(shutil.disk_usage(result.scratch).free - DISK_FREE_BYTES_MIN, 0)
            whose = "what this peer can spare for a job without a disk limit"
        kept, left = fit(result.tree, limit_bytes, whose)
        return self._store(kept), replace(result, tree=kept), left

    async def publish(
        self, publisher: Source | None, result: Result, progress: Callable[[str], None]
    ) -> None:
        """Put the result where the job wants it besides; raises `DataFailed` when all tries are used up."""
        if not needs_publishing(publisher):
            return None
        assert publisher is not None
        match publisher.type:
            case "s3":
                step = partial(self._to_s3, publisher, result, progress)
            case "local":
                step = partial(self._to_directory, result)
            case other:
                raise DataFailed(Fault.PEER, f"no publisher of type {other} here")
        with trio.move_on_after(PUBLISH_S_MAX):
            try:
                return await tries.PUBLISH_TRIES(step, progress)
            except OSError as exc:
                raise of_disk("cannot write the result's archive", exc) from exc
        raise Retryable(f"not published within {PUBLISH_S_MAX / 60:.0f} min")

    async def _to_s3(self, publisher: Source, result: Result, progress: Callable[[str], None]) -> None:
        async with open_web(self._access.all_hosts) as web:
            publication = S3Publication(
                bucket=Bucket(web, self._access.s3, self._access.all_hosts, publisher.params),
                params=publisher.params,
                variables={"jobID": result.job, "executionID": result.execution, "nodeID": result.peer},
                ended_s=result.ended_ms // 1000,
                scratch=result.scratch,
                progress=progress,
            )
            await publication.put(result.tree)

    async def _to_directory(self, result: Result) -> None:
        await trio.to_thread.run_sync(self._write_archive, result, abandon_on_cancel=True)

    def _write_archive(self, result: Result) -> None:
        part = result.scratch / "local-archive"
        write_archive(result.tree, part, result.ended_ms // 1000)
        self._directory.mkdir(parents=True, exist_ok=True)
        part.replace(self._directory / f"{result.execution}{LOCAL_SUFFIX}")
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        with os.scandir(self._directory) as entries:
            found = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries]
        found.sort(reverse=True)
        size_bytes = sum(size for _, size, _ in found)
        while len(found) > 1 and size_bytes > LOCAL_SIZE_BYTES_MAX:
            _, size, path = found.pop()
            os.unlink(path)
            size_bytes -= size
