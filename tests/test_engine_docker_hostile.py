"""Containers that would hurt the machine: entries without bytes, setuid files, mounts over the system."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire.spec import Resources
from p2pnode.core.wire.states import Fault
from p2pnode.engines import workload as shared
from p2pnode.engines.docker import follow
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.engines.workload import Mount, Workload

from .docker_engine import BUSYBOX, SOCKET, containers, is_podman, require_docker, shell
from .engine_support import make_workload, read, run

NODE = f"test-hostile-{os.getpid()}"
LIMITED = Resources(memory_bytes=64_000_000, disk_bytes=50_000_000)
EMPTY_FILES = "mkdir %s/many; cd %s/many; seq 1 295000 | xargs touch; sleep 60"


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    require_docker()
    engine = DockerEngine(NODE, SOCKET)
    yield engine
    left = containers(f"label={LABEL_NODE}={NODE}")
    await engine.reap(())
    assert left == []


def writing(directory: Path, script: str, source: Path) -> Workload:
    """A workload with a directory of the operator's that the job may write."""
    workload = make_workload(directory, shell(script))
    mount = Mount(host_path=source, target="/shared", read_only=False)
    return Workload(
        **{name: getattr(workload, name) for name in workload.__slots__ if name != "inputs"}, inputs=(mount,)
    )


@pytest.mark.parametrize("seen", [True, False], ids=["as root", "as a node that only the engine tells"])
async def test_empty_files_in_a_containers_own_layer_count_as_its_disk(
    engine: DockerEngine, seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not seen:
        monkeypatch.setattr(follow.os, "access", lambda path, mode: False)
    workload = make_workload(tmp_path, shell(EMPTY_FILES.replace("%s", "/home")), resources=LIMITED)
    with trio.fail_after(60):
        ended = await run(engine, workload)
    assert ended.fault is Fault.JOB
    assert ended.reason.startswith("out of disk: it wrote"), ended
    assert ended.reason.endswith("the job's disk limit is 50000000"), ended


async def test_too_many_files_end_a_container_without_a_disk_limit(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "ENTRIES_MAX", 20_000)
    workload = make_workload(tmp_path, shell(EMPTY_FILES.replace("%s", "/home")))
    with trio.fail_after(60):
        ended = await run(engine, workload)
    assert (ended.fault, ended.reason) == (
        Fault.JOB,
        "out of disk: it wrote more than 20,000 files and directories",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change files of a container's root")
async def test_no_setuid_file_is_left_in_an_operators_directory(engine: DockerEngine, tmp_path: Path) -> None:
    source = tmp_path / "shared"
    source.mkdir()
    script = (
        "cd /shared; mkdir -p a/b; for f in one a/two a/b/three; do cp /bin/busybox $f; done;"
        "chmod 4755 one; chmod 6755 a/two; chmod 2755 a/b/three; ls -l one"
    )
    workload = writing(tmp_path, script, source)
    assert (await run(engine, workload)).exit_code == 0, read(workload.stderr)
    assert read(workload.stdout).startswith("-rwsr-xr-x")
    modes = [stat.S_IMODE((source / name).stat().st_mode) for name in ("one", "a/two", "a/b/three")]
    assert modes == [0o755, 0o755, 0o755]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change files of a container's root")
async def test_nor_by_a_container_that_a_node_which_was_killed_has_left(
    engine: DockerEngine, tmp_path: Path
) -> None:
    command = ["docker", "run", "-d", "--label", f"{LABEL_NODE}={NODE}", "-v", f"{tmp_path}:/shared"]
    script = "cp /bin/busybox /shared/x; chmod 4755 /shared/x; touch /shared/made; sleep 60"
    await trio.run_process([*command, BUSYBOX, "sh", "-c", script], capture_stdout=True)
    with trio.fail_after(30):
        while not (tmp_path / "made").exists():  # noqa: ASYNC110 - a container makes it
            await trio.sleep(0.05)
    assert (tmp_path / "x").stat().st_mode & stat.S_ISUID
    await engine.reap(())
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("inputs", "results", "reason"),
    [
        pytest.param(["/etc"], {}, "nothing can be mounted at /etc/", id="over the container's own /etc"),
        pytest.param(["/proc"], {}, "nothing can be mounted at /proc: ", id="over /proc"),
        pytest.param(["/"], {}, "cannot create the container", id="over everything"),
        pytest.param(["/in"], {"outputs": "/in"}, "cannot create the container", id="two at one place"),
        pytest.param(
            ["/in"], {"outputs": "/in/deep"}, "nothing can be mounted at /in/", id="in a read-only one"
        ),
    ],
)
async def test_a_mount_that_cannot_be_is_the_jobs_fault_and_names_no_path_of_the_host(
    engine: DockerEngine, inputs: list[str], results: dict[str, str], reason: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    workload = make_workload(tmp_path, shell("true"), inputs=dict.fromkeys(inputs, source), results=results)
    ended = await run(engine, workload)
    assert ended.fault is Fault.JOB, ended
    if is_podman() and inputs == ["/"]:
        # The engine makes such a container, which cannot start.
        reason = "nothing can be mounted at /proc: "
    assert ended.reason.startswith(reason), ended
    assert str(tmp_path) not in ended.reason
    assert "/var/lib/docker" not in ended.reason
