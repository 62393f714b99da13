"""Graphs written to disk and carried as CAR streams; hostile ones, which must not get out."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car, cid, dagpb, reading, unixfs
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.ipfs.export import ExportRoom, export
from p2pnode.ipfs.partial import CannotExport


class Memory:
    """Blocks in a dict, which counts what is asked of it."""

    def __init__(self) -> None:
        self.blocks: dict[str, bytes] = {}
        self.asked: list[str] = []

    def put(self, data: bytes, codec: cid.Codec = "raw") -> str:
        address = cid.make(data, codec)
        self.blocks[address] = data
        return address

    def get(self, address: str) -> bytes | None:
        self.asked.append(address)
        return self.blocks.get(address)

    def directory(self, **entries: str) -> str:
        """A directory as it stands, with names that we ourselves would refuse to write."""
        links = [dagpb.DagLink(address, name, 0) for name, address in entries.items()]
        return self.put(dagpb.encode(links, dagpb.directory_data()), "dag-pb")


@pytest.fixture
def memory() -> Memory:
    return Memory()


def tree(path: Path) -> dict[str, bytes | str | None]:
    """All that is below a directory: contents of files, targets of links, None for directories."""
    found: dict[str, bytes | str | None] = {}
    for entry in sorted(path.rglob("*")):
        name = str(entry.relative_to(path))
        if entry.is_symlink():
            found[name] = os.readlink(entry)
        else:
            found[name] = entry.read_bytes() if entry.is_file() else None
    return found


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A tree with small, large and repeated files, folders, links, and a folder in shards."""
    root = tmp_path / "sample"
    (root / "outputs" / "deep" / "empty").mkdir(parents=True)
    (root / "stdout").write_bytes(b"hello\n")
    (root / "large").write_bytes(random.Random(1).randbytes(700_000))
    (root / "zeros").write_bytes(bytes(262144 * 180))
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    (root / "outputs" / "latest").symlink_to("deep")
    (root / "outputs" / "up").symlink_to("../stdout")
    (root / "many").mkdir()
    for index in range(1200):
        (root / "many" / f"{index:0220}").write_bytes(b"%d" % (index % 7))
    return root


def test_an_exported_tree_is_the_tree_that_was_added(sample: Path, memory: Memory, tmp_path: Path) -> None:
    root = unixfs.add_path(sample, memory.put)
    assert dagpb.decode_untrusted(memory.blocks[root]).kind is dagpb.NodeKind.DIRECTORY
    export(root, memory.get, tmp_path / "to" / "there")
    assert tree(tmp_path / "to" / "there") == tree(sample)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["there"]


