"""The fence around a container, as the program inside finds it: limits, privileges, files."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.values import capabilities
from p2pnode.core.values.images import ImageRule
from p2pnode.core.wire.spec import DockerTask, Network, NetworkType, Resources
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.ipfs import unixfs
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.export import export

from .docker_engine import BUSYBOX, SOCKET, containers, refused_by_podman, require_docker, shell
from .engine_support import Calls, make_workload, read, run

NODE = f"test-{os.getpid()}"
CGROUPS_2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


@pytest.fixture(autouse=True)
async def no_container_left() -> AsyncIterator[None]:
    require_docker()
    yield
    left = containers(f"label={LABEL_NODE}={NODE}")
    await DockerEngine(NODE, SOCKET).reap(())
    assert left == []


async def says(directory: Path, script: str, *rules: str) -> str:
    """The output of a script in a container on a node with these rules for images."""
    engine = DockerEngine(NODE, SOCKET, rules=tuple(map(ImageRule.parse, rules)))
    workload = make_workload(directory, shell(script))
    assert (await run(engine, workload)).exit_code == 0, read(workload.stderr)
    return str(read(workload.stdout))


STATUS = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t\\n'"
WRITES = "for at in / /etc /tmp /var/tmp /run; do touch $at/x 2>/dev/null && echo -n $at' '; done; true"


async def test_the_fence_is_up_by_default(tmp_path: Path) -> None:
    assert await says(tmp_path, STATUS) == "CapEff:00000000000004fbNoNewPrivs:1Seccomp:2"


async def capabilities_of(directory: Path, allow: str, ask: str, kind: NetworkType = NetworkType.NONE) -> str:
    """The effective set of a program, or why it is not run."""
    engine = DockerEngine(NODE, SOCKET, networks=(kind,), allowed=capabilities.allowed_by(allow.split()))
    meta = {capabilities.META_KEY: ask} if ask else {}
    task = DockerTask(
        image=BUSYBOX, entrypoint=("grep", "CapEff"), parameters=("/proc/self/status",), meta=meta
    )
    workload = make_workload(directory, task, network=Network(type=kind))
    ended = await run(engine, workload)
    return str(read(workload.stdout)).split()[1].lstrip("0") if ended.exit_code == 0 else ended.reason


@pytest.mark.parametrize(
    ("allow", "ask", "found"),
    [
        ("", "", "4fb"),
        ("NET_RAW", "", "4fb"),
        ("NET_RAW", "NET_RAW", "24fb"),
        ("", "CHOWN", "4fb"),
        ("none", "", ""),
        ("none CHOWN", "", "1"),
        ("", "NET_RAW,CHOWN", "serve --allow-capability NET_RAW"),
        ("none", "KILL", "serve --allow-capability KILL"),
        ("SYS_ADMIN", "NO_SUCH", "serve --allow-capability NO_SUCH"),
    ],
)
async def test_capabilities_are_the_usual_and_those_asked_for_that_the_operator_allows(
    tmp_path: Path, allow: str, ask: str, found: str
) -> None:
    assert (await capabilities_of(tmp_path, allow, ask)).removesuffix(")").endswith(found)


async def test_in_the_machines_network_no_program_takes_the_machines_ports(tmp_path: Path) -> None:
    assert await capabilities_of(tmp_path, "", "", NetworkType.HOST) == "fb"


async def test_root_in_a_container_changes_owners_and_users(tmp_path: Path) -> None:
    script = (
        "touch /tmp/a; chown 1000:1000 /tmp/a; stat -c %u /tmp/a; su -s /bin/sh nobody -c 'id -u' || true"
    )
    assert (await says(tmp_path, script)).startswith("1000\n")


async def test_a_program_that_lacks_a_capability_is_given_a_hint(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, shell("mknod /tmp/x c 1 3"))
    assert "CapAdd" in (await run(DockerEngine(NODE, SOCKET), workload)).reason


async def test_an_operator_relaxes_it_for_an_image_and_not_for_others(tmp_path: Path) -> None:
    relaxed = "p2pnode/busybox=capabilities+new-privileges"
    assert await says(tmp_path, STATUS, relaxed) == "CapEff:00000000a80425fbNoNewPrivs:0Seccomp:2"
    assert "NoNewPrivs:1" in await says(tmp_path, STATUS, "p2pnode/other=new-privileges")


async def test_a_read_only_root_leaves_places_to_write(tmp_path: Path) -> None:
    assert await says(tmp_path, "mkdir -p /var/tmp /run; " + WRITES) == "/ /etc /tmp /var/tmp /run "
    assert await says(tmp_path, WRITES, "p2pnode/busybox=read-only-root") == "/tmp /var/tmp /run "
    assert "/etc" in await says(tmp_path, WRITES, "p2pnode/*=read-only-root", "p2pnode/busybox=writable-root")


async def test_an_image_may_say_itself_that_its_root_need_not_be_writable(tmp_path: Path) -> None:
    image = f"p2pnode/test-read-only:{os.getpid()}"
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nLABEL p2pnode.read-only-root=true\n")
    await trio.run_process(
        ["docker", "build", "-q", "-t", image, str(tmp_path)],
        capture_stdout=True,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    try:
        workload = make_workload(tmp_path, DockerTask(image=image, parameters=("sh", "-c", WRITES)))
        await run(DockerEngine(NODE, SOCKET), workload)
        assert read(workload.stdout) == "/tmp /var/tmp /run "
    finally:
        docker("rmi", image)


async def test_the_limits_of_cpu_memory_and_swap_are_the_jobs(tmp_path: Path) -> None:
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes 2>/dev/null"
    )
    script += "; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us pids/pids.max"
    script += "; cat memory.max memory.swap.max cpu.max pids.max 2>/dev/null; true"
    resources = Resources(cpu_millis=250, memory_bytes=67_108_864)
    workload = make_workload(tmp_path, shell(script), resources=resources)
    await run(DockerEngine(NODE, SOCKET), workload)
    found = read(workload.stdout).split()
    assert found[0] == "67108864"
    if CGROUPS_2:
        assert found[1:] == ["0", "25000", "100000", "1024"]
    else:
        # Without swap in the kernel there is no second number.
        assert found[-3:] == ["25000", "100000", "1024"]
        assert set(found[:-3]) == {"67108864"}


async def test_a_program_that_asks_for_next_to_no_memory_is_started(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, shell("echo on"), resources=Resources(memory_bytes=1))
    ended = await run(DockerEngine(NODE, SOCKET), workload)
    assert ended.fault is None, ended


async def test_shared_memory_is_as_large_as_the_memory_and_counts_as_such(tmp_path: Path) -> None:
    resources = Resources(memory_bytes=200_000_000)
    fill = "head -c 100m /dev/zero >/dev/shm/a && echo it fits && head -c 150m /dev/zero >/dev/shm/b"
    workload = make_workload(tmp_path, shell(fill), resources=resources)
    ended = await run(DockerEngine(NODE, SOCKET), workload)
    assert read(workload.stdout) == "it fits\n"
    assert ended.exit_code != 0 and ended.fault is Fault.JOB, ended


async def test_a_program_has_a_limit_of_open_files_and_writes_no_core(tmp_path: Path) -> None:
    assert await says(tmp_path, "ulimit -Sn; ulimit -Hn; ulimit -Hc") == "4096\n4096\n0\n"


@pytest.mark.parametrize("kind", [NetworkType.HOST, NetworkType.BRIDGE])
async def test_a_network_that_the_operator_did_not_allow_is_refused_with_the_flag(
    tmp_path: Path, kind: NetworkType
) -> None:
    assert await DockerEngine(NODE, SOCKET).networks() <= {NetworkType.NONE, NetworkType.HTTP}
    workload = make_workload(tmp_path, shell("true"), network=Network(type=kind))
    ended = await run(DockerEngine(NODE, SOCKET), workload)
    assert ended.fault is Fault.PEER
    assert f"serve --allow-network {kind}" in ended.reason


async def test_a_program_gets_no_more_of_a_processor_than_it_asked_for(tmp_path: Path) -> None:
    resources = Resources(cpu_millis=200, memory_bytes=64_000_000)
    workload = make_workload(
        tmp_path, shell("timeout 2 sh -c 'while :; do :; done'; true"), resources=resources
    )
    ended = await run(DockerEngine(NODE, SOCKET), workload)
    assert 200 <= ended.cpu_ms <= 650


async def test_bridge_containers_do_not_reach_each_other(tmp_path: Path) -> None:
    engine, calls = DockerEngine(NODE, SOCKET, networks=(NetworkType.BRIDGE,)), Calls()
    network = Network(type=NetworkType.BRIDGE)
    # PID 1 is the init process; the address is that of the container's own interface.
    serving = make_workload(tmp_path, shell("hostname -i; httpd -f -p 80 -h /tmp"), network=network)
    if await refused_by_podman(engine, serving):
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, engine, serving, calls)
        with trio.fail_after(30):
            await calls.started_event.wait()
            while not (address := read(serving.stdout).strip()):  # noqa: ASYNC110 - a container writes it
                await trio.sleep(0.05)
            probing = make_workload(
                tmp_path, shell(f"nc -w 2 {address} 80 </dev/null; echo $?"), network=network
            )
            await run(engine, probing)
        await trio.to_thread.run_sync(lambda: socket.create_connection((address, 80), timeout=5).close())
        nursery.cancel_scope.cancel()
    assert read(probing.stdout) == "1\n"


LINKS = """
cd /outputs; echo kept > file; ln -s /etc/passwd absolute; ln -s ../../../../etc/passwd relative
ln -s /proc/self/root/etc directory; ln file hard; mkfifo pipe
mkdir deep; ln -s .. deep/up; mknod device c 1 5 2>/dev/null || echo no devices
"""


async def test_no_link_in_a_result_is_followed(tmp_path: Path) -> None:
    """A program's files are stored as they are; what its links lead to is not among them."""
    workload = make_workload(tmp_path, shell(LINKS), results={"outputs": "/outputs"})
    assert (await run(DockerEngine(NODE, SOCKET), workload)).exit_code == 0
    assert read(workload.stdout) == "no devices\n"
    store, notes = BlockStore(tmp_path / "blocks"), list[str]()
    root = unixfs.add_path(workload.results[0].host_path, store.put, notes.append)

    def get(cid: str) -> bytes:
        data = store.get(cid)
        assert data is not None
        return data

    export(root, get, tmp_path / "got")
    found = {path.name: path.lstat().st_mode for path in (tmp_path / "got").rglob("*")}
    links = {name for name, mode in found.items() if stat.S_ISLNK(mode)}
    assert set(found) - links == {"file", "hard", "deep"}
    assert links <= {"absolute", "relative", "directory", "up"}
    blocks = [path for path in (tmp_path / "blocks").rglob("*") if path.is_file()]
    assert not any(b"root:" in path.read_bytes() for path in blocks)
    assert [note.rpartition("/")[2].partition(" ")[0] for note in notes] == ["pipe"]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()
