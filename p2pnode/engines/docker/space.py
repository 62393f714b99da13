"""Result directories of a limited size: a file system in a file, where this node may mount one.

A plain directory has no limit that the kernel enforces: what a job writes is looked at now and then,
and may be far over before that. In a file system of its own a program is told that there is no room.
When it has ended, what it left is copied to where results belong, and the file system is gone; so
nothing that comes later has to know of it, also after this machine was restarted in between.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import trio

from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import Left
from p2pnode.engines.workload import Mount, Workload, as_the_program_sees
from p2pnode.system.removal import clear_directory, remove_tree
from p2pnode.system.trees import UnusableTree, Use, fit, space_bytes

# In an execution's directory.
FILE, DIRECTORY = "space.img", "space"
# Without a journal, as nothing of it outlives a crash; without preparing the whole at once.
_MAKE = ("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard")
# An empty one is made and mounted in some 50 ms.
COMMAND_S_MAX = 60.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# The largest results that a node of usual size takes, at the speed of a slow disk.
COPY_S_MAX = 600.0


def possible() -> bool:
    """Whether this process may mount a file."""
    programs = (_MAKE[0], "mount", "umount", "cp")
    return os.geteuid() == 0 and os.path.exists("/dev/loop-control") and all(map(shutil.which, programs))


def make(workload: Workload) -> None:
    """Make and mount the space of an execution; what an earlier try left is lost. Blocking.

    Raises OSError, and then leaves nothing.
    """
    limit = workload.task.resources.disk_bytes
    file, directory = workload.directory / FILE, workload.directory / DIRECTORY
    remove(workload.directory)
    try:
        with open(file, "wb") as sparse:
            sparse.truncate(space_bytes(limit))
        _run(*_MAKE, str(file))
        _mount(file, directory)
        for mount in workload.results:
            place = directory / mount.host_path.name
            place.mkdir()
            place.chmod(0o777)
    except OSError:
        remove(workload.directory)
        raise


def watched(workload: Workload) -> tuple[Path, ...]:
    """The result directories whose size nothing but a look at them limits."""
    paths = (mount.host_path for mount in workload.results)
    return tuple(path for path in paths if path.parent.name != DIRECTORY)


def inside(workload: Workload) -> Workload:
    """The workload with its result directories in its space, if it has one; mounts that again if need be.

    Blocking; raises OSError.
    """
    file, directory = workload.directory / FILE, workload.directory / DIRECTORY
    if not file.exists():
        return workload
    if not os.path.ismount(directory):
        _mount(file, directory)
    results = (replace(one, host_path=directory / one.host_path.name) for one in workload.results)
    return replace(workload, results=tuple(results))


async def leave(workload: Workload) -> list[Left]:
    """Copy what is in the space of an ended program to its own directories, and remove the space.

    Returns what was not copied. `workload` is as it was before `inside`.
    """
    directory = workload.directory / DIRECTORY
    if not directory.exists():
        return []
    left: list[Left] = []
    use = Use()
    with trio.move_on_after(COPY_S_MAX) as slow:
        for mount in workload.results:
            left += await _copy(workload, mount, directory / mount.host_path.name, use)
    if slow.cancelled_caught:
        left.append(Left("some of it", f"it was not copied within {COPY_S_MAX:g} s", fault=Fault.PEER))
    await trio.to_thread.run_sync(remove, workload.directory)
    return left


async def _copy(workload: Workload, mount: Mount, source: Path, use: Use) -> list[Left]:
    """Copy what can be in a result from a folder of the space; what cannot, and how copying failed."""
    name, limit = mount.host_path.name, space_bytes(workload.task.resources.disk_bytes)
    left: list[Left] = []
    try:
        await trio.to_thread.run_sync(clear_directory, mount.host_path)
        # cp fails at what is too deep, which is not this machine's fault.
        whose = "the job's disk limit and what a file system takes"
        left += await trio.to_thread.run_sync(_fit, name, source, use, limit, whose)
        # -a: links stay links, holes stay holes.
        await trio.run_process(["cp", "-a", f"{source}/.", str(mount.host_path)], capture_stderr=True)
    except UnusableTree as unfit:
        left.append(Left(name, str(unfit)))
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.strerror if isinstance(error, OSError) else error.stderr.decode(errors="replace")
        detail = as_the_program_sees((detail or "").replace(str(source), name), workload)
        left.append(Left(f"some of {name}", f"it could not be copied: {detail.strip()}", fault=Fault.PEER))
    return left


def _fit(name: str, source: Path, use: Use, limit_bytes: int, whose: str) -> list[Left]:
    """`trees.fit` in a space, where it is the program that has left no room."""
    try:
        return fit(name, source, use, limit_bytes, whose)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UnusableTree(f"it has used up {whose}") from error


def remove(execution_directory: Path) -> None:
    """Unmount and delete a space, if there is one. Blocking."""
    directory = execution_directory / DIRECTORY
    if os.path.ismount(directory):
        # Lazily: should anything still hold it, it goes when that does.
        subprocess.run(
            ["umount", "--lazy", directory], capture_output=True, check=False, timeout=COMMAND_S_MAX
        )
    if directory.exists():
        directory.rmdir()
    (execution_directory / FILE).unlink(missing_ok=True)


def remove_of(executions: set[str]) -> None:
    """Unmount what a node that was killed has left of these executions. Blocking."""
    for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines():
        point = Path(line.split(" ")[1])
        if point.name == DIRECTORY and point.parent.name in executions:
            remove(point.parent)
            remove_tree(point.parent)


def _mount(file: Path, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    _run("mount", "-o", "loop,nosuid,nodev", str(file), str(directory))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_S_MAX)
    except subprocess.CalledProcessError as error:
        raise OSError(0, f"{command[0]}: {error.stderr.decode(errors='replace').strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(0, f"{command[0]} took longer than {COMMAND_S_MAX:g} s") from error
