"""Files that are left out of a result before any is read, and that the rest is kept."""

from __future__ import annotations

import os
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import Left, with_left
from p2pnode.data.archive import Tree, files_of, fit, stop_if_cancelled, write_archive
from p2pnode.data.inputs import Access
from p2pnode.data.publishers import Publishers, Result
from p2pnode.ipfs import cid, unixfs
from p2pnode.system import trees
from p2pnode.system.trees import DEPTH_MAX

LIMIT_BYTES = 50_000_000


def deep(name: bytes, depth: int) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        opened = os.open(directory, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=opened)
            opened, above = os.open(name, os.O_RDONLY, dir_fd=opened), opened
            os.close(above)
        os.close(opened)

    return make


def sparse(directory: Path) -> None:
    with open(directory / "sparse", "wb") as file:
        file.truncate(40 * 10**9)


def many(directory: Path) -> None:
    for number in range(40):
        (directory / str(number)).touch()


def odd(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        opened = os.open(directory, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{opened}/socket")
        os.close(opened)


LEFT_OUT = {
    "a name that is no text is shown as its bytes": (deep(b"\xff", 70), "outputs/\\xff/\\xff/\\xff", True),
    "too deep": (deep(b"d", 70), f"d (more than {DEPTH_MAX} directories deep)", True),
    "bottomless": (deep(b"d", 3000), f"d (more than {DEPTH_MAX} directories deep)", True),
    "a path that is too long": (deep(b"d" * 200, 12), "takes more than 2048 bytes", True),
    "a pipe and a socket": (odd, "(a pipe, socket or device)", False),
}
TOO_MUCH = {
    "a hole of 40 GB": (sparse, "outputs (it takes more than 50 MB, which is the job's disk limit)"),
    "too many entries": (many, "outputs (it has more than 30 files and directories)"),
}


@pytest.mark.parametrize(("make", "reason", "loss"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_no_result_can_hold_is_left_out_and_named_and_the_rest_is_kept(
    make: Callable[[Path], None], reason: str, loss: bool, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    make(outputs)
    (outputs / "kept").write_text("x")
    tree, left = fit({"exitCode": b"0", "outputs": outputs}, LIMIT_BYTES, "the job's disk limit")
    text, fault = with_left("exited", None, left)
    assert reason in text
    assert fault is (Fault.JOB if loss else None)
    assert len(text.encode()) < REASON_LENGTH_MAX
    assert str(tmp_path) not in text
    assert "outputs/kept" in [path for path, _ in files_of(tree)]
    assert unixfs.add_directory(tree, cid.make)
    write_archive(tree, tmp_path / "archive", 0)
    assert os.listdir(tmp_path) == ["outputs", "archive"] or os.listdir(tmp_path) == ["archive", "outputs"]


@pytest.mark.parametrize(("make", "reason"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_folder_that_is_too_much_does_not_take_the_others_with_it(
    make: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, other = tmp_path / "outputs", tmp_path / "other"
    for folder in (outputs, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    make(outputs)
    monkeypatch.setattr(trees, "ENTRIES_MAX", 30)
    tree, left = fit(
        {"exitCode": b"0", "outputs": outputs, "other": other}, LIMIT_BYTES, "the job's disk limit"
    )
    text, fault = with_left("exited", None, left)
    assert (text, fault) == (f"exited; the result lacks {reason}", Fault.JOB)
    assert set(tree) == {"exitCode", "other"}


def test_many_that_are_left_out_are_counted() -> None:
    left = [Left(f"o/{number}", "too deep") for number in range(100)]
    text, _ = with_left("the program exited with 1", Fault.JOB, left)
    assert text.startswith("the program exited with 1; the result lacks o/0 (too deep), o/1 (too deep), ")
    assert text.endswith(" and 95 more")


def test_a_result_that_is_as_deep_as_it_may_be_can_be_stored_and_archived(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    deep(b"d", DEPTH_MAX)(outputs)
    assert fit({"outputs": outputs}, LIMIT_BYTES, "the job's disk limit")[1] == []
    assert unixfs.add_directory({"outputs": outputs}, cid.make)
    write_archive({"outputs": outputs}, tmp_path / "archive", 0)
    deep(b"e", DEPTH_MAX + 1)(outputs)
    with pytest.raises(unixfs.CannotAdd, match=r"^outputs/e/e.* is more than 64 directories deep$"):
        unixfs.add_directory({"outputs": outputs}, cid.make)


def test_programs_of_a_result_stay_so_in_its_archive_and_nothing_else_of_modes_does(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for name, mode in (("run", 0o6711), ("data", 0o600)):
        (outputs / name).write_text("x")
        (outputs / name).chmod(mode)
    write_archive({"outputs": outputs, "exitCode": b"0"}, tmp_path / "archive", 0)
    with tarfile.open(tmp_path / "archive") as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"outputs": 0o755, "outputs/run": 0o755, "outputs/data": 0o644, "exitCode": 0o644}


def test_only_regular_files_of_a_result_are_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"x")
    assert [path for path, _ in files_of({"o": tmp_path})] == ["o/file", "o/\udcff"]


def result_of(outputs: Path, disk_bytes: int) -> Result:
    return Result(
        tree={"outputs": outputs},
        job="j-1",
        execution="e-1",
        peer="12D3peer",
        ended_ms=0,
        disk_bytes=disk_bytes,
        scratch=outputs,
    )


@pytest.mark.parametrize(
    ("disk_bytes", "whose"), [(LIMIT_BYTES, "the job's disk limit"), (0, "what this peer can spare")]
)
async def test_a_hole_is_not_stored(disk_bytes: int, whose: str, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "sparse").touch()
    os.truncate(outputs / "sparse", 2**43)
    stored: list[Tree] = []

    def store(tree: Tree) -> str:
        stored.append(tree)
        return "bafy"

    publishers = Publishers(store, Access(), tmp_path / "published")
    _, _, (left,) = await publishers.store(result_of(outputs, disk_bytes))
    assert whose in left.why
    assert stored == [{}]


async def test_a_result_that_nobody_waits_for_any_more_is_not_read_to_its_end(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def store(tree: object) -> str:
        begun.set()
        try:
            while True:
                stop_if_cancelled()
        finally:
            ended.set()

    publishers = Publishers(store, Access(), tmp_path / "published")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publishers.store, result_of(tmp_path, 0))
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(ended.wait, 10)
