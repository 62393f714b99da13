"""The WASM engine: WASI preview 1 modules on wasmtime, one worker process per execution.

This side starts the worker (`engines.wasm_worker`), moves its output into the log files,
watches memory, disk and compile time from outside, and kills it. The program sees its inputs
read-only, its result directories, an own /tmp, and nothing else; WASI preview 1 has no way to
open a connection. Enforced: memory (linear memory, and the process as a whole, watched), disk
(per file, hard; in total, watched), time. Not enforced: a share of a core below one; the
program has one thread, at a low priority.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.messages import Fault
from p2pnode.core.spec import NetworkType

from .wasm_request import Unfit, import_count, memory_bytes, prepare
from .workload import (
    KILL_S_MAX,
    WATCH_INTERVAL_S,
    Ended,
    LogFile,
    Workload,
    disk_problem,
    failed,
)

# A 99 MB module (Python with numpy) compiles in 56 s on two slow cores.
COMPILE_S_MAX = 180.0
# The same compile peaks near 1.4 GB.
COMPILE_MEMORY_BYTES_MAX = 3 * 1024**3
# What the worker needs beside the program's memory: interpreter, runtime, code mapped in.
WORKER_MEMORY_BYTES_MAX = 512 * 1024**2
REPORT_LINE_BYTES_MAX = 8_192
READ_SIZE_BYTES = 65_536
PROBE_S_MAX = 10.0
# Variables that the interpreter itself may need; the node's others are none of the program's business.
WORKER_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH")


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
        # Unlike a Docker engine, it does not come and go while the node runs.
        self._works = False
        # Compiled code is machine code that a worker maps and runs: nobody else may write it.
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache.chmod(0o700)

    async def available(self) -> str | None:
        """None if wasmtime works here, else the reason why not; a success is asked for once only."""
        if self._works:
            return None
        command = [sys.executable, "-P", "-c", "import wasmtime; wasmtime.Engine()"]
        with trio.move_on_after(PROBE_S_MAX):
            result = await trio.run_process(command, capture_stderr=True, check=False)
            self._works = result.returncode == 0
            if self._works:
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
            request = await trio.to_thread.run_sync(partial(prepare, workload, self._cache))
        except Unfit as unfit:
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
    memory_max = memory_bytes(workload) * (1 + import_count(workload)) + WORKER_MEMORY_BYTES_MAX
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


def _resident_bytes(pid: int) -> int:
    """Memory that the process holds now; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
