"""A running Docker engine and its local images for the tests that need them.

The engine is the one that a node here would use: DOCKER_HOST names another for all of them, the docker
command included. An engine that answers is used; else dockerd is started where it is installed and we are
root, and left running, so that the next run finds it. Without either the tests are skipped with the
reason, or fail where CI is set.

Podman needs a socket that its group may use (chmod 660), for the tests of a node that is not root, and
127.0.0.1 as an `insecure` registry in its registries.conf, for those that pull.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from p2pnode.core.wire.spec import DockerTask, NetworkType
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker import discovery, podman
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.workload import Workload

from .engine_support import run

SCRIPTS = Path(__file__).parent.parent / "scripts"
BUSYBOX = "p2pnode/busybox:1"
BATCH_EXAMPLE = "p2pnode/batchjobexample:1.1"
START_S_MAX = 30.0
# The engine's address, as `DockerEngine` is given it.
SOCKET = discovery.find("").socket_path


def require_docker() -> None:
    """Skip (fail where CI is set) unless an engine with the images answers."""
    if reason := missing():
        cannot_run(reason)


def cannot_run(reason: str) -> NoReturn:
    """Skip the test, or fail it where CI is set: there these tests must run."""
    if os.environ.get("CI"):
        pytest.fail(f"must run where CI is set: {reason}")
    pytest.skip(reason)


@cache
def missing() -> str:
    """Why there is no engine with our images, or ""; starts one if it can."""
    if not shutil.which("docker"):
        return "the docker command is not installed"
    if not _answers():
        if os.geteuid() or not shutil.which("dockerd"):
            return "no Docker engine answers, and dockerd cannot be started here"
        subprocess.run([SCRIPTS / "dockerd"], check=True, timeout=START_S_MAX)
    made = subprocess.run([SCRIPTS / "images"], capture_output=True, text=True, check=False)
    return f"scripts/images failed: {made.stderr[-500:]}" if made.returncode else ""


@cache
def is_podman() -> bool:
    """Whether it is Podman that answers: what it lacks is in docs/engines.md's table."""
    command = ["docker", "version", "--format", "{{json .Server.Components}}"]
    return "Podman" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def refused_by_podman(engine: DockerEngine, workload: Workload) -> bool:
    """Whether the engine has no Network Type Bridge, and then whether it says so."""
    if not is_podman():
        assert NetworkType.BRIDGE in await engine.networks()
        return False
    assert NetworkType.BRIDGE not in await engine.networks()
    ended = await run(engine, workload)
    assert (ended.fault, ended.reason) == (Fault.PEER, podman.NO_BRIDGE)
    return True


def shell(script: str) -> DockerTask:
    """The task of a shell script."""
    return DockerTask(image=BUSYBOX, entrypoint=("sh", "-c"), parameters=(script,))


def containers(*filters: str) -> list[str]:
    """Names of all containers, also ended ones, that pass the filters."""
    command = ["docker", "ps", "-a", "--format", "{{.Names}}"]
    for one in filters:
        command += ["--filter", one]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _answers() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