def test_a_single_file_is_exported_as_a_file(memory: Memory, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(600_000)
    (tmp_path / "in").write_bytes(data)
    export(unixfs.add_path(tmp_path / "in", memory.put), memory.get, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


def test_a_car_stream_can_be_exported_while_it_is_read(sample: Path, memory: Memory, tmp_path: Path) -> None:
    root = unixfs.add_path(sample, memory.put)
    pieces = car.write_car(root, memory.get)
    export(root, car.blocks_in_order(pieces), tmp_path / "out")
    assert tree(tmp_path / "out") == tree(sample)


def test_a_car_stream_holds_each_block_as_often_as_it_is_met(memory: Memory) -> None:
    root = unixfs.add_directory({"a": b"same", "b": b"same", "c": {"d": b"same"}}, memory.put)
    blocks = list(car.read_car_untrusted(car.write_car(root, memory.get)))
    assert blocks[0][0] == root
    assert [data for _, data in blocks].count(b"same") == 3
    assert len(blocks) == 5


@given(st.integers(0, 2**32), st.integers(1, 97))
def test_a_car_stream_survives_any_cut_and_no_damage(seed: int, size_bytes: int) -> None:
    memory = Memory()
    root = unixfs.add_directory({"a": b"hello", "b": {"c": b"there"}}, memory.put)
    stream = b"".join(car.write_car(root, memory.get))
    cut = [stream[at : at + size_bytes] for at in range(0, len(stream), size_bytes)]
    whole = list(car.read_car_untrusted(cut))
    assert dict(whole) == memory.blocks
    damaged = bytearray(stream)
    source = random.Random(seed)
    damaged[source.randrange(len(stream))] ^= source.randrange(1, 256)
    try:
        # Blocks that are still read must be right; a flipped bit may turn one codec into another.
        for address, data in car.read_car_untrusted([bytes(damaged)]):
            assert cid.parse(address).matches(data)
    except BadMessage:
        pass
    with pytest.raises(BadMessage):
        list(car.read_car_untrusted([stream[: source.randrange(len(stream) - 6, len(stream))]]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_car_stream_or_a_bad_message(data: bytes) -> None:
    header = b"".join(car.write_car(cid.make(b"", "raw"), lambda _: b""))
    for stream in (data, header + data):
        with contextlib.suppress(BadMessage):
            list(car.read_car_untrusted([stream]))


def test_an_export_of_a_car_stream_that_lacks_or_swaps_a_block_leaves_nothing(
    memory: Memory, tmp_path: Path
) -> None:
    root = unixfs.add_directory({"a": b"one", "b": b"two"}, memory.put)
    pieces = list(car.write_car(root, memory.get))
    header, node, (one, two) = pieces[0], pieces[1:3], (pieces[3:5], pieces[5:7])
    for stream, reason in (
        ([header, *node, *one], "ends before block"),
        ([header, *node, *two, *one], "is expected"),
        ([header, *node, one[0], b"ONE", *two], "not the block"),
        ([header, *node, *one, two[0]], "inside a block"),
    ):
        with pytest.raises(BadMessage, match=reason):
            export(root, car.blocks_in_order(stream), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_bytes", [0, 5, 700_000])
def test_a_program_is_a_program_again_after_it_was_added_and_exported(
    size_bytes: int, memory: Memory, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name, mode in (("run", 0o711), ("data", 0o600)):
        (tmp_path / "in" / name).write_bytes(bytes(size_bytes))
        (tmp_path / "in" / name).chmod(mode)
    root = unixfs.add_path(tmp_path / "in", memory.put)
    export(root, car.blocks_in_order(car.write_car(root, memory.get)), tmp_path / "out")
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"run": 0o755, "data": 0o644}
    assert tree(tmp_path / "out") == tree(tmp_path / "in")
    assert unixfs.add_path(tmp_path / "out", cid.make) == root


@pytest.mark.parametrize(
    ("claimed", "made"),
    [
        (0o755, 0o755),
        (0o7777, 0o755),
        (0o4755, 0o755),
        (0o001, 0o755),
        (0o6644, 0o644),
        (0o1000, 0o644),
        (0o000, 0o644),
        # Modes of more than the twelve bits; of the widest number; negative, as a 64-bit varint.
        (0o100755, 0o755),
        (0xFFFFF000, 0o644),
        (2**64 - 1, 0o755),
    ],
)
def test_of_a_claimed_mode_only_that_it_is_a_program_is_honoured(
    claimed: int, made: int, memory: Memory, tmp_path: Path
) -> None:
    block = dagpb.encode((), dagpb.file_data(4, (), b"evil", claimed))
    export(memory.put(block, "dag-pb"), memory.get, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o7777 == made


def test_a_mode_that_is_no_number_is_refused(memory: Memory, tmp_path: Path) -> None:
    data = dagpb.file_data(4, (), b"evil") + protobuf.bytes_field(7, b"\x01\xff")
    with pytest.raises(BadMessage, match="bytes where a number is expected"):
        export(memory.put(dagpb.encode((), data), "dag-pb"), memory.get, tmp_path / "out")


def test_the_mode_of_a_directory_and_of_a_part_of_a_file_changes_nothing(
    memory: Memory, tmp_path: Path
) -> None:
    part = memory.put(dagpb.encode((), dagpb.file_data(1, (), b"x", 0o777)), "dag-pb")
    file = memory.put(dagpb.encode([dagpb.DagLink(part, "", 0)], dagpb.file_data(1, [1])), "dag-pb")
    data = dagpb.directory_data() + protobuf.varint_field(7, 0o7000)
    folder = memory.put(dagpb.encode([dagpb.DagLink(file, "file", 0)], data), "dag-pb")
    export(folder, memory.get, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out" / "file").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "/etc/passwd", "a/b", "a\0b", "n" * 256])
def test_a_name_that_leads_elsewhere_is_refused(name: str, memory: Memory, tmp_path: Path) -> None:
    root = memory.directory(**{name: memory.put(b"evil")})
    with pytest.raises(BadMessage, match="a directory has an entry"):
        export(root, memory.get, tmp_path / "in" / "out")
    assert tree(tmp_path) == {"in": None}


def test_a_shard_cannot_smuggle_a_name(memory: Memory, tmp_path: Path) -> None:
    links = [dagpb.DagLink(memory.put(b"evil"), "AB../x", 0)]
    root = memory.put(dagpb.encode(links, dagpb.shard_data(1, 0x22, 256)), "dag-pb")
    with pytest.raises(BadMessage, match="a directory has an entry"):
        export(root, memory.get, tmp_path / "out")


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("file", True),
        ("../file", True),
        ("./sub/file", True),
        ("..", True),
        ("../../file", False),
        ("sub/../../../file", False),
        ("sub/../file", False),
        ("/etc/passwd", False),
        ("", False),
        ("a\0b", False),
        ("x" * 5000, False),
    ],
)
def test_only_a_link_that_provably_stays_inside_is_made(
    target: str, kept: bool, memory: Memory, tmp_path: Path
) -> None:
    link = memory.put(dagpb.encode((), dagpb.symlink_data(target.encode())), "dag-pb")
    notes: list[str] = []
    root = memory.directory(folder=memory.directory(link=link))
    export(root, memory.get, tmp_path / "out", note=notes.append)
    assert (tmp_path / "out" / "folder" / "link").is_symlink() == kept
    assert [text.split()[0] for text in notes] == ([] if kept else ["folder/link"])


def test_a_link_and_a_directory_of_the_same_name_do_not_lead_outside(memory: Memory, tmp_path: Path) -> None:
    link = memory.put(dagpb.encode((), dagpb.symlink_data(b"..")), "dag-pb")
    links = [
        dagpb.DagLink(link, "x", 0),
        dagpb.DagLink(memory.directory(evil=memory.put(b"evil")), "x", 0),
    ]
    root = memory.put(dagpb.encode(links, dagpb.directory_data()), "dag-pb")
    with pytest.raises(BadMessage, match="two entries 'x'"):
        export(root, memory.get, tmp_path / "out")
    assert tree(tmp_path) == {}


def test_a_small_graph_that_stands_for_a_huge_one_is_stopped(memory: Memory, tmp_path: Path) -> None:
    below = memory.put(bytes(1000))
    for _ in range(6):
        links = [dagpb.DagLink(below, "", 1000)] * 100
        below = memory.put(dagpb.encode(links, dagpb.file_data(0, [])), "dag-pb")
    with pytest.raises(CannotExport, match="more than the 5,000 bytes"):
        export(below, memory.get, tmp_path / "out", room=ExportRoom(5000))
    for _ in range(3):
        below = memory.put(dagpb.encode([dagpb.DagLink(below, "", 0)], dagpb.file_data(0, [])), "dag-pb")
    with pytest.raises(BadMessage, match="more than 8 levels"):
        export(below, memory.get, tmp_path / "out")
    assert tree(tmp_path) == {}


def test_a_graph_of_nothing_but_nodes_is_stopped(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCKS_READ_MAX", 1000)
    below = memory.put(b"")
    for _ in range(6):
        below = memory.put(
            dagpb.encode([dagpb.DagLink(below, "", 0)] * 100, dagpb.file_data(0, [])), "dag-pb"
        )
    with pytest.raises(BadMessage, match="more than 1000 blocks"):
        export(below, memory.get, tmp_path / "out")
    folder = memory.directory(**{str(i): memory.put(b"") for i in range(600)})
    with pytest.raises(CannotExport, match="more than the 500 files"):
        export(folder, memory.get, tmp_path / "out", room=ExportRoom(entries_max=500))


def test_directories_that_are_too_deep_are_refused(memory: Memory, tmp_path: Path) -> None:
    below = memory.put(b"")
    for _ in range(unixfs.DEPTH_MAX + 2):
        below = memory.directory(d=below)
    with pytest.raises(BadMessage, match="64 deep"):
        export(below, memory.get, tmp_path / "out")


def test_a_missing_block_leaves_nothing_and_is_named(memory: Memory, tmp_path: Path) -> None:
    root = unixfs.add_directory({"a": b"one", "b": b"two"}, memory.put)
    missing = cid.make(b"two", "raw")
    del memory.blocks[missing]
    with pytest.raises(BlockUnavailable) as caught:
        export(root, memory.get, tmp_path / "out")
    assert caught.value.cid == missing
    assert tree(tmp_path) == {}


def test_what_is_at_the_destination_is_not_touched(memory: Memory, tmp_path: Path) -> None:
    root = unixfs.add_directory({"a": b"one"}, memory.put)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name in ("full", "full/mine", "link"):
        with pytest.raises(CannotExport, match="exists and is not an empty directory"):
            export(root, memory.get, tmp_path / name)
    with pytest.raises(CannotExport, match="is a directory"):
        export(memory.put(b"file"), memory.get, tmp_path / "empty")
    export(root, memory.get, tmp_path / "empty")
    assert tree(tmp_path / "empty") == {"a": b"one"}


def test_a_path_is_walked_through_directories_and_shards(sample: Path, memory: Memory) -> None:
    root = unixfs.add_path(sample, memory.put)
    name = f"{700:0220}"
    found = reading.resolve(root, ["many", name], memory.get)
    assert b"".join(reading.read_file(found, memory.get)) == b"0"
    # The way there takes a shard a level, not the whole directory.
    assert len(memory.asked) < 8
    assert reading.resolve(root, [], memory.get) == root
    large = reading.resolve(root, ["large"], memory.get)
    assert b"".join(reading.read_file(large, memory.get)) == (sample / "large").read_bytes()
    many = reading.resolve(root, ["many"], memory.get)
    assert sorted(link.name for link in reading.list_directory(many, memory.get)) == [
        f"{index:0220}" for index in range(1200)
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "nothing",
            r"no entry 'nothing'; it has 'caf\\udce9', 'large', 'many', 'outputs', 'stdout', 'zeros'$",
        ),
        ("many/nothing", r"many has no entry 'nothing'; it has many, such as '0+...', '0"),
        ("outputs/deep/empty/x", "outputs/deep/empty has no entry 'x'; it is empty"),
        ("stdout/x", "stdout is not a directory$"),
        ("outputs/latest/empty", "not a directory but a symbolic link to 'deep'"),
        ("..", "no entry"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_its_part(
    path: str, reason: str, sample: Path, memory: Memory
) -> None:
    root = unixfs.add_path(sample, memory.put)
    with pytest.raises(reading.NoSuchPath, match=reason):
        reading.resolve(root, path.split("/"), memory.get)


def test_a_file_is_not_listed_and_a_directory_is_not_read(memory: Memory) -> None:
    file, folder = memory.put(b"x"), memory.directory()
    with pytest.raises(reading.NoSuchPath):
        reading.list_directory(file, memory.get)
    with pytest.raises(reading.NoSuchPath):
        reading.read_file(folder, memory.get)


def test_writing_a_car_stream_says_which_block_is_missing(memory: Memory) -> None:
    def pieces() -> Iterator[bytes]:
        return car.write_car(cid.make(b"gone", "raw"), memory.get)

    with pytest.raises(BlockUnavailable, match="not here"):
        list(pieces())


def test_many_tiny_entries_count_as_what_they_take_on_disk(memory: Memory, tmp_path: Path) -> None:
    empty, folder = memory.put(b""), memory.directory()
    root = memory.directory(**{f"{at}": (empty, folder)[at % 2] for at in range(1300)})
    with pytest.raises(CannotExport, match="more than the 5,000,000 bytes"):
        export(root, memory.get, tmp_path / "out", room=ExportRoom(5_000_000))
    assert tree(tmp_path) == {}
    export(root, memory.get, tmp_path / "out", room=ExportRoom(1301 * 4096))
    # Bytes are what counts of a larger file.
    export(memory.put(bytes(5000)), memory.get, tmp_path / "file", room=ExportRoom(5000))
