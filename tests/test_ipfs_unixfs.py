"""Our CIDs are those that Kubo and js-ipfs give; special files are not read; names keep their bytes."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from pathlib import Path

import pytest

from p2pnode.ipfs import cid, dagpb, unixfs

# Two independent implementations agree on each of these (CIDv1, raw leaves, 256 KiB chunks).
GOLDEN_FILES = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreidwx2fvfdiaox32v2mnn6sxu3j4qoxeqcuenhtgrv5qv6litfnmoe",
    262144: "bafkreicqzrpndauwdhldihh2qaobg64ama2umksudbgvf3e7oxo6xvnfna",
    262145: "bafybeid734dmomtyijairyesu6j4rrht2nxvh2k4v46noo2lfxtgdi5mdm",
    1000000: "bafybeiftomniefwbznorwbvktqov2jlievx6qqktdxofxyo4vbwe2xyg6e",
    # 174 chunks; one byte more; 176 chunks.
    45613056: "bafybeifnuunvizqhh7dx3ioogaxf7xwokhzs2x3arflywwh7gulhfqijxu",
    45613057: "bafybeighm3ynd5mr7varlejb6eaxisr6nnv6cas4m7wbh3ttvwlzlsoyjy",
    46137344: "bafybeighbxvz7ojng433bpamc7qgjb3p2w72vpvovs5uotator4nlsakdm",
}
GOLDEN_NESTED = "bafybeihkyzgezsvk2aruq6acuzfg6mabbh4bbz6midzu6xibq3birqypsq"
GOLDEN_FLAT = {
    10: "bafybeih73yyhbs7stmgzo5jgrjphhvgbcnhspaz2xywbmvv62vrzq6sedu",
    6000: "bafybeib6r4v725enwizllfozcstcgdawdl2qob5skmb66epk63cs7rndle",
}


def body(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_128(f"p2pnode-golden/{name}".encode()).digest(size_bytes)


@pytest.mark.parametrize(("size_bytes", "expected"), GOLDEN_FILES.items())
def test_a_file_has_the_cid_that_kubo_gives_it(size_bytes: int, expected: str) -> None:
    assert unixfs.add_file(io.BytesIO(body(str(size_bytes), size_bytes)), cid.make) == expected


def test_nested_directories_have_the_cid_that_kubo_gives_them(tmp_path: Path) -> None:
    folder = tmp_path / "nested"
    for level in range(6):
        folder.mkdir()
        (folder / f"n{level}.bin").write_bytes(body(f"nested/{level}", 1000 * level + 1))
        folder = folder / f"d{level}"
    assert unixfs.add_path(tmp_path / "nested", cid.make) == GOLDEN_NESTED


@pytest.mark.parametrize(("count", "expected"), GOLDEN_FLAT.items())
def test_a_directory_in_one_node_or_in_shards_has_the_cid_that_kubo_gives_it(
    count: int, expected: str
) -> None:
    entries = {f"file-{i:05}.txt": body(f"flat{count}/{i}", 10) for i in range(count)}
    assert unixfs.add_directory(entries, cid.make) == expected


def test_a_directory_turns_into_shards_above_the_limit_and_not_at_it() -> None:
    def kind(name_length: int) -> dagpb.NodeKind:
        # 1024 entries of 36 bytes for the CID and 220 for the name are exactly 256 KiB.
        names = [f"{i:0220}" for i in range(1023)] + [f"{1023:0{name_length}}"]
        blocks: dict[str, bytes] = {}

        def put(data: bytes, codec: cid.Codec) -> str:
            address = cid.make(data, codec)
            blocks[address] = data
            return address

        return dagpb.decode_untrusted(blocks[unixfs.add_directory(dict.fromkeys(names, b""), put)]).kind

    assert kind(220) is dagpb.NodeKind.DIRECTORY
    assert kind(221) is dagpb.NodeKind.SHARD


def test_the_same_tree_has_one_cid_however_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "result.txt").write_bytes(b"42\n")
    (tmp_path / "out" / "empty").mkdir()
    (tmp_path / "log").write_bytes(b"hello\n")
    mixed = unixfs.add_directory({"out": tmp_path / "out", "log": tmp_path / "log", "code": b"0"}, cid.make)
    in_memory = unixfs.add_directory(
        {"code": b"0", "log": b"hello\n", "out": {"empty": {}, "deep": {"result.txt": b"42\n"}}}, cid.make
    )
    (tmp_path / "code").write_bytes(b"0")
    assert mixed == in_memory == unixfs.add_path(tmp_path, cid.make)


def test_a_symbolic_link_is_stored_as_a_link_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("../secret")
    blocks: dict[str, bytes] = {}

    def put(data: bytes, codec: cid.Codec) -> str:
        address = cid.make(data, codec)
        blocks[address] = data
        return address

    root = dagpb.decode_untrusted(blocks[unixfs.add_path(tmp_path / "tree", put)])
    node = dagpb.decode_untrusted(blocks[root.links[0].cid])
    assert (node.kind, node.data) == (dagpb.NodeKind.SYMLINK, b"../secret")
    assert b"secret" not in blocks.values()


def test_pipes_are_left_out_and_noted_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    notes: list[str] = []
    root = unixfs.add_path(tmp_path, cid.make, notes.append)
    assert root == unixfs.add_directory({"file": b"x"}, cid.make)
    assert len(notes) == 1
    assert str(tmp_path / "pipe") in notes[0]
    with pytest.raises(unixfs.CannotAdd, match="pipe is neither"):
        unixfs.add_path(tmp_path / "pipe", cid.make)


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    blocks: list[bytes] = []

    def put(data: bytes, codec: cid.Codec) -> str:
        blocks.append(data)
        return cid.make(data, codec)

    unixfs.add_path(tmp_path, put)
    (link,) = dagpb.decode_untrusted(blocks[-1]).links
    assert os.fsencode(link.name) == b"caf\xe9"


def test_a_tree_that_is_too_deep_is_refused_with_its_path(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(unixfs.DEPTH_MAX + 1):
        folder = folder / "d"
    folder.mkdir(parents=True)
    with pytest.raises(unixfs.CannotAdd, match="more than 64 directories deep"):
        unixfs.add_path(tmp_path, cid.make)


# Addresses by `ipfs add --cid-version=1 --mode=0755` (Kubo 0.41): one block, none, and two.
GOLDEN_PROGRAMS = {
    b"#!/bin/sh\necho hi\n": "bafybeibajst4ikvlyuvcfrxslesetgs7bwgeczolbcvpgjxy75fsxrj62m",
    b"": "bafybeihotrbjn3vr2qdxsrxwb352tadnvc4kyxsl2ahvli3uhapwrmmzda",
    bytes(300_000): "bafybeighy44qfgqvd4xgljcpzyrwhze5p6w73erpjxojuuo6kxujk3yc4u",
}


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o611, 0o4775, 0o7777])
@pytest.mark.parametrize(("content", "expected"), GOLDEN_PROGRAMS.items(), ids=["small", "empty", "large"])
def test_a_program_has_the_cid_of_kubos_mode_0755_whoever_may_execute_it(
    content: bytes, expected: str, mode: int, tmp_path: Path
) -> None:
    (tmp_path / "run").write_bytes(content)
    (tmp_path / "run").chmod(mode)
    assert unixfs.add_path(tmp_path / "run", cid.make) == expected
    assert unixfs.add_file(io.BytesIO(content), cid.make, program=True) == expected


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666, 0o400, 0o6644, 0o1644])
def test_a_plain_file_and_a_directory_have_the_cid_without_a_mode(mode: int, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    before = unixfs.add_directory({"file": b"x"}, cid.make)
    (tmp_path / "folder" / "file").chmod(mode)
    (tmp_path / "folder").chmod(0o1700)
    assert unixfs.add_path(tmp_path / "folder", cid.make) == before


def test_a_large_file_is_streamed() -> None:
    class Zeros(io.RawIOBase):
        """100 MB that exist only while they are read."""

        left = 100_000_000
        reads = itertools.count()

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= unixfs.CHUNK_SIZE_BYTES
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    assert unixfs.add_file(Zeros(), cid.make).startswith("bafybei")
