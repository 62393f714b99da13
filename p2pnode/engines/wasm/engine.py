"""The WASM engine: WASI preview 1 modules and preview 2 components on wasmtime, one worker process each.

This side has modules compiled (`compiled`), has a worker made ready (`ready`), moves
its output into the log files, watches its disk, holds it to its share of a core (`share`),
and kills it. The program sees its inputs read-only, its result directories, an own /tmp, and
nothing else; it has no way to open a connection. What the worker gives up before it runs
anything is in `worker.fence`. Hard limits: memory, size of a file, processor time;
watched: files together.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.wire.exec import ExecBody
from p2pnode.core.wire.spec import NetworkType
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.entering import CannotEnter, Entered
from p2pnode.engines.workload import (
    WATCH_INTERVAL_S,
    LogFile,
    Looks,
    ProgramEnd,
    Workload,
    disk_problem,
    failed,
    new_logs,
    not_begun,
)

from .compiled import (
    CompiledModules,
    CompileFailed,
    copy_output,
    copy_program_output,
    how_it_died,
)
from .processes import Event, Template, WorkerProcess
from .ready import Workers
from .request import Prepared, UnsuitableProgram, prepare
from .share import (
    CORE_MILLIS,
    pace,
    remove_left_over_groups,
)

PROBE_S_MAX = 10.0
# A module's start function and its libraries' constructors run before the program begins, and so before its
# timeouts do. They take milliseconds; this is for a program with a hundredth of a core.
SETUP_S_MAX = 60.0


async def probe() -> str | None:
    """None if a module runs here, else the reason why not."""
    command = [sys.executable, "-P", "-m", f"{__package__}.worker.probe"]
    with trio.move_on_after(PROBE_S_MAX):
        result = await trio.run_process(command, capture_stderr=True, check=False)
        if result.returncode == 0:
            return None
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        return f"wasmtime does not work here: {lines[-1] if lines else result.returncode}"
    return f"wasmtime did not start within {PROBE_S_MAX:g} s"


@dataclass(slots=True)
class _Run:
    """The facts known of one worker while it runs."""

    started: bool = False
    # Why we killed it, if we did.
    verdict: ProgramEnd | None = None
    # The last event that it told: how the program ended, or why it did not begin.
    last: Event | None = None


class WasmEngine:
    """Runs WASM programs. The cache directory holds compiled code and must be the node's alone."""

    name = "wasm"

    def __init__(self, cache_directory: Path) -> None:
        """Raises OSError if the directory is another user's."""
        self._template = Template()
        self._compiled = CompiledModules(cache_directory, self._template)
        self._workers = Workers(self._template)
        remove_left_over_groups()
        # Unlike a Docker engine, it does not come and go while the node runs.
        self._works = False

    async def keep_ready(self) -> None:
        """Have a worker ready for the next program, as long as programs come. Runs until cancelled."""
        await self._workers.keep_ready()

    async def aclose(self) -> None:
        """End the process that starts workers; without, it ends with the node."""
        await self._template.aclose()

    async def available(self) -> str | None:
        """None if wasmtime works here, else the reason why not; a success is asked for once only."""
        if self._works:
            return None
        problem = await probe()
        self._works = problem is None
        return problem

    async def networks(self) -> frozenset[NetworkType]:
        return frozenset({NetworkType.NONE})

    def enter(self, body: ExecBody) -> AbstractAsyncContextManager[Entered]:
        raise CannotEnter("a WASM program has no shell to enter, nor room for another program")

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> ProgramEnd:
        """Run from the start; see `workload.Engine`. There are no signals: told to stop, it is killed."""
        if workload.stopping.asked.is_set():
            # The output of an earlier run stays as it is.
            return not_begun()
        try:
            prepared = await trio.to_thread.run_sync(partial(prepare, workload))
        except UnsuitableProgram as unfit:
            return failed(Fault.JOB, str(unfit))
        except OSError as error:
            return failed(Fault.PEER, f"cannot set up the program's directories: {error.strerror or error}")
        logs = new_logs(workload)
        try:
            ended = await self._compile_and_run(workload, prepared, logs, started, progress)
        except CompileFailed as failure:
            ended = failure.ended
        except OSError as error:
            return failed(Fault.PEER, f"cannot run a WASM worker: {error.strerror or error}")
        finally:
            for log in logs:
                log.close()
        problem = logs[0].problem or logs[1].problem
        return failed(Fault.PEER, problem) if problem else ended

    async def _compile_and_run(
        self,
        workload: Workload,
        prepared: Prepared,
        logs: tuple[LogFile, LogFile],
        started: Callable[[], None],
        progress: Callable[[str], None],
    ) -> ProgramEnd:
        for _ in range(2):
            request = prepared.fields | {
                "module": str(await self._compiled.get(prepared.module, logs[1], progress)),
                "imports": [
                    (name, str(await self._compiled.get(library, logs[1], progress)))
                    for name, library in prepared.libraries
                ],
            }
            run = _Run()
            cpu_millis = workload.task.resources.cpu_millis
            async with self._workers.worker(workload.execution_id, cpu_millis) as (worker, held):
                await _run(workload, worker, request, run, logs, started, held)
            if run.last is None or run.last.event != "stale":
                if workload.stopping.asked.is_set() and run.verdict is None and _is_killed(worker):
                    return _stopped(worker)
                return run.verdict or _ended(run, worker)
            # Compiled on another processor, or damaged. Only a path of ours is dropped, whatever it says.
            for path in (request["module"], *(path for _, path in request["imports"])):
                self._compiled.drop(Path(path))
        return failed(Fault.PEER, "compiled code that was written just now could not be loaded")


