"""What a container can reach, with a real engine and a made-up internet in a namespace of its own."""

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

from p2pnode.core.internet import AllowedHost
from p2pnode.core.spec import DockerEngine as DockerTask
from p2pnode.core.spec import Network, NetworkType, Resources
from p2pnode.engines.docker import DockerEngine

from . import network_probes
from .docker_engine import BATCH_EXAMPLE, BUSYBOX, require_docker
from .engine_support import make_workload, read, run
from .made_up_internet import ALLOWED, NAMES, Internet, made_up_internet

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
    """What a program saw of each way out, and what arrived at the internet meanwhile."""

    saw: dict[str, str]
    arrived: set[str]


@dataclass
class World:
    internet: Internet
    directory: Path
    # What the program is told of this machine.
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
        engine = DockerEngine(NODE, hosts=HOSTS, networks=allowed, resolve=resolve)
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
from p2pnode.core.spec import Network, NetworkType
from p2pnode.engines.docker import DockerEngine
from tests.engine_support import make_workload, read
from tests.test_engine_docker import shell
node, directory = sys.argv[1:]
# The interpreter may be installed where only root can read, so what is needed is imported before.
import encodings.ascii, encodings.idna, encodings.latin_1, docker.types
os.setgroups([os.stat("/var/run/docker.sock").st_gid])
os.setgid(65534)
os.setuid(65534)
network = Network(type=NetworkType.HTTP, domains=("allowed.example",))
script = "wget -q -O - http://evil.example/; wget -q -O - -Y off http://allowed.example/"
workload = make_workload(Path(directory), shell(script), network=network)
ended = trio.run(DockerEngine(node).run, workload, lambda: None, lambda text: None)
sys.stdout.write(f"{ended} {read(workload.stderr)}")
"""


def test_a_node_that_is_not_root_has_network_http_as_well(tmp_path: Path) -> None:
    require_docker()
    if os.geteuid():
        pytest.skip("this node is not root: all other tests show it")
    directory = Path(tempfile.mkdtemp(prefix="p2pnode-"))
    shutil.chown(directory, 65534, 65534)
    try:
        command = [sys.executable, "-c", NODE_PROGRAM, NODE, str(directory)]
        root = Path(__file__).parent.parent
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=False)
    finally:
        shutil.rmtree(directory)
    assert "exit_code=1" in done.stdout, done
    # The gate answers for both hosts: one is not among the domains, the other nowhere to be found.
    assert "403 Forbidden" in done.stdout or "HTTP/1.1 403" in done.stdout, done
    assert "HTTP/1.1 502" in done.stdout, done
