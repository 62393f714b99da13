"""Usage of a container, by the files of either version of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pnode.engines import cgroups

PID = 71
V2_ROOT = {"cgroup.controllers": "cpu memory pids\n", "cpu.stat": "usage_usec 999000000\n"}
CPU_STAT = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n"
# Both are of the whole machine.
V1_ROOT = {
    "cpuacct/cpuacct.usage": "42587077216677\n",
    "memory/memory.max_usage_in_bytes": "24800022528\n",
}
V1 = V1_ROOT | {
    "cpuacct/docker/c/cpuacct.usage": "1500999999\n",
    "memory/docker/c/memory.max_usage_in_bytes": "4096\n",
}


@pytest.mark.parametrize(
    ("says", "files", "used"),
    [
        pytest.param(
            "0::/system.slice/docker-c.scope\n",
            V2_ROOT
            | {
                "system.slice/docker-c.scope/cpu.stat": CPU_STAT,
                "system.slice/docker-c.scope/memory.peak": "4096\n",
                "system.slice/docker-c.scope/memory.current": "1024\n",
            },
            (1_500, 4_096),
            id="version 2 has a peak",
        ),
        pytest.param(
            "0::/docker/c\n",
            V2_ROOT | {"docker/c/cpu.stat": CPU_STAT, "docker/c/memory.current": "1024\n"},
            (1_500, 1_024),
            id="Linux before 5.19 has none, and tells what is used now",
        ),
        pytest.param("0::/docker/c (deleted)\n", V2_ROOT, (0, 0), id="a group that is gone has used nothing"),
        pytest.param("0::/\n", V2_ROOT, (0, 0), id="the root group of version 2 is no container's"),
        pytest.param(
            "4:memory:/docker/c\n2:cpu,cpuacct:/docker/c\n0::/\n", V1, (1_500, 4_096), id="version 1"
        ),
        pytest.param(
            "4:memory:/\n2:cpuacct:/\n0::/\n",
            V1,
            (0, 0),
            id="what version 1 says of an ending process is not the machine's",
        ),
        pytest.param(
            "4:memory:/docker/c\n2:cpuacct:/\n0::/\n", V1, (0, 4_096), id="each controller for itself"
        ),
        pytest.param(
            "2:cpuacct:/docker/c\n0::/docker/c\n", V1, (1_500, 0), id="a machine that does not count memory"
        ),
        pytest.param(
            "2:cpuacct:/docker/c\n0::/docker/c\n",
            V1 | {"unified/cgroup.controllers": "memory\n", "unified/docker/c/memory.peak": "8192\n"},
            (1_500, 8_192),
            id="both versions at a time",
        ),
        pytest.param(
            "0::/docker/c\n",
            V2_ROOT | {"docker/c/cpu.stat": "usage_usec many\n", "docker/c/memory.peak": ""},
            (0, 0),
            id="no number is none",
        ),
    ],
)
def test_usage_is_the_containers_own(
    says: str, files: dict[str, str], used: tuple[int, int], tmp_path: Path
) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    for file, text in {proc / f"{PID}/cgroup": says, **{root / name: files[name] for name in files}}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert cgroups.usage(PID, proc, root) == used


def test_a_process_that_is_gone_has_used_nothing(tmp_path: Path) -> None:
    assert cgroups.usage(PID, tmp_path, tmp_path) == (0, 0)


@pytest.mark.skipif(
    not (cgroups.ROOT / "cpuacct").exists(), reason="version 2 tells an ended process's own group"
)
def test_a_process_that_has_ended_here_is_not_taken_for_the_machine() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert cgroups.usage(child) == (0, 0)
    finally:
        os.waitpid(child, 0)
