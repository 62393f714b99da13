"""Images that fill the engine's disk do nothing that lasts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import Registries
from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker import pull
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.docker.pull import (
    ENTRIES_FREE_MIN,
    ENTRIES_MAX,
    Disk,
    PullRoom,
)
from p2pnode.engines.docker.sdk import (
    CONTAINERD_SOCKET,
    CONTAINERD_STORE,
    ContainerFailed,
    Sdk,
    images_root,
)
from p2pnode.engines.workload import DISK_FREE_BYTES_MIN

from .docker_engine import require_docker
from .engine_support import make_workload, run
from .image_bombs import MIB, empty_files, push, small_engine, zeros
from .test_engine_docker_pull import serving

GIB = 1024**3
ROOM = PullRoom(DISK_FREE_BYTES_MIN + 10 * GIB, 10_000_000)
FULL = DISK_FREE_BYTES_MIN - 1
# Half a GiB and some 40,000 files more than has to stay free.
DISK_BYTES = DISK_FREE_BYTES_MIN + 700 * MIB


@pytest.mark.parametrize(
    ("declared_bytes", "now", "fault", "why"),
    [
        (MIB, ROOM, None, ""),
        (GIB, PullRoom(DISK_FREE_BYTES_MIN, 10_000_000), None, ""),
        (GIB, PullRoom(DISK_FREE_BYTES_MIN, sys.maxsize), None, ""),
        (10 * GIB + 1, ROOM, Fault.PEER, "this peer can spare"),
        (MIB, PullRoom(FULL, 10_000_000), Fault.JOB, "unfolds to more than 20 times its size"),
        (3 * GIB, PullRoom(FULL, 10_000_000), Fault.PEER, "unfolds to more than this peer can spare"),
        (
            MIB,
            PullRoom(ROOM.size_bytes, 10_000_000 - ENTRIES_MAX - 1),
            Fault.JOB,
            "more than 2,000,000 files",
        ),
        (MIB, PullRoom(ROOM.size_bytes, 0), Fault.JOB, "files and directories"),
    ],
)
async def test_a_pull_goes_on_as_long_as_the_disk_has_room(
    declared_bytes: int, now: PullRoom, fault: Fault | None, why: str
) -> None:
    rooms = iter((ROOM, now))
    disk = Disk(Sdk("/nowhere"), "/", lambda _: next(rooms))
    await disk.begin()
    problem = await disk.problem(declared_bytes)
    assert problem is None if fault is None else problem is not None
    if problem:
        assert problem[0] is fault
        assert why in problem[1]


@pytest.mark.parametrize("free", [PullRoom(FULL, 10_000_000), PullRoom(10 * GIB, ENTRIES_FREE_MIN - 1)])
async def test_nothing_is_pulled_to_a_full_disk(free: PullRoom) -> None:
    with pytest.raises(ContainerFailed, match="no room for another image") as caught:
        await Disk(Sdk("/nowhere"), "/", lambda _: free).begin()
    assert caught.value.fault is Fault.PEER


async def test_a_disk_that_cannot_be_seen_is_no_reason() -> None:
    disk = Disk(Sdk("/nowhere"), "/not/of/this/machine", pull.room)
    await disk.begin()
    assert await disk.problem(10 * GIB) is None


OWN = "/run/docker/containerd/containerd.sock"


@pytest.mark.parametrize(
    ("driver", "containerd", "root"),
    [
        ([["Backing Filesystem", "extfs"]], CONTAINERD_SOCKET, "/var/lib/docker"),
        ([["driver-type", CONTAINERD_STORE]], CONTAINERD_SOCKET, "/var/lib/containerd"),
        ([["driver-type", CONTAINERD_STORE]], OWN, "/var/lib/docker"),
        (None, None, "/var/lib/docker"),
    ],
    ids=["images of Docker's own", "images in the system's containerd", "in Docker's containerd", "Podman"],
)
def test_the_disk_that_is_looked_at_is_the_one_that_images_come_to(
    driver: list[list[str]] | None, containerd: str | None, root: str
) -> None:
    info = {
        "DockerRootDir": "/var/lib/docker",
        "DriverStatus": driver,
        "Containerd": {"Address": containerd} if containerd else None,
    }
    assert images_root(info) == root


async def test_an_image_that_unfolds_to_more_than_the_disk_ends_with_its_execution(tmp_path: Path) -> None:
    require_docker()
    async with serving(tmp_path) as address, small_engine(tmp_path, DISK_BYTES) as (socket, root):
        before = os.statvfs(root)
        engine = DockerEngine("node", socket, registries=Registries((AllowedHost.parse(address),)))
        bombs = {
            "zeros": (zeros(4 * GIB), "unfolds to more than 20 times its size"),
            "files": (empty_files(120_000), "files and directories"),
        }
        for name, (layer, why) in bombs.items():
            image = push(address, name, layer)
            ended = await run(engine, make_workload(tmp_path, DockerTask(image=image)))
            assert ended.fault is Fault.JOB, ended
            assert ended.reason.startswith(f"image {image} "), ended
            assert why in ended.reason
            with trio.fail_after(30):
                # The engine removes what it has unfolded.
                while not _as_free_as(before, os.statvfs(root)):  # noqa: ASYNC110 - another process does it
                    await trio.sleep(0.1)


def _as_free_as(before: os.statvfs_result, now: os.statvfs_result) -> bool:
    lost_bytes = (before.f_bavail - now.f_bavail) * before.f_frsize
    return lost_bytes < 10 * MIB and before.f_favail - now.f_favail < 100
