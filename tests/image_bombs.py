"""Images whose layer unfolds to far more than it is, in a registry; and a Docker engine with a small disk."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2pnode.engines.docker import space
from p2pnode.engines.docker.api import unavailable

from .docker_engine import cannot_run

MIB = 1024**2
DOCKER_TYPE = "application/vnd.docker"
START_S_MAX = 30.0


def zeros(size_bytes: int) -> bytes:
    """A layer of one file of zeros: gzip streams that follow each other are one."""
    return _head("zeros", size_bytes) + gzip.compress(bytes(MIB)) * (size_bytes // MIB) + _end()


def empty_files(count: int) -> bytes:
    heads = b"".join(tarfile.TarInfo(f"f{number}").tobuf() for number in range(count))
    return gzip.compress(heads, 1) + _end()


def push(address: str, name: str, layer: bytes) -> str:
    """Put an image of one layer into a registry; returns its name. The layer's digest is never looked at."""
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
        }
    ).encode()
    types = (f"{DOCKER_TYPE}.container.image.v1+json", f"{DOCKER_TYPE}.image.rootfs.diff.tar.gzip")
    config, only = (
        {"mediaType": kind, "size": len(data), "digest": _put_blob(address, name, data)}
        for kind, data in zip(types, (configuration, layer), strict=True)
    )
    kind = f"{DOCKER_TYPE}.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [only]}
    url = f"http://{address}/v2/{name}/manifests/1"
    _send("PUT", url, json.dumps(manifest).encode(), kind)
    return f"{address}/{name}:1"


@asynccontextmanager
async def small_engine(directory: Path, disk_bytes: int) -> AsyncIterator[tuple[str, Path]]:
    """The socket of an engine of its own, and where it keeps its images: a file system of this size.

    It reaches nothing but a registry of its own, with the configuration that is in the directory.
    """
    if not (space.possible() and shutil.which("dockerd") and shutil.which("unshare")):
        cannot_run("a Docker engine with a small disk needs root, dockerd and loop devices")
    disk, root = directory / "disk", directory / "root"
    # The names of sockets are short.
    own = Path(tempfile.mkdtemp(prefix="engine"))
    socket = own / "docker.sock"
    root.mkdir()
    await trio.run_process(["truncate", f"--size={disk_bytes}", str(disk)])
    await trio.run_process(["mkfs.ext4", "-q", "-F", "-m", "0", str(disk)])
    await trio.run_process(["mount", "-o", "loop", str(disk), str(root)])
    engine = f"dockerd --bridge=none --iptables=false --data-root={root} --host=unix://{socket}"
    engine += f" --exec-root={own / 'exec'} --pidfile={own / 'pid'}"
    # In a network of its own: an engine without a bridge removes docker0, which is the machine's engine's.
    inside = f"ip link set lo up && (docker-registry serve {directory / 'config.yml'} & exec {engine})"
    command = [
        *["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"],
        inside,
    ]
    try:
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with trio.fail_after(START_S_MAX):
                while await unavailable(str(socket)):  # noqa: ASYNC110 - another process listens or not
                    await trio.sleep(0.1)
            yield str(socket), root
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", "--lazy", str(root)])
            await trio.to_thread.run_sync(shutil.rmtree, own, True)


def _head(name: str, size_bytes: int) -> bytes:
    head = tarfile.TarInfo(name)
    head.size = size_bytes
    return gzip.compress(head.tobuf())


def _end() -> bytes:
    return gzip.compress(bytes(1024))


def _put_blob(address: str, name: str, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = _send("POST", f"http://{address}/v2/{name}/blobs/uploads/", b"", "")
    _send("PUT", f"{place}&digest={digest}", data, "application/octet-stream")
    return digest


def _send(method: str, url: str, data: bytes, kind: str) -> str:
    headers = {"Content-Type": kind} if kind else {}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
        return str(answer.headers.get("Location"))
