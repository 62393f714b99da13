"""Images from a registry: a real one on the loopback."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.messages import Fault
from p2pnode.core.spec import DockerEngine as DockerTask
from p2pnode.engines.docker import DockerEngine

from .docker_engine import BUSYBOX, cannot_run, require_docker
from .engine_support import Calls, make_workload, read, run

CONFIG = """
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {directory}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


async def docker(*arguments: str) -> str:
    result = await trio.run_process(["docker", *arguments], capture_stdout=True, capture_stderr=True)
    return result.stdout.decode().strip()


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a registry that holds `only-here:1`, an image that the engine does not have."""
    require_docker()
    if not shutil.which("docker-registry"):
        cannot_run("docker-registry is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "config.yml").write_text(CONFIG.format(directory=tmp_path / "registry", port=port))
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    command = ["docker-registry", "serve", str(tmp_path / "config.yml")]
    process = await trio.lowlevel.open_process(command, stdout=log, stderr=log)
    os.close(log)
    try:
        with trio.fail_after(20):
            while await refused(port):  # noqa: ASYNC110 - another process listens or not
                await trio.sleep(0.05)
        address = f"127.0.0.1:{port}"
        # A container's own change makes a layer that no other image shares, so that it has to be pulled.
        container = await docker("create", "--network", "none", BUSYBOX, "touch", "/made-for-this-test")
        await docker("start", "--attach", container)
        await docker("commit", container, f"{address}/only-here:1")
        await docker("rm", container)
        await docker("push", f"{address}/only-here:1")
        await docker("rmi", f"{address}/only-here:1")
        yield address
    finally:
        process.terminate()
        await process.wait()


async def refused(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return True
    return False


async def test_an_image_is_pulled_when_it_is_missing_and_only_then(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/only-here:1"
    task = DockerTask(image=image, parameters=("ls", "/made-for-this-test"))
    engine = DockerEngine("node")
    first, second = Calls(), Calls()
    try:
        for calls in (first, second):
            workload = make_workload(tmp_path, task)
            ended = await run(engine, workload, calls)
            assert ended.exit_code == 0, ended
            assert read(workload.stdout) == "/made-for-this-test\n"
    finally:
        await docker("rmi", image)
    assert first.progress[0] == f"pulling image {image}"
    assert second.progress == ["creating the container"]


@pytest.mark.parametrize("name", ["only-here:2", "nowhere:1", "only-here@sha256:" + "0" * 64])
async def test_an_image_that_the_registry_does_not_have_is_the_jobs_fault(
    registry: str, tmp_path: Path, name: str
) -> None:
    ended = await run(DockerEngine("node"), make_workload(tmp_path, DockerTask(image=f"{registry}/{name}")))
    assert ended.fault is Fault.JOB, ended
    assert ended.reason.startswith(f"cannot pull image {registry}/{name}: ")
