"""The template of all WASM workers: `python -m p2pnode.engines.wasm.worker CONTROL_FD`.

Loading Python and wasmtime takes longer than most small programs run, so this process loads
them once and forks a worker for each program. It has one thread and never runs a module
itself. CONTROL_FD is a SOCK_SEQPACKET socket of the node's (`engines.wasm.processes`):

    fork            with four descriptors: request, stdout, stderr, report
    signal PID N    sends a worker of ours signal N; one that has ended is not signalled

Into a worker's report pipe it writes {"event": "forked", "pid"} first (or "failed" with a reason,
and no more) and, once the worker is reaped, {"event": "exited", "status", "cpu_ms",
"memory_bytes_max"}, then closes it. When the node closes the socket, that is when it ends, all
workers are killed.
"""

from __future__ import annotations

import array
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from . import worker

MESSAGE_SIZE_BYTES_MAX = 64
DESCRIPTORS = 4
# Below every node thread, so that a busy program never makes the node late.
NICENESS = 10


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.nice(NICENESS)
    # Objects loaded by now are never garbage: collecting them would only unshare the workers' memory.
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Process id of each worker -> our end of its report pipe.
    reports: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, MESSAGE_SIZE_BYTES_MAX)
        _reap(reports)
        if control.fileno() in ready and not _obey(control, reports):
            for pid in reports:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)


def _obey(control: socket.socket, reports: dict[int, int]) -> bool:
    """Take one message; False if the node has gone."""
    data, descriptors = _receive(control)
    if not data:
        return False
    command, *words = data.split()
    if command == b"fork":
        request, stdout, stderr, report = descriptors
        try:
            pid = _fork(request, stdout, stderr, report)
        except OSError as error:
            _tell(report, {"event": "failed", "reason": error.strerror})
            os.close(report)
        else:
            reports[pid] = report
            _tell(report, {"event": "forked", "pid": pid})
        for descriptor in (request, stdout, stderr):
            os.close(descriptor)
    elif int(words[0]) in reports:
        # The process is not reaped, so the number is still its own.
        os.kill(int(words[0]), int(words[1]))
    return True


def _receive(control: socket.socket) -> tuple[bytes, array.array[int]]:
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(DESCRIPTORS * descriptors.itemsize)
    data, ancillary, _, _ = control.recvmsg(MESSAGE_SIZE_BYTES_MAX, space)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content)
    return data, descriptors


def _fork(request: int, stdout: int, stderr: int, report: int) -> int:
    template = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    # Nothing of the template's may be left: not the control socket, not another worker's report pipe.
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        first, second = sorted((request, report))
        os.closerange(3, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
        worker.main(request, report, template)
    finally:
        # Not sys.exit: neither the template's stack above nor the runtime's threads may go on.
        os._exit(1)


def _reap(reports: dict[int, int]) -> None:
    while reports:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        report = reports.pop(pid)
        cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1000)
        _tell(
            report,
            {
                "event": "exited",
                "status": os.waitstatus_to_exitcode(status),
                "cpu_ms": cpu_ms,
                "memory_bytes_max": usage.ru_maxrss * 1024,
            },
        )
        os.close(report)


def _tell(report: int, event: dict[str, Any]) -> None:
    try:
        os.write(report, json.dumps(event).encode() + b"\n")
    except BrokenPipeError:
        # The node no longer wants to know.
        return


if __name__ == "__main__":
    main()
