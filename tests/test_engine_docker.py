"""The Docker engine, with real containers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import Registries
from p2pnode.core.wire.spec import (
    DockerTask,
    NetworkType,
    Resources,
)
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.engines.workload import LOG_SIZE_BYTES_MAX, ProgramEnd, Workload

from .docker_engine import (
    BATCH_EXAMPLE,
    BUSYBOX,
    SOCKET,
    containers,
    require_docker,
    shell,
)
from .engine_support import Calls, make_workload, read, run

DATA = Path(__file__).parent.parent / "devnet" / "jobs" / "wordcount-data"
NODE = f"test-{os.getpid()}"


@pytest.fixture
def engine() -> DockerEngine:
    require_docker()
    registries = Registries(allowed=(AllowedHost.parse("127.0.0.1:1"),))
    return DockerEngine(NODE, SOCKET, registries=registries)


@pytest.fixture(autouse=True)
async def no_container_left(engine: DockerEngine) -> AsyncIterator[None]:
    yield
    left = containers(f"label={LABEL_NODE}={NODE}")
    await engine.reap(())
    assert left == []


async def run_shell(
    engine: DockerEngine, tmp_path: Path, script: str, resources: Resources | None = None
) -> tuple[ProgramEnd, Workload]:
    workload = make_workload(tmp_path, shell(script), resources=resources)
    return await run(engine, workload), workload


async def test_output_exit_code_and_usage_come_back(engine: DockerEngine, tmp_path: Path) -> None:
    workload = make_workload(tmp_path, shell("echo out; echo err >&2; sleep 0.2; exit 7"))
    calls = Calls()
    ended = await run(engine, workload, calls)
    assert (ended.exit_code, ended.fault, ended.reason) == (7, Fault.JOB, "the program exited with 7")
    assert (read(workload.stdout), read(workload.stderr)) == ("out\n", "err\n")
    assert calls.started == 1
    assert ended.program.startswith("sha256:")
    assert ended.memory_bytes > 0


async def test_the_order_of_both_streams_is_known(engine: DockerEngine, tmp_path: Path) -> None:
    script = "for n in 1 2 3; do echo out; sleep 0.1; echo error >&2; sleep 0.1; done"
    ended, workload = await run_shell(engine, tmp_path, script)
    assert ended.exit_code == 0
    assert workload.order.runs == [4, 6] * 3


async def test_the_batch_example_reads_its_input_and_writes_its_result(
    engine: DockerEngine, tmp_path: Path
) -> None:
    workload = make_workload(
        tmp_path,
        DockerTask(image=BATCH_EXAMPLE, parameters=("python", "supercalc.py", "5", "/outputs/result.txt")),
        inputs={"/data": DATA},
        results={"outputs": "/outputs"},
    )
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (0, None), read(workload.stderr)
    result = read(workload.results[0].host_path / "result.txt")
    assert "the first 5 primes: 2 3 5 7 11" in result
    assert "/data/melville.txt" in result


async def test_the_environment_is_the_tasks_the_engines_and_ours(
    engine: DockerEngine, tmp_path: Path
) -> None:
    task = DockerTask(
        image=BUSYBOX,
        parameters=("sh", "-c", "echo $A $B $P2PNODE_REPLICA $BACALHAU_PARTITION_COUNT; pwd"),
        environment={"B": "engine", "P2PNODE_REPLICA": "forged"},
        working_directory="/tmp",
    )
    workload = make_workload(tmp_path, task, environment={"A": "task", "B": "task"})
    await run(engine, workload)
    assert read(workload.stdout) == "task engine 1 2\n/tmp\n"


async def test_inputs_are_read_only_and_results_writable_for_any_user(
    engine: DockerEngine, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    task = shell("touch /data/x 2>/dev/null && echo written; id -u; echo y > /outputs/y")
    workload = make_workload(tmp_path, task, inputs={"/data": data}, results={"outputs": "/outputs"})
    assert (await run(engine, workload)).exit_code == 0
    assert read(workload.stdout) == "0\n"
    assert read(workload.results[0].host_path / "y") == "y\n"
    assert workload.results[0].host_path.stat().st_mode & 0o777 == 0o777


async def test_a_program_has_few_capabilities_and_no_new_privileges(
    engine: DockerEngine, tmp_path: Path
) -> None:
    _, workload = await run_shell(engine, tmp_path, "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")
    usual = f"{0x4FB:016x}"
    assert read(workload.stdout).split() == ["CapEff:", usual, "CapBnd:", usual, "NoNewPrivs:", "1"]


async def test_network_none_has_no_way_out(engine: DockerEngine, tmp_path: Path) -> None:
    ended, workload = await run_shell(
        engine, tmp_path, "ls /sys/class/net; cat /proc/net/route | wc -l; nc 172.17.0.1 22 </dev/null"
    )
    assert read(workload.stdout).split() == ["lo", "1"]
    assert ended.exit_code != 0
    assert "unreachable" in read(workload.stderr)


async def test_out_of_memory_is_told_apart(engine: DockerEngine, tmp_path: Path) -> None:
    resources = Resources(memory_bytes=16_000_000)
    ended, _ = await run_shell(engine, tmp_path, "x=a; while true; do x=$x$x; done", resources)
    assert (ended.exit_code, ended.fault) == (137, Fault.JOB)
    assert "out of memory: it needed more than 16000000 bytes" in ended.reason


async def test_a_fork_bomb_hits_a_wall(engine: DockerEngine, tmp_path: Path) -> None:
    resources = Resources(memory_bytes=1_000_000_000)
    script = "i=0; while [ $i -lt 1100 ]; do sleep 5 & i=$((i+1)); done; exit 3"
    ended, workload = await run_shell(engine, tmp_path, script, resources)
    assert ended.exit_code != 3
    assert "can't fork" in read(workload.stderr)


async def test_too_much_disk_ends_the_program(engine: DockerEngine, tmp_path: Path) -> None:
    resources = Resources(memory_bytes=64_000_000, disk_bytes=20_000_000)
    task = shell("dd if=/dev/zero of=/tmp/big bs=1M count=60; sleep 60")
    ended = await run(engine, make_workload(tmp_path, task, resources=resources))
    assert ended.fault is Fault.JOB
    assert ended.reason.startswith("out of disk: it wrote"), ended
    assert ended.exit_code is None


async def test_what_is_written_to_the_images_own_volumes_counts(engine: DockerEngine, tmp_path: Path) -> None:
    image = "p2pnode/volume:1"
    dockerfile = f"FROM {BUSYBOX}\nVOLUME /data\n"
    build = ["docker", "build", "-q", "-t", image, "-"]
    await trio.run_process(
        build, stdin=dockerfile.encode(), capture_stdout=True, env={**os.environ, "DOCKER_BUILDKIT": "0"}
    )
    try:
        fills = shell("dd if=/dev/zero of=/data/big bs=1M count=60; sleep 60")
        task = msgspec.structs.replace(fills, image=image)
        resources = Resources(memory_bytes=64_000_000, disk_bytes=20_000_000)
        ended = await run(engine, make_workload(tmp_path, task, resources=resources))
        assert ended.reason.startswith("out of disk: it wrote"), ended
    finally:
        await trio.run_process(["docker", "rmi", "-f", image], capture_stdout=True)


@pytest.mark.parametrize(
    ("task", "fault", "reason"),
    [
        (DockerTask(image="no registry has/this"), Fault.JOB, "invalid reference format"),
        (DockerTask(image="127.0.0.1:1/none:1"), Fault.NETWORK, "cannot pull image 127.0.0.1:1/none:1"),
        (DockerTask(image=BUSYBOX, parameters=("/no/such",)), Fault.JOB, "not found in the image"),
        (DockerTask(image=BUSYBOX, parameters=("/etc/passwd",)), Fault.JOB, "cannot be executed"),
        (
            DockerTask(image=BUSYBOX, working_directory="not/absolute"),
            Fault.JOB,
            # By Docker; Podman makes it, and cannot start it.
            " the container: ",
        ),
    ],
)
async def test_what_cannot_run_has_a_reason(
    engine: DockerEngine, tmp_path: Path, task: DockerTask, fault: Fault, reason: str
) -> None:
    ended = await run(engine, make_workload(tmp_path, task))
    assert ended.fault is fault
    assert reason in ended.reason
    assert "\n" not in ended.reason


@pytest.mark.parametrize(
    "path", ["/data/out", "/proc/x", "/sys/x", "/dev/null", "/etc/passwd", "/data/file/x"]
)
async def test_a_mount_that_cannot_be_made_is_the_jobs_fault(
    engine: DockerEngine, tmp_path: Path, path: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").touch()
    ended = await run(
        engine, make_workload(tmp_path, shell("true"), inputs={"/data": data}, results={"o": path})
    )
    assert ended.fault is Fault.JOB
    assert "mount" in ended.reason
    assert str(tmp_path) not in ended.reason
    assert "/var/lib/docker" not in ended.reason


async def test_a_programs_own_137_is_its_own(engine: DockerEngine, tmp_path: Path) -> None:
    ended, _ = await run_shell(engine, tmp_path, "exit 137")
    assert (ended.exit_code, ended.fault) == (137, Fault.JOB)


async def test_a_crash_is_named(engine: DockerEngine, tmp_path: Path) -> None:
    ended, _ = await run_shell(engine, tmp_path, "kill -SEGV $$")
    assert ended.reason == "the program exited with 139 (SIGSEGV)"


async def test_a_kill_from_outside_is_the_peers_fault(engine: DockerEngine, tmp_path: Path) -> None:
    workload = make_workload(tmp_path, shell("sleep 60"))
    calls = Calls()
    ends: list[ProgramEnd] = []
    async with trio.open_nursery() as nursery:

        async def run_it() -> None:
            ends.append(await run(engine, workload, calls))

        nursery.start_soon(run_it)
        await calls.started_event.wait()
        await trio.run_process(["docker", "kill", workload.execution_id], capture_stdout=True)
    assert (ends[0].exit_code, ends[0].fault) == (137, Fault.PEER)


async def test_cancelling_removes_the_container(engine: DockerEngine, tmp_path: Path) -> None:
    calls = Calls()
    workload = make_workload(tmp_path, shell("trap '' TERM; sleep 60"))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, engine, workload, calls)
            await calls.started_event.wait()
            nursery.cancel_scope.cancel()
    assert containers(f"name={workload.execution_id}") == []


async def test_a_flood_of_output_is_cut_and_the_program_goes_on(engine: DockerEngine, tmp_path: Path) -> None:
    script = "dd if=/dev/zero bs=1M count=20 2>/dev/null | tr '\\0' 'x'; echo end >&2"
    ended, workload = await run_shell(engine, tmp_path, script)
    assert ended.exit_code == 0
    note = f"\n[p2pnode: output cut at {LOG_SIZE_BYTES_MAX} bytes]\n"
    assert read(workload.stdout) == "x" * LOG_SIZE_BYTES_MAX + note
    assert read(workload.stderr) == "end\n"


async def test_twelve_megabytes_in_a_burst_arrive_complete(engine: DockerEngine, tmp_path: Path) -> None:
    ended, workload = await run_shell(engine, tmp_path, "seq 1 1600000")
    assert ended.exit_code == 0
    assert read(workload.stdout).splitlines() == [str(number) for number in range(1, 1_600_001)]


NODE_PROGRAM = """
import sys, trio
from pathlib import Path
from p2pnode.engines.docker.engine import DockerEngine
from tests.docker_engine import SOCKET, shell
from tests.engine_support import make_workload
node, directory, execution, script = sys.argv[1:]
workload = make_workload(
    Path(directory), shell(script), results={"outputs": "/outputs"}, execution_id=execution
)
trio.run(DockerEngine(node, SOCKET).run, workload, lambda: print("started", flush=True), lambda text: None)
"""


async def start_and_kill_node(directory: Path, execution_id: str, script: str, output: bytes) -> None:
    """A node, as a process of its own, starts the script and is killed when that has printed `output`."""
    command = [sys.executable, "-c", NODE_PROGRAM, NODE, str(directory), execution_id, script]
    root = Path(__file__).parent.parent
    with trio.fail_after(30):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=root)
        assert process.stdout
        assert b"started" in await process.stdout.receive_some()
        log = trio.Path(directory / execution_id / "stdout")
        while output not in await log.read_bytes():  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.05)
        process.kill()
        await process.wait()
        await process.stdout.aclose()


async def test_a_restarted_node_goes_on_with_its_container(engine: DockerEngine, tmp_path: Path) -> None:
    execution_id = f"e-{os.getpid():032x}"
    script = "touch /outputs/kept; for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.3; done; exit 9"
    await start_and_kill_node(tmp_path, execution_id, script, b"2\n")
    await trio.sleep(0.6)
    workload = make_workload(
        tmp_path, shell(script), results={"outputs": "/outputs"}, execution_id=execution_id
    )
    ended = await run(engine, workload)
    assert ended.exit_code == 9
    assert read(workload.stdout) == "".join(f"{number}\n" for number in range(1, 10))
    assert os.listdir(workload.results[0].host_path) == ["kept"]


async def test_containers_that_nobody_wants_are_reaped_and_others_are_left(
    engine: DockerEngine, tmp_path: Path
) -> None:
    wanted, unwanted = f"e-{os.getpid():031x}a", f"e-{os.getpid():031x}b"
    for execution_id in (wanted, unwanted):
        await start_and_kill_node(tmp_path, execution_id, "echo on; sleep 60", b"on")
    assert await DockerEngine("another node", SOCKET).reap(()) == []
    assert await engine.reap({wanted}) == [unwanted]
    assert containers(f"label={LABEL_NODE}={NODE}") == [wanted]
    assert await engine.reap(()) == [wanted]


async def test_an_absent_engine_is_noticed_at_once_and_blamed(tmp_path: Path) -> None:
    absent = DockerEngine(NODE, socket_path=str(tmp_path / "docker.sock"))
    with trio.fail_after(2):
        reason = await absent.available()
        assert reason is not None
        assert "No such file" in reason
        assert await absent.reap(()) == []
        ended = await run(absent, make_workload(tmp_path, shell("true")))
    assert ended.fault is Fault.PEER
    assert "cannot reach the Docker engine" in ended.reason


async def test_a_silent_engine_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with trio.fail_after(5):
            reason = await DockerEngine(NODE, socket_path=str(path)).available()
    assert reason is not None
    assert "did not answer" in reason


async def test_a_running_engine_is_available(engine: DockerEngine) -> None:
    assert await engine.available() is None
    assert NetworkType.NONE in await engine.networks()
