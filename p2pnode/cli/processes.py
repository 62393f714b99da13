"""Processes named by pid and start time, so that a pid that is used anew is never taken for the old one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# A node stops its programs, each in its grace, and says goodbye within this; then it is killed.
END_TIMEOUT_S = 90.0
# The nodes are no children of this process, so their end is not told.
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessName:
    pid: int
    # As the system writes it; compared, never read.
    started: str

    @property
    def alive(self) -> bool:
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            # The process may end between the question and the signal.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def name_of(pid: int) -> ProcessName:
    """The process that has this pid now; one that has ended is given a name that is never alive."""
    return ProcessName(pid, _started(pid) or "ended")


def end(processes: Iterable[ProcessName], timeout_s: float = END_TIMEOUT_S) -> None:
    """End them for certain: SIGTERM to all, and SIGKILL to those that are left after `timeout_s`."""
    left = list(processes)
    deadline = time.monotonic() + timeout_s
    for process in left:
        process.signal(signal.SIGTERM)
    while left and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        left = [process for process in left if process.alive]
    for process in left:
        process.signal(signal.SIGKILL)


def _started(pid: int) -> str | None:
    """When the process with this pid started; None where there is none, or only what is left of one."""
    try:
        # The program's name, in parentheses, may hold anything; state is field 3, start time 22.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self").exists() else _started_without_proc(pid)
    return None if stat[0] == "Z" else stat[19]


def _started_without_proc(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = done.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
