"""Compiled modules on disk, by the content they were compiled from.

Compiled code is machine code that a worker maps and runs, so the directory is the node's own
and nobody else may enter it; a worker that compiles writes to a file opened for it, which this
side puts in its place. A module is compiled once, however many executions wait for it, by a
worker with limits of time and memory, and by few at once.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.wire.states import Fault
from p2pnode.engines.wasm.worker.output import STDERR, Pieces
from p2pnode.engines.workload import LogFile, ProgramEnd, failed

from .processes import Event, Template, WorkerProcess

# A 99 MB module (Python with numpy) compiles in 56 s on two slow cores.
COMPILE_S_MAX = 180.0
# The same compile peaks near 1.4 GB.
COMPILE_MEMORY_BYTES_MAX = 3 * 1024**3
# One module already compiles on all cores; the second is there so that one bomb holds nobody up.
COMPILES_AT_ONCE_MAX = 2
# Compiled code is 3 to 15 times its module; the oldest goes first.
CACHE_SIZE_BYTES_MAX = 2 * 1024**3
# In a file's name: code compiled by another wasmtime, or with other settings, is never found.
COMPILER = f"wasmtime-{version('wasmtime')}-2"
READ_SIZE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module or component as the job brought it."""

    path: Path
    # For people, in reasons.
    name: str
    # SHA-256 of the content, in hexadecimal.
    hash: str
    component: bool


class CompileFailed(Exception):
    """With the end of the execution that wanted the module."""

    def __init__(self, ended: ProgramEnd) -> None:
        super().__init__(ended.reason)
        self.ended = ended


class CompiledModules:
    def __init__(self, directory: Path, template: Template) -> None:
        """Raises OSError if the directory is, or might be, another user's."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError(f"{directory} has to be a directory of the user that the node runs as")
        directory.chmod(0o700)
        # Left by a node that was killed while it compiled.
        for partial_file in directory.glob("*.partial"):
            partial_file.unlink(missing_ok=True)
        self._directory = directory
        self._template = template
        self._compiling = trio.CapacityLimiter(COMPILES_AT_ONCE_MAX)
        # Hash of a module that is being compiled -> the event that this is over.
        self._waiting: dict[str, trio.Event] = {}

    async def get(self, module: Module, log: LogFile, progress: Callable[[str], None]) -> Path:
        """The file of compiled code; what a compiler says goes to `log`. Raises `CompileFailed`, OSError."""
        path = self._directory / f"{module.hash}-{COMPILER}.cwasm"
        while True:
            if path.exists():
                os.utime(path)
                return path
            other = self._waiting.get(module.hash)
            if other is None:
                break
            progress("waiting until the module is compiled for another execution")
            await other.wait()
        self._waiting[module.hash] = trio.Event()
        try:
            if self._compiling.available_tokens == 0:
                progress("waiting until other modules are compiled")
            async with self._compiling:
                progress("compiling the module")
                await self._compile(module, path, log)
        finally:
            self._waiting.pop(module.hash).set()
        return path

    def drop(self, path: Path) -> None:
        """Forget compiled code that a worker could not use."""
        path.unlink(missing_ok=True)

    async def _compile(self, module: Module, path: Path, log: LogFile) -> None:
        output = path.with_suffix(".partial")
        request = {
            "what": "compile",
            "module": str(module.path),
            "name": module.name,
            "hash": module.hash,
            "component": module.component,
            "output": str(output),
            "limits": {
                "data_bytes": COMPILE_MEMORY_BYTES_MAX,
                "file_bytes": CACHE_SIZE_BYTES_MAX,
                "cpu_s": int(COMPILE_S_MAX) * (os.cpu_count() or 1),
            },
        }
        try:
            with trio.move_on_after(COMPILE_S_MAX) as scope:
                event = await self._ask(request, log)
            if scope.cancelled_caught:
                raise CompileFailed(
                    failed(Fault.JOB, f"{module.name} did not compile within {COMPILE_S_MAX:g} s")
                )
            if event.event == "refused":
                raise CompileFailed(failed(Fault.JOB, event.reason))
            await trio.to_thread.run_sync(partial(self._keep, output, path))
        finally:
            output.unlink(missing_ok=True)

    async def _ask(self, request: dict[str, Any], log: LogFile) -> Event:
        """The compiling worker's one event: compiled, or refused."""
        found: Event | None = None
        async with self._template.worker() as worker:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy_output, worker.stdout, log)
                nursery.start_soon(copy_output, worker.stderr, log)
                await worker.send(request)
                async for event in worker.events():
                    found = event
        if found and found.event in ("compiled", "refused"):
            return found
        raise CompileFailed(_died(worker, str(request["name"])))

    def _keep(self, output: Path, path: Path) -> None:
        """Put compiled code in its place, dropping the longest unused. Blocking."""
        output.rename(path)
        entries = sorted((entry.stat().st_mtime, entry) for entry in self._directory.glob("*.cwasm"))
        total = sum(entry.stat().st_size for _, entry in entries)
        for _, entry in entries:
            if total <= CACHE_SIZE_BYTES_MAX or entry == path:
                break
            total -= entry.stat().st_size
            # A worker that runs it has it mapped, which keeps it.
            entry.unlink(missing_ok=True)


def _died(worker: WorkerProcess, name: str) -> ProgramEnd:
    status = worker.exit.status if worker.exit else 0
    if status == -signal.SIGABRT:
        limit = COMPILE_MEMORY_BYTES_MAX
        return failed(
            Fault.JOB, f"compiling {name} took more than {limit} bytes of memory, or broke the compiler"
        )
    if status == -signal.SIGXCPU:
        return failed(Fault.JOB, f"compiling {name} took too much processor time")
    return failed(Fault.PEER, f"the process that compiled {name} {how_it_died(worker)}; see stderr")


def how_it_died(worker: WorkerProcess) -> str:
    """Say how a worker ended that did not tell its end."""
    if worker.exit is None:
        return "was lost with the process that starts workers"
    if worker.exit.status >= 0:
        return f"ended with {worker.exit.status}"
    with suppress(ValueError):
        return f"was killed by signal {-worker.exit.status} ({signal.Signals(-worker.exit.status).name})"
    return f"was killed by signal {-worker.exit.status}"


async def copy_output(stream: trio.abc.ReceiveStream, log: LogFile) -> None:
    """Move a worker's output into a log file until the worker closes it."""
    while data := await stream.receive_some(READ_SIZE_BYTES):
        log.write(bytes(data))


async def copy_program_output(
    stream: trio.abc.ReceiveStream, mark: bytes, logs: tuple[LogFile, LogFile]
) -> None:
    """Move a program's output into the files of stdout and stderr, in the order that it was written in."""
    pieces = Pieces(mark)
    while data := await stream.receive_some(READ_SIZE_BYTES):
        for number, piece in pieces.take_untrusted(bytes(data)):
            logs[number == STDERR].write(piece)
    if rest := pieces.rest():
        logs[0].write(rest)
