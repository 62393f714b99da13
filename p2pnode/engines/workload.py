"""An engine's input and output, and what both engines do alike.

An engine gets a `Workload` whose inputs are already on disk, calls back while it goes on,
and returns a `ProgramEnd`. It raises nothing for what a job does. Output is appended live to
two files of limited size; disk use is looked at from outside (`disk_problem`, when `Looks` says so),
because neither engine can set a hard limit on a plain directory.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from p2pnode.core.records.program_end import ProgramEnd as ProgramEnd
from p2pnode.core.records.program_end import failed as failed
from p2pnode.core.records.program_end import not_begun as not_begun
from p2pnode.core.wire.exec import ExecBody
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.log_order import STDERR, STDOUT, LogOrder
from p2pnode.core.wire.spec import (
    NetworkType,
    OtherTask,
    SomeEngine,
    Task,
)
from p2pnode.core.worker.entering import Entered
from p2pnode.system import trees

# The most that one stream of one execution may keep. A result is fetched whole; more is data, not a log.
LOG_SIZE_BYTES_MAX = 16 * 1024 * 1024
# The most that one program may have in all: in its results, its own layer, its image's volumes.
ENTRIES_MAX = trees.ENTRIES_MAX
# A job that set no disk limit may fill the disk down to this, so that the node can still store results.
DISK_FREE_BYTES_MIN = 1024**3
# A program that has written less than this is not why the disk is full.
DISK_BLAMED_BYTES_MIN = 64 * 1024 * 1024
# How often disk and memory are looked at: a fast disk writes half a GB in this time, less than is kept free.
WATCH_INTERVAL_S = 0.25
# A look is followed by so many times its length without one: looks take a tenth of a core at most.
PAUSE_PER_LOOK = 10
# How long a killed program may take to be gone before the node goes on without it.
KILL_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory or file of the host and where the program sees it."""

    host_path: Path
    target: str
    read_only: bool = True


class Stopping:
    """Whether a program is told to stop, and how long it may take from then on."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self._kill_at = float("inf")

    def ask(self, grace_s: float) -> None:
        self._kill_at = trio.current_time() + grace_s
        self.asked.set()

    @property
    def grace_s(self) -> float:
        """The seconds of the grace period that are left."""
        return max(self._kill_at - trio.current_time(), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One execution, ready to run: its inputs are on disk, its result directories exist."""

    execution_id: str
    task: Task
    job_id: str
    replica: int
    replica_count: int
    # The execution's own scratch directory: the engine may create files in it.
    directory: Path
    inputs: tuple[Mount, ...] = ()
    results: tuple[Mount, ...] = ()
    stdout: Path
    stderr: Path
    # The order of what is in these two.
    order: LogOrder = field(default_factory=LogOrder)
    stopping: Stopping = field(default_factory=Stopping)


class Engine(Protocol):
    """Runs programs of one kind. One `run` per execution; any number at once."""

    name: str

    async def available(self) -> str | None:
        """None if programs can run here now, else the reason why not."""

    async def networks(self) -> frozenset[NetworkType]:
        """The network types that this engine can give, and enforce, here."""

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> ProgramEnd:
        """Run to the end. `started` is called when the program begins: timeouts count from there.

        When `Workload.stopping` is asked the program is told to end, killed after its grace, and all
        that it wrote is there; if that was before it began, nothing is started.
        Cancelling kills the program for certain before it leaves. After a restart of the node it
        is called again with the same execution: Docker goes on with the container that is still
        there, WASM starts over.
        """

    def enter(self, body: ExecBody) -> AbstractAsyncContextManager[Entered]:
        """A program begun in an execution that runs, ended when the block is left; raises `CannotEnter`."""


def first_line(text: str) -> str:
    """The first line of an engine's error: what a person needs of it."""
    return text.strip().partition("\n")[0][:REASON_LENGTH_MAX]


def _of_engine(engine: SomeEngine) -> Mapping[str, str]:
    return {} if isinstance(engine, OtherTask) else engine.environment


def environment(workload: Workload) -> dict[str, str]:
    """The program's environment: the task's, then the engine's, then ours, the later winning.

    The BACALHAU_ names are there so that programs written for Bacalhau find what they expect.
    """
    replica, count = str(workload.replica), str(workload.replica_count)
    system = {
        "P2PNODE_JOB_ID": workload.job_id,
        "P2PNODE_EXECUTION_ID": workload.execution_id,
        "P2PNODE_REPLICA": replica,
        "P2PNODE_REPLICA_COUNT": count,
        "BACALHAU_JOB_ID": workload.job_id,
        "BACALHAU_EXECUTION_ID": workload.execution_id,
        "BACALHAU_PARTITION_INDEX": replica,
        "BACALHAU_PARTITION_COUNT": count,
    }
    return {**workload.task.environment, **_of_engine(workload.task.engine), **system}


