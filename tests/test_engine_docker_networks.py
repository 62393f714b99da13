"""The networks of containers: what Network Type HTTP reaches, and the ports of Bridge."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.spec import (
    DockerTask,
    Network,
    NetworkType,
    Port,
)
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine

from .docker_engine import (
    BUSYBOX,
    SOCKET,
    cannot_run,
    containers,
    refused_by_podman,
    require_docker,
    shell,
)
from .engine_support import Calls, make_workload, read, run

NODE = f"test-{os.getpid()}"
# A made-up internet: an address of the host's loopback that only these tests listen on.
INTERNET = "127.0.0.77"


@pytest.fixture
def engine() -> DockerEngine:
    require_docker()
    return DockerEngine(NODE, SOCKET, hosts=[AllowedHost.parse(INTERNET)], networks=(NetworkType.BRIDGE,))


@pytest.fixture(autouse=True)
async def no_container_left(engine: DockerEngine) -> AsyncIterator[None]:
    yield
    left = containers(f"label={LABEL_NODE}={NODE}")
    await engine.reap(())
    assert left == []


HTTP_PROBES = f"""
ls /sys/class/net; cat /proc/net/route | wc -l
get() {{ printf 'GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' "$1" | nc -w 5 127.0.0.1 3128 | head -1; }}
tunnel() {{ printf 'CONNECT %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' "$1" | nc -w 5 127.0.0.1 3128 | head -1; }}
get http://{INTERNET}/hello
get http://127.0.0.78/
get http://localhost/
get http://{INTERNET}:2375/
get http://169.254.169.254/latest/meta-data
tunnel {INTERNET}:22
tunnel evil.example:443
nc -w 2 {INTERNET} 80 </dev/null || echo no direct way
nslookup example.com 127.0.0.1 >/dev/null 2>&1 || echo no names
wget -q -O - http://{INTERNET}/hello
env | grep -i http_proxy | wc -l
"""


async def test_network_http_reaches_its_domains_and_nothing_else(
    engine: DockerEngine, tmp_path: Path
) -> None:
    if NetworkType.HTTP not in await engine.networks():
        cannot_run("Network Type HTTP needs root")
    network = Network(type=NetworkType.HTTP, domains=(INTERNET, "localhost"))
    workload = make_workload(tmp_path, shell(HTTP_PROBES), network=network)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(80, host=INTERNET)
        nursery.start_soon(trio.serve_listeners, serve_hello, listeners)
        ended = await run(engine, workload)
        nursery.cancel_scope.cancel()
    assert read(workload.stdout).splitlines() == [
        "lo",
        "1",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 403 ",
        "HTTP/1.1 403 ",
        "HTTP/1.1 403 ",
        "HTTP/1.1 403 ",
        "HTTP/1.1 403 ",
        "HTTP/1.1 403 ",
        "no direct way",
        "no names",
        "hello",
        "2",
    ], read(workload.stderr)
    assert ended.exit_code == 0


async def serve_hello(stream: trio.SocketStream) -> None:
    request = await stream.receive_some(65_536)
    assert request.startswith(b"GET /hello HTTP/1.1\r\n"), request
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
    await stream.aclose()


async def test_a_named_port_of_a_bridge_network_leads_into_the_container(
    engine: DockerEngine, tmp_path: Path
) -> None:
    network = Network(
        type=NetworkType.BRIDGE, ports=(Port(name="web", target=8080, host_network="127.0.0.1"),)
    )
    script = (
        "mkdir /tmp/www; echo $P2PNODE_HOST_PORT_WEB $BACALHAU_PORT_WEB > /tmp/www/index.html;"
        " httpd -f -p 8080 -h /tmp/www"
    )
    task = DockerTask(image=BUSYBOX, parameters=("sh", "-c", script))
    workload = make_workload(tmp_path, task, network=network)
    if await refused_by_podman(engine, workload):
        return
    calls = Calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run, workload, calls.on_started, calls.progress.append)
        with trio.fail_after(20):
            await calls.started_event.wait()
            (told,) = [text for text in calls.progress if text.startswith("port web: 127.0.0.1:")]
            number = told.rpartition(":")[2]
            answer = b""
            while b"8080" not in answer:
                answer = await _get(int(number))
        assert answer.split()[-2:] == [number.encode(), b"8080"]
        nursery.cancel_scope.cancel()


async def _get(port: int) -> bytes:
    """The whole answer of a web server on loopback; b"" while it does not answer yet."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join([piece async for piece in stream])
    except (OSError, trio.BrokenResourceError):
        await trio.lowlevel.checkpoint()
        return b""


async def test_a_static_port_that_is_taken_is_the_peers_fault(engine: DockerEngine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        port = Port(name="web", static=taken, host_network="127.0.0.1")
        network = Network(type=NetworkType.BRIDGE, ports=(port,))
        workload = make_workload(tmp_path, DockerTask(image=BUSYBOX, parameters=("true",)), network=network)
        ended = await run(engine, workload)
    assert ended.fault is Fault.PEER
    assert ended.reason == f"port web: 127.0.0.1:{taken} is taken on this peer"
