"""From a started container to its end: its output, what it uses, and why it ended.

The engine may be restarted meanwhile: its streams break, and are taken up again where the log
files end. Containers live on if the engine is set to live-restore.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from p2pnode.core.values.units import ENTRY_SIZE_BYTES
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker import blame
from p2pnode.engines import cgroups
from p2pnode.engines.workload import (
    ENTRIES_MAX,
    KILL_S_MAX,
    WATCH_INTERVAL_S,
    LogFile,
    Looks,
    ProgramEnd,
    Workload,
    disk_problem,
    failed,
)
from p2pnode.system.trees import Use

from . import api, kernel_log, podman, space
from . import logs as docker_logs
from .answers import Container
from .api import EngineGone, EngineRefused
from .sdk import ContainerFailed, Sdk

# A restarted engine is back in some seconds.
ENGINE_RETURN_S_MAX = 60.0
# After the program has ended, its last output is already in the socket.
DRAIN_S_MAX = 20.0
EXIT_MAX = 255
# The engine may hear that a program ended before it hears that memory was the reason.
OUT_OF_MEMORY_NEWS_S = 1.0


@dataclass(slots=True)
class _Run:
    """The facts known of one container while it runs."""

    # Why we killed it, if we did.
    verdict: ProgramEnd | None = None
    looks: Looks = field(default_factory=Looks)
    cpu_ms: int = 0
    memory_bytes_max: int = 0
    # The engine or this node was away meanwhile.
    unseen: bool = False


def output_from_the_start(sdk: Sdk, workload: Workload) -> AbstractAsyncContextManager[api.Body]:
    path = f"/containers/{workload.execution_id}/logs?follow=1&stdout=1&stderr=1"
    return api.stream(sdk.socket_path, "GET", path)


async def to_the_end(
    sdk: Sdk,
    workload: Workload,
    image: str,
    logs: Sequence[LogFile],
    body: api.Body,
    *,
    unseen: bool = False,
) -> ProgramEnd:
    """Follow a running container, through restarts of the engine, and say how it ended.

    `unseen`: it may have ended while this node was away.
    """
    run = _Run(unseen=unseen)
    ended = await _follow(sdk, workload, run, logs, body)
    while not ended:
        await _engine_back(sdk)
        run.unseen = True
        close(logs)
        logs = docker_logs.resumed(workload)
        try:
            async with output_from_the_start(sdk, workload) as again:
                ended = await _follow(sdk, workload, run, logs, again)
        finally:
            close(logs)
    return await _ended(sdk, workload, image, logs, run)


async def _follow(sdk: Sdk, workload: Workload, run: _Run, logs: Sequence[LogFile], body: api.Body) -> bool:
    """Copy output and wait; True when the container has ended, False when the engine went away."""
    ended = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, sdk, workload, run)
            nursery.start_soon(_stop, sdk, workload)
            async with trio.open_nursery() as streams:
                streams.start_soon(docker_logs.copy, body, logs)
                await api.wait(sdk.socket_path, workload.execution_id)
                ended = True
                streams.cancel_scope.deadline = trio.current_time() + DRAIN_S_MAX
            nursery.cancel_scope.cancel()
    except* EngineGone:
        pass
    return ended


async def _stop(sdk: Sdk, workload: Workload) -> None:
    """When told to, have the engine send the image's own stop signal, and kill what does not heed it."""
    await workload.stopping.asked.wait()
    grace_s = math.ceil(workload.stopping.grace_s)
    path = f"/containers/{workload.execution_id}/stop?t={grace_s}"
    try:
        # The engine answers when the container has ended.
        async with api.stream(sdk.socket_path, "POST", path, answer_s_max=grace_s + KILL_S_MAX) as answer:
            await answer.read_all()
    except EngineRefused:
        # The container ended meanwhile.
        return


async def _engine_back(sdk: Sdk) -> None:
    with trio.move_on_after(ENGINE_RETURN_S_MAX):
        while True:
            await trio.sleep(WATCH_INTERVAL_S)
            if await api.unavailable(sdk.socket_path) is None:
                return
    reason = f"the Docker engine went away and was not back within {ENGINE_RETURN_S_MAX:g} s"
    raise ContainerFailed(Fault.PEER, reason)


