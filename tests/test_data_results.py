"""What is refused of a result before any of it is read: the program made it so."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pnode import trees
from p2pnode.core.messages import REASON_LENGTH_MAX, Fault
from p2pnode.data.archive import check, files_of, stop_if_cancelled, write_archive
from p2pnode.data.failures import DataFailed
from p2pnode.data.inputs import Access
from p2pnode.data.publishers import Publishers, Result
from p2pnode.ipfs import cid, unixfs
from p2pnode.trees import DEPTH_MAX

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


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(
            deep(b"\xff", 70),
            "\\xff/\\xff/\\xff",
            id="a name that is no text is shown as its bytes",
        ),
        pytest.param(deep(b"d", 70), f"more than {DEPTH_MAX} directories deep", id="too deep"),
        pytest.param(deep(b"d" * 200, 12), "takes more than 2048 bytes", id="a path that is too long"),
        pytest.param(sparse, "takes more than 50 MB, which is the job's disk limit", id="a hole of 40 GB"),
        pytest.param(many, "more than 30 files and directories", id="too many entries"),
    ],
)
def test_a_result_that_is_refused_is_the_jobs_fault_with_a_reason_that_is_text(
    make: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    make(outputs)
    if "more than 30" in reason:
        monkeypatch.setattr(trees, "ENTRIES_MAX", 30)
    with pytest.raises(DataFailed) as caught:
        check({"exitCode": b"0", "outputs": outputs}, LIMIT_BYTES, "the job's disk limit")
    text = str(caught.value)
    assert reason in text
    assert text.startswith("the result cannot be published: ")
    assert caught.value.fault is Fault.JOB
    assert len(text.encode()) < REASON_LENGTH_MAX
    assert str(tmp_path) not in text


def test_a_result_that_is_as_deep_as_it_may_be_can_be_stored_and_archived(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    deep(b"d", DEPTH_MAX)(outputs)
    check({"outputs": outputs}, LIMIT_BYTES, "the job's disk limit")
    assert unixfs.add_directory({"outputs": outputs}, cid.make)
    write_archive({"outputs": outputs}, tmp_path / "archive", 0)
    deep(b"e", DEPTH_MAX + 1)(outputs)
    with pytest.raises(unixfs.CannotAdd, match=r"^outputs/e/e.* is more than 64 directories deep$"):
        unixfs.add_directory({"outputs": outputs}, cid.make)


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
async def test_a_hole_is_refused_before_anything_is_stored(
    disk_bytes: int, whose: str, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "sparse").touch()
    os.truncate(outputs / "sparse", 2**43)
    stored: list[object] = []

    def store(tree: object) -> str:
        stored.append(tree)
        return "bafy"

    with pytest.raises(DataFailed, match=whose) as caught:
        await Publishers(store, (), Access(), tmp_path / "published").store(result_of(outputs, disk_bytes))
    assert (caught.value.fault, stored) == (Fault.JOB, [])


async def test_a_result_that_nobody_waits_for_any_more_is_not_read_to_its_end(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def store(tree: object) -> str:
        begun.set()
        try:
            while True:
                stop_if_cancelled()
        finally:
            ended.set()

    publishers = Publishers(store, (), Access(), tmp_path / "published")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publishers.store, result_of(tmp_path, 0))
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(ended.wait, 10)
