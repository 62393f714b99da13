"""The publisher `s3`: a result in a bucket, as one archive or file by file.

Key's variables are Bacalhau's: {nodeID}, {executionID}, {jobID}, {date} and {time}. An archive's key
ends with .tar.gz, that of plain files is a folder. Date and time are the execution's end (UTC),
so that another try writes the same objects.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.states import Fault
from p2pnode.system.opening import open_regular
from p2pnode.system.trees import readable

from .archive import Tree, files_of, write_archive
from .concurrently import all_of
from .failures import DataFailed
from .s3_client import PUT_SIZE_BYTES_MAX, Bucket

PUTS_AT_ONCE_MAX = 4
OBJECTS_MAX = 10_000
READ_SIZE_BYTES = 1024**2
ARCHIVE_SUFFIX = ".tar.gz"
# "Creating object key names": in UTF-8.
KEY_SIZE_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Publication:
    """One result on its way into a bucket."""

    bucket: Bucket
    params: Mapping[str, Any]
    variables: Mapping[str, str]
    ended_s: int
    scratch: Path
    progress: Callable[[str], None]

    async def put(self, tree: Tree) -> None:
        """Put all of it; raises `DataFailed` and `OSError`."""
        plain = self.params.get("Encoding", "gzip") == "plain"
        base = key_of(str(self.params["Key"]), self.variables, self.ended_s, plain=plain)
        if not plain:
            archive = self.scratch / "s3-archive"
            await trio.to_thread.run_sync(write_archive, tree, archive, self.ended_s, abandon_on_cancel=True)
            return await self._put_one(base, archive)
        files = await trio.to_thread.run_sync(lambda: list(files_of(tree)))
        if len(files) > OBJECTS_MAX:
            raise DataFailed(
                Fault.JOB, f"{len(files)} files; with Encoding plain at most {OBJECTS_MAX} are published"
            )
        limiter = trio.CapacityLimiter(PUTS_AT_ONCE_MAX)

        async def put(path: str, content: Path | bytes) -> None:
            async with limiter:
                await self._put_one(base + path, content)

        return await all_of(partial(put, path, content) for path, content in files)

    async def _put_one(self, key: str, content: Path | bytes) -> None:
        if key != readable(key):
            raise DataFailed(Fault.JOB, f"the key {readable(key)[:100]} is no UTF-8, which S3 wants")
        size_bytes, sha256 = await trio.to_thread.run_sync(_measure, content)
        if size_bytes > PUT_SIZE_BYTES_MAX:
            raise DataFailed(
                Fault.JOB,
                f"{key} takes {about_bytes(size_bytes)}; S3 takes {about_bytes(PUT_SIZE_BYTES_MAX)} at once",
            )
        if len(key.encode()) > KEY_SIZE_BYTES_MAX:
            raise DataFailed(
                Fault.JOB, f"the key {key[:100]!r}... takes more than {KEY_SIZE_BYTES_MAX} bytes"
            )
        self.progress(f"s3://{self.bucket.name}/{key}: {about_bytes(size_bytes)}")
        await self.bucket.put(key, size_bytes, sha256, lambda: _chunks(content))


def key_of(template: str, variables: Mapping[str, str], ended_s: int, *, plain: bool) -> str:
    """The key of an archive, or what the keys of plain files begin with."""
    ended = time.gmtime(ended_s)
    dated = {"date": time.strftime("%Y%m%d", ended), "time": time.strftime("%H%M%S", ended)}
    key = template
    values = {**variables, **dated}
    key = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), key)
    suffix = "/" if plain else ARCHIVE_SUFFIX
    return key.lstrip("/") if key.endswith(suffix) else f"{key.lstrip('/')}{suffix}"


def _measure(content: Path | bytes) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with open_regular(content) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


async def _chunks(content: Path | bytes) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    async with trio.wrap_file(await trio.to_thread.run_sync(open_regular, content)) as file:
        while chunk := await file.read(READ_SIZE_BYTES):
            yield chunk
