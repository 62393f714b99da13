"""A running Docker engine and its local images for the tests that need them.

It is the one that a node here would use: DOCKER_HOST names another for all of them, the docker command
included. An engine that answers is used; else dockerd is started where it is installed and we are root,
and left running, so that the next run finds it. Without either the tests are skipped with the
reason, or fail where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from p2pnode.engines.docker import discovery

SCRIPTS = Path(__file__).parent.parent / "scripts"
BUSYBOX = "p2pnode/busybox:1"
BATCH_EXAMPLE = "p2pnode/batchjobexample:1.1"
START_S_MAX = 30.0
# As `DockerEngine` is given it.
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


def containers(*filters: str) -> list[str]:
    """Names of all containers, also ended ones, that pass the filters."""
    command = ["docker", "ps", "-a", "--format", "{{.Names}}"]
    for one in filters:
        command += ["--filter", one]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _answers() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
