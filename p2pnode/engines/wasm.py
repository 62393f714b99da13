"""The WASM engine: WASI preview 1 modules on wasmtime, one worker process per execution.

This side starts the worker (`engines.wasm_worker`), moves its output into the log files,
watches memory, disk and compile time from outside, and kills it. The program sees its inputs
read-only, its result directories, an own /tmp, and nothing else; WASI preview 1 has no way to
open a connection. Enforced: memory (linear memory, and the process as a whole, watched), disk
(per file, hard; in total, watched), time. Not enforced: a share of a core below one; the
program has one thread, at a low priority.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import trio

from p2pnode.core.messages import Fault
from p2pnode.core.spec import NetworkType
from p2pnode.core.spec import WasmEngine as WasmTask

from .workload import (
    KILL_S_MAX,
    WATCH_INTERVAL_S,
    Ended,
    LogFile,
    Workload,
    clear_directory,
    disk_problem,
    environment,
    failed,
)

# A 99 MB module (Python with numpy) compiles in 56 s on two slow cores.
COMPILE_S_MAX = 180.0
# The same compile peaks near 1.4 GB.
COMPILE_MEMORY_BYTES_MAX = 3 * 1024**3
# What the worker needs beside the program's memory: interpreter, runtime, code mapped in.
WORKER_MEMORY_BYTES_MAX = 512 * 1024**2
# A wasm32 memory cannot be larger.
MEMORY_BYTES_MAX = 4 * 1024**3
# In a cached file's name: code compiled by another wasmtime, or with other settings, is never found.
COMPILER = f"wasmtime-{version('wasmtime')}-1"
REPORT_LINE_BYTES_MAX = 8_192
READ_SIZE_BYTES = 65_536
PROBE_S_MAX = 10.0
# Variables that the interpreter itself may need; the node's others are none of the program's business.
WORKER_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH")


class _Unfit(Exception):
    """The workload cannot run here; the message is for the job's author."""


@dataclass(slots=True)
class _Run:
    """What is known of one worker while it runs."""

    started: bool = False
    # Why we killed it, if we did.
    verdict: Ended | None = None
    ended: dict[str, Any] = field(default_factory=dict)


class WasmEngine:
    """Runs WASM programs. The cache directory holds compiled code and must be the node's alone."""

    name = "wasm"

    def __init__(self, cache_directory: Path) -> None:
        self._cache = cache_directory
        # Compiled code is machine code that a worker maps and runs: nobody else may write it.
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache.chmod(0o700)

    async def available(self) -> str | None:
        """None if a worker starts here, else the reason why not."""
        command = [sys.executable, "-P", "-c", "import wasmtime; wasmtime.Engine()"]
        with trio.move_on_after(PROBE_S_MAX):
            result = await trio.run_process(command, capture_stderr=True, check=False)
            if result.returncode == 0:
                return None
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            return f"wasmtime does not work here: {lines[-1] if lines else result.returncode}"
        return f"wasmtime did not start within {PROBE_S_MAX:g} s"

    def networks(self) -> frozenset[NetworkType]:
        return frozenset({NetworkType.NONE})

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> Ended:
        """Run from the start; see `workload.Engine`."""
        try:
            request = await trio.to_thread.run_sync(partial(_prepare, workload, self._cache))
        except _Unfit as unfit:
            return failed(Fault.JOB, str(unfit))
        except OSError as error:
            return failed(Fault.PEER, f"cannot set up the program's directories: {error}")
        logs = LogFile(workload.stdout), LogFile(workload.stderr)
        try:
            ended = await _run_worker(workload, request, logs, started, progress)
        except OSError as error:
            return failed(Fault.PEER, f"cannot start a WASM worker: {error.strerror}")
        finally:
            for log in logs:
                log.close()
        problem = logs[0].problem or logs[1].problem
        return failed(Fault.PEER, problem) if problem else ended


