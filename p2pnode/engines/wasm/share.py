"""A share of a core below one for a WASM worker, which has one thread that runs the program.

Where the node may make control groups, the kernel holds the share (`cpu.max`, or version 1's
quota); here those are children of the node's own group or, for root with version 2, of the
root group, because a group with processes cannot have children with limits. Elsewhere the
worker is stopped and continued (`pace`), which takes it to the same share over a second,
and costs the node up to 20 small wake-ups a second for each program that computes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from .processes import WorkerProcess

CORE_MILLIS = 1_000
PERIOD_US = 100_000
# The kernel takes no smaller quota.
QUOTA_US_MIN = 1_000
# How long a program runs on before it is held: short, so that its pauses are short too.
SLICE_S = 0.05
# How often a program that was idle is looked at.
IDLE_SLICE_S = 0.25
_ROOT = Path("/sys/fs/cgroup")
_NAME = "p2pnode-wasm"


@contextmanager
def control_group(name: str, cpu_millis: int) -> Iterator[Path | None]:
    """A group held to that share while the block runs, or None if it cannot be made, or need not be.

    Whoever is in it has to be gone when the block ends.
    """
    group = None
    if cpu_millis < CORE_MILLIS:
        for parent, files in _candidates(_quota_us(cpu_millis)):
            try:
                group = _make(parent / _NAME, name, files)
                break
            except OSError:
                continue
    try:
        yield group
    finally:
        if group is not None:
            # Still busy if a worker could not be killed in time; then the next node removes it.
            with suppress(OSError):
                group.rmdir()


def enter(group: Path, pid: int) -> bool:
    """Move a process into a group; False if the system refuses."""
    try:
        _write(group / "cgroup.procs", str(pid))
    except OSError:
        return False
    return True


def hold(group: Path, cpu_millis: int) -> bool:
    """Hold a group to another share than it was made with; False if the system refuses."""
    free = cpu_millis >= CORE_MILLIS
    try:
        if (group / "cpu.max").exists():
            _write(group / "cpu.max", f"{'max' if free else _quota_us(cpu_millis)} {PERIOD_US}")
        else:
            _write(group / "cpu.cfs_quota_us", "-1" if free else str(_quota_us(cpu_millis)))
    except OSError:
        return False
    return True


def remove_left_over_groups() -> None:
    """Remove the groups that a killed node left; the kernel keeps those in use."""
    for parent, _ in _candidates(PERIOD_US):
        for group in (parent / _NAME).glob("*/"):
            with suppress(OSError):
                group.rmdir()


async def pace(worker: WorkerProcess, cpu_millis: int) -> None:
    """Stop and continue a worker so that it uses no more than its share. Runs until cancelled."""
    slice_s = SLICE_S
    while True:
        began_s, used_s = trio.current_time(), worker.cpu_s()
        await trio.sleep(slice_s)
        used_s = worker.cpu_s() - used_s
        # Infinite or not a number: the worker has gone, or the system does not tell.
        owed_s = used_s * CORE_MILLIS / cpu_millis - (trio.current_time() - began_s)
        if 0 < owed_s < float("inf"):
            await worker.stop()
            await trio.sleep(owed_s)
            await worker.go_on()
        slice_s = SLICE_S if used_s > 0 else IDLE_SLICE_S


def _quota_us(cpu_millis: int) -> int:
    return max(cpu_millis * PERIOD_US // CORE_MILLIS, QUOTA_US_MIN)


def _candidates(quota_us: int) -> Iterator[tuple[Path, dict[str, str]]]:
    """Groups in which a group may be made, and what to write into it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            files = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}
            yield _ROOT / "cpu" / path.lstrip("/"), files
        elif not controllers and (_ROOT / "cgroup.controllers").exists():
            for parent in (_ROOT / path.lstrip("/"), _ROOT):
                yield parent, {"cpu.max": f"{quota_us} {PERIOD_US}"}


def _make(parent: Path, name: str, files: dict[str, str]) -> Path:
    """A group of that name with those limits. Raises OSError."""
    parent.mkdir(exist_ok=True)
    group = parent / name
    try:
        if "cpu.max" in files:
            for above in (parent.parent, parent):
                _write(above / "cgroup.subtree_control", "+cpu")
        group.mkdir(exist_ok=True)
        for file, value in files.items():
            _write(group / file, value)
    except OSError:
        for made in (group, parent):
            with suppress(OSError):
                made.rmdir()
        raise
    return group


def _write(file: Path, value: str) -> None:
    # Not write_text, which would create a file where the kernel offers none.
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
