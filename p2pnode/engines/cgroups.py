"""What a running container has used, read from the kernel's accounting (control groups, v1 and v2).

The engine's own statistics take a second per question. The files vanish with the container,
so whoever wants the total looks now and then.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def usage(pid: int) -> tuple[int, int]:
    """(CPU time in ms, peak memory in bytes) of the control group of a process; zeros if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return 0, 0
    groups = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    if "memory" in groups:
        cpu_ns = _number(ROOT / "cpuacct" / groups.get("cpuacct", "") / "cpuacct.usage")
        memory = _number(ROOT / "memory" / groups["memory"] / "memory.max_usage_in_bytes")
        return cpu_ns // 1_000_000, memory
    group = ROOT / groups.get("", "")
    cpu_us = _number(group / "cpu.stat", "usage_usec ")
    return cpu_us // 1_000, _number(group / "memory.peak")


def _number(file: Path, prefix: str = "") -> int:
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(prefix):
                return int(line.removeprefix(prefix))
    except (OSError, ValueError):
        pass
    return 0