async def _run_worker(
    workload: Workload,
    request: dict[str, Any],
    logs: tuple[LogFile, LogFile],
    started: Callable[[], None],
    progress: Callable[[str], None],
) -> Ended:
    run = _Run()
    report_read, report_write = os.pipe()
    report = trio.lowlevel.FdStream(report_read)
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "p2pnode.engines.wasm_worker", str(report_write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report_write,),
            start_new_session=True,
            cwd=workload.directory,
            env={name: os.environ[name] for name in WORKER_ENVIRONMENT if name in os.environ},
        )
    except BaseException:
        await trio.aclose_forcefully(report)
        raise
    finally:
        os.close(report_write)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, workload, process, run)
            async with trio.open_nursery() as streams:
                streams.start_soon(_copy, process.stdout, logs[0])
                streams.start_soon(_copy, process.stderr, logs[1])
                with suppress(trio.BrokenResourceError):
                    await process.stdin.send_all(json.dumps(request).encode() + b"\n")
                await _follow(report, run, started, progress)
            await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        await _kill(process)
        for stream in (process.stdin, process.stdout, process.stderr, report):
            await trio.aclose_forcefully(stream)
    return run.verdict or _ended(run, process.returncode)


async def _kill(process: trio.Process) -> None:
    """End the worker for certain. It has no children, but a session of its own."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
            await process.wait()


async def _copy(stream: trio.abc.ReceiveStream, log: LogFile) -> None:
    while data := await stream.receive_some(READ_SIZE_BYTES):
        log.write(bytes(data))


async def _follow(
    report: trio.abc.ReceiveStream, run: _Run, started: Callable[[], None], progress: Callable[[str], None]
) -> None:
    """Take the worker's events until it closes the pipe, that is until it ends."""
    line = b""
    while data := await report.receive_some(REPORT_LINE_BYTES_MAX):
        *lines, line = (line + data).split(b"\n")
        for complete in lines:
            event = json.loads(complete)
            if event["event"] == "compiling":
                progress("compiling the module")
            elif event["event"] == "started":
                run.started = True
                started()
            else:
                run.ended = event


async def _watch(workload: Workload, process: trio.Process, run: _Run) -> None:
    """Kill the worker when it takes too long to compile, too much memory, or too much disk."""
    compile_deadline = trio.current_time() + COMPILE_S_MAX
    memory_max = _memory_bytes(workload) * (1 + _import_count(workload)) + WORKER_MEMORY_BYTES_MAX
    directories = (workload.directory / "tmp", *(mount.host_path for mount in workload.results))
    while run.verdict is None:
        await trio.sleep(WATCH_INTERVAL_S)
        memory = _resident_bytes(process.pid)
        if run.started:
            if memory > memory_max:
                run.verdict = failed(Fault.JOB, f"out of memory: the worker took {memory} bytes")
            problem = await trio.to_thread.run_sync(disk_problem, workload, directories)
            if problem:
                run.verdict = failed(Fault.JOB, f"out of disk: {problem}")
        elif memory > max(memory_max, COMPILE_MEMORY_BYTES_MAX):
            run.verdict = failed(Fault.JOB, f"compiling the module took {memory} bytes of memory")
        elif trio.current_time() > compile_deadline:
            run.verdict = failed(Fault.JOB, f"the module did not compile within {COMPILE_S_MAX:g} s")
    await _kill(process)


def _ended(run: _Run, status: int | None) -> Ended:
    event = run.ended
    if not event:
        what = f"was killed by signal {-status}" if status and status < 0 else f"ended with {status}"
        return failed(Fault.PEER, f"the WASM worker {what} before its program ended; see stderr")
    return Ended(
        exit_code=event["exit_code"],
        reason=event["reason"],
        fault=None if event["exit_code"] == 0 else Fault.JOB,
        cpu_ms=event["cpu_ms"],
        memory_bytes_max=event["memory_bytes_max"],
    )