async def _run(
    workload: Workload,
    worker: WorkerProcess,
    request: dict[str, Any],
    run: _Run,
    logs: tuple[LogFile, LogFile],
    started: Callable[[], None],
    held: bool,
) -> None:
    """Run one worker to its end; `held` if the kernel holds it to its share of a core."""
    cpu_millis = workload.task.resources.cpu_millis
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, workload, worker, run)
        nursery.start_soon(_stop, workload, worker)
        if not held and cpu_millis < CORE_MILLIS:
            nursery.start_soon(pace, worker, cpu_millis)
        async with trio.open_nursery() as streams:
            streams.start_soon(copy_program_output, worker.stdout, bytes.fromhex(request["mark"]), logs)
            streams.start_soon(copy_output, worker.stderr, logs[1])
            await worker.send(request)
            async for event in worker.events():
                run.last = event
                # Once: what comes from a worker need not be true.
                if event.event == "started" and not run.started:
                    run.started = True
                    started()
        nursery.cancel_scope.cancel()


async def _stop(workload: Workload, worker: WorkerProcess) -> None:
    await workload.stopping.asked.wait()
    await worker.kill()


async def _watch(workload: Workload, worker: WorkerProcess, run: _Run) -> None:
    """Kill the worker when it has written too much in all, or does not come to its program."""
    setup_deadline = trio.current_time() + SETUP_S_MAX
    directories = (workload.directory / "tmp", *(mount.host_path for mount in workload.results))
    seen_s, looks = 0.0, Looks()
    look = partial(trio.to_thread.run_sync, disk_problem, workload, directories)
    while run.verdict is None:
        await trio.sleep(WATCH_INTERVAL_S)
        if not run.started and trio.current_time() > setup_deadline:
            run.verdict = failed(Fault.JOB, f"the module was not set up within {SETUP_S_MAX:g} s")
            break
        if not looks.due:
            continue
        used_s = worker.cpu_s()
        # A program that did not run wrote nothing: a hundred that sleep cost the node no look at their disk.
        if used_s == seen_s != float("inf"):
            continue
        seen_s = used_s
        problem = await looks.take(look)
        if problem:
            run.verdict = failed(Fault.JOB, f"out of disk: {problem}")
    await worker.kill()


def _is_killed(worker: WorkerProcess) -> bool:
    return worker.exit is None or worker.exit.status == -signal.SIGKILL


def _stopped(worker: WorkerProcess) -> ProgramEnd:
    """The end of a program that was told to stop: why, whoever told it says."""
    exit = worker.exit
    return ProgramEnd(
        exit_code=None,
        reason="it was told to stop",
        fault=Fault.PEER,
        cpu_ms=exit.cpu_ms if exit else 0,
        memory_bytes=exit.memory_bytes_max if exit else 0,
    )


def _ended(run: _Run, worker: WorkerProcess) -> ProgramEnd:
    event, exit = run.last, worker.exit
    if event and event.event == "refused":
        return failed(Fault.JOB, event.reason)
    if exit is not None and exit.status == -signal.SIGXCPU:
        return failed(Fault.JOB, "it used more processor time than the job's ExecutionTimeout")
    if exit is not None and exit.status == -signal.SIGABRT:
        # The runtime does so when it gets no memory beside the program's own.
        return failed(Fault.JOB, "the WASM runtime gave up, most likely for lack of memory; see stderr")
    if event is None or event.event != "ended" or exit is None:
        return failed(
            Fault.PEER, f"the WASM worker {how_it_died(worker)} before its program ended; see stderr"
        )
    return ProgramEnd(
        exit_code=event.exit_code,
        reason=event.reason,
        fault=None if event.exit_code == 0 else Fault.JOB,
        cpu_ms=exit.cpu_ms,
        memory_bytes=exit.memory_bytes_max,
    )
