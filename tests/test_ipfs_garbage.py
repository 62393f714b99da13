"""Garbage collection: what is pinned or in use stays, the oldest of the rest goes first."""

from __future__ import annotations

import io
import math
import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.ipfs import blocks, cid, dagpb, unixfs
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.blocks import BlockStore, StoreFull
from p2pnode.ipfs.gc_guards import Uses

CHUNK = unixfs.CHUNK_SIZE_BYTES


def content(seed: int, chunks: int = 3) -> bytes:
    return random.Random(seed).randbytes(CHUNK * chunks)


def add(store: BlockStore, seed: int, chunks: int = 3) -> str:
    with adding(store) as put:
        return unixfs.add_file(io.BytesIO(content(seed, chunks)), put)


def blocks_of(seed: int) -> set[str]:
    found = set()

    def put(data: bytes, codec: cid.Codec) -> str:
        found.add(address := cid.make(data, codec))
        return address

    unixfs.add_file(io.BytesIO(content(seed)), put)
    return found


def set_used(store_directory: Path, age_s: float) -> None:
    """Make all blocks that are there now as old as that."""
    for path in (store_directory / "blocks").rglob("*"):
        if path.is_file():
            used = path.stat().st_mtime - age_s
            os.utime(path, (used, used))


def is_whole(store: BlockStore, root: str, seed: int, chunks: int = 3) -> bool:
    node = dagpb.decode_untrusted(store.get(root) or b"")
    return b"".join(store.get(link.cid) or b"" for link in node.links) == content(seed, chunks)


