"""Our CIDs are those of a real Kubo daemon, and each reads the other's large directories."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pnode.ipfs import car, cid, dagpb, unixfs
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.export import export
from p2pnode.ipfs.kubo import KuboDaemon

from .kubo_daemon import environment, program, running_daemon

CHUNK = unixfs.CHUNK_SIZE_BYTES
WIDE = unixfs.LINKS_PER_NODE_MAX


def file_of(size_bytes: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        (path / "file").write_bytes(random.Random(size_bytes).randbytes(size_bytes))

    return make


def repeated(chunks: int) -> Callable[[Path], None]:
    """A file of so many equal chunks, which takes no more room than two."""

    def make(path: Path) -> None:
        with open(path / "file", "wb") as file:
            file.truncate(chunks * CHUNK + 1)

    return make


def nested(path: Path) -> None:
    for level in range(20):
        path = path / f"level {level}"
        path.mkdir()
        (path / "file").write_bytes(b"%d" % level)
    (path / "link").symlink_to("../file")


def entries(count: int, length: int = 12) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        for index in range(count):
            (path / f"{index:0{length}}").write_bytes(b"%d" % (index % 10))

    return make


TREES: dict[str, Callable[[Path], None]] = {
    "an empty directory": lambda path: None,
    "an empty file": file_of(0),
    "one block": file_of(1000),
    "one full block": file_of(CHUNK),
    "many blocks": file_of(5 * CHUNK + 1),
    "one full node": file_of(WIDE * CHUNK),
    "very wide": repeated(WIDE * WIDE),
    "nested": nested,
    "100 files": entries(100),
    # 36 bytes for the CID and 220 for the name: 1024 are exactly 256 KiB.
    "just one node": entries(1023, 220),
    "just in shards": entries(1025, 220),
    "a large directory": entries(9000),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kubo")
    with running_daemon(directory):
        pass
    return directory


@pytest.mark.parametrize("name", TREES)
def test_a_tree_has_the_cid_that_kubo_gives_it(name: str, repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    TREES[name](tree)
    command = [program(), "add", "--recursive", "--quieter", "--only-hash", "--cid-version=1", str(tree)]
    done = subprocess.run(
        command, env=environment(repository), capture_output=True, text=True, check=True, timeout=120
    )
    assert unixfs.add_path(tree, cid.make) == done.stdout.strip()


PROGRAMS: dict[str, Callable[[Path], None]] = {
    "an empty program": file_of(0),
    "one block": file_of(1000),
    "one full block": file_of(CHUNK),
    "one byte over a block": file_of(CHUNK + 1),
    "one full node": file_of(WIDE * CHUNK),
    "a byte over a full node": repeated(WIDE),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_cid_that_kubo_gives_it_with_its_mode(
    name: str, repository: Path, tmp_path: Path
) -> None:
    PROGRAMS[name](tmp_path)
    file = tmp_path / "file"
    # Whoever may execute it: only one mode is written.
    file.chmod(0o710)
    command = [program(), "add", "--quieter", "--only-hash", "--cid-version=1", "--mode=0755", str(file)]
    done = subprocess.run(
        command, env=environment(repository), capture_output=True, text=True, check=True, timeout=120
    )
    assert unixfs.add_path(file, cid.make) == done.stdout.strip()


def test_the_modes_that_kubo_preserves_are_read_as_programs_and_plain_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, mode in (("run.sh", 0o4755), ("own", 0o700), ("plain", 0o640), ("secret", 0o600)):
        (tree / name).write_bytes(name.encode())
        (tree / name).chmod(mode)
    (tree / "large").write_bytes(bytes(CHUNK + 1))
    (tree / "large").chmod(0o755)
    store = BlockStore(tmp_path / "store")
    with running_daemon(tmp_path) as api:
        added = subprocess.run(
            [program(), "add", "--recursive", "--quieter", "--preserve-mode", str(tree)],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = added.stdout.strip()
        KuboDaemon(api).fetch(theirs, store, lambda size_bytes: None, 100_000_000)
    export(theirs, store.get, tmp_path / "got")
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "got").iterdir()}
    assert modes == {"run.sh": 0o755, "own": 0o755, "large": 0o755, "plain": 0o644, "secret": 0o644}


def test_a_large_directory_of_kubos_is_read_and_ours_by_kubo(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    entries(9000)(tree)
    store = BlockStore(tmp_path / "store")
    with running_daemon(tmp_path) as api:
        daemon = KuboDaemon(api)
        added = subprocess.run(
            [program(), "add", "--recursive", "--quieter", str(tree)],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        # A CID of version 0: its blocks are others than ours.
        theirs = added.stdout.strip()
        daemon.fetch(theirs, store, lambda size_bytes: None, 100_000_000)
        assert dagpb.decode_untrusted(store.get(theirs) or b"").kind is dagpb.NodeKind.SHARD
        export(theirs, store.get, tmp_path / "exported")
        ours = unixfs.add_path(tree, store.put)
        daemon.add(ours, car.write_car(ours, store.get))
        command = [program(), "get", "--output", str(tmp_path / "got"), ours]
        subprocess.run(command, env=environment(tmp_path), capture_output=True, check=True)
    for copy in ("exported", "got"):
        assert unixfs.add_path(tmp_path / copy, cid.make) == ours
