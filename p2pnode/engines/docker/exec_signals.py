"""Signals to the programs of a container, where they are this machine's and this node may.

The engine names a process by its number, which may be another machine's, or another process's by now: only
those that the kernel says are in the container are meant.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

# How often it is looked whether they are gone.
LOOK_INTERVAL_S = 0.05
_PROC = Path("/proc")
# A program may begin others while it is killed.
_SIGNALS = (signal.SIGHUP, signal.SIGKILL, signal.SIGKILL)

log = logging.getLogger(__name__)


async def end_session(leader: int, container: str, grace_s: float) -> None:
    """End a session of processes in a container: SIGHUP, and after the grace SIGKILL.

    An engine has each program that it begins lead one.
    """
    for number in _SIGNALS:
        refused = await trio.to_thread.run_sync(_signal, leader, container, number)
        if refused:
            log.warning("a program that was begun by exec goes on in %s: this node may not end it", container)
            return
        with trio.move_on_after(grace_s):
            while await trio.to_thread.run_sync(_members, leader, container):  # noqa: ASYNC110
                await trio.sleep(LOOK_INTERVAL_S)
            return


def _signal(leader: int, container: str, number: signal.Signals) -> int:
    """Signal the members of a session; how many may not be. Blocking."""
    refused = 0
    for pid in _members(leader, container):
        try:
            # The number is that process's as long as this is open.
            with _opened(pid) as process:
                if _is_member(pid, leader, container):
                    signal.pidfd_send_signal(process, number)
        except PermissionError:
            refused += 1
        except OSError:
            # Ended by itself.
            continue
    return refused


@contextmanager
def _opened(pid: int) -> Iterator[int]:
    process = os.pidfd_open(pid)
    try:
        yield process
    finally:
        os.close(process)


def _members(leader: int, container: str) -> list[int]:
    """The processes of a session in a container. Blocking."""
    numbers = [int(one.name) for one in _PROC.iterdir() if one.name.isdecimal()]
    return [pid for pid in numbers if _is_member(pid, leader, container)]


def _is_member(pid: int, leader: int, container: str) -> bool:
    try:
        # Its state, parent, group and session follow the name, which may hold anything.
        state, _, _, session = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[:4]
        if int(session) != leader or state == b"Z":
            return False
        return container in (_PROC / str(pid) / "cgroup").read_text(errors="replace")
    except (OSError, ValueError):
        return False
