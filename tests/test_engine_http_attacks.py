"""The reach of a container, with a real engine and a made-up internet in a namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.spec import (
    DockerTask,
    Network,
    NetworkType,
    Port,
    Resources,
)
from p2pnode.engines.docker import bridge as fence
from p2pnode.engines.docker.engine import DockerEngine

from . import network_probes
from .docker_engine import BATCH_EXAMPLE, BUSYBOX, SOCKET, require_docker
from .engine_support import Calls, make_workload, read, run
from .made_up_internet import ALLOWED, HOST, METADATA, NAMES, PUBLIC, Internet, made_up_internet

PROBES = Path(network_probes.__file__)
DOMAINS = ("allowed.example", ".wild.example", "inside.example", ALLOWED)
# All of the made-up internet is at addresses that are not of the internet.
HOSTS = tuple(map(AllowedHost.parse, ("allowed.example", "sub.wild.example", ALLOWED)))
NODE = f"test-{os.getpid()}"
ABSTRACT = f"p2pnode-{os.getpid()}"


async def resolve(host: str, port: int) -> list[str]:
    if host not in NAMES:
        raise OSError("no such name")
    return [NAMES[host]]


@dataclass
class Probed:
    """The program's view of each way out, and what arrived at the internet meanwhile."""

    saw: dict[str, str]
    arrived: set[str]


@dataclass
class World:
    internet: Internet
    directory: Path
    # Facts of this machine that the program is told.
    told: tuple[str, ...]

    def probed(self, network: Network) -> Probed:
        """Try all ways in a container with that network."""
        before = len(self.internet.arrived())
        directory = self.directory / network.type
        directory.mkdir()
        parameters = ("python", "/probes.py", "/certificate.pem", *self.told)
        workload = make_workload(
            directory,
            DockerTask(image=BATCH_EXAMPLE, parameters=parameters),
            inputs={"/probes.py": PROBES, "/certificate.pem": self.internet.certificate},
            resources=Resources(memory_bytes=128_000_000, cpu_millis=1000),
            network=network,
        )
        allowed = (NetworkType.HOST, NetworkType.BRIDGE)
        engine = DockerEngine(NODE, SOCKET, hosts=HOSTS, networks=allowed, resolve=resolve)
        ended = trio.run(run, engine, workload)
        assert ended.exit_code == 0, (ended, read(workload.stderr))
        return Probed(json.loads(read(workload.stdout)), set(self.internet.arrived()[before:]))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def answer(listener: socket.socket) -> None:
    """Say to everybody who connects that they have reached this machine; ends with the tests."""
    while True:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"reached")
                connection.shutdown(socket.SHUT_WR)
                connection.recv(100)
        if listener.fileno() < 0:
            return


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An internet, something that listens on every address of this machine, and a sibling container."""
    require_docker()
    directory = tmp_path_factory.mktemp("world")
    bridge = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    serve = "echo reached > /tmp/index.html; httpd -f -h /tmp"
    sibling = docker("run", "-d", "--rm", BUSYBOX, "sh", "-c", serve)
    try:
        address = docker("inspect", sibling, "-f", "{{.NetworkSettings.IPAddress}}")
        with (
            made_up_internet(directory) as internet,
            socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
            socket.socket(socket.AF_UNIX) as abstract,
        ):
            abstract.bind("\0" + ABSTRACT)
            abstract.listen()
            for one in (server, abstract):
                threading.Thread(target=answer, args=(one,), daemon=True).start()
            port = server.getsockname()[1]
            told = (f"host_port={port}", f"bridge={bridge}", f"sibling={address}", f"abstract={ABSTRACT}")
            yield World(internet, directory, told)
    finally:
        docker("kill", sibling)


@pytest.fixture(scope="module")
def http(world: World) -> Probed:
    return world.probed(Network(type=NetworkType.HTTP, domains=DOMAINS))


@pytest.fixture(scope="module")
def none(world: World) -> Probed:
    return world.probed(Network(type=NetworkType.NONE))


@pytest.fixture(scope="module")
def host(world: World) -> Probed:
    return world.probed(Network(type=NetworkType.HOST))


@pytest.fixture(scope="module")
def bridge(world: World) -> Probed:
    return world.probed(Network(type=NetworkType.BRIDGE))


PUBLIC_WAYS = {"TCP to a public address", "UDP to a public address"}


@pytest.mark.parametrize("way", sorted(PUBLIC_WAYS))
def test_network_bridge_reaches_the_internet(bridge: Probed, way: str) -> None:
    assert "reached" in bridge.saw[way]


@pytest.mark.parametrize("way", sorted({*network_probes.ALLOWED_WAYS, *network_probes.ATTACKS} - PUBLIC_WAYS))
def test_network_bridge_reaches_nothing_nearer(bridge: Probed, way: str) -> None:
    """Neither this machine, nor private networks, nor link-local addresses, whatever routes there are."""
    assert "reached" not in bridge.saw[way]


def test_nothing_arrived_from_network_bridge_at_private_addresses(bridge: Probed) -> None:
    assert bridge.arrived == {f"tcp {PUBLIC}:80", f"udp {PUBLIC}:443"}


def test_the_fence_of_network_bridge_is_put_up_again_before_each_container(world: World) -> None:
    """As a firewall's restart takes it down."""
    for program in ("iptables", "ip6tables"):
        for chain in (fence.FORWARD, fence.INPUT):
            subprocess.run([program, "-w", "-t", "mangle", "-F", chain], check=True)
    gone = world.directory / "gone"
    gone.mkdir()
    port = world.told[0].partition("=")[2]
    script = f"nc -w 2 {HOST} {port} </dev/null; nc -w 2 {METADATA} 80 </dev/null; echo $?"
    task = DockerTask(image=BUSYBOX, parameters=("sh", "-c", script))
    workload = make_workload(gone, task, network=Network(type=NetworkType.BRIDGE))
    ended = trio.run(run, DockerEngine(NODE, SOCKET, networks=(NetworkType.BRIDGE,)), workload)
    assert (ended.exit_code, read(workload.stdout)) == (0, "1\n")


