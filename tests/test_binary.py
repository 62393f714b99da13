"""The program in one file: built, run where there is no Python and next to nothing else, and packaged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from p2pnode.client.finding import running_node

from .docker_engine import cannot_run, require_docker

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
PACKAGING = ROOT / "scripts" / "packaging"
P2PNODE = Path(sys.executable).parent / "p2pnode"
IMAGE, BASE_IMAGE, NETWORK = "p2pnode/tested:1", "p2pnode/glibc:1", "p2pnode-tested"
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
    assert "protocols: link/4" in command(node, "--version")
    command(node, "ipfs", "add", "/home/jobs/wordcount.wasm")
    command(node, "ipfs", "add", "/home/jobs/wordcount-data")
    cid = command(node, "submit", "/home/job.yaml").strip()
    assert cid
    (job,) = json.loads(command(node, "job", "list", "--json"))["jobs"]
    assert job["state"] == "Completed"
    assert len(list((node / "home/.cache/p2pnode").iterdir())) == 1
    # The chroot shares this machine's loopback.
    api = json.loads((node / "home/node/node.json").read_text())["api"]
    for path, file in (
        ("/", "index.html"),
        ("/page/main.js", "main.js"),
        ("/page/vendor/preact.js", "vendor/preact.js"),
    ):
        with urllib.request.urlopen(api + path) as answer:
            assert answer.read() == (ROOT / "p2pnode/api/page" / file).read_bytes()


def test_the_unit_is_valid_and_gives_flags_that_there_are(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        cannot_run("systemd-analyze is not installed")
    unit = tmp_path / "etc/systemd/system/p2pnode.service"
    unit.parent.mkdir(parents=True)
    shutil.copy(PACKAGING / "p2pnode.service", unit)
    program = tmp_path / "usr/bin/p2pnode"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    # Units of systemd itself, which ours names.
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    verify = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", "p2pnode.service"]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "p2pnode.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^ExecStart=/usr/bin/p2pnode serve (.*)$", unit.read_text(), re.MULTILINE)
    usage = subprocess.run([P2PNODE, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(flag in usage for flag in re.findall(r"--\S+", line))


def test_the_debian_package_holds_the_program_its_unit_and_its_settings(built: Path, tmp_path: Path) -> None:
    if not shutil.which("dpkg-deb"):
        cannot_run("dpkg-deb is not installed")
    made = subprocess.run([ROOT / "scripts/package", built], capture_output=True, text=True, check=True)
    subprocess.run(["dpkg-deb", "-x", made.stdout.strip(), tmp_path], check=True)
    assert (tmp_path / "usr/bin/p2pnode").read_bytes() == (built / "p2pnode").read_bytes()
    unit = tmp_path / "lib/systemd/system/p2pnode.service"
    assert unit.read_bytes() == (PACKAGING / "p2pnode.service").read_bytes()
    assert (tmp_path / "etc/default/p2pnode").is_file()


def docker(*arguments: str | Path) -> str:
    command = ["docker", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S_MAX)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image(bare: Path, built: Path) -> Iterator[str]:
    """Made by the Dockerfile, on a base of busybox and glibc."""
    require_docker()
    with subprocess.Popen(["tar", "-C", bare, "-c", "."], stdout=subprocess.PIPE) as tar:
        base = ["docker", "import", "-c", "ENV PATH=/bin:/usr/local/bin", "-", BASE_IMAGE]
        subprocess.run(base, stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
    build = ["docker", "build", "-q", "-t", IMAGE, "--build-arg", f"BASE={BASE_IMAGE}"]
    command = [*build, "-f", PACKAGING / "Dockerfile", built]
    # The builder that comes with the engine; the other is a package of its own.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stderr
        yield IMAGE
    finally:
        subprocess.run(["docker", "image", "rm", "-f", IMAGE, BASE_IMAGE], check=False, capture_output=True)


@pytest.fixture
def composed(image: str) -> Iterator[list[str]]:
    """The containers of compose.yaml's services, on a network of their own."""
    services = yaml.safe_load((PACKAGING / "compose.yaml").read_text())["services"]
    assert all(service["image"] == "p2pnode" for service in services.values())
    names = [f"{NETWORK}-{name}" for name in services]
    docker("network", "create", NETWORK)
    try:
        for name in names:
            docker("run", "-d", "--name", name, "--hostname", name, "--network", NETWORK, image)
        yield names
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", *names], check=False, capture_output=True)
        docker("network", "rm", NETWORK)


def test_three_containers_of_the_image_find_each_other_and_run_a_job(composed: list[str]) -> None:
    first = composed[0]
    deadline = time.monotonic() + COMMAND_S_MAX
    nodes: list[object] = []
    while len(nodes) < len(composed):
        assert time.monotonic() < deadline, docker("logs", first)
        time.sleep(LOOK_INTERVAL_S)
        command = ["docker", "exec", first, "p2pnode", "node", "list", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        nodes = json.loads(done.stdout)["nodes"] if done.returncode == 0 else []
    docker("exec", first, "p2pnode", "ipfs", "add", "/home/jobs/wordcount.wasm")
    docker("exec", first, "p2pnode", "ipfs", "add", "/home/jobs/wordcount-data")
    docker("exec", first, "p2pnode", "submit", "/home/job.yaml")
    (job,) = json.loads(docker("exec", first, "p2pnode", "job", "list", "--json"))["jobs"]
    assert job["state"] == "Completed"
