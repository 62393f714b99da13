"""Results that a node keeps, for how long, and what a Kubo daemon gets, also one that is away for a while."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from p2pnode.ipfs import result_store as keepers
from p2pnode.ipfs import unixfs
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.kubo import KuboDaemon, KuboFailed, multiaddr_of
from p2pnode.ipfs.result_store import ResultStore, default_quota_bytes

from .kubo_daemon import running_daemon

RESULT: unixfs.Tree = {
    "stdout": b"42\n",
    "stderr": b"",
    "exitCode": b"0",
    "outputs": {"large": bytes(range(256)) * 4000},
}
HOUR_S = 3600


def test_a_result_is_kept_for_its_time_and_a_receipt_for_longer(tmp_path: Path) -> None:
    blocks = BlockStore(tmp_path / "blocks")
    results = ResultStore(blocks, tmp_path / "kubo", 24 * HOUR_S, None)
    result, receipt = results.add_result(RESULT), results.add_receipt(b"signed")
    left_s = {pin.what: pin.until_s - time.time() for pin in blocks.pins.all()}
    assert 23 * HOUR_S < left_s["result"] < 25 * HOUR_S < left_s["receipt"]
    blocks.keep_within(0, time.time() + 23 * HOUR_S)
    assert blocks.get(result) and blocks.get(receipt)
    blocks.keep_within(0, time.time() + 25 * HOUR_S)
    assert blocks.get(result) is None and blocks.get(receipt)


def test_the_default_quota_is_a_share_of_the_disk(tmp_path: Path) -> None:
    assert default_quota_bytes(tmp_path) > 0


async def test_the_keeper_collects_near_the_quota(tmp_path: Path) -> None:
    blocks = BlockStore(tmp_path / "blocks", quota_bytes=1_000_000)
    results = ResultStore(blocks, tmp_path / "kubo", HOUR_S, None)
    pinned = results.add_result({"stdout": b"x"})
    for number in range(10):
        blocks.put(bytes([number]) * 95_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(results.run)
        with trio.fail_after(10):
            while blocks.size_bytes > 800_000:  # noqa: ASYNC110
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert blocks.get(pinned)


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ("/ip4/127.0.0.1/tcp/5001", "/ip4/127.0.0.1/tcp/5001"),
        ("http://127.0.0.1:5001", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://[::1]:5001/", "/ip6/::1/tcp/5001/http"),
        ("https://kubo.example.lan", "/dns/kubo.example.lan/tcp/443/https"),
    ],
)
def test_a_daemon_is_named_by_a_multiaddr_or_a_url(api: str, expected: str) -> None:
    assert multiaddr_of(api) == expected


@pytest.mark.parametrize("api", ["", "localhost", "/ip4/127.0.0.1", "ftp://host", "http://host/api"])
def test_an_address_that_is_no_daemons_is_refused(api: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        KuboDaemon(api)


def test_a_daemon_that_is_away_is_named_in_the_reason(tmp_path: Path) -> None:
    daemon = KuboDaemon("/ip4/127.0.0.1/tcp/1")
    blocks = BlockStore(tmp_path)
    with pytest.raises(KuboFailed, match=r"no Kubo daemon answers at /ip4/127\.0\.0\.1/tcp/1"):
        daemon.fetch(blocks.put(b"x"), blocks, lambda size_bytes: None, 100)
    with pytest.raises(KuboFailed, match="is `ipfs daemon` running"):
        daemon.add(blocks.put(b"x"), [b"x"])


async def test_a_result_gets_to_a_daemon_and_comes_back_from_it(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as api:
        blocks = BlockStore(tmp_path / "blocks")
        results = ResultStore(blocks, tmp_path / "kubo", HOUR_S, KuboDaemon(api))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.run)
            root = await trio.to_thread.run_sync(results.add_result, RESULT)
            await delivered(tmp_path / "kubo")
            nursery.cancel_scope.cancel()
        other = BlockStore(tmp_path / "other")
        fetcher = ResultStore(other, tmp_path / "none", HOUR_S, KuboDaemon(api))
        sizes_bytes: list[int] = []
        await fetcher.fetch_from_kubo(root, sizes_bytes.append, 10_000_000)
        assert other.size_bytes == blocks.size_bytes and sizes_bytes[-1] >= other.size_bytes
        with pytest.raises(BlockUnavailable, match="more than 1000 bytes"):
            await fetcher.fetch_from_kubo(root, sizes_bytes.append, 1000)


async def test_nothing_is_lost_while_the_daemon_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keepers, "KUBO_RETRY_S", 0.1)
    with running_daemon(tmp_path) as api:
        pass
    blocks = BlockStore(tmp_path / "blocks")
    away = ResultStore(blocks, tmp_path / "kubo", HOUR_S, KuboDaemon(api))
    root = away.add_result(RESULT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(away.run)
        with trio.fail_after(10):
            while "not on the Kubo daemon yet" not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert [path.name for path in (tmp_path / "kubo").iterdir()] == [root]
    # A new node on the same directory, and the daemon is back (on another port).
    with running_daemon(tmp_path) as api:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ResultStore(blocks, tmp_path / "kubo", HOUR_S, KuboDaemon(api)).run)
            await delivered(tmp_path / "kubo")
            nursery.cancel_scope.cancel()
        copy = BlockStore(tmp_path / "copy")
        KuboDaemon(api).fetch(root, copy, lambda size_bytes: None, 10_000_000)
        assert copy.size_bytes == blocks.size_bytes


async def delivered(directory: Path) -> None:
    with trio.fail_after(30):
        while not os.path.exists(directory) or os.listdir(directory):  # noqa: ASYNC110, ASYNC240
            await trio.sleep(0.05)
