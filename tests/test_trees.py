"""Trees that were made to hurt: depth, number, holes, links, and privileges left behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath

import pytest

from p2pnode.system import opening, removal, trees


def make_deep(directory: Path, depth: int, name: str = "d") -> None:
    """Directories in each other, deeper than any path may be long."""
    opened = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=opened)
        inner = os.open(name, os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o755, dir_fd=opened)
    os.fchmod(file, 0o4755)
    os.close(file)
    os.close(opened)


def empty_files(directory: Path, count: int) -> None:
    for number in range(count):
        (directory / f"{number}").touch()


def sparse(directory: Path) -> None:
    with open(directory / "sparse", "wb") as file:
        file.truncate(40 * 10**9)


def hard_links(directory: Path) -> None:
    (directory / "0").write_bytes(bytes(100_000))
    for number in range(1, 10):
        os.link(directory / "0", directory / f"{number}")


def links_and_pipes(directory: Path) -> None:
    (directory / "link").symlink_to("/usr")
    (directory / "loop").symlink_to(".")
    os.mkfifo(directory / "pipe")


@pytest.mark.parametrize(
    ("make", "size_bytes", "entries"),
    [
        pytest.param(lambda path: empty_files(path, 10), 40_960, 10, id="empty files take a block each"),
        pytest.param(sparse, 40 * 10**9, 1, id="a hole counts as its zeros"),
        pytest.param(hard_links, 102_400, 10, id="a file with many names counts once"),
        pytest.param(links_and_pipes, 3 * 4096, 3, id="links and pipes are neither followed nor opened"),
        pytest.param(lambda path: make_deep(path, 5), 6 * 4096, 6, id="directories count as well"),
        pytest.param(
            lambda path: make_deep(path, 300, "d" * 200), 301 * 4096, 301, id="no depth hides anything"
        ),
    ],
)
def test_what_a_tree_takes(make, size_bytes, entries, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path)
    use = trees.measure([tmp_path], None)
    assert (use.size_bytes, use.entries) == (size_bytes, entries)
    # Removes what pytest itself could not.
    removal.clear_directory(tmp_path)


def test_a_look_stops_at_its_limits(tmp_path: Path) -> None:
    empty_files(tmp_path, 50)
    assert trees.measure([tmp_path], None, entries_max=7).entries == 8
    assert trees.measure([tmp_path], 5 * 4096).entries == 6
    assert trees.measure([tmp_path / "gone", tmp_path / "0"], None).entries == 0


def test_a_tree_of_any_depth_is_removed_and_nothing_that_it_links_to(tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    (kept / "inside").mkdir(parents=True)
    (gone / "branch").mkdir(parents=True)
    make_deep(gone, 3_000)
    make_deep(gone / "branch", 10)
    (gone / "branch" / "link").symlink_to(kept)
    empty_files(gone / "branch", 20)
    assert removal.remove_tree(gone) == ""
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert os.listdir(kept) == ["inside"]
    assert removal.remove_tree(gone) == ""


def test_setuid_and_setgid_are_taken_from_files_at_any_depth_and_through_no_link(tmp_path: Path) -> None:
    shared, outside = tmp_path / "shared", tmp_path / "outside"
    shared.mkdir()
    for path, mode in ((outside, 0o4755), (shared / "uid", 0o4755), (shared / "gid", 0o2711)):
        path.touch()
        path.chmod(mode)
    (shared / "group").mkdir()
    (shared / "group").chmod(0o2775)
    (shared / "link").symlink_to(outside)
    make_deep(shared, 1_500)
    assert trees.strip_privileges(shared, 10_000) == (3, True)
    assert [stat.S_IMODE((shared / name).stat().st_mode) for name in ("uid", "gid")] == [0o755, 0o711]
    # A directory's setgid gives nobody a right; operators share directories with it.
    assert stat.S_IMODE((shared / "group").stat().st_mode) == 0o2775
    assert stat.S_IMODE(outside.stat().st_mode) == 0o4755
    assert trees.strip_privileges(shared, 10) == (0, False)
    assert trees.strip_privileges(outside, 10) == (1, True)
    removal.clear_directory(shared)


@pytest.mark.parametrize("below", ["link", "folder/file", "pipe", "sub/../file", "../secret", "sub"])
def test_what_is_no_plain_file_of_a_tree_is_not_opened(below: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "file").write_bytes(b"secret")
    (tree / "link").symlink_to(tmp_path / "secret")
    (tree / "folder").symlink_to(tmp_path)
    os.mkfifo(tree / "pipe")
    with pytest.raises(OSError):
        opening.open_beneath(tree, PurePath(below))


def test_a_plain_file_of_a_tree_is_opened(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x")
    with opening.open_beneath(tmp_path, PurePath("sub/file")) as file:
        assert file.read() == b"x"
    with opening.open_beneath(tmp_path / "sub" / "file", PurePath(".")) as file:
        assert file.read() == b"x"


def test_a_name_that_is_no_text_is_shown_as_its_bytes(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    (entry,) = trees.walk(tmp_path)
    assert entry.path == "\\xff"
    assert entry.path_size_bytes == 1