class LogFile:
    """One output stream on disk: appended live, cut at a size with a note, never an error to the writer."""

    def __init__(
        self, path: Path, *, append: bool = False, wrote: Callable[[int], None] = lambda length: None
    ) -> None:
        """`wrote` is told how many bytes of the file are there now besides those of before."""
        self._wrote = wrote
        self._file = open(path, "ab" if append else "wb", buffering=0)  # noqa: SIM115 - close() ends it
        self.size_bytes = path.stat().st_size
        # Why output was lost, other than by the cap: the disk's own error.
        self.problem = ""

    def write(self, data: bytes) -> None:
        """Append what still fits; after the cap, and after a disk error, output is dropped."""
        room = LOG_SIZE_BYTES_MAX - self.size_bytes
        if room < 0 or self.problem:
            return
        kept = data[:room]
        if len(data) > room:
            # The note makes the file longer than the cap, which is how a second one is prevented.
            kept += f"\n[p2pnode: output cut at {LOG_SIZE_BYTES_MAX} bytes]\n".encode()
        try:
            # Page cache, not the disk: a thread per write would cost more than it spares the loop.
            self._file.write(kept)
            self._wrote(len(kept))
        except OSError as error:
            self.problem = f"cannot keep the program's output: {error.strerror}"
        self.size_bytes += len(kept)

    def close(self) -> None:
        self._file.close()


def new_logs(workload: Workload) -> tuple[LogFile, LogFile]:
    """The two log files, empty."""
    workload.order.clear()
    return (
        LogFile(workload.stdout, wrote=partial(workload.order.add, STDOUT)),
        LogFile(workload.stderr, wrote=partial(workload.order.add, STDERR)),
    )


class Looks:
    """When to look at something next that whoever is looked at can make long."""

    def __init__(self) -> None:
        self._next_s = float("-inf")

    @property
    def due(self) -> bool:
        return trio.current_time() >= self._next_s

    async def take(self, look: Callable[[], Awaitable[str]]) -> str:
        """Return what the look found, and time it for the pause until the next."""
        began_s = trio.current_time()
        try:
            return await look()
        finally:
            now_s = trio.current_time()
            self._next_s = now_s + next_look_s(now_s - began_s)


def next_look_s(took_s: float) -> float:
    """The pause after a look that took so long."""
    return max(WATCH_INTERVAL_S, PAUSE_PER_LOOK * took_s)


def disk_problem(workload: Workload, directories: tuple[Path, ...], written: trees.Use | None = None) -> str:
    """Why the program has to be ended for its use of disk, or "". Blocking: call it in a thread.

    `written` is what it has elsewhere, of which more is known than its directories.
    """
    limit = workload.task.resources.disk_bytes
    written = written or trees.Use()
    use = trees.measure(
        directories,
        max(limit - written.size_bytes, 0) if limit else None,
        max(ENTRIES_MAX - written.entries, 0),
    )
    size_bytes, entries = use.size_bytes + written.size_bytes, use.entries + written.entries
    if entries > ENTRIES_MAX:
        return f"it wrote more than {ENTRIES_MAX:,} files and directories"
    if limit and size_bytes > limit:
        return f"it wrote {size_bytes} bytes; the job's disk limit is {limit}"
    free = shutil.disk_usage(workload.directory).free
    if not limit and free < DISK_FREE_BYTES_MIN and size_bytes > DISK_BLAMED_BYTES_MIN:
        return f"the peer's disk is nearly full ({free} bytes left) and the job set no disk limit"
    return ""


def file_size_bytes_max(workload: Workload) -> int:
    """The hard limit on one file that a program writes: the job's disk limit, or what the node can spare."""
    free = shutil.disk_usage(workload.directory).free
    spare = max(free - DISK_FREE_BYTES_MIN, DISK_BLAMED_BYTES_MIN)
    return workload.task.resources.disk_bytes or spare


def as_the_program_sees(text: str, workload: Workload) -> str:
    """An error with the host's paths replaced: they are nobody's business, and an author knows his own."""
    shown = {str(mount.host_path): mount.target for mount in (*workload.inputs, *workload.results)}
    execution = str(workload.directory)
    shown[execution] = "(the execution)"
    # The longest first: one may lie in another. Whole names only, but for what is the node's own, and what is
    # put in is not read again.
    pattern = "|".join(
        re.escape(path) + ("" if path == execution else r"(?![\w-]|\.\w)")
        for path in sorted(shown, key=len, reverse=True)
    )
    return re.sub(pattern, lambda found: shown[found[0]], text)
