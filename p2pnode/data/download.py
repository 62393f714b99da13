"""One file over HTTP, in as many tries as it takes: each goes on where the last one broke off.

What has come lies in a file of its own, named by what is being fetched and its ETag. So neither
a broken connection nor a restart of the node begins anew, and a file that has changed at its
source does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.states import Fault

from . import tries
from .budget import Budget, on_disk
from .cache import Cache, cache_key
from .failures import DataFailed, Retryable, of_disk
from .web import Response

# A thread for each chunk of 64 kB would cost more than the writing.
WRITE_SIZE_BYTES = 1024**2
ETAG_LENGTH_MAX = 1024
_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(?:\d+|\*)")

# Asks for a file, for what is behind an offset if that is not 0: then only if it has this ETag still.
Ask = Callable[[int, str], AbstractAsyncContextManager[Response]]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an input is written, and what is shared by all that is fetched for it."""

    # The input itself, complete when all is fetched.
    directory: Path
    # The bytes that have come of each file, until it is whole.
    parts: Path
    cache: Cache
    budget: Budget
    progress: Callable[[str], None]
    rate: FetchRate


class Changed(Retryable):
    """The bytes that have come so far are of another version."""


class Download:
    """A file that is wanted, and what may be spent on it."""

    def __init__(self, name: str, ask: Ask, place: Destination, progress: Callable[[str], None]) -> None:
        """`name` is the file's among all that are cached, whatever its version."""
        self._name = name
        self._ask = ask
        self._place = place
        self._progress = progress
        # The bytes of the budget that are this file's.
        self._taken_bytes = 0
        # The version that is being fetched, "" where nothing names it, and its bytes, -1 for unknown.
        self._etag = ""
        self._size_bytes = -1

    async def fetch(self, destination: Path) -> None:
        """Write the file, whole or not at all; raises `DataFailed`."""
        await tries.FETCH_TRIES(partial(self._try, destination), self._progress)

    async def _try(self, destination: Path) -> None:
        try:
            cached = await self._complete(destination)
            if cached:
                return
            self._check_size()
            self._part.replace(destination)
            if self._etag:
                await trio.to_thread.run_sync(self._place.cache.keep, self._key, destination)
        except Changed:
            self._etag = ""
            raise
        except OSError as exc:
            raise of_disk("cannot keep it", exc) from exc

    async def _complete(self, destination: Path) -> bool:
        """Make the part whole, from what there is of it; True if the cache had the file instead."""
        have_bytes = _size_of(self._part) if self._etag else 0
        async with self._ask(have_bytes, self._etag if have_bytes else "") as response:
            check_status(response)
            goes_on = bool(have_bytes) and _goes_on_at(response, have_bytes)
            if not goes_on:
                self._begin(response, discard=bool(have_bytes))
                if await self._take_cached(destination):
                    return True
                # A part from before a restart: this answer begins at 0, and the next one where that ended.
                have_bytes = _size_of(self._part)
            if goes_on or not have_bytes:
                await self._receive(response, have_bytes)
                return False
        return have_bytes != self._size_bytes and await self._complete(destination)

    def _begin(self, response: Response, *, discard: bool) -> None:
        """Take note of the version that is sent; what there is of another, or of who knows which, goes."""
        if discard:
            self._part.unlink()
        self._etag, self._size_bytes = _strong_etag(response), _size_bytes(response)
        if not self._etag:
            self._part.unlink(missing_ok=True)

    @property
    def _key(self) -> str:
        return cache_key(self._name, self._etag, self._size_bytes)

    @property
    def _part(self) -> Path:
        return self._place.parts / self._key

    async def _take_cached(self, destination: Path) -> bool:
        if not self._etag:
            return False
        size_bytes = await trio.to_thread.run_sync(self._place.cache.take, self._key, destination)
        if size_bytes is not None:
            self._count(on_disk(size_bytes))
        return size_bytes is not None

    def _check_size(self) -> None:
        size_bytes = _size_of(self._part)
        if self._size_bytes not in (-1, size_bytes):
            self._part.unlink(missing_ok=True)
            raise Retryable(f"{size_bytes} bytes came, and {self._size_bytes} were said to come")
        self._count(on_disk(size_bytes))

    async def _receive(self, response: Response, have_bytes: int) -> None:
        """Append the body to what is there."""
        self._count(have_bytes)
        self._place.budget.check(self._size_bytes - have_bytes)
        whole = f" of {about_bytes(self._size_bytes)}" if self._size_bytes >= 0 else ""
        pending = bytearray()
        began = trio.current_time()
        with self._part.open("ab") as file:
            try:
                async with contextlib.aclosing(response.chunks()) as chunks:
                    async for chunk in chunks:
                        self._count(self._taken_bytes + len(chunk))
                        pending += chunk
                        if len(pending) >= WRITE_SIZE_BYTES:
                            data, pending = bytes(pending), bytearray()
                            await trio.to_thread.run_sync(partial(file.write, data))
                            self._progress(f"{about_bytes(self._taken_bytes)}{whole}")
            finally:
                # Also what came before a connection broke: the next try goes on behind it.
                file.write(pending)
        self._place.rate.note(self._taken_bytes - have_bytes, trio.current_time() - began)

    def _count(self, size_bytes: int) -> None:
        """Take so much of the budget for this file in all."""
        self._place.budget.take(size_bytes - self._taken_bytes)
        self._taken_bytes = size_bytes


def check_status(response: Response, said: str = "") -> None:
    """Raises `DataFailed` for an answer that is not what was asked for; `said` is what it says of that."""
    said = said or f"the answer was {response.said}"
    if response.status in (408, 425, 429) or response.status >= 500:
        raise Retryable(said)
    if response.status in (412, 416):
        raise Changed(said)
    if response.status not in (200, 206):
        raise DataFailed(Fault.JOB, said)


def _strong_etag(response: Response) -> str:
    """Return the tag that names this version byte for byte (RFC 9110 section 8.8.3), or ""."""
    etag = response.headers.get("etag", "")
    return etag if etag.startswith('"') and len(etag) <= ETAG_LENGTH_MAX else ""


def _size_bytes(response: Response) -> int:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() else -1


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _goes_on_at(response: Response, offset: int) -> bool:
    found = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return response.status == 206 and found is not None and int(found[1]) == offset
