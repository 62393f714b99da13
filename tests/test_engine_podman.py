"""Podman behind Docker's API: what it tells otherwise, and a real one with storage of its own."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.core.wire.exec import ExecBody, ExecEnd, Terminal
from p2pnode.core.wire.spec import DockerTask, Network, NetworkType, Resources
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.entering import CannotEnter
from p2pnode.engines.docker import kernel_log, podman
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.workload import ProgramEnd

from .docker_engine import BUSYBOX, cannot_run
from .engine_support import Calls, make_workload, read, run
from .nodes import until
from .own_programs import MARK, marked

START_S_MAX = 20.0
COMMANDS = ("sh", "sleep", "echo", "cat")
NOT_FOUND = b"ERROR (catatonit:6): failed to exec pid1: No such file or directory\n"
GROUP = "1f" * 32
KILLED = "6,9831,30223814831,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0"


@pytest.mark.parametrize(
    ("code", "stderr", "told"),
    [
        pytest.param(1, NOT_FOUND, 127, id="a command that is not there"),
        pytest.param(
            1,
            b"ERROR (catatonit:12): failed to exec pid1: Permission denied\n",
            126,
            id="one that is no program",
        ),
        pytest.param(
            1,
            b"ERROR (catatonit:6): failed to exec pid1: Exec format error\n",
            1,
            id="one of another machine",
        ),
        pytest.param(1, b"hello\n" + NOT_FOUND, 1, id="a program that ran and says so"),
        pytest.param(2, NOT_FOUND, 2, id="a program with another code"),
        pytest.param(0, NOT_FOUND, 0, id="success"),
        pytest.param(1, b"", 1, id="a program that says nothing"),
    ],
)
def test_the_exit_code_is_that_of_dockers_init(code: int, stderr: bytes, told: int) -> None:
    assert podman.exit_code(code, stderr) == told


@pytest.mark.parametrize(
    ("info", "is_named"),
    [
        pytest.param(
            {"BuildahVersion": "1.28.2", "SecurityOptions": ["name=seccomp"]}, True, id="Podman as root"
        ),
        pytest.param(
            {"BuildahVersion": "1.28.2", "SecurityOptions": None}, True, id="without security options"
        ),
        pytest.param(
            {"BuildahVersion": "1.28.2", "SecurityOptions": ["name=rootless"]}, False, id="rootless"
        ),
        pytest.param(
            {"BuildahVersion": "1.28.2", "Rootless": True}, False, id="rootless, as Podman 4.3 says it"
        ),
        pytest.param({"ServerVersion": "20.10.24"}, False, id="Docker"),
    ],
)
def test_podman_as_root_is_told_the_limit_of_processes_that_it_may_give(
    info: dict[str, Any], is_named: bool
) -> None:
    found = podman.processes_max(info)
    assert (found is not None) == is_named
    assert found is None or 0 < found <= int(Path("/proc/sys/kernel/pid_max").read_text())


@pytest.mark.parametrize(
    ("record", "is_told"),
    [
        pytest.param(
            f"{KILLED},oom_memcg=/libpod_parent/libpod-{GROUP},task_memcg=/x,task=sh", True, id="v1"
        ),
        pytest.param(
            f"{KILLED},oom_memcg=/machine.slice/libpod-{GROUP}.scope,task_memcg=/x,task=sh",
            True,
            id="systemd's",
        ),
        pytest.param(
            f"{KILLED},oom_memcg=/other,task_memcg=/libpod-{GROUP},task=sh", False, id="of what it is in"
        ),
        pytest.param(f"{KILLED},oom_memcg=/libpod-{GROUP[:-1]}0,task_memcg=/x", False, id="another's"),
        pytest.param(f"6,1,1,-;Memory cgroup stats for /libpod-{GROUP}:", False, id="another record"),
    ],
)
def test_the_kernel_says_whose_limit_of_memory_it_was(record: str, is_told: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record)
    assert kernel_log.out_of_memory(GROUP, str(log)) == is_told


def test_a_kernel_log_that_is_not_ours_says_nothing(tmp_path: Path) -> None:
    assert not kernel_log.out_of_memory(GROUP, str(tmp_path / "none"))


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    """A Podman of these tests' own: nothing of it is in the system's directories."""
    if missing := [one for one in ("podman", "catatonit", "busybox") if not shutil.which(one)]:
        cannot_run(f"not installed: {' '.join(missing)}")
    # A monitor of a container may still clean up after it, when all else has ended.
    with tempfile.TemporaryDirectory(prefix="p2pnode-podman-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        # Its plainest storage is there on any file system.
        places = [f"--root={made}/root", f"--runroot={made}/run", "--storage-driver=vfs"]
        command = ["podman", *places, f"--network-config-dir={made}/net", "--cgroup-manager=cgroupfs"]
        with tarfile.open(directory / "busybox.tar", "w") as tar:
            tar.add(str(shutil.which("busybox")), "bin/busybox")
            for name in COMMANDS:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        load = [*command, "import", "-q", "--change=ENV PATH=/bin", str(directory / "busybox.tar"), BUSYBOX]
        subprocess.run(load, check=True, capture_output=True, timeout=START_S_MAX)
        socket = directory / "podman.sock"
        with (directory / "log").open("wb") as log:
            serve = [*command, "system", "service", "--time=0", f"unix://{socket}"]
            # Its containers' monitors leave notes in the directory that it is started in.
            service = subprocess.Popen(serve, stdout=log, stderr=log, cwd=directory)
        try:
            until("Podman answers", socket.exists, START_S_MAX)
            yield DockerEngine("test-podman", str(socket), networks=(NetworkType.BRIDGE,))
        finally:
            subprocess.run([*command, "rm", "-fa", "-t0"], check=False, capture_output=True)
            service.terminate()
            service.wait()


async def test_podman_runs_a_program_and_gives_its_result(engine: DockerEngine, tmp_path: Path) -> None:
    task = DockerTask(image=BUSYBOX, parameters=("sh", "-c", "echo hello; echo 1 > /outputs/one"))
    workload = make_workload(tmp_path, task, results={"outputs": "/outputs"})
    assert await engine.available() is None
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (0, None), ended
    assert read(workload.stdout) == "hello\n"
    assert read(workload.results[0].host_path / "one") == "1\n"


@pytest.mark.parametrize(
    ("parameters", "code", "reason"),
    [
        pytest.param(("sh", "-c", "exit 7"), 7, "the program exited with 7", id="its own code"),
        pytest.param(("/no/such",), 127, "not found in the image", id="a command that is not there"),
        pytest.param(("/outputs",), 126, "cannot be executed", id="one that is no program"),
        pytest.param(
            ("sh", "-c", "x=a; while true; do x=$x$x; done"),
            137,
            "out of memory",
            id="more memory than it has",
        ),
    ],
)
async def test_podman_tells_why_a_program_failed(
    engine: DockerEngine, tmp_path: Path, parameters: tuple[str, ...], code: int, reason: str
) -> None:
    task = DockerTask(image=BUSYBOX, parameters=parameters)
    resources = Resources(memory_bytes=16_000_000)
    workload = make_workload(tmp_path, task, results={"outputs": "/outputs"}, resources=resources)
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (code, Fault.JOB), ended
    assert reason in ended.reason


async def test_podman_stops_a_program_by_its_signal(engine: DockerEngine, tmp_path: Path) -> None:
    script = "trap 'echo stopped; exit 3' TERM; echo ready; while true; do sleep 0.1; done"
    workload = make_workload(tmp_path, DockerTask(image=BUSYBOX, parameters=("sh", "-c", script)))
    calls, ends = Calls(), list[ProgramEnd]()

    async def to_the_end() -> None:
        ends.append(await run(engine, workload, calls))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_the_end)
            await calls.started_event.wait()
            while "ready" not in read(workload.stdout):  # noqa: ASYNC110 - a container writes it
                await trio.sleep(0.02)
            workload.stopping.ask(5.0)
    assert (ends[0].exit_code, read(workload.stdout)) == (3, "ready\nstopped\n")


async def test_podman_has_no_bridge_and_says_what_has(engine: DockerEngine, tmp_path: Path) -> None:
    assert NetworkType.BRIDGE not in await engine.networks()
    task = DockerTask(image=BUSYBOX, parameters=("sh", "-c", "echo hello"))
    ended = await run(engine, make_workload(tmp_path, task, network=Network(type=NetworkType.BRIDGE)))
    assert (ended.fault, ended.reason) == (Fault.PEER, podman.NO_BRIDGE)


async def test_podman_begins_programs_in_a_container_and_none_is_left_behind(
    engine: DockerEngine, tmp_path: Path
) -> None:
    workload = make_workload(tmp_path, DockerTask(image=BUSYBOX, parameters=("sleep", "600")))
    calls = Calls()

    def wanted(*command: str, terminal: Terminal | None = None) -> ExecBody:
        return ExecBody(
            job=workload.job_id,
            execution=workload.execution_id,
            peer="node",
            controller="me",
            command=command,
            terminal=terminal,
            stdin=True,
        )

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, engine, workload, calls)
            await calls.started_event.wait()
            async with engine.enter(wanted("sh", "-c", "cat; exit 7")) as program:
                await program.write(b"hello")
                assert await program.read() == ("stdout", b"hello")
                await program.end_input()
                assert await program.read() is None
                assert await program.ended() == ExecEnd(exit_code=7, reason="")
            for terminal in (None, Terminal(columns=80, rows=24, type="xterm")):
                async with engine.enter(wanted("sleep", MARK, terminal=terminal)) as program:
                    while not marked():  # noqa: ASYNC110 - another process begins it
                        await trio.sleep(0.02)
                assert marked() == 0
            with pytest.raises(CannotEnter):
                async with engine.enter(wanted("no-such")):
                    pytest.fail("it began")
            nursery.cancel_scope.cancel()
