"""The source `s3`: one object, or those of a bucket that begin with a prefix, in a directory of the input.

An object lies below the input by what its key has behind the last folder of Key, as in Bacalhau:
`logs/2024*` gives `2024-01.txt`, and `logs/2024.txt` gives `2024.txt`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.placement.targets import is_many
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.states import Fault

from . import tries
from .budget import on_disk
from .concurrently import all_of
from .download import Destination, Download
from .failures import DataFailed, of_disk
from .s3_client import Bucket
from .s3_selection import S3Object, prefix_of, relative_path, select
from .web import Response


@dataclass(frozen=True, slots=True)
class S3Fetch:
    """One input from a bucket."""

    bucket: Bucket
    params: Mapping[str, Any]
    place: Destination
    # Shared by all inputs of the execution.
    limiter: trio.CapacityLimiter

    async def fetch(self, replica: int, replica_count: int) -> None:
        """Write the objects; raises `DataFailed`."""
        key = str(self.params.get("Key", ""))
        checksum = str(self.params.get("ChecksumSHA256", ""))
        if not is_many(key):
            name = key.rpartition("/")[2]
            path = self.place.directory / relative_path(name, "")
            await self._fetch_one(key, path, self.place.progress)
            if checksum and await trio.to_thread.run_sync(_sha256_base64, path) != checksum:
                raise DataFailed(Fault.JOB, f"{key!r} has not the ChecksumSHA256 that the job names")
            return
        if checksum or self.params.get("VersionID"):
            raise DataFailed(Fault.JOB, "VersionID and ChecksumSHA256 are of one object; Key names many")
        async with self.limiter:
            listed = await tries.FETCH_TRIES(
                partial(self.bucket.objects, prefix_of(key)), self.place.progress
            )
        objects = select(listed, self.params, replica, replica_count)
        if not objects and not listed:
            raise DataFailed(Fault.JOB, f"s3://{self.bucket.name}: no key begins with {prefix_of(key)!r}")
        await self._fetch_many(objects, prefix_of(key))

    async def _fetch_many(self, objects: list[S3Object], prefix: str) -> None:
        size_bytes = sum(one.size_bytes for one in objects)
        self.place.budget.check(sum(on_disk(one.size_bytes) for one in objects))
        done_bytes = count = 0

        async def fetch(one: S3Object) -> None:
            nonlocal done_bytes, count
            path = self.place.directory / relative_path(one.key, prefix)
            try:
                self.place.budget.make_directory(path.parent)
            except OSError as exc:
                raise of_disk(f"no file can be made for {one.key[:200]!r}", exc) from exc
            await self._fetch_one(one.key, path, lambda text: None)
            done_bytes, count = done_bytes + one.size_bytes, count + 1
            whole = about_bytes(size_bytes)
            self.place.progress(f"{count} of {len(objects)} objects, {about_bytes(done_bytes)} of {whole}")

        await all_of(partial(fetch, one) for one in objects)

    async def _fetch_one(self, key: str, path: Path, progress: Callable[[str], None]) -> None:
        version = str(self.params.get("VersionID", ""))

        def ask(offset: int, etag: str) -> AbstractAsyncContextManager[Response]:
            return self.bucket.get(key, version, offset, etag)

        async with self.limiter:
            name = f"s3 {self.bucket.place} {key} {version}"
            await Download(name, ask, self.place, progress).fetch(path)


def _sha256_base64(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
