"""Adding 1 GB to the block store, and fetching 100 MB from a peer.

Yardsticks in the same run: sha256 of the same file; a plain copy of it on the same disk, and one into
files of a block each, as whoever stores blocks has to write them; the same fetch between two Kubo daemons
(`scripts/kubo` builds them), by the same number of processes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from p2pnode.client.finding import find
from p2pnode.ipfs import car, unixfs
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.blocks import BlockStore

from .figures import ROOT, devnet, options, show

ADDED_SIZE_BYTES = 1_000_000_000
FETCHED_SIZE_BYTES = 100_000_000
ROUNDS = 5
KUBO = ROOT / ".venv/kubo/ipfs"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_random(path: Path, size_bytes: int) -> Path:
    with open(path, "wb") as file:
        for _ in range(size_bytes // 1_000_000):
            file.write(os.urandom(1_000_000))
    return path


def adding_to_the_store(scratch: Path) -> None:
    path = write_random(scratch / "added", ADDED_SIZE_BYTES)
    times: dict[str, list[float]] = {"sha": [], "copy": [], "blocks": [], "add": []}

    def sha256() -> None:
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256")

    def copy(number: int) -> None:
        with open(path, "rb") as source, open(scratch / f"copy-{number}", "wb") as target:
            shutil.copyfileobj(source, target, 256 * 1024)

    def copy_in_blocks(number: int) -> None:
        (scratch / f"blocks-{number}").mkdir()
        with open(path, "rb") as source:
            for place in itertools.count():
                if not (chunk := source.read(unixfs.CHUNK_SIZE_BYTES)):
                    return
                (scratch / f"blocks-{number}" / str(place)).write_bytes(chunk)

    def add(number: int) -> None:
        with adding(BlockStore(scratch / f"store-{number}")) as put:
            unixfs.add_path(path, put)

    for number in range(ROUNDS):
        # Each begins with nothing left to write. Nothing is removed in between: ext4 avoids inodes that
        # were freed a moment ago, and looks through them one by one.
        works: dict[str, Callable[[], object]] = {
            "sha": sha256,
            "copy": partial(copy, number),
            "blocks": partial(copy_in_blocks, number),
            "add": partial(add, number),
        }
        for name, work in works.items():
            os.sync()
            times[name].append(seconds(work))
    best = {name: min(taken) for name, taken in times.items()}
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    show("adding 1 GB, best", best["add"], "sha256 of it", best["sha"])
    show("adding 1 GB, median", middle["add"], "sha256 of it", middle["sha"])
    show("adding 1 GB, median", middle["add"], "copying the file", middle["copy"])
    show("adding 1 GB, median", middle["add"], "copying it, a file a block", middle["blocks"])


def between_our_nodes(path: Path, scratch: Path) -> list[float]:
    times = []
    with devnet(2) as directory:
        here, there = find(directory / "node-1", {}), find(directory / "node-2", {})
        peer = there.identity()["peer"]
        for number in range(ROUNDS):
            store = BlockStore(scratch / f"ours-{number}")
            root = unixfs.add_path(_new_content(path, number), store.put)
            there.import_car(car.write_car(root, store.get))
            times.append(seconds(lambda: list(here.fetch(root, [peer]))))  # noqa: B023
    return times


def _new_content(path: Path, number: int) -> Path:
    """So that no round finds blocks of another."""
    with open(path, "r+b") as file:
        for position in range(0, FETCHED_SIZE_BYTES, 100_000):
            file.seek(position)
            file.write(number.to_bytes(4, "big") + os.urandom(4))
    return path


def between_kubos(path: Path, scratch: Path) -> list[float]:
    times = []
    with _kubo(scratch / "kubo-1") as here, _kubo(scratch / "kubo-2") as there:
        (address, *_) = json.loads(_ipfs(there, "id"))["Addresses"]
        _ipfs(here, "swarm", "connect", address)
        for number in range(ROUNDS):
            root = _ipfs(there, "add", "--quieter", "--cid-version=1", str(_new_content(path, number)))
            times.append(seconds(lambda: _ipfs(here, "pin", "add", root)))  # noqa: B023
    return times


def _ipfs(repository: Path, *arguments: str) -> str:
    environment = os.environ | {"IPFS_PATH": str(repository), "IPFS_TELEMETRY": "off"}
    done = subprocess.run(
        [KUBO, *arguments], env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.stdout.decode().strip()


@contextmanager
def _kubo(repository: Path) -> Iterator[Path]:
    _ipfs(repository, "init", "--profile", "test")
    config = json.loads((repository / "config").read_text())
    config |= {"Bootstrap": [], "Routing": {"Type": "none"}, "AutoConf": {"Enabled": False}}
    (repository / "config").write_text(json.dumps(config))
    environment = os.environ | {"IPFS_PATH": str(repository), "IPFS_TELEMETRY": "off"}
    daemon = subprocess.Popen(
        [KUBO, "daemon"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert daemon.stdout is not None
        while b"Daemon is ready" not in (line := daemon.stdout.readline()):
            assert line, "the Kubo daemon ended"
        yield repository
    finally:
        daemon.terminate()
        daemon.wait()


def main() -> None:
    options("ipfs", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="p2pnode-bench-") as name:
        scratch = Path(name)
        path = write_random(scratch / "fetched", FETCHED_SIZE_BYTES)
        ours = between_our_nodes(path, scratch)
        if KUBO.exists():
            kubos = between_kubos(path, scratch)
            show("fetching 100 MB from a peer, best", min(ours), "Kubo to Kubo", min(kubos))
            show(
                "fetching 100 MB from a peer, median",
                statistics.median(ours),
                "Kubo to Kubo",
                statistics.median(kubos),
            )
        else:
            print(f"fetching 100 MB from a peer: {statistics.median(ours):.2f} s; no Kubo: run scripts/kubo")
        adding_to_the_store(scratch)


if __name__ == "__main__":
    main()
