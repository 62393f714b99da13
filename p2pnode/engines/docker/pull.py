"""Bringing an image from its registry: progress, a time limit, and an eye on the disk that it fills.

The engine tells how much comes over the network, not what that unfolds to: a layer of some MB may hold a
thousand times as much, or millions of empty files. So the engine's disk is looked at while it pulls. An
engine whose answer is no longer listened to stops within a second and removes what it has unfolded.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import trio

from p2pnode.core.values.images import normal
from p2pnode.core.wire.states import Fault
from p2pnode.engines.workload import DISK_FREE_BYTES_MIN, next_look_s

from . import api
from .answers import BadAnswer, PullEvent, decode
from .api import Body, EngineGone, EngineRefused
from .sdk import ContainerFailed, Sdk

PULL_S_MAX = 30 * 60.0
# An event is some 200 bytes, one with a registry's error a few thousand.
EVENT_SIZE_BYTES_MAX = 65_536
# As many as ext4 has for DISK_FREE_BYTES_MIN, at its usual one for 16 KiB.
ENTRIES_FREE_MIN = 65_536
# The largest images that people make hold some 500,000 files and directories.
ENTRIES_MAX = 2_000_000
# Layers of programs unfold to twice to five times their size: more is nothing that a larger disk mends.
UNFOLDING_MAX = 20
# The engine's word for a full disk.
NO_SPACE = "no space left on device"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PullRoom:
    """The room that is free on the engine's disk."""

    size_bytes: int
    entries: int


# Gives the room that is free where a directory is; raises OSError. Blocking.
Measure = Callable[[str], PullRoom]


def room(directory: str) -> PullRoom:
    found = os.statvfs(directory)
    # Some file systems make inodes as they need them, and count none.
    return PullRoom(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else sys.maxsize)


async def pull(
    sdk: Sdk, image: str, login: bool, progress: Callable[[str], None], measure: Measure = room
) -> str:
    """Bring an image, with or without the login of the node's Docker configuration.

    Returns the engine's reason why it could not, or "". Raises `ContainerFailed`, `EngineGone`, OSError.
    """
    headers = {"X-Registry-Auth": await sdk.login_header(image, login)}
    disk = Disk(sdk, await sdk.root(), measure)
    await disk.begin()
    pulling = _Pulling(image, progress)
    with trio.move_on_after(PULL_S_MAX) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, disk, pulling, nursery.cancel_scope)
            await pulling.to_the_end(sdk.socket_path, headers)
            nursery.cancel_scope.cancel()
    if limit.cancelled_caught:
        raise ContainerFailed(Fault.NETWORK, f"image {image} was not pulled within {PULL_S_MAX:g} s")
    if NO_SPACE in pulling.reason:
        # The pull was quicker than our looks.
        raise ContainerFailed(Fault.PEER, f"image {image} unfolds to more than this peer has room for")
    problem = pulling.problem
    if not pulling.reason and not problem:
        problem = await disk.problem(pulling.declared_bytes)
    if problem:
        await remove(sdk.socket_path, image)
        fault, why = problem
        raise ContainerFailed(fault, f"image {image} {why}")
    return pulling.reason


@dataclass
class _Pulling:
    """A pull, as the engine tells of it."""

    image: str
    progress: Callable[[str], None]
    # Each layer that comes: what is here, and its whole size, as it is sent.
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    shown: int = -1
    # The engine's error.
    reason: str = ""
    # Why we ended it.
    problem: tuple[Fault, str] | None = None

    @property
    def declared_bytes(self) -> int:
        return sum(whole for _, whole in self.layers.values())

    async def to_the_end(self, socket_path: str, headers: dict[str, str]) -> None:
        # With its tag: without one the engine brings all that there are.
        path = f"/images/create?{urlencode({'fromImage': normal(self.image)})}"
        try:
            # The engine answers when its registry does.
            async with api.stream(socket_path, "POST", path, headers, PULL_S_MAX) as body:
                async for event in _events(body):
                    self._note(event)
                    if event.error:
                        self.reason = event.error
                        return
        except EngineRefused as error:
            self.reason = str(error) or f"status {error.status}"

    def _note(self, event: PullEvent) -> None:
        detail = event.progress_detail
        if event.status != "Downloading" or detail is None or detail.total <= 0:
            return
        self.layers[event.id] = (max(detail.current, 0), detail.total)
        percent = 100 * sum(here for here, _ in self.layers.values()) // self.declared_bytes
        if self.shown < percent:
            self.progress(f"pulling image {self.image}: {percent}%")
        self.shown = percent