def test_network_bridge_has_names_from_servers_of_the_internet(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up ones answer nothing that makes sense; that they are asked, and no others, counts."""
    (tmp_path / "resolv.conf").write_text(f"nameserver {METADATA}\nnameserver {PUBLIC}\n")
    monkeypatch.setattr(fence, "RESOLV_CONF", tmp_path / "resolv.conf")
    before = len(world.internet.arrived())
    task = DockerTask(image=BUSYBOX, parameters=("timeout", "3", "nslookup", "allowed.example"))
    workload = make_workload(tmp_path, task, network=Network(type=NetworkType.BRIDGE))
    trio.run(run, DockerEngine(NODE, SOCKET, networks=(NetworkType.BRIDGE,)), workload)
    assert {one.rpartition(" ")[2] for one in world.internet.arrived()[before:]} == {f"{PUBLIC}:53"}


def test_a_port_of_network_bridge_answers_whoever_asks(world: World) -> None:
    """Also somebody whom a program there could not reach by itself."""
    directory = world.directory / "serving"
    directory.mkdir()
    script = "mkdir /tmp/www; echo served > /tmp/www/index.html; httpd -f -p 80 -h /tmp/www"
    task = DockerTask(image=BUSYBOX, parameters=("sh", "-c", script))
    network = Network(type=NetworkType.BRIDGE, ports=(Port(name="web", target=80),))
    workload = make_workload(directory, task, network=network)
    calls = Calls()

    async def serve_and_ask() -> None:
        engine = DockerEngine(NODE, SOCKET, networks=(NetworkType.BRIDGE,))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, engine, workload, calls)
            with trio.fail_after(30):
                await calls.started_event.wait()
                (told,) = [text for text in calls.progress if text.startswith("port web: 0.0.0.0:")]
                number = int(told.rpartition(":")[2])
                while await trio.to_thread.run_sync(world.internet.get, number) != "served\n":
                    pass
            nursery.cancel_scope.cancel()

    trio.run(serve_and_ask)


@pytest.mark.parametrize("way", network_probes.DIRECT)
def test_the_attacks_would_succeed_if_nothing_were_in_their_way(host: Probed, way: str) -> None:
    assert "reached" in host.saw[way]


@pytest.mark.parametrize("way", network_probes.ALLOWED_WAYS)
def test_a_program_reaches_its_domains(http: Probed, way: str) -> None:
    assert "reached" in http.saw[way]


@pytest.mark.parametrize("way", network_probes.REWRITTEN)
def test_a_request_reaches_the_host_of_its_url_under_that_name(http: Probed, way: str) -> None:
    assert "Host: allowed.example" in http.saw[way]
    assert "evil" not in http.saw[way]


@pytest.mark.parametrize("way", network_probes.ATTACKS)
def test_network_http_has_no_other_way_out(http: Probed, way: str) -> None:
    assert "reached" not in http.saw[way]


@pytest.mark.parametrize("way", {**network_probes.ALLOWED_WAYS, **network_probes.ATTACKS})
def test_network_none_has_no_way_out_at_all(none: Probed, way: str) -> None:
    assert "reached" not in none.saw[way]


def test_nothing_arrived_where_nothing_may(http: Probed, none: Probed) -> None:
    """Whatever a program saw: a question that nobody answers may have carried a secret."""
    assert http.arrived == {f"tcp {ALLOWED}:80", f"tcp {ALLOWED}:443"}
    assert none.arrived == set()


NODE_PROGRAM = """
import os, sys, trio
from pathlib import Path
from p2pnode.core.wire.spec import Network, NetworkType
from p2pnode.engines.docker.engine import DockerEngine
from tests.docker_engine import SOCKET
from tests.engine_support import make_workload, read
from tests.test_engine_docker import shell
node, directory, kind = sys.argv[1:]
# The interpreter may be installed where only root can read, so what is needed is imported before.
import encodings.ascii, encodings.idna, encodings.latin_1, docker.types
import dns.rdata
dns.rdata.load_all_types()
from p2pnode.engines.http import pause
assert pause.possible()
os.setgroups([os.stat(SOCKET).st_gid])
os.setgid(65534)
os.setuid(65534)
network = Network(type=NetworkType(kind), domains=("allowed.example",) if kind == "http" else ())
script = "wget -q -O - http://evil.example/; wget -q -O - -Y off http://allowed.example/"
workload = make_workload(Path(directory), shell(script), network=network)
engine = DockerEngine(node, SOCKET, networks=(NetworkType.BRIDGE,))
ended = trio.run(engine.run, workload, lambda: None, lambda text: None)
print("offers", *sorted(trio.run(engine.networks)))
sys.stdout.write(f"{ended} {read(workload.stderr)}")
"""


def run_as_nobody(kind: NetworkType) -> subprocess.CompletedProcess[str]:
    require_docker()
    if os.geteuid():
        pytest.skip("this node is not root: all other tests show it")
    directory = Path(tempfile.mkdtemp(prefix="p2pnode-"))
    shutil.chown(directory, 65534, 65534)
    try:
        command = [sys.executable, "-c", NODE_PROGRAM, NODE, str(directory), kind]
        root = Path(__file__).parent.parent
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=False)
    finally:
        shutil.rmtree(directory)


def test_a_node_that_is_not_root_has_network_http_as_well() -> None:
    done = run_as_nobody(NetworkType.HTTP)
    assert "exit_code=1" in done.stdout, done
    # The gate answers for both hosts: one is not among the domains, the other nowhere to be found.
    assert "403 Forbidden" in done.stdout or "HTTP/1.1 403" in done.stdout, done
    assert "HTTP/1.1 502" in done.stdout, done


def test_a_node_that_cannot_fence_in_network_bridge_does_not_have_it() -> None:
    done = run_as_nobody(NetworkType.BRIDGE)
    assert "offers http none\n" in done.stdout, done
    assert "network bridge is allowed, but not offered: " in done.stderr, done
    assert "this peer cannot keep Network Type Bridge out of its own network" in done.stdout, done