def test_a_pin_keeps_all_blocks_below_its_root_and_nothing_else(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    kept, gone = add(store, 1), add(store, 2)
    nested = unixfs.add_directory({"a": {"b": {"c": content(3)}}}, store.put)
    store.pin(kept)
    store.pin(nested)
    size_bytes = store.size_bytes
    assert store.collect() > 3 * CHUNK
    assert is_whole(store, kept, 1)
    assert store.get(gone) is None
    assert unixfs.add_directory({"a": {"b": {"c": content(3)}}}, cid.make) == nested
    assert store.size_bytes < size_bytes
    assert BlockStore(tmp_path).size_bytes == store.size_bytes
    assert store.collect() == 0


def test_pins_hold_after_a_restart_and_end_when_their_time_is_over(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    short, long = add(store, 1), add(store, 2)
    store.pin(short, "result of e-1", until_s=1000)
    store.pin(long, "mine")
    # The longer of two pins of one root counts, whichever came last.
    store.pin(short, "result of e-2", until_s=500)
    store = BlockStore(tmp_path)
    assert {(pin.until_s, pin.what) for pin in store.pins.all()} == {
        (1000, "result of e-1"),
        (math.inf, "mine"),
    }
    store.keep_within(store.size_bytes, now_s=999)
    assert is_whole(store, short, 1)
    store.keep_within(store.size_bytes, now_s=1001)
    assert store.pins.roots() == [long]
    assert store.get(short) is None
    assert is_whole(store, long, 2)


def test_a_pin_file_that_cannot_be_read_keeps_its_root(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    root = add(store, 1)
    (tmp_path / "pins" / root).write_bytes(b"\xff\xfe")
    assert store.pins.all()[0].until_s == math.inf
    assert store.collect() == 0


def test_the_least_recently_used_blocks_go_first_and_only_as_many_as_needed(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    roots = []
    for seed in range(4):
        set_used(tmp_path, 3600)
        roots.append(add(store, seed))
    # The oldest is read, and so it is the newest.
    assert is_whole(store, roots[0], 0)
    store.collect(store.size_bytes - CHUNK)
    left = [sum(map(store.has, blocks_of(seed))) for seed in range(4)]
    assert left[1] < 4 and [left[seed] for seed in (0, 2, 3)] == [4, 4, 4]


def test_what_is_added_read_or_fetched_now_is_not_collected(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    before = add(store, 1)
    read = add(store, 2)
    with store.using(read):
        with store.using():
            half = store.put(b"an add that has no root yet")
            # Found, and so counted on: an add of the same does not write it again.
            assert store.has(before)
            store.collect()
            assert store.has(half) and store.get(before)
            assert is_whole(store, read, 2)
        store.collect()
        assert is_whole(store, read, 2)
    store.collect()
    assert store.size_bytes == 0


def test_an_operation_that_ends_leaves_what_an_older_one_may_need() -> None:
    uses = Uses(threading.Lock())
    older = uses.begin(None)
    newer = uses.begin(None)
    uses.note(b"noted")
    uses.end(newer)
    assert uses.keeps(b"noted")
    latest = uses.begin(None)
    uses.end(older)
    assert not uses.keeps(b"noted")
    uses.note(b"again")
    uses.end(latest)
    assert not uses.keeps(b"again")


def test_a_full_store_makes_room_by_itself(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, quota_bytes=10 * CHUNK)
    for seed in range(12):
        root = add(store, seed)
        assert is_whole(store, root, seed)
        assert store.size_bytes <= 10 * CHUNK


def test_a_store_full_of_pinned_blocks_says_so_and_loses_none(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, quota_bytes=8 * CHUNK)
    first, second = add(store, 1), add(store, 2)
    store.pin(first)
    store.pin(second)
    with pytest.raises(StoreFull, match="pinned or in use") as caught:
        add(store, 3)
    assert caught.value.strerror and "store_quota" in caught.value.strerror
    assert is_whole(store, first, 1) and is_whole(store, second, 2)
    assert not any((tmp_path / "tmp").iterdir())
    store.unpin(first)
    assert is_whole(store, add(store, 3), 3)
    assert is_whole(store, second, 2)


def test_a_block_that_is_both_raw_and_a_node_keeps_what_is_below_the_node(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    leaf = store.put(b"leaf")
    node = dagpb.encode([dagpb.DagLink(leaf, "leaf", 4)], dagpb.directory_data())
    as_node = store.put(node, "dag-pb")
    store.pin(unixfs.add_directory({"raw": node, "leaf": b""}, store.put))
    store.pin(as_node)
    store.collect()
    assert store.get(leaf) == b"leaf"


def test_adding_while_garbage_is_collected_loses_nothing(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            store.collect()

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for seed in range(30):
            with adding(store) as put:
                # Half of it was there before, unpinned.
                root = unixfs.add_file(io.BytesIO(content(seed % 3)), put)
                store.pin(root)
            assert is_whole(store, root, seed % 3)
            store.unpin(root)
    finally:
        done.set()
        collector.join()


def test_an_add_that_fails_says_why_and_ends_its_threads(tmp_path: Path) -> None:
    store = BlockStore(tmp_path, quota_bytes=8 * CHUNK)
    threads = threading.active_count()
    with pytest.raises(StoreFull):
        add(store, 1, chunks=100)
    with pytest.raises(ZeroDivisionError), adding(store):
        raise ZeroDivisionError
    assert threading.active_count() == threads


def test_after_a_crash_of_the_machine_the_last_blocks_are_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(blocks, "_BOOT_ID", boot)
    boot.write_text("first")
    store = BlockStore(tmp_path / "store")
    old = store.put(b"old")
    set_used(tmp_path / "store", 3600)
    torn, good = store.put(b"torn"), store.put(b"good")
    (path,) = (tmp_path / "store").rglob(cid.parse(torn).multihash.hex())
    # As a file system leaves a file whose bytes it had not written yet.
    path.write_bytes(b"")
    assert BlockStore(tmp_path / "store").has(torn)
    boot.write_text("second")
    store = BlockStore(tmp_path / "store")
    assert not store.has(torn)
    assert store.get(old) == b"old" and store.get(good) == b"good"
    assert store.size_bytes == 7


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_of_adds_pins_and_collections_keeps_what_is_pinned(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = BlockStore(tmp_path_factory.mktemp("store"), quota_bytes=60_000)
    trees: dict[str, dict[str, bytes]] = {}
    for _ in range(data.draw(st.integers(1, 15))):
        match data.draw(st.sampled_from(["add", "add and pin", "unpin", "collect"])):
            case "add" | "add and pin" as how:
                entries = {f"{one}": bytes([one]) * 3000 for one in data.draw(st.sets(st.integers(0, 9)))}
                with adding(store) as put:
                    root = unixfs.add_directory(entries, put)
                    if how == "add and pin":
                        store.pin(root)
                        trees[root] = entries
            case "unpin" if trees:
                store.unpin(root := data.draw(st.sampled_from(sorted(trees))))
                del trees[root]
            case "collect":
                store.collect(data.draw(st.integers(0, 60_000)))
        for root, entries in trees.items():
            assert unixfs.add_directory(entries, cid.make) == root
            assert all(store.get(cid.make(one, "raw")) == one for one in entries.values())
