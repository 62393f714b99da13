"""This machine's capacity for jobs: processors, memory, disk, and the labels that every node has.

Jobs written for Bacalhau select nodes by its label names, of which there are an old and a
new set; both are published.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from p2pnode.core.wire.spec import Resources

# In hundredths; the system and this node itself need the rest of the machine's memory.
MEMORY_LENT_PERCENT = 80
DISK_LENT_PERCENT = 80
# Below this much free disk no job is taken: results, images and the journal need room to end
# well, and an engine ends a program that leaves less than 1 GiB.
DISK_RESERVE_BYTES = 1024**3 + 256 * 1024**2
# Free disk moves all the time; an advert is not worth less than this.
DISK_STEP_BYTES = 1024**3

# The old names and the new ones; every node has them.
BUILT_IN_LABELS = ("Operating-System", "Architecture", "os_type", "os_arch", "name")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def usable(directory: Path, reserved_disk_bytes: int) -> Resources | None:
    """Return the resources for jobs in all; None while the disk below `directory` is nearly full.

    `reserved_disk_bytes` is what is reserved already: part of it may be used, and is counted back.
    """
    free = shutil.disk_usage(directory).free
    if free < DISK_RESERVE_BYTES:
        return None
    disk = (free + reserved_disk_bytes) * DISK_LENT_PERCENT // 100
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Resources(
        cpu_millis=1000 * len(os.sched_getaffinity(0)),
        memory_bytes=memory * MEMORY_LENT_PERCENT // 100,
        disk_bytes=disk - disk % DISK_STEP_BYTES if disk > DISK_STEP_BYTES else disk,
    )


def labels(name: str, own: Mapping[str, str]) -> dict[str, str]:
    """The built-in labels and the operator's own, which win."""
    system = platform.system().lower()
    machine = platform.machine().lower()
    architecture = _ARCHITECTURES.get(machine, machine)
    built_in = dict(zip(BUILT_IN_LABELS, (system, architecture, system, architecture, name), strict=True))
    return {**built_in, **own}
