"""Images from a registry: a real one on the loopback."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import tarfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.images import normal
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import Registries
from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.engine import DockerEngine

from .docker_engine import BUSYBOX, SOCKET, cannot_run, require_docker
from .engine_support import Calls, make_workload, read, run

CONFIG = """
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {directory}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
AUTH = "auth: {{htpasswd: {{realm: test, path: {path}}}}}"
# The password of the user "somebody"; docker-registry knows bcrypt only.
PASSWORD, HASH = "opensesame", "$2b$04$Nf3d15XFQlyXS7j3kBnnRecUILljG4pZmPfR.OsktP87SKW3ECa0m"


def node(*addresses: str, logins: tuple[str, ...] = ()) -> DockerEngine:
    """An engine whose operator allows these registries."""
    allowed = tuple(map(AllowedHost.parse, addresses))
    return DockerEngine("node", SOCKET, registries=Registries(allowed, logins))


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
    image = f"{address}/{name}"
    await build(image, f"made-for-{name}")
    await docker(*options, "push", image)
    await docker("rmi", image)
    repository, _, tag = name.partition(":")
    return await trio.to_thread.run_sync(digest_of, f"http://{address}/v2/{repository}/manifests/{tag}")


def digest_of(manifest: str) -> str:
    """As the registry has it, "" where it wants a login. Engines differ: Podman's push does not tell it."""
    request = urllib.request.Request(manifest, method="HEAD", headers={"Accept": ", ".join(MANIFESTS)})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.headers["Docker-Content-Digest"])
    except urllib.error.HTTPError:
        return ""


async def build(image: str, file: str) -> None:
    """Busybox with one file more, in a layer that no other image shares, so that it has to be pulled."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (
            ("Dockerfile", f"FROM {BUSYBOX}\nCOPY made /{file}\n".encode()),
            ("made", os.urandom(16)),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    # The builder of the engine's own API, which all have.
    own = {**os.environ, "DOCKER_BUILDKIT": "0"}
    await trio.run_process(
        ["docker", "build", "-q", "-t", image, "-"],
        stdin=context.getvalue(),
        capture_stdout=True,
        capture_stderr=True,
        env=own,
    )


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
    engine = node(registry)
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
    ended = await run(node(registry), make_workload(tmp_path, DockerTask(image=f"{registry}/{name}")))
    assert ended.fault is Fault.JOB, ended
    assert ended.reason.startswith(f"cannot pull image {registry}/{name}: its registry has no such image")


async def test_an_image_by_its_digest_is_that_and_no_other(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/second@{await push_only_here(registry, 'second:1')}"
    engine = node(registry)
    assert normal(image) not in await engine.cached_images()
    try:
        task = DockerTask(image=image, parameters=("ls", "/made-for-second:1"))
        ended = await run(engine, make_workload(tmp_path, task))
        assert ended.exit_code == 0, ended
        assert normal(image) in await engine.cached_images()
    finally:
        await docker("rmi", image)


async def test_a_registry_is_asked_with_the_nodes_own_login_where_its_operator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made while the node runs: the engine, which is kept, was refused before."""
    (tmp_path / "htpasswd").write_text(f"somebody:{HASH}\n")
    (tmp_path / "configuration").mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "configuration"))
    async with serving(tmp_path, AUTH.format(path=tmp_path / "htpasswd")) as address:
        engine = node(address, logins=(address,))
        login = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
        (tmp_path / "pushing").mkdir()
        text = json.dumps({"auths": {address: {"auth": login}}})
        (tmp_path / "pushing" / "config.json").write_text(text)
        await push_only_here(address, "only-here:1", "--config", str(tmp_path / "pushing"))
        image = f"{address}/only-here:1"
        task = DockerTask(image=image, parameters=("true",))
        ended = await run(engine, make_workload(tmp_path, task))
        assert ended.fault is Fault.PEER
        assert "wants a login" in ended.reason, ended
        (tmp_path / "configuration" / "config.json").write_text(text)
        for other in (node(address), node(address, logins=(f"{address}/other",))):
            ended = await run(other, make_workload(tmp_path, task))
            assert "wants a login" in ended.reason, ended
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
    here = await run(node(registry), make_workload(tmp_path, DockerTask(image=image)))
    await docker("rmi", image)
    calls = Calls()
    there = await run(node(registry), make_workload(tmp_path, DockerTask(image=image)), calls)
    for ended in (here, there):
        assert ended.fault is Fault.PEER
        assert f"image {image} is for linux/{foreign}; this peer is linux/" in ended.reason
    assert normal(image) not in await node(registry).cached_images()


