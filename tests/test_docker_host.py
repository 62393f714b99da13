"""Which Docker engine is used, and what is said of one that cannot be."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker import api, discovery
from p2pnode.engines.docker.engine import DockerEngine

from .docker_engine import BUSYBOX, SOCKET, require_docker
from .engine_support import make_workload, run

NODE = f"test-host-{os.getpid()}"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """With a context `remote` that is reached by ssh, `desktop` by a socket, and one without an engine."""
    contexts = {
        "desktop": {"docker": {"Host": "unix:///home/me/desktop.sock", "SkipTLSVerify": False}},
        "remote": {"docker": {"Host": "ssh://me@example.com"}},
        "kubernetes": {"kubernetes": {}},
    }
    for name, endpoints in contexts.items():
        directory = tmp_path / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
        directory.mkdir(parents=True)
        text = json.dumps({"Name": name, "Metadata": {"Description": ""}, "Endpoints": endpoints})
        (directory / "meta.json").write_text(text)
    return tmp_path


def find(home: Path, setting: str = "", config: str = "", **environ: str) -> discovery.DockerHost:
    if config:
        (home / ".docker/config.json").write_text(config)
    return discovery.find(setting, {"HOME": str(home)} | environ, home)


CURRENT = '{"auths": {}, "currentContext": "desktop"}'
DESKTOP = "unix:///home/me/desktop.sock"


@pytest.mark.parametrize(
    ("setting", "environ", "config", "address", "why"),
    [
        pytest.param(
            "unix:///a.sock",
            {"DOCKER_HOST": "unix:///b.sock"},
            CURRENT,
            "unix:///a.sock",
            "--docker-host",
            id="the node's own setting comes first",
        ),
        pytest.param(
            "",
            {"DOCKER_HOST": "unix:///b.sock", "DOCKER_CONTEXT": "remote"},
            CURRENT,
            "unix:///b.sock",
            "DOCKER_HOST",
            id="DOCKER_HOST comes before contexts",
        ),
        pytest.param(
            "",
            {"DOCKER_HOST": "tcp://127.0.0.1:2375"},
            "",
            "tcp://127.0.0.1:2375",
            "DOCKER_HOST",
            id="by TCP",
        ),
        pytest.param("", {"DOCKER_HOST": "tcp://[::1]"}, "", "tcp://[::1]", "DOCKER_HOST", id="by IPv6"),
        pytest.param(
            "",
            {"DOCKER_CONTEXT": "desktop"},
            "",
            DESKTOP,
            "context desktop, by DOCKER_CONTEXT",
            id="a context",
        ),
        pytest.param("", {}, CURRENT, DESKTOP, "context desktop, by currentContext of", id="the current one"),
        pytest.param(
            "",
            {"DOCKER_CONTEXT": "default"},
            CURRENT,
            discovery.DEFAULT,
            "Docker's default",
            id="the default",
        ),
        pytest.param("", {}, '{"auths": {}}', discovery.DEFAULT, "Docker's default", id="no context"),
        pytest.param("", {}, "", discovery.DEFAULT, "Docker's default", id="nothing at all"),
    ],
)
def test_the_engine_is_found_as_the_docker_command_finds_it(
    setting: str, environ: dict[str, str], config: str, address: str, why: str, home: Path
) -> None:
    found = find(home, setting, config, **environ)
    assert (found.address, found.problem) == (address, "")
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("environ", "config", "problem"),
    [
        ({"DOCKER_HOST": "ssh://me@example.com"}, "", "run p2pnode on that one"),
        (
            {"DOCKER_CONTEXT": "remote"},
            "",
            "ssh://me@example.com (context remote, by DOCKER_CONTEXT) is reached",
        ),
        ({"DOCKER_HOST": "tcp://192.0.2.7:2375"}, "", "is on another machine"),
        ({"DOCKER_HOST": "tcp://engine.example:2375"}, "", "is on another machine"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY": "1"}, "", "TLS"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:99999"}, "", "has no host and port"),
        ({"DOCKER_HOST": "tcp://me@127.0.0.1"}, "", "is not of the form"),
        ({"DOCKER_HOST": "tcp://"}, "", "is not of the form"),
        ({"DOCKER_HOST": "/var/run/docker.sock"}, "", "is not an address such as unix://"),
        ({"DOCKER_HOST": "npipe:////./pipe/docker_engine"}, "", "is not an address"),
        ({"DOCKER_HOST": "unix://docker.sock"}, "", "has no path"),
        ({"DOCKER_HOST": f"unix:///{'x' * 200}"}, "", "has no path"),
        ({"DOCKER_CONTEXT": "nowhere"}, "", "there is no Docker context 'nowhere'"),
        ({"DOCKER_CONTEXT": "../../etc"}, "", "there is no Docker context"),
        ({"DOCKER_CONTEXT": "kubernetes"}, "", "names no Docker engine"),
        ({}, "{", "config.json cannot be read"),
        ({}, '{"currentContext": 5}', "config.json cannot be read"),
        ({}, " " * (discovery.FILE_SIZE_BYTES_MAX + 1), "is larger than"),
    ],
)
async def test_an_engine_that_cannot_be_used_is_refused_with_what_to_do(
    environ: dict[str, str], config: str, problem: str, home: Path
) -> None:
    """No other engine is taken in its place: somebody has named it."""
    found = find(home, "", config, **environ)
    assert problem in found.problem
    engine = DockerEngine(NODE, found.socket_path, unusable=found.problem)
    assert await engine.available() == found.problem


@pytest.mark.parametrize(
    ("there", "chosen", "why"),
    [
        (
            ["run/user/7/docker.sock", "var/run/docker.sock", "run/podman/podman.sock"],
            "run/user/7/docker.sock",
            "rootless Docker",
        ),
        (["var/run/docker.sock", "run/user/7/podman/podman.sock"], "var/run/docker.sock", "Docker's default"),
        (
            ["run/user/7/podman/podman.sock", "run/podman/podman.sock"],
            "run/user/7/podman/podman.sock",
            "Podman of this user",
        ),
        (["run/podman/podman.sock"], "run/podman/podman.sock", "Podman"),
    ],
)
def test_else_it_is_the_first_socket_that_is_there(
    there: list[str], chosen: str, why: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        for place in there:
            path = home / place
            path.parent.mkdir(parents=True, exist_ok=True)
            # From there: the path as a whole is too long for a socket.
            monkeypatch.chdir(path.parent)
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(path.name)
        found = find(home, XDG_RUNTIME_DIR="/run/user/7")
    assert found == discovery.DockerHost(f"unix://{home / chosen}", why)


def test_a_file_is_no_socket(home: Path) -> None:
    (home / "run/podman").mkdir(parents=True)
    (home / "run/podman/podman.sock").touch()
    assert find(home).address == discovery.DEFAULT


async def engine_saying(answer: bytes, listener: trio.SocketListener) -> None:
    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some(1000)
                await stream.send_all(answer)

    await trio.serve_listeners(say, [listener])


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("200 OK\r\nApi-Version: 1.40", None),
        ("200 OK\r\nAPI-Version: 1.51", None),
        ("200 OK\r\nApi-Version: 1.39", "is too old: its API is 1.39, and 1.40 is needed"),
        ("200 OK\r\nApi-Version: 1.9", "is too old"),
        ("200 OK\r\nApi-Version: latest", "is no Docker engine"),
        (f"200 OK\r\nApi-Version: {'9' * 5000}.1", "is no Docker engine"),
        ("200 OK\r\nServer: nginx", "is no Docker engine: it names no version of its API"),
        ("500 Oh\r\nApi-Version: 1.41", "OK"),
    ],
)
async def test_an_engine_of_another_kind_or_time_is_told(head: str, problem: str | None) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine_saying, f"HTTP/1.0 {head}\r\n\r\nOK".encode(), listener)
        found = await api.unavailable(address)
        nursery.cancel_scope.cancel()
    assert found is None if problem is None else problem in (found or "")


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(OK + b"Content-Length: 2\r\n\r\nab", b"ab", id="of a told length"),
        pytest.param(OK + b"\r\nab", b"ab", id="to the end"),
        pytest.param(CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", b"ab", id="in chunks"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="nothing to say"),
        pytest.param(b"", "broke", id="no answer"),
        pytest.param(OK, "broke", id="half a head"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "broke", id="another protocol"),
        pytest.param(OK + b"A: " + b"x" * 200_000, "broke", id="an endless head"),
        pytest.param(OK + b"Content-Length: 50\r\n\r\nab", "broke", id="less than was told"),
        pytest.param(CHUNKED + b"5\r\nab", "broke", id="half a chunk"),
        pytest.param(CHUNKED + b"zz\r\n", "broke", id="no chunk"),
        pytest.param(OK + b"\r\n" + b"x" * (api.BODY_SIZE_BYTES_MAX + 1), "more than", id="too much"),
        pytest.param(b'HTTP/1.1 404 No\r\n\r\n{"message": "gone"}', "gone", id="a refusal"),
        pytest.param(b"HTTP/1.1 301 No\r\nLocation: http://a.example\r\n\r\n", "", id="a redirect"),
    ],
)
async def test_an_answer_is_whole_or_an_error_says_why_not(answer: bytes, outcome: bytes | str) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine_saying, answer, listener)
        found: bytes | str
        try:
            found = await api.order(address, "GET", "/containers/a;b/json")
        except (api.EngineGone, api.EngineRefused) as error:
            found = str(error)
        nursery.cancel_scope.cancel()
    assert found == outcome if isinstance(outcome, bytes) else isinstance(found, str) and outcome in found


async def test_an_engine_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    gone = str(tmp_path / "docker.sock")
    assert "start it, or name another with --docker-host" in (await api.unavailable(gone) or "")
    with socket.socket(socket.AF_UNIX) as nobody_listens:
        nobody_listens.bind(gone)
    assert "it does not run: start it" in (await api.unavailable(gone) or "")
    assert "cannot reach the Docker engine" in (await api.unavailable("tcp://127.0.0.1:1") or "")


@pytest.mark.parametrize(("named", "level"), [(True, logging.WARNING), (False, logging.INFO)])
async def test_who_named_an_engine_that_is_not_there_is_warned_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, named: bool, level: int
) -> None:
    caplog.set_level(logging.INFO)
    engine = DockerEngine("node", str(tmp_path / "docker.sock"), named=named)
    for _ in range(2):
        assert await engine.available()
    told = [one for one in caplog.records if "cannot reach the Docker engine" in one.getMessage()]
    assert [one.levelno for one in told] == [level]


@pytest.mark.skipif(bool(os.geteuid()), reason="only root can be another user")
def test_an_engine_that_refuses_this_user_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = f"/tmp/p2pnode-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen()
        try:
            os.seteuid(65534)
            reason = trio.run(api.unavailable, path)
        finally:
            os.seteuid(0)
            os.unlink(path)
    assert "this user may not: make it a member of the socket's group" in (reason or "")


async def test_the_real_engine_runs_a_program_by_tcp(tmp_path: Path) -> None:
    require_docker()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def between(client: trio.SocketStream) -> None:
        async with client, await trio.open_unix_socket(SOCKET) as engine:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, client, engine)
                await copy(engine, client)
                nursery.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(65_536):
                await target.send_all(data)
        except trio.BrokenResourceError:
            return

    address = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
    task = DockerTask(image=BUSYBOX, entrypoint=("/bin/sh", "-c", "echo hello; exit 3"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, between, [listener])
        workload = make_workload(tmp_path, task)
        ended = await run(DockerEngine(NODE, address), workload)
        nursery.cancel_scope.cancel()
    assert (ended.exit_code, ended.fault) == (3, Fault.JOB)
    assert workload.stdout.read_text() == "hello\n"
