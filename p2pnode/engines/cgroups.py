"""A running container's use, read from the kernel's accounting (control groups, v1 and v2).

The engine's own statistics take a second per question. The files vanish with the container,
so whoever wants the total looks now and then.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def usage(pid: int, proc: Path = PROC, root: Path = ROOT) -> tuple[int, int]:
    """(CPU time in ms, peak memory in bytes) of the control group of a process; zeros if it is gone."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return 0, 0
    groups = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    # A controller that version 1 has not is version 2's, or nobody's.
    return _cpu_ms(groups, root), _memory_bytes(groups, root)


def _cpu_ms(groups: dict[str, str], root: Path) -> int:
    if group := _group(groups, "cpuacct", root / "cpuacct"):
        return _number(group / "cpuacct.usage") // 1_000_000
    if "cpuacct" not in groups and (group := _group(groups, "", _version_2(root))):
        return _number(group / "cpu.stat", "usage_usec ") // 1_000
    return 0


def _memory_bytes(groups: dict[str, str], root: Path) -> int:
    if group := _group(groups, "memory", root / "memory"):
        return _number(group / "memory.max_usage_in_bytes")
    if "memory" not in groups and (group := _group(groups, "", _version_2(root))):
        # Linux before 5.19 keeps no peak: then it is the most that was seen by looking.
        return _number(group / "memory.peak") or _number(group / "memory.current")
    return 0


def _group(groups: dict[str, str], controller: str, mount: Path) -> Path | None:
    """The group's directory. None for the root, which has the whole machine's numbers and no container.

    Version 1 says it of a process that is ending.
    """
    path = groups.get(controller)
    return mount / path if path else None


def _version_2(root: Path) -> Path:
    """Where version 2 is mounted: below the root where systemd has both versions ("hybrid")."""
    return root if (root / "cgroup.controllers").exists() else root / "unified"


def _number(file: Path, prefix: str = "") -> int:
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(prefix):
                return int(line.removeprefix(prefix))
    except (OSError, ValueError):
        pass
    return 0
