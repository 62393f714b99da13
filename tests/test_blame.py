"""Blame for a failure, and that no path of a peer's machine is told: tables."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.wire.spec import (
    DockerTask,
    InputSource,
    ResultPath,
    Source,
    Task,
)
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import (
    HIDDEN_PATH,
    ExitEvidence,
    of_create,
    of_exit,
    of_start,
    without_paths,
)

EXITS: dict[str, tuple[dict[str, Any], Fault | None, str]] = {
    "0 is success": ({"code": 0}, None, "exited"),
    "0 is success whoever sent it a signal": ({"code": 0, "signalled": True}, None, "exited"),
    "a program's own 137 is its own": ({"code": 137}, Fault.JOB, "exited with 137 (SIGKILL)"),
    "a program's own 143 is its own": ({"code": 143}, Fault.JOB, "exited with 143 (SIGTERM)"),
    "137 as somebody had it killed is the peer's": (
        {"code": 137, "signalled": True},
        Fault.PEER,
        "killed from outside",
    ),
    "137 while the engine was away is the peer's": (
        {"code": 137, "unseen": True},
        Fault.PEER,
        "killed from outside",
    ),
    "255 while the engine was away is nobody's knowledge": (
        {"code": 255, "unseen": True},
        Fault.PEER,
        "ended while its engine was away",
    ),
    "a program's own 255 is its own": ({"code": 255}, Fault.JOB, "exited with 255"),
    "1 while the engine was away is the program's": (
        {"code": 1, "unseen": True},
        Fault.JOB,
        "exited with 1",
    ),
    "1 after a signal is the program's": ({"code": 1, "signalled": True}, Fault.JOB, "exited with 1"),
    "out of memory is the job's": (
        {"code": 137, "out_of_memory": True, "signalled": True, "memory_bytes": 5},
        Fault.JOB,
        "out of memory: it needed more than 5 bytes",
    ),
    "127": ({"code": 127}, Fault.JOB, "not found in the image"),
    "126": ({"code": 126}, Fault.JOB, "cannot be executed"),
    "a crash": ({"code": 139}, Fault.JOB, "SIGSEGV"),
}


@pytest.mark.parametrize(("known", "fault", "reason"), EXITS.values(), ids=EXITS)
def test_an_exit(known: dict[str, Any], fault: Fault | None, reason: str) -> None:
    told, whose = of_exit(ExitEvidence(**known))
    assert whose is fault
    assert reason in told


_RUNC = "OCI runtime create failed: runc create failed: unable to start container process: "
_MOUNT = _RUNC + 'error during container init: error mounting "/srv/p/executions/e/results/o" to rootfs at '
STARTS = {
    "a result in an input": (
        _MOUNT + '"/data/out": mkdir /var/lib/docker/overlay2/0f/merged/data/out: read-only file system',
        Fault.JOB,
        "nothing can be mounted at /data/out: what it lies in is read-only and has no such place",
    ),
    "a result at /proc": (
        _MOUNT + '"/proc": "/var/lib/docker/overlay2/0f/merged/proc" cannot be mounted because it is not of',
        Fault.JOB,
        "nothing can be mounted at /proc: the system has its own there",
    ),
    "a result in /proc, by runc before 1.3": (
        _MOUNT + '"/proc/x": "/var/lib/docker/overlay2/0f/merged/proc/x" cannot be mounted because',
        Fault.JOB,
        "nothing can be mounted at /proc/x: the system has its own there",
    ),
    "a result in /proc": (
        _MOUNT + '"/proc/x": create mountpoint for /proc/x mount: make mountpoint "/proc/x": mkdirat '
        "/var/lib/docker/rootfs/overlayfs/0f/proc/x: no such file or directory",
        Fault.JOB,
        "nothing can be mounted at /proc/x: no folder or file can be made there",
    ),
    "an input file in /proc": (
        _MOUNT + '"/proc/x": create mountpoint for /proc/x mount: make mountpoint "/proc/x": no such file or '
        "directory",
        Fault.JOB,
        "nothing can be mounted at /proc/x: no folder or file can be made there",
    ),
    "a result in /dev/pts, by runc before 1.3": (
        _MOUNT + '"/dev/pts/x": mkdir /var/lib/docker/overlay2/0f/merged/dev/pts/x: operation not permitted',
        Fault.JOB,
        "no folder or file can be made there",
    ),
    "a source that is gone": (
        _MOUNT + '"/data": stat /srv/p/executions/e/results/o: no such file or directory',
        Fault.PEER,
        "no such file",
    ),
    "a result in a file": (
        _MOUNT + '"/bin/sh/x": create mountpoint for /bin/sh/x mount: lookup mountpoint target: openat2 '
        "/bin/sh/x: not a directory",
        Fault.JOB,
        "a file is there or on the way",
    ),
    "a folder where a file is": (
        _MOUNT + '"/etc/passwd": mount /srv/p:/etc/passwd (via /proc/self/fd/6), flags: 0x5: not a directory',
        Fault.JOB,
        "nothing can be mounted at /etc/passwd: a file is there or on the way",
    ),
    "a disk that is full, or fails": (
        _MOUNT + '"/o": create mountpoint for /o mount: make mountpoint "/o": mkdirat /x: input/output error',
        Fault.PEER,
        "input/output",
    ),
    "a full disk": (_MOUNT + '"/o": mkdir /var/x: no space left on device', Fault.PEER, "no space left"),
    "a result at /dev/null": (
        _RUNC + "error during container init: error reopening /dev/null inside container: open /dev/null: is",
        Fault.JOB,
        "in the place of /dev, a device",
    ),
    "a folder at /etc/passwd, by Podman": (
        "preparing container 4f for attach: unable to find user 0: read /srv/p/o: is a directory",
        Fault.JOB,
        "a mount of the job is in the place of /dev, a device or /etc/passwd",
    ),
    "a result in an input, by Podman": (
        "preparing container 4f for attach: runc: runc create failed: unable to start container process: "
        'error during container init: error mounting "/srv/p/o" to rootfs at "/data/out": mkdir '
        "/var/lib/containers/storage/overlay/0f/merged/data/out: read-only file system: OCI runtime error",
        Fault.JOB,
        "nothing can be mounted at /data/out: what it lies in is read-only and has no such place",
    ),
    "a working directory that is none, by Podman": (
        "preparing container 4f for attach: runc: runc create failed: Cwd must be an absolute path",
        Fault.JOB,
        "Cwd must be",
    ),
    "no such program": (_RUNC + 'exec: "nope": executable file not found in $PATH', Fault.JOB, "nope"),
    "no such user": ("unable to find user x: no matching entries in passwd file", Fault.JOB, "user x"),
    "no shim": ("fork/exec /usr/bin/containerd-shim: no such file or directory", Fault.PEER, "shim"),
    "no card": ('could not select device driver "" with capabilities: [[gpu]]', Fault.PEER, "gpu"),
}


@pytest.mark.parametrize(("text", "fault", "reason"), STARTS.values(), ids=STARTS)
def test_a_container_that_does_not_start(text: str, fault: Fault, reason: str) -> None:
    told, whose = of_start(text)
    assert whose is fault
    assert reason in told


@pytest.mark.parametrize(
    ("status", "text", "fault"),
    [
        (400, "invalid working directory", Fault.JOB),
        (400, "bind source path does not exist: /srv/x", Fault.PEER),
        (500, "no space left on device", Fault.PEER),
        (500, "/in: duplicate mount destination", Fault.JOB),
        (409, "the name is in use", Fault.PEER),
    ],
)
def test_a_container_that_cannot_be_made(status: int, text: str, fault: Fault) -> None:
    assert of_create(status, text) == (f"cannot create the container: {text}", fault)


TASK = Task(
    engine=DockerTask(image="a/b", entrypoint=("/bin/tool",), parameters=("--in=/data/x", "see /opt/y.")),
    inputs=(InputSource(source=Source("localdirectory", {"SourcePath": "/srv/shared"}), target="/data"),),
    results=(ResultPath(name="o", path="/out"),),
)
H = HIDDEN_PATH
PATHS: dict[str, tuple[str, str | None]] = {
    "an engine's": ("mkdir /var/lib/docker/overlay2/0f/merged/o: x", f"mkdir {H}: x"),
    "a node's": ('mounting "/home/me/.local/p2pnode/executions/e-1"', f'mounting "{H}"'),
    "a socket": ("cannot reach it at /var/run/docker.sock: refused", f"cannot reach it at {H}: refused"),
    "behind a colon": ("mount a:/var/x/y (b)", f"mount a:{H} (b)"),
    "a target and below": ("in /data and /data/sub/f", "in /data and /data/sub/f"),
    "a result's": ("/out/a: full", "/out/a: full"),
    "no part of a name": ("/database/x", H),
    "a source that the job names": ("/srv/shared is not allowed", "/srv/shared is not allowed"),
    "but not beside it": ("/srv/sharedness", H),
    "the job's own words": ("/bin/tool, /data/x, /opt/y", "/bin/tool, /data/x, /opt/y"),
    "the image's program": ('exec: "/entry.sh": stat /entry.sh: gone', None),
    "addresses": ("https://a.example/b s3://b/k 127.0.0.1:1/none:1", None),
    "no path": ("5 of 6 MB / s, and/or", None),
}


@pytest.mark.parametrize(("text", "shown"), PATHS.values(), ids=PATHS)
def test_a_reason_names_the_jobs_own_paths_only(text: str, shown: str | None) -> None:
    """None: it is shown as it is."""
    assert without_paths(text, TASK) == (text if shown is None else shown)
