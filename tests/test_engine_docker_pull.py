"""Images from a registry: a real one on the loopback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.core.images import normal
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
{auth}
"""
AUTH = "auth: {{htpasswd: {{realm: test, path: {path}}}}}"
# Of the user "somebody"; docker-registry knows bcrypt only.
PASSWORD, HASH = "opensesame", "$2b$04$Nf3d15XFQlyXS7j3kBnnRecUILljG4pZmPfR.OsktP87SKW3ECa0m"


async def docker(*arguments: str) -> str:
    result = await trio.run_process(["docker", *arguments], capture_stdout=True, capture_stderr=True)
    return result.stdout.decode().strip()


@asynccontextmanager
async def serving(directory: Path, auth: str = "") -> AsyncIterator[str]:
    """A registry's address, while it runs."""
    require_docker()
    if not shutil.which("docker-registry"):
        cannot_run("docker-registry is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = CONFIG.format(directory=directory / "registry", port=port, auth=auth)
    (directory / "config.yml").write_text(text)
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT)
    command = ["docker-registry", "serve", str(directory / "config.yml")]
    process = await trio.lowlevel.open_process(command, stdout=log, stderr=log)
    os.close(log)
    try:
        with trio.fail_after(20):
            while await refused(port):  # noqa: ASYNC110 - another process listens or not
                await trio.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def push_only_here(address: str, name: str = "only-here:1", *options: str) -> str:
    """Push an image that the engine does not have then; returns its digest."""
    # A container's own change makes a layer that no other image shares, so that it has to be pulled.
    container = await docker("create", "--network", "none", BUSYBOX, "touch", f"/made-for-{name}")
    await docker("start", "--attach", container)
    await docker("commit", container, f"{address}/{name}")
    await docker("rm", container)
    pushed = await docker(*options, "push", f"{address}/{name}")
    await docker("rmi", f"{address}/{name}")
    return "sha256:" + pushed.rpartition("digest: sha256:")[2][:64]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a registry that holds `only-here:1`, an image that the engine does not have."""
    async with serving(tmp_path) as address:
        await push_only_here(address)
        yield address


async def refused(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return True
    return False


async def test_an_image_is_pulled_when_it_is_missing_and_only_then(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/only-here:1"
    task = DockerTask(image=image, parameters=("ls", "/made-for-only-here:1"))
    engine = DockerEngine("node")
    first, second = Calls(), Calls()
    try:
        for calls in (first, second):
            workload = make_workload(tmp_path, task)
            ended = await run(engine, workload, calls)
            assert ended.exit_code == 0, ended
            assert read(workload.stdout) == "/made-for-only-here:1\n"
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


async def test_an_image_by_its_digest_is_that_and_no_other(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/second@{await push_only_here(registry, 'second:1')}"
    engine = DockerEngine("node")
    assert normal(image) not in await engine.cached_images()
    try:
        task = DockerTask(image=image, parameters=("ls", "/made-for-second:1"))
        ended = await run(engine, make_workload(tmp_path, task))
        assert ended.exit_code == 0, ended
        assert normal(image) in await engine.cached_images()
    finally:
        await docker("rmi", image)


async def test_a_registry_is_asked_with_the_nodes_own_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made while the node runs: the engine, which is kept, was refused before."""
    (tmp_path / "htpasswd").write_text(f"somebody:{HASH}\n")
    (tmp_path / "configuration").mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "configuration"))
    engine = DockerEngine("node")
    async with serving(tmp_path, AUTH.format(path=tmp_path / "htpasswd")) as address:
        login = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
        (tmp_path / "pushing").mkdir()
        text = json.dumps({"auths": {address: {"auth": login}}})
        (tmp_path / "pushing" / "config.json").write_text(text)
        await push_only_here(address, "only-here:1", "--config", str(tmp_path / "pushing"))
        image = f"{address}/only-here:1"
        task = DockerTask(image=image, parameters=("true",))
        ended = await run(engine, make_workload(tmp_path, task))
        assert ended.fault is Fault.PEER
        assert "no basic auth credentials" in ended.reason, ended
        (tmp_path / "configuration" / "config.json").write_text(text)
        try:
            assert (await run(engine, make_workload(tmp_path, task))).exit_code == 0
        finally:
            await docker("rmi", image)


async def test_an_image_for_another_platform_is_refused_before_it_is_pulled(
    registry: str, tmp_path: Path
) -> None:
    image = f"{registry}/foreign:1"
    foreign = "s390x"
    await load_for(foreign, image, tmp_path)
    await docker("push", image)
    here = await run(DockerEngine("node"), make_workload(tmp_path, DockerTask(image=image)))
    await docker("rmi", image)
    calls = Calls()
    there = await run(DockerEngine("node"), make_workload(tmp_path, DockerTask(image=image)), calls)
    for ended in (here, there):
        assert ended.fault is Fault.PEER
        assert f"image {image} is for linux/{foreign}; this peer is linux/" in ended.reason
    assert normal(image) not in await DockerEngine("node").cached_images()


async def load_for(architecture: str, image: str, directory: Path) -> None:
    """Give the engine an image that says to be for other machines: busybox with another configuration."""
    before, after = directory / "before", directory / "after.tar"
    await docker("save", BUSYBOX, "-o", str(directory / "before.tar"))
    with tarfile.open(directory / "before.tar") as tar:
        tar.extractall(before, filter="data")
    (manifest,) = json.loads((before / "manifest.json").read_text())
    configuration = before / manifest["Config"]
    configuration.write_text(
        json.dumps({**json.loads(configuration.read_text()), "architecture": architecture})
    )
    (before / "manifest.json").write_text(json.dumps([{**manifest, "RepoTags": [image]}]))
    (before / "repositories").unlink(missing_ok=True)
    with tarfile.open(after, "w") as tar:
        tar.add(before, ".")
    await docker("load", "-i", str(after))
