"""The fault for a failed container, by evidence: the job's, the peer's or the network's.

The job's own faults would come again anywhere, so they are told once; a peer's are tried elsewhere. What an
engine says is read here and nowhere else, and what the job's owner is told names no path of this machine.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from p2pnode.core.wire.spec import (
    DockerTask,
    OtherTask,
    Task,
    WasmTask,
)
from p2pnode.core.wire.states import Fault

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127
# By SIGKILL or SIGTERM, which an engine that shuts down sends.
EXIT_KILLED = (137, 143)
# Engines say this of a program that ended while they were away, as by a loss of power.
EXIT_UNKNOWN = 255
# In the place of a path of the peer's machine.
HIDDEN_PATH = "(a path of the peer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitEvidence:
    """The evidence of a program's end that this node did not cause."""

    code: int
    # The engine says that the job's own limit of memory was it.
    out_of_memory: bool = False
    # Somebody had the engine send it a signal.
    signalled: bool = False
    # Nobody saw whether: the engine or this node was away.
    unseen: bool = False
    memory_bytes: int = 0


def of_exit(exit: ExitEvidence) -> tuple[str, Fault | None]:
    """The reason and the fault; no fault is success."""
    if exit.code == 0:
        return "exited", None
    if exit.out_of_memory:
        text = f"out of memory: it needed more than {exit.memory_bytes} bytes (exit code {exit.code})"
        return text, Fault.JOB
    if exit.code in EXIT_KILLED and (exit.signalled or exit.unseen):
        return f"the program was killed from outside (exit code {exit.code})", Fault.PEER
    if exit.code == EXIT_UNKNOWN and exit.unseen:
        return (
            "the program ended while its engine was away, which does not know how (exit code 255)",
            Fault.PEER,
        )
    if exit.code == EXIT_NOT_FOUND:
        return "the command was not found in the image (exit code 127); see stderr", Fault.JOB
    if exit.code == EXIT_NOT_EXECUTABLE:
        return "the command cannot be executed (exit code 126); see stderr", Fault.JOB
    try:
        # By convention of shells and of the init process in the container.
        name = signal.Signals(exit.code - 128).name
    except ValueError:
        return f"the program exited with {exit.code}", Fault.JOB
    return f"the program exited with {exit.code} ({name})", Fault.JOB


# The C library says this of a system call that root may not make for want of a capability.
_NOT_PERMITTED = b"Operation not permitted"
STDERR_TAIL_SIZE_BYTES = 4_096


def hint(reason: str, fault: Fault | None, stderr_tail: bytes) -> str:
    """The reason, with what may help where a program failed at something that a container may not do."""
    if fault is not Fault.JOB or _NOT_PERMITTED not in stderr_tail:
        return reason
    return f"{reason}; its stderr says that something is not permitted: CapAdd asks for Linux capabilities"


# Why something cannot be mounted where a job wants it, by the engine's words; other trouble is the peer's.
# A source that is not there is said otherwise, before the start.
_MOUNT = re.compile(r'error mounting "[^"]*" to rootfs at "([^"]+)": (.*)', re.DOTALL)
_MOUNT_WHY = (
    ("read-only file system", "what it lies in is read-only and has no such place"),
    ("not a directory", "a file is there or on the way, where a folder belongs, or a folder for a file"),
    ("is a directory", "a folder is there, where a file belongs"),
    ("cannot be mounted", "the system has its own there"),
    ("too many levels of symbolic links", "links on the way lead round"),
    ("file exists", "something else is there"),
    # In /proc, or in a file system that is mounted there, as /dev/pts is.
    (
        r"(?:make mountpoint|mkdir) .*(?:no such file or directory|operation not permitted)",
        "no folder or file can be made there",
    ),
)
_SYSTEMS_OWN = re.compile(r"(?:reopening|stat) /dev/\w+|unable to find (?:user|group).*: is a directory")
# The engine's words for a start that the image or the command is to blame for.
_START_OF_JOB = (
    "exec:",
    "executable file not found",
    "chdir to cwd",
    "cannot mkdir",
    "unable to find user",
    "unable to find group",
    "not a directory",
    "must be an absolute path",
)
# A source is this machine's, and was there when the container was planned.
_CREATE_OF_PEER = ("bind source path does not exist",)
# Podman answers 500 to what Docker refuses with 400.
_CREATE_OF_JOB = ("duplicate mount destination",)
_BAD_REQUEST = 400


