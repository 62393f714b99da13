"""The program in one file: built, and run where there is no Python and next to nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.api.client import running_node

from .docker_engine import cannot_run

ROOT = Path(__file__).parent.parent
BUILD_S_MAX = 400.0
COMMAND_S_MAX = 90.0
LOOK_INTERVAL_S = 0.1
# glibc and the zlib that the start of the program needs; all else must be in the file.
SYSTEM_LIBRARIES = (
    "ld-linux",
    "libc.so",
    "libm.so",
    "libdl.so",
    "libpthread.so",
    "librt.so",
    "libutil.so",
    "libz.so",
)
JOBS = ROOT / "devnet" / "jobs"
PROGRAMS = ("sh", "tail", "tar", "gzip", "mkdir", "mktemp", "mv", "rm", "zcat")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that scripts/binary wrote. It takes most of a minute, so only where CI is set."""
    if not os.environ.get("CI"):
        pytest.skip("building the binary takes a minute: set CI")
    out = tmp_path_factory.mktemp("built")
    subprocess.run([ROOT / "scripts/binary", out], check=True, timeout=BUILD_S_MAX)
    return out


def system_libraries() -> set[Path]:
    found = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    directory = next(Path(one).parent for one in re.findall(r"/\S*libc\.so\S*", found))
    loader = next(Path(one) for one in re.findall(r"/\S*ld-linux\S*", found))
    return {loader} | {one for one in directory.iterdir() if one.name.startswith(SYSTEM_LIBRARIES)}


@pytest.fixture
def bare(built: Path, tmp_path: Path) -> Path:
    """A file system of busybox, glibc, the program and a job."""
    if os.geteuid() or not shutil.which("busybox"):
        cannot_run("chroot needs root, and the file system needs busybox")
    root = tmp_path / "root"
    for directory in ("bin", "home", "tmp", "etc", "proc", "dev"):
        (root / directory).mkdir(parents=True)
    busybox = shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for name in PROGRAMS:
        os.link(busybox, root / "bin" / name)
    for library in system_libraries():
        (root / str(library).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / str(library).lstrip("/"))
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/home:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    shutil.copy(built / "p2pnode", root / "bin/p2pnode")
    shutil.copytree(JOBS, root / "home/jobs")
    job = (JOBS / "wordcount.yaml").read_text().replace("\nCount: 2\n", "\nCount: 1\n")
    (root / "home/job.yaml").write_text(job)
    return root


def within(root: Path, *arguments: str) -> list[str]:
    """The command in `root`, with /proc of its own and nothing in its environment but a home."""
    mounts = f'mount -t proc proc "{root}/proc" && mount --rbind /dev "{root}/dev" && exec "$@"'
    env = ["env", "-i", "HOME=/home", "PATH=/bin", "P2PNODE_DATA_DIR=/home/node"]
    chroot = [*env, "/usr/sbin/chroot", str(root), "/bin/p2pnode", *arguments]
    return ["unshare", "-m", "sh", "-c", mounts, "sh", *chroot]


def command(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        within(root, *arguments), capture_output=True, text=True, check=False, timeout=COMMAND_S_MAX
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def node(bare: Path) -> Iterator[Path]:
    log = bare.parent / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            within(bare, "serve", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"), stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + COMMAND_S_MAX
        while running_node(bare / "home/node") is None:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(LOOK_INTERVAL_S)
        yield bare
        process.send_signal(signal.SIGTERM)
        assert process.wait(COMMAND_S_MAX) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_one_file_serves_submits_and_runs_a_wasm_job_where_there_is_no_python(node: Path) -> None:
    assert command(node, "--help") == (ROOT / "p2pnode/cli/help.txt").read_text()
    assert "protocols: link/2" in command(node, "--version")
    command(node, "ipfs", "add", "/home/jobs/wordcount.wasm")
    command(node, "ipfs", "add", "/home/jobs/wordcount-data")
    cid = command(node, "submit", "/home/job.yaml").strip()
    assert cid
    (job,) = json.loads(command(node, "job", "list", "--json"))["jobs"]
    assert job["state"] == "Completed"
    assert len(list((node / "home/.cache/p2pnode").iterdir())) == 1
