"""Containers while the Docker engine itself is restarted; with an engine of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.api import unavailable
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.workload import ProgramEnd, Workload

from .docker_engine import BUSYBOX, cannot_run, require_docker
from .engine_support import Calls, make_workload, read, run

SCRIPT = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 0.3; done; exit 9"


@asynccontextmanager
async def own_engine(directory: Path, *options: str) -> AsyncIterator[str]:
    """A second engine below the directory; gives its socket's path.

    It has a network namespace of its own: told to have no bridge, dockerd removes the other engine's.
    """
    socket_path = str(directory / "docker.sock")
    command = ["unshare", "--net", "dockerd", "--host", f"unix://{socket_path}"]
    command += ["--bridge", "none", "--iptables=false"]
    command += ["--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")]
    command += ["--pidfile", str(directory / "pid"), *options]
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process = await trio.lowlevel.open_process(command, stdout=log, stderr=log)
    os.close(log)
    try:
        with trio.fail_after(30):
            while await unavailable(socket_path):  # noqa: ASYNC110 - another process answers or not
                await trio.sleep(0.1)
        yield socket_path
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 30):
            process.terminate()
            await process.wait()


async def run_through_a_restart(
    directory: Path, tmp_path: Path, *options: str
) -> tuple[ProgramEnd, Workload]:
    workload = make_workload(tmp_path, DockerTask(image=BUSYBOX, parameters=("sh", "-c", SCRIPT)))
    calls = Calls()
    ends: list[ProgramEnd] = []

    async def run_it() -> None:
        ends.append(
            await run(DockerEngine("node", socket_path=str(directory / "docker.sock")), workload, calls)
        )

    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            async with own_engine(directory, *options) as socket_path:
                save = await trio.run_process(["docker", "save", BUSYBOX], capture_stdout=True)
                load = ["docker", "-H", f"unix://{socket_path}", "load"]
                await trio.run_process(load, stdin=save.stdout, capture_stdout=True)
                nursery.start_soon(run_it)
                await calls.started_event.wait()
                await trio.sleep(0.5)
            async with own_engine(directory, *options):
                while not ends:  # noqa: ASYNC110 - the nursery is left only after the engine
                    await trio.sleep(0.1)
    return ends[0], workload


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: a unix socket's path has 107 bytes."""
    require_docker()
    if os.geteuid() or not (shutil.which("dockerd") and shutil.which("unshare")):
        cannot_run("an engine of our own needs root and dockerd")
    path = Path(tempfile.mkdtemp(prefix="dkr"))
    yield path
    # dockerd leaves its data directory bind-mounted onto itself.
    subprocess.run(["umount", path / "data"], check=False, capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


async def test_a_container_that_lives_on_is_followed_to_its_end_without_a_gap(
    directory: Path, tmp_path: Path
) -> None:
    ended, workload = await run_through_a_restart(directory, tmp_path, "--live-restore")
    assert (ended.exit_code, ended.fault) == (9, Fault.JOB), ended
    assert read(workload.stdout) == "".join(f"{number}\n" for number in range(1, 13))


async def test_a_container_that_the_engine_took_down_is_the_peers_fault(
    directory: Path, tmp_path: Path
) -> None:
    ended, _ = await run_through_a_restart(directory, tmp_path)
    assert ended.fault is Fault.PEER, ended