async def _ended(sdk: Sdk, workload: Workload, image: str, logs: Sequence[LogFile], run: _Run) -> ProgramEnd:
    found = await api.inspect(sdk.socket_path, workload.execution_id)
    if run.verdict:
        return run.verdict
    if not found:
        raise ContainerFailed(Fault.PEER, "the container was removed by somebody else while it ran")
    if problem := logs[0].problem or logs[1].problem:
        raise ContainerFailed(Fault.PEER, problem)
    code, out_of_memory, signalled = found.state.exit_code, found.state.out_of_memory, False
    if not 0 <= code <= EXIT_MAX:
        raise ContainerFailed(Fault.PEER, f"the Docker engine says exit code {code}, which no program has")
    if code in blame.EXIT_KILLED and not out_of_memory and not workload.stopping.asked.is_set():
        until_s = time.time() + OUT_OF_MEMORY_NEWS_S
        signalled = await api.was_signalled(sdk.socket_path, workload.execution_id, until_s)
        found = await api.inspect(sdk.socket_path, workload.execution_id)
        if found is not None:
            name = found.id
            out_of_memory = found.state.out_of_memory or await sdk.call(kernel_log.out_of_memory, name)
    stderr_tail = _tail(workload.stderr)
    code = podman.exit_code(code, stderr_tail)
    reason, fault = blame.of_exit(
        blame.ExitEvidence(
            code=code,
            out_of_memory=out_of_memory,
            signalled=signalled,
            unseen=run.unseen,
            memory_bytes=workload.task.resources.memory_bytes,
        )
    )
    return ProgramEnd(
        exit_code=code,
        reason=blame.hint(reason, fault, stderr_tail),
        fault=fault,
        cpu_ms=run.cpu_ms,
        memory_bytes=run.memory_bytes_max,
        program=image,
    )


async def _watch(sdk: Sdk, workload: Workload, run: _Run) -> None:
    """Note what the container uses; kill it when that is too much disk."""
    name = workload.execution_id
    try:
        found = await api.inspect(sdk.socket_path, name)
        if found is None:
            return
        look = partial(_look, sdk, workload, await sdk.call(_places, workload, found))
        while True:
            cpu_ms, memory_bytes = cgroups.usage(found.state.pid)
            run.cpu_ms = max(run.cpu_ms, cpu_ms)
            run.memory_bytes_max = max(run.memory_bytes_max, memory_bytes)
            await trio.sleep(WATCH_INTERVAL_S)
            if run.looks.due and (problem := await run.looks.take(look)):
                run.verdict = failed(Fault.JOB, f"out of disk: {problem}")
                await api.order(sdk.socket_path, "POST", f"/containers/{name}/kill")
                return
    except EngineRefused:
        # The container ended meanwhile.
        return


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a container writes to a disk."""

    directories: tuple[Path, ...]
    # Whether its own layer is one of them, or the engine has to be asked for it.
    layer: bool


def _places(workload: Workload, found: Container) -> _Places:
    """Blocking. The engine's directories are root's, and its storage need not be overlay."""
    # The image declares these volumes. What it has there is copied, and counts.
    volumes = [Path(mount.source) for mount in found.mounts or () if mount.type == "volume"]
    layer = [Path(found.upper_directory)] if found.upper_directory else []
    seen = [path for path in (*layer, *volumes) if os.access(path, os.R_OK | os.X_OK)]
    return _Places((*space.watched(workload), *seen), layer=bool(layer) and layer[0] in seen)


async def _look(sdk: Sdk, workload: Workload, places: _Places) -> str:
    """Why the container has to be ended for its use of disk, or ""."""
    written = Use()
    if not places.layer:
        name = workload.execution_id
        found = await api.inspect(sdk.socket_path, name, size=True)
        written.entries = await api.changes(sdk.socket_path, name, ENTRIES_MAX)
        size_bytes = (found.size_rw if found else None) or 0
        # Two counts of the same; the engine's one knows no size of an empty file.
        written.size_bytes = max(size_bytes, written.entries * ENTRY_SIZE_BYTES)
    return await sdk.call(disk_problem, workload, places.directories, written)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - blame.STDERR_TAIL_SIZE_BYTES, 0))
        return file.read()


def close(logs: Sequence[LogFile]) -> None:
    for log in logs:
        log.close()