def _prepare(workload: Workload, cache: Path) -> dict[str, Any]:
    """The worker's request; makes empty result directories. Raises `_Unfit` and OSError. Blocking."""
    task = workload.task.engine
    if not isinstance(task, WasmTask):
        raise _Unfit(f"the WASM engine cannot run an engine of type {type(task).__name__}")
    if workload.task.network.type is not NetworkType.NONE:
        raise _Unfit(
            f"a WASM program has no network, so Network Type {workload.task.network.type} cannot be given"
        )
    scratch = workload.directory / "tmp"
    scratch.mkdir(exist_ok=True)
    for directory in (scratch, *(mount.host_path for mount in workload.results)):
        clear_directory(directory)
    modules = (task.entry_module, *task.import_modules)
    return {
        "module": _module(workload, task.entry_module, cache),
        # A library is imported under its file's name without the suffix.
        "imports": [
            (PurePosixPath(name).stem, *_module(workload, name, cache)) for name in task.import_modules
        ],
        "argv": [PurePosixPath(task.entry_module).name, *task.parameters],
        "environment": environment(workload),
        "entrypoint": task.entrypoint,
        "preopens": _preopens(workload, modules, scratch),
        "memory_bytes": _memory_bytes(workload),
        "file_bytes": workload.task.resources.disk_bytes,
    }


def _preopens(workload: Workload, modules: tuple[str, ...], scratch: Path) -> list[tuple[str, str, bool]]:
    """(host directory, guest path, writable) for every mount. WASI can open directories only.

    A single file is therefore hard-linked (or copied) into a directory of its own that stands in for
    its target's parent. A module of the program itself is not shown to it.
    """
    opened: dict[str, tuple[str, str, bool]] = {}
    stand_ins: dict[str, Path] = {}
    for mount in (*workload.inputs, *workload.results):
        if not mount.host_path.is_file():
            opened[_normal(mount.target)] = (str(mount.host_path), _normal(mount.target), not mount.read_only)
    for mount in workload.inputs:
        if not mount.host_path.is_file() or mount.target in modules:
            continue
        target = PurePosixPath(_normal(mount.target))
        parent = str(target.parent)
        if parent in opened and parent not in stand_ins:
            raise _Unfit(
                f"the input file {target} lies inside the directory at {parent}: WASI cannot show both"
            )
        if parent not in stand_ins:
            stand_ins[parent] = workload.directory / f"files-{len(stand_ins)}"
            stand_ins[parent].mkdir(exist_ok=True)
            clear_directory(stand_ins[parent])
            opened[parent] = (str(stand_ins[parent]), parent, False)
        _link_or_copy(mount.host_path, stand_ins[parent] / target.name)
    opened.setdefault("/tmp", (str(scratch), "/tmp", True))
    return list(opened.values())


def _module(workload: Workload, guest_path: str, cache: Path) -> tuple[str, str]:
    """The module's file, and the file that holds, or will hold, its compiled code."""
    path = _host_path(workload, guest_path)
    with path.open("rb") as file:
        content_hash = hashlib.file_digest(file, "sha256").hexdigest()
    return str(path), str(cache / f"{content_hash}-{COMPILER}.cwasm")


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        destination.hardlink_to(source.resolve())
    except OSError:
        destination.write_bytes(source.read_bytes())


def _host_path(workload: Workload, guest_path: str) -> Path:
    """Where the file that the program would see at `guest_path` lies; raises `_Unfit`."""
    wanted = PurePosixPath(_normal(guest_path))
    for mount in workload.inputs:
        target = PurePosixPath(_normal(mount.target))
        if not wanted.is_relative_to(target):
            continue
        root = mount.host_path.resolve()
        path = (root / wanted.relative_to(target)).resolve()
        # An input may hold a link that leads out of it.
        if path.is_file() and path.is_relative_to(root):
            return path
    raise _Unfit(
        f"no input source holds the module {guest_path}: its Target must be that path or a folder above it"
    )


def _normal(target: str) -> str:
    return os.path.normpath("/" + target.lstrip("/"))


def _memory_bytes(workload: Workload) -> int:
    return min(workload.task.resources.memory_bytes, MEMORY_BYTES_MAX)


def _import_count(workload: Workload) -> int:
    task = workload.task.engine
    return len(task.import_modules) if isinstance(task, WasmTask) else 0


def _resident_bytes(pid: int) -> int:
    """Memory that the process holds now; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
