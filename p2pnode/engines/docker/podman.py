"""The ways in which Podman differs, which speaks Docker's API, and names its Buildah in `/info`."""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from p2pnode.core.worker import blame

# More processes than it has numbers for the kernel does not make.
_PID_MAX = Path("/proc/sys/kernel/pid_max")
# All that catatonit, the init of its containers, writes where it cannot run the program; it exits with 1.
_NOT_RUN = re.compile(rb"ERROR \(catatonit:\d+\): failed to exec pid1: ([^\n]+)\n")
_NOT_RUN_CODES = {
    b"No such file or directory": blame.EXIT_NOT_FOUND,
    b"Permission denied": blame.EXIT_NOT_EXECUTABLE,
}
NO_BRIDGE = "Podman has no bridge that this node can fence in: Network Type Bridge needs Docker"


def is_podman(info: Mapping[str, Any]) -> bool:
    return bool(info.get("BuildahVersion"))


def processes_max(info: Mapping[str, Any]) -> int | None:
    """The limit of processes of one user that a container is to have, None for the engine's own.

    Where any limit is named, Podman as root adds this one, of 1,048,576: more than it may give where it
    lacks CAP_SYS_RESOURCE, as in a container. What it has itself is the kernel's count of numbers: none that
    is felt. `PROCESSES_MAX` is what holds. Rootless, it looks at its own limit. Blocking, for a small file.
    """
    # Podman 4.3 says it by a field of its own, others as Docker does.
    rootless = info.get("Rootless") or any(
        "rootless" in str(one) for one in info.get("SecurityOptions") or ()
    )
    if not is_podman(info) or rootless:
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    numbers = int(_PID_MAX.read_text(encoding="ascii"))
    return numbers if hard == resource.RLIM_INFINITY else min(hard, numbers)


def exit_code(code: int, stderr: bytes) -> int:
    """The exit code, that of Docker's init where Podman's could not run the program at all.

    `stderr` is its tail. A program that writes the same has that code by its own word.
    """
    if code == 1 and (said := _NOT_RUN.fullmatch(stderr)):
        return _NOT_RUN_CODES.get(said[1], code)
    return code
