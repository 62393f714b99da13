"""The program that holds a container's network namespace: what is committed is of its source, and works."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.engines.http import netns, pause

from .docker_engine import cannot_run

ROOT = Path(__file__).parent.parent
DIRECTORY = ROOT / "p2pnode/engines/http"
END_S_MAX = 10.0
# Compilers of other versions make other bytes, so what was made of what is held here.
DIGESTS = {
    "pause.c": "018fcbe338d7476f989286157fdebfbb58cd5a5068fc6e8c7f274098280ecbec",
    "pause-x86_64": "71ad512a4063c2a9b92301afd48447302eb8433140ceaa45abac03b9fa9107d7",
    "pause-aarch64": "1b0ebdb6f6ad196e3807c63336fedee2826af1c1122474255d02bf8d472e6173",
}
# Each machine's number in an ELF header.
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
EXECUTABLE, INTERPRETED = 2, 3


def test_the_programs_are_made_of_the_source_as_it_is() -> None:
    found = {name: hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest() for name in DIGESTS}
    assert found == DIGESTS, "after a change of pause.c: run scripts/pause, and write the new digests here"


@pytest.mark.parametrize("machine", ELF_MACHINES)
def test_each_program_is_small_and_needs_no_library(machine: str) -> None:
    data = pause.program(machine)
    assert len(data) < 2048
    assert data[:6] == b"\x7fELF\x02\x01"
    assert struct.unpack_from("<HH", data, 16) == (EXECUTABLE, ELF_MACHINES[machine])
    (at,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, at + size * number)[0] for number in range(count)]
    assert INTERPRETED not in kinds


@pytest.fixture(params=["as committed", "as compiled here"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The root directory of a container with nothing but the program."""
    machine = platform.machine()
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip") and pause.possible()):
        cannot_run("a network namespace needs root, unshare and ip")
    if request.param == "as committed":
        (tmp_path / "pause").write_bytes(pause.program(machine))
    elif not shutil.which(f"{machine}-linux-gnu-gcc"):
        pytest.skip("there is no compiler")
    else:
        subprocess.run(
            [ROOT / "scripts/pause", machine], env={**os.environ, "OUT": str(tmp_path)}, check=True
        )
        (tmp_path / f"pause-{machine}").rename(tmp_path / "pause")
    (tmp_path / "pause").chmod(0o755)
    (tmp_path / "gate").mkdir()
    return tmp_path


def started(root: Path) -> subprocess.Popen[bytes]:
    within = 'ip link set lo up; exec chroot "$0" /pause'
    return subprocess.Popen(["unshare", "--net", "sh", "-euc", within, root])


@pytest.fixture
def running(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    with started(root) as process:
        yield process
        process.kill()


async def test_every_visitor_gets_the_sockets_however_the_one_before_left(
    root: Path, running: subprocess.Popen[bytes]
) -> None:
    for _ in range(3):
        sockets = await netns.sockets_of(root / "gate")
        kinds = [socket.SOCK_STREAM] * 3 + [socket.SOCK_DGRAM]
        names = [("127.0.0.1", port) for port in pause.PORTS]
        assert [(one.type, one.getsockname()) for one in sockets] == list(zip(kinds, names, strict=True))
        listening = [one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in sockets]
        assert listening == [1, 1, 1, 0]
        for one in sockets:
            one.close()
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(root / "gate/socket"))
    assert running.poll() is None


async def test_a_node_of_any_user_may_connect(root: Path, running: subprocess.Popen[bytes]) -> None:
    for one in await netns.sockets_of(root / "gate"):
        one.close()
    assert (root / "gate/socket").stat().st_mode & 0o777 == 0o777


def test_it_ends_where_it_cannot_listen(root: Path) -> None:
    (root / "gate/socket").touch()
    with started(root) as process:
        assert process.wait(END_S_MAX) == 1
