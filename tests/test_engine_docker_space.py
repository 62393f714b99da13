"""Result directories that hold no more than the job's disk limit; where this is root."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire.spec import DockerTask, Resources
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker import space
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.engines.workload import Workload

from .docker_engine import BUSYBOX, SOCKET, cannot_run, containers, require_docker
from .engine_support import Calls, make_workload, read, run

NODE = f"test-{os.getpid()}"
LIMITED = Resources(memory_bytes=64_000_000, disk_bytes=20_000_000)


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    require_docker()
    if not space.possible():
        cannot_run("mounting a file needs root, ext4 and a loop device")
    engine = DockerEngine(NODE, SOCKET)
    yield engine
    left = containers(f"label={LABEL_NODE}={NODE}")
    await engine.reap(())
    assert left == []


def limited(directory: Path, script: str) -> Workload:
    task = DockerTask(image=BUSYBOX, entrypoint=("sh", "-c"), parameters=(script,))
    return make_workload(directory, task, results={"outputs": "/outputs", "more": "/more"}, resources=LIMITED)


def mounts_below(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]


async def test_results_over_the_limit_do_not_fit(engine: DockerEngine, tmp_path: Path) -> None:
    script = "dd if=/dev/zero of=/outputs/fits bs=1M count=18 && dd if=/dev/zero of=/more/big bs=1M count=9"
    workload = limited(tmp_path, script + "; sleep 0.6")
    ended = await run(engine, workload)
    assert ended.exit_code == 0, ended
    assert "No space left on device" in read(workload.stderr)
    outputs, more = (mount.host_path for mount in workload.results)
    assert (outputs / "fits").stat().st_size == 18 * 1024**2
    assert (more / "big").stat().st_size < 4 * 1024**2
    assert mounts_below(tmp_path) == []
    assert sorted(os.listdir(workload.directory)) == ["results", "stderr", "stdout"]


async def test_what_is_left_in_them_is_copied_as_it_is(engine: DockerEngine, tmp_path: Path) -> None:
    script = "cd /outputs; ln -s /etc/passwd link; mkfifo pipe; mkdir -m 700 deep; echo x > deep/file"
    workload = limited(tmp_path, script + "; truncate -s 10M hole")
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (0, None), read(workload.stderr)
    assert ended.reason == "exited; the result lacks outputs/pipe (a pipe, socket or device)"
    outputs = workload.results[0].host_path
    assert os.readlink(outputs / "link") == "/etc/passwd"
    assert read(outputs / "deep" / "file") == "x\n"
    assert (outputs / "hole").stat().st_blocks == 0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("truncate -s 10G /outputs/huge", "the job's disk limit", id="a hole"),
        pytest.param(
            "cd /outputs; for i in $(seq 100); do mkdir d; cd d; done", "63 directories deep", id="depth"
        ),
    ],
)
async def test_what_is_unfit_to_be_a_result_is_not_copied_and_is_the_jobs_fault(
    engine: DockerEngine, script: str, said: str, tmp_path: Path
) -> None:
    workload = limited(tmp_path, script)
    ended = await run(engine, workload)
    assert (ended.fault, said in ended.reason) == (Fault.JOB, True), ended
    kept = list(workload.results[0].host_path.rglob("*"))
    assert len(kept) == (0 if "hole" in said or "limit" in said else 63)
    assert mounts_below(tmp_path) == []


ALL_NAMES = "cd /outputs; seq 9000 | xargs -n 500 touch 2>/dev/null"


async def test_what_fitted_of_too_many_files_is_kept(engine: DockerEngine, tmp_path: Path) -> None:
    workload = limited(tmp_path, f"{ALL_NAMES}; true")
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (0, None), ended
    assert 4_000 < len(os.listdir(workload.results[0].host_path)) < 9_000


async def test_a_program_that_left_no_room_to_put_aside_what_is_unfit_is_at_fault_itself(
    engine: DockerEngine, tmp_path: Path
) -> None:
    workload = limited(tmp_path, f"mkfifo /outputs/pipe; {ALL_NAMES}; true")
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (0, Fault.JOB), ended
    assert "outputs (it has used up the job's disk limit" in ended.reason


async def test_a_program_that_is_killed_leaves_its_results(engine: DockerEngine, tmp_path: Path) -> None:
    workload, calls = limited(tmp_path, "echo half > /outputs/file; echo written; sleep 60"), Calls()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, engine, workload, calls)
            await calls.started_event.wait()
            while not read(workload.stdout):  # noqa: ASYNC110 - a container writes it
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert read(workload.results[0].host_path / "file") == "half\n"
    assert mounts_below(tmp_path) == []


async def test_a_container_that_outlived_its_node_is_limited_on(engine: DockerEngine, tmp_path: Path) -> None:
    """As after a restart: the container runs, and its space is mounted or, the machine restarted, is not."""
    workload = limited(tmp_path, "true")
    space.make(workload)
    outputs = space.inside(workload).results[0].host_path
    (outputs / "file").write_text("kept")
    await trio.run_process(["umount", str(workload.directory / space.DIRECTORY)])
    command = [
        "docker",
        "create",
        "--name",
        workload.execution_id,
        "--label",
        f"{LABEL_NODE}={NODE}",
        BUSYBOX,
        "true",
    ]
    for one in (command, ["docker", "start", "-a", workload.execution_id]):
        await trio.run_process(one, capture_stdout=True)
    assert (await run(engine, workload)).exit_code == 0
    assert read(workload.results[0].host_path / "file") == "kept"
    assert mounts_below(tmp_path) == []


async def test_spaces_of_executions_that_nobody_wants_are_unmounted(
    engine: DockerEngine, tmp_path: Path
) -> None:
    workload = limited(tmp_path, "true")
    space.make(workload)
    labels = ["--label", f"{LABEL_NODE}={NODE}", "--label", f"p2pnode.execution={workload.execution_id}"]
    await trio.run_process(["docker", "create", *labels, BUSYBOX, "true"], capture_stdout=True)
    assert mounts_below(tmp_path)
    assert await engine.reap(()) == [workload.execution_id]
    assert mounts_below(tmp_path) == []


async def test_a_space_that_cannot_be_made_leaves_the_disk_watched(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "_MAKE", ("false",))
    workload = limited(tmp_path, "dd if=/dev/zero of=/outputs/big bs=1M count=60; sleep 60")
    ended = await run(engine, workload)
    assert ended.fault is Fault.JOB
    assert ended.reason.startswith("out of disk: it wrote"), ended
