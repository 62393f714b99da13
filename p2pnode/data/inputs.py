"""Input sources: what a job names is fetched and laid out on disk before its program starts.

Each input is a file or a directory below one directory of the execution. It is written
beside its place and renamed, so what is there is whole, and a restart goes on from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from p2pnode.core.messages import Fault
from p2pnode.core.spec import InputSource

# The types that this module can fetch; a node advertises them.
SOURCE_TYPES = ("ipfs",)
# Several at once hide latency; more only compete for the disk.
FETCHES_AT_ONCE_MAX = 4

# Brings all blocks of a CID into this node's store; raises what `InputFailed` wraps.
FetchIpfs = Callable[[str, Callable[[str], None]], Awaitable[None]]
# Writes what a CID names to a path, from this node's store. Blocking.
ExportIpfs = Callable[[str, Path], None]


class InputFailed(Exception):
    """An input can't be had; the message says which and why."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Inputs:
    def __init__(self, fetch_ipfs: FetchIpfs, export_ipfs: ExportIpfs, failures: tuple[type[Exception], ...]):
        """`failures` are what the two raise when a CID can't be had or is not what it should be."""
        self._fetch_ipfs = fetch_ipfs
        self._export_ipfs = export_ipfs
        self._failures = failures

    async def fetch_all(
        self, sources: Sequence[InputSource], directory: Path, progress: Callable[[str], None]
    ) -> tuple[Path, ...]:
        """The paths of the inputs, in their order; raises `InputFailed` for the first that fails."""
        limiter = trio.CapacityLimiter(FETCHES_AT_ONCE_MAX)
        paths = tuple(directory / str(index) for index in range(len(sources)))
        first: list[InputFailed] = []

        async def fetch(source: InputSource, path: Path, scope: trio.CancelScope) -> None:
            async with limiter:
                try:
                    await self._fetch(source, path, progress)
                except InputFailed as exc:
                    first.append(exc)
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            for source, path in zip(sources, paths, strict=True):
                if not path.exists():
                    nursery.start_soon(fetch, source, path, nursery.cancel_scope)
        if first:
            raise first[0]
        return paths

    async def _fetch(self, source: InputSource, path: Path, progress: Callable[[str], None]) -> None:
        if source.source.type not in SOURCE_TYPES:
            raise InputFailed(Fault.PEER, f"input {source.target}: no source of type {source.source.type}")
        cid = str(source.source.params["CID"])
        try:
            await self._fetch_ipfs(cid, lambda text: progress(f"fetching {source.target}: {text}"))
            await trio.to_thread.run_sync(partial(self._export_ipfs, cid, path))
        except self._failures as exc:
            raise InputFailed(Fault.NETWORK, f"input {source.target}: {exc}") from exc
        except OSError as exc:
            raise InputFailed(Fault.PEER, f"input {source.target}: {exc.strerror}") from exc