def of_start(text: str) -> tuple[str, Fault]:
    """The reason and the fault of an engine that could not start a container, by what it said."""
    if mount := _MOUNT.search(text):
        for sign, why in _MOUNT_WHY:
            if re.search(sign, mount[2]):
                return f"nothing can be mounted at {mount[1]}: {why}", Fault.JOB
        return f"cannot start the container: {text}", Fault.PEER
    if _SYSTEMS_OWN.search(text):
        what = "a mount of the job is in the place of /dev, a device or /etc/passwd"
        return f"cannot start the container: {what}", Fault.JOB
    fault = Fault.JOB if any(sign in text for sign in _START_OF_JOB) else Fault.PEER
    return f"cannot start the container: {text}", fault


def of_create(status: int, text: str) -> tuple[str, Fault]:
    """The reason and the fault of an engine that would not make a container, by its HTTP status and words."""
    refused = status == _BAD_REQUEST or any(sign in text for sign in _CREATE_OF_JOB)
    ours = not refused or any(sign in text for sign in _CREATE_OF_PEER)
    return f"cannot create the container: {text}", Fault.PEER if ours else Fault.JOB


# So many places are named of what could not be kept of a result.
LEFT_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Left:
    """Something that is not in a result, and why; `loss`: it had content that somebody may miss."""

    place: str
    why: str
    loss: bool = True
    fault: Fault = Fault.JOB


def with_left(reason: str, fault: Fault | None, left: Sequence[Left]) -> tuple[str, Fault | None]:
    """How an execution ended whose result lacks something: a loss is a failure, after the program's own."""
    if not left:
        return reason, fault
    losses = [one for one in left if one.loss]
    shown = [f"{one.place} ({one.why})" for one in (losses or left)[:LEFT_SHOWN_MAX]]
    more = len(left) - len(shown)
    said = f"{reason}; the result lacks {', '.join(shown)}" + (f" and {more} more" if more else "")
    if fault is None and losses:
        fault = Fault.PEER if any(one.fault is Fault.PEER for one in losses) else Fault.JOB
    return said, fault


_PATH = re.compile(r"(?<![\w/.~-])/(?!/)[^\s\"'`,;:()\[\]<>]+")
_COMMAND = re.compile(r'exec:? "?(/[^"\s:]+)')


def without_paths(text: str, task: Task) -> str:
    """A reason with no path but those that the job itself names, and those below its mounts."""
    named = [*_texts(task), *_COMMAND.findall(text)]
    roots = [*(one.target for one in task.inputs), *(one.path for one in task.results)]

    def shown(found: re.Match[str]) -> str:
        path = found[0].rstrip(".")
        below = any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
        known = below or any(_names(one, path) for one in named)
        return found[0] if known else HIDDEN_PATH

    return _PATH.sub(shown, text)


def _names(text: str, path: str) -> bool:
    """Whether a text has a path, and not as part of a longer name."""
    at = text.find(path)
    while at >= 0:
        end = at + len(path)
        if end == len(text) or not (text[end].isalnum() or text[end] in "_-"):
            return True
        at = text.find(path, at + 1)
    return False


def _texts(task: Task) -> Iterator[str]:
    """The texts by the job's author that may be a path or have one in it."""
    engine = task.engine
    yield from task.environment.values()
    for source in task.inputs:
        yield source.target
        yield from (one for one in source.source.params.values() if isinstance(one, str))
    match engine:
        case WasmTask():
            yield from (engine.entry_module, *engine.import_modules)
            yield from (*engine.parameters, *engine.environment.values())
        case DockerTask():
            yield from (engine.working_directory, *(engine.entrypoint or ()))
            yield from (*engine.parameters, *engine.environment.values())
        case OtherTask():
            yield from engine.params.values()