@asynccontextmanager
async def counting(host: str, family: socket.AddressFamily) -> AsyncIterator[tuple[int, list[str]]]:
    """A port of the loopback, and a list with an entry for each connection that came to it."""
    came: list[str] = []

    async def note(stream: trio.SocketStream) -> None:
        came.append("connected")
        await stream.aclose()

    with trio.socket.socket(family) as listening:
        await listening.bind((host, 0))
        listening.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, note, [trio.SocketListener(listening)])
            yield listening.getsockname()[1], came
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "registry",
    ["127.0.0.1", "127.0.0.53", "localhost", "rebound.example", "half.example", "0x7f.1", "LOCALHOST"],
)
async def test_no_name_of_an_image_makes_the_engine_ask_this_machine(tmp_path: Path, registry: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"] if host == "half.example" else ["127.0.0.1"]

    require_docker()
    async with counting("0.0.0.0", socket.AF_INET) as (port, came):
        image = f"{registry}:{port}/a/b:1"
        ended = await run(
            DockerEngine("node", SOCKET, resolve=resolve), make_workload(tmp_path, DockerTask(image=image))
        )
        assert came == []
    assert ended.fault is Fault.PEER
    named = f"serve --allow-registry {registry.lower()}:{port}"
    assert named in ended.reason or f'"{registry}:{port}" is not the name of a registry' in ended.reason


async def test_a_well_known_registry_is_not_asked_at_an_address_of_this_machine(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    require_docker()
    task = DockerTask(image="ghcr.io/a/b:1")
    ended = await run(DockerEngine("node", SOCKET, resolve=resolve), make_workload(tmp_path, task))
    assert ended.fault is Fault.PEER
    assert "ghcr.io, which has an address that is not public" in ended.reason


async def test_what_answers_at_an_allowed_registrys_address_is_not_told(tmp_path: Path) -> None:
    require_docker()
    async with counting("127.0.0.1", socket.AF_INET) as (port, came):
        image = f"127.0.0.1:{port}/a/b:1"
        ended = await run(node(f"127.0.0.1:{port}"), make_workload(tmp_path, DockerTask(image=image)))
        assert came
    assert ended.fault is Fault.NETWORK
    assert ended.reason == f"cannot pull image {image}: its registry does not answer"


@pytest.mark.filterwarnings("ignore:docker-credential-no-such-helper")
async def test_a_docker_configuration_that_cannot_be_used_is_the_peers_fault_and_stays_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "no-such-helper"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    require_docker()
    address = "127.0.0.1:9"
    task = DockerTask(image=f"{address}/a/b:1")
    ended = await run(node(address, logins=(address,)), make_workload(tmp_path, task))
    assert ended.fault is Fault.PEER
    assert "helper" not in ended.reason
    # Without a login nobody reads it.
    assert (await run(node(address), make_workload(tmp_path, task))).fault is Fault.NETWORK


async def test_an_image_that_is_here_needs_no_registry_and_no_leave(tmp_path: Path) -> None:
    require_docker()
    image = "127.0.0.1:9/here:1"
    await docker("tag", BUSYBOX, image)
    try:
        task = DockerTask(image=image, parameters=("true",))
        assert (await run(DockerEngine("node", SOCKET), make_workload(tmp_path, task))).exit_code == 0
    finally:
        await docker("rmi", image)


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
    # Files of older and newer engines beside the manifest, which would still tell of the other image.
    for name in ("repositories", "index.json", "oci-layout"):
        (before / name).unlink(missing_ok=True)
    with tarfile.open(after, "w") as tar:
        tar.add(before, ".")
    await docker("load", "-i", str(after))
