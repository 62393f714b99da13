"""CIDs and nodes read from anyone's bytes; a block store that never gives out a wrong block."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid, dagpb, unixfs
from p2pnode.ipfs.blocks import BadBlock, BlockStore

# The empty directory, which every IPFS node knows under both names.
EMPTY_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
EMPTY_V1 = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
EMPTY_BLOCK = b"\x0a\x02\x08\x01"


def test_one_block_has_a_name_in_each_version() -> None:
    assert cid.make(EMPTY_BLOCK, "dag-pb") == EMPTY_V1
    assert cid.canonical(EMPTY_V0) == EMPTY_V1
    assert str(cid.parse(EMPTY_V0)) == EMPTY_V0
    assert cid.parse(EMPTY_V0).multihash == cid.parse(EMPTY_V1).multihash
    assert cid.parse("ipfs://" + EMPTY_V1) == cid.parse(EMPTY_V1.upper()) == cid.parse(EMPTY_V1)
    assert cid.parse("f" + bytes(cid.parse(EMPTY_V1)).hex()) == cid.parse(EMPTY_V1)
    assert unixfs.add_directory({}, cid.make) == EMPTY_V1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "Qm",
        EMPTY_V0[:-1],
        EMPTY_V0[:-1] + "0",
        EMPTY_V1[:-1],
        EMPTY_V1 + "aaaa",
        EMPTY_V1[:5] + "A" + EMPTY_V1[6:],
        "z" + EMPTY_V0,
        # sha1, and a codec that nobody has
        "bafkrcfaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "f01ff1220" + "00" * 32,
        "b" * 5000,
    ],
)
def test_text_that_is_no_cid_is_refused_and_shown(text: str) -> None:
    with pytest.raises(cid.BadCid):
        cid.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_cid_or_refused(text: str) -> None:
    try:
        parsed = cid.parse(text)
    except cid.BadCid:
        return
    assert cid.parse(str(parsed)) == parsed


@given(st.binary(max_size=80))
def test_any_bytes_are_a_cid_or_refused(data: bytes) -> None:
    try:
        parsed = cid.from_bytes_untrusted(data)
    except BadMessage:
        return
    assert cid.parse(str(parsed)) == parsed


@given(st.binary(max_size=300))
def test_any_bytes_are_a_node_or_a_bad_message(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        dagpb.decode_untrusted(data)


@given(
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=20), st.integers(0, 2**62))),
    st.binary(max_size=40),
    st.integers(0, 200),
    st.integers(0, 255),
)
def test_a_node_survives_encoding_and_damage_is_a_bad_message(
    raw_links: list[tuple[bytes, bytes, int]], data: bytes, position: int, byte: int
) -> None:
    links = tuple(
        dagpb.DagLink(cid.make(content, "raw"), os.fsdecode(name), size) for content, name, size in raw_links
    )
    block = dagpb.encode(links, dagpb.symlink_data(data))
    assert dagpb.decode_untrusted(block) == dagpb.DagNode(links, dagpb.NodeKind.SYMLINK, data)
    damaged = bytearray(block)
    damaged[position % len(block)] = byte
    with contextlib.suppress(BadMessage):
        dagpb.decode_untrusted(bytes(damaged))


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "no data"),
        (b"\x0a\x00", "no type"),
        (b"\x0a\x02\x08\x09", "not a valid NodeKind"),
        (EMPTY_BLOCK * 2, "stands twice"),
        (b"\x1a\x00" + EMPTY_BLOCK, "unknown"),
        (b"\x0a\x05\x08\x01", "past the end"),
        (b"\x12\x00" + EMPTY_BLOCK, "no CID"),
        (b"\x08\x01", "a number where bytes"),
        (b"\x0a\x80", "does not end"),
        (b"\x0a\x82\x00\x08\x01", "more bytes than it needs"),
        (b"\x0b" + EMPTY_BLOCK, "wire type 3"),
        (bytes(dagpb.BLOCK_SIZE_BYTES_MAX + 1), "over the limit"),
    ],
)
def test_a_node_that_is_wrong_is_refused_with_the_reason(block: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        dagpb.decode_untrusted(block)


def test_a_block_is_found_under_every_name_of_its_hash(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    assert store.put(EMPTY_BLOCK, "dag-pb") == EMPTY_V1
    for name in (EMPTY_V0, EMPTY_V1, cid.make(EMPTY_BLOCK, "raw")):
        assert store.get(name) == EMPTY_BLOCK
        assert store.has(name)
        assert store.block_size(name) == 4
    assert store.get(cid.make(b"other", "raw")) is None
    assert store.size_bytes == 4


def test_blocks_and_pins_are_there_after_a_restart_and_half_written_ones_are_not(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    root = store.put(b"hello")
    store.pin(root)
    store.pin(EMPTY_V0)
    (tmp_path / "tmp" / "7").write_bytes(b"half")
    again = BlockStore(tmp_path)
    assert again.get(root) == b"hello"
    assert again.pins.roots() == sorted([root, EMPTY_V1])
    assert EMPTY_V0 in again.pins
    assert again.size_bytes == 5
    assert list((tmp_path / "tmp").iterdir()) == []
    assert again.unpin(EMPTY_V1)
    assert not again.unpin(EMPTY_V1)
    assert again.pins.roots() == [root]


def test_a_damaged_block_is_missing_and_removed_and_can_be_stored_again(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    root = store.put(b"hello")
    (path,) = [path for path in (tmp_path / "blocks").rglob("*") if path.is_file()]
    path.write_bytes(b"jello")
    assert store.get(root) is None
    assert not store.has(root)
    assert store.size_bytes == 0
    store.put_verified(root, b"hello")
    assert store.get(root) == b"hello"


def test_a_block_that_is_not_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    with pytest.raises(BadBlock, match="not the block"):
        store.put_verified(cid.make(b"asked", "raw"), b"sent")
    with pytest.raises(BadBlock, match="over the limit"):
        store.put(bytes(dagpb.BLOCK_SIZE_BYTES_MAX + 1))
    assert store.size_bytes == 0


def test_a_block_inside_its_cid_needs_no_file(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    inline = str(cid.Cid(1, "raw", b"\x00\x05hello"))
    assert store.get(inline) == b"hello"
    store.put_verified(inline, b"hello")
    with pytest.raises(BadBlock):
        store.put_verified(inline, b"jello")
    assert store.size_bytes == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    (tmp_path / "tmp" / "0").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        store.put(b"hello")
    assert caught.value.errno == errno.ENOSPC
    assert store.size_bytes == 0
    store.put(b"hello")
    assert store.size_bytes == 5