class Disk:
    """The engine's disk, while one image is pulled."""

    def __init__(self, sdk: Sdk, directory: str, measure: Measure) -> None:
        self._sdk = sdk
        self._directory = directory
        self._measure = measure
        self._before: PullRoom | None = None

    async def begin(self) -> None:
        """Raises `ContainerFailed` where there is no room for any image."""
        self._before = await self._room()
        if self._before and _is_short(self._before):
            raise ContainerFailed(Fault.PEER, "this peer's disk has no room for another image")

    async def problem(self, declared_bytes: int) -> tuple[Fault, str] | None:
        """Return whose fault it is that the pull cannot go on, and why; None if it can."""
        before, now = self._before, await self._room()
        if before is None or now is None:
            return None
        spare_bytes = before.size_bytes - DISK_FREE_BYTES_MIN
        if declared_bytes > spare_bytes:
            why = f"is {declared_bytes} bytes before it is unfolded; this peer can spare {spare_bytes}"
            return Fault.PEER, why
        # Others write as well: these are bounds of what the image took.
        size_bytes, entries = before.size_bytes - now.size_bytes, before.entries - now.entries
        if entries > ENTRIES_MAX:
            return Fault.JOB, f"has more than {ENTRIES_MAX:,} files and directories"
        if not _is_short(now):
            return None
        if now.entries < ENTRIES_FREE_MIN:
            return Fault.JOB, f"has more files and directories than this peer has room for ({entries:,})"
        if size_bytes > UNFOLDING_MAX * declared_bytes:
            return (
                Fault.JOB,
                f"unfolds to more than {UNFOLDING_MAX} times its size, and fills this peer's disk",
            )
        return Fault.PEER, f"unfolds to more than this peer can spare ({spare_bytes} bytes)"

    async def _room(self) -> PullRoom | None:
        """None where the engine's disk is another machine's."""
        try:
            return await self._sdk.call(self._measure, self._directory)
        except OSError as error:
            log.debug("the engine's disk cannot be looked at: %s", error)
            return None


def _is_short(free: PullRoom) -> bool:
    return free.size_bytes < DISK_FREE_BYTES_MIN or free.entries < ENTRIES_FREE_MIN


async def _watch(disk: Disk, pulling: _Pulling, pull: trio.CancelScope) -> None:
    """Cancel the pull as soon as its image is too much for the disk."""
    while True:
        began_s = trio.current_time()
        pulling.problem = await disk.problem(pulling.declared_bytes)
        if pulling.problem:
            pull.cancel()
            return
        await trio.sleep(next_look_s(trio.current_time() - began_s))


async def _events(body: Body) -> AsyncIterator[PullEvent]:
    """Yield the engine's events, each a line; raises `EngineGone`."""
    pending = b""
    while data := await body.read_some():
        *lines, pending = (pending + data).split(b"\n")
        if len(pending) > EVENT_SIZE_BYTES_MAX:
            raise EngineGone(f"the Docker engine tells of a pull in more than {EVENT_SIZE_BYTES_MAX} bytes")
        for line in lines:
            if line.strip():
                try:
                    yield decode(line, PullEvent)
                except BadAnswer as error:
                    raise EngineGone(str(error)) from error


async def remove(socket_path: str, image: str) -> None:
    """Remove an image that was too much, or of no use here, if its pull was done before it was noticed."""
    try:
        await api.order(socket_path, "DELETE", f"/images/{quote(image, safe='/:@')}")
    except EngineRefused as error:
        # 404: the engine has removed it. 409: another execution runs it already.
        log.debug("image %s: %s", image, error)
