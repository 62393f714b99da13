"""The node's side of WASM workers: asks their template for one, gives it its request, ends it.

The template (`engines.wasm.worker`) is a child process, started when first needed and again if
it died; it has wasmtime loaded, so a worker is there in a few milliseconds. A worker is the
template's child, so the template also signals it: only the parent can be sure that a number
still means that process.
"""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Annotated, Any, Literal

import msgspec
import trio
from msgspec import Meta

from p2pnode.core.wire.fields import REASON_LENGTH_MAX, Natural
from p2pnode.engines.workload import KILL_S_MAX

# Loading takes a tenth of a second; this is for a machine on its knees.
FORK_S_MAX = 20.0
# An event is a reason of 1,000 characters at most, escaped.
EVENT_SIZE_BYTES_MAX = 16_384
# Variables that the interpreter itself may need; the node's others are none of the program's business.
ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH")


class Event(msgspec.Struct, frozen=True):
    """An event that a worker or the template tells; a field that is not said has its default."""

    event: Literal["forked", "failed", "started", "ended", "compiled", "refused", "stale", "exited"]
    pid: Annotated[int, Meta(gt=1, lt=2**31)] | None = None
    # Longer texts are cut by who writes them.
    reason: Annotated[str, Meta(max_length=REASON_LENGTH_MAX)] = ""
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None = None
    status: Annotated[int, Meta(ge=-128, le=255)] = 0
    cpu_ms: Natural = 0
    memory_bytes_max: Natural = 0


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a worker's process ended: its exit code, or minus the number of the signal that killed it."""

    status: int
    cpu_ms: int
    memory_bytes_max: int


@dataclass(slots=True)
class WorkerProcess:
    """A worker that waits for its request, or runs."""

    pid: int
    stdout: trio.abc.ReceiveStream
    stderr: trio.abc.ReceiveStream
    _request: trio.abc.SendStream
    _report: trio.lowlevel.FdStream
    _template: Template
    _unread: bytes = b""
    # Known once `events` has come to its end, unless the template died as well.
    exit: ProcessExit | None = None
    _gone: bool = False

    def waits(self) -> bool:
        """Whether it still waits for its request: it has said nothing, and its process has not ended."""
        report = select.poll()
        report.register(self._report.fileno(), select.POLLIN)
        return not report.poll(0)

    async def send(self, request: dict[str, Any]) -> None:
        """Give it its one request; a worker that died meanwhile shows at the end of `events`."""
        try:
            await self._request.send_all(msgspec.json.encode(request) + b"\n")
        except trio.BrokenResourceError:
            return
        await self._request.aclose()

    async def events(self) -> AsyncIterator[Event]:
        """Its events until its process is gone, when `exit` is set. What a worker says need not be true."""
        while data := await self._report.receive_some(EVENT_SIZE_BYTES_MAX):
            *lines, rest = (self._unread + data).split(b"\n")
            # More than this on one line is nothing that our own code writes.
            self._unread = rest[:EVENT_SIZE_BYTES_MAX]
            for event in filter(None, map(event_untrusted, lines)):
                if event.event == "exited":
                    self.exit = ProcessExit(event.status, event.cpu_ms, event.memory_bytes_max)
                else:
                    yield event
        self._gone = True

    def cpu_s(self) -> float:
        """Processor time that it has used, or infinity where the system does not tell."""
        try:
            # The clock of another process; see clock_getcpuclockid(3) for Linux's way of numbering it.
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return float("inf")

    async def stop(self) -> None:
        await self._template.signal(self.pid, SIGSTOP)

    async def go_on(self) -> None:
        await self._template.signal(self.pid, SIGCONT)

    async def kill(self) -> None:
        """End it for certain, stopped or not. It is gone when `events` ends."""
        # From then on, its number may be another worker's.
        if not self._gone:
            await self._template.signal(self.pid, SIGKILL)


class Template:
    """The process that forks workers. Any number of tasks may call `worker` at once."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        self._control: trio.socket.SocketType | None = None
        self._starting = trio.Lock()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[WorkerProcess]:
        """A new worker, killed and gone when the block is left. Raises OSError if there can be none."""
        worker = await self._fork()
        try:
            yield worker
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
                await worker.kill()
                # To the end, so that whoever cleans up after it meets no process that still writes.
                async for _ in worker.events():
                    pass
            for stream in (worker.stdout, worker.stderr, worker._request, worker._report):
                await trio.aclose_forcefully(stream)

    async def signal(self, pid: int, number: int) -> None:
        """Send a worker a signal, if it is still there. A template that died took its workers with it."""
        if self._control is not None:
            try:
                await self._control.send(f"signal {pid} {number}".encode())
            except OSError:
                return

    async def aclose(self) -> None:
        """End the template and its workers."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
                await self._process.wait()
            self._process = None

    async def _fork(self) -> WorkerProcess:
        for _ in range(2):
            async with self._starting:
                control = self._control or await self._start()
            worker = await self._fork_by(control)
            if worker is not None:
                return worker
            # Killed when memory was short, perhaps; a second failure is no accident.
            async with self._starting:
                if self._control is control:
                    await self.aclose()
        raise OSError("the process that starts WASM workers ends by itself")

    async def _start(self) -> trio.socket.SocketType:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", f"{__package__}.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = trio.socket.from_stdlib_socket(ours)
        return self._control

    async def _fork_by(self, control: trio.socket.SocketType) -> WorkerProcess | None:
        """A new worker, or None if this template is dead. Raises OSError if it cannot fork."""
        pipes = [os.pipe() for _ in range(4)]
        (request_read, request), (stdout, stdout_write), (stderr, stderr_write), (report, report_write) = (
            pipes
        )
        given = [request_read, stdout_write, stderr_write, report_write]
        streams = [trio.lowlevel.FdStream(number) for number in (request, stdout, stderr, report)]
        worker = None
        try:
            with trio.fail_after(FORK_S_MAX):
                try:
                    await _send_descriptors(control, b"fork", given)
                except OSError:
                    return None
                while given:
                    os.close(given.pop())
                data = await streams[3].receive_some(EVENT_SIZE_BYTES_MAX)
            if not data:
                return None
            # The worker says nothing before it has its request: this is the template's line, and whole.
            event = event_untrusted(data)
            if event is None or event.pid is None:
                raise OSError(f"no new process for a WASM worker: {event.reason if event else 'no answer'}")
            worker = WorkerProcess(event.pid, streams[1], streams[2], streams[0], streams[3], self)
        except trio.TooSlowError:
            raise OSError(f"no WASM worker could be started within {FORK_S_MAX:g} s") from None
        finally:
            for number in given:
                os.close(number)
            if worker is None:
                # A worker whose request never comes ends by itself.
                for stream in streams:
                    await trio.aclose_forcefully(stream)
        return worker


async def _send_descriptors(
    control: trio.socket.SocketType, message: bytes, descriptors: Sequence[int]
) -> None:
    content = array.array("i", descriptors)
    await control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, content)])


def event_untrusted(line: bytes) -> Event | None:
    """An event, or None for what is none that our own code writes."""
    try:
        return msgspec.json.decode(line, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
