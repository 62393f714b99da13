"""`get` where others share the folder, and of blocks that unfold to far more than they are."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pnode.cli import ownfiles
from p2pnode.cli.main import main
from p2pnode.cli.status import CommandError
from p2pnode.client import unfolding
from p2pnode.client.unfolding import Unfolding
from p2pnode.ipfs import dagpb, partial
from p2pnode.ipfs.partial import CannotExport, partial_folder
from tests.fake_node import Served

from .test_cli import Output, job_file
from .test_cli_get import a_job
from .test_cli_terminal import on_a_terminal

ANOTHER_USER = 12345


def the_folder(parent: Path) -> Path:
    (found,) = parent.glob(".out.*.partial")
    return found


def test_what_is_written_lies_in_a_private_folder_that_nobody_can_guess(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with partial_folder(tmp_path / "out") as folder:
            assert stat.S_IMODE(os.fstat(folder.folder).st_mode) == 0o700
            names.add(the_folder(tmp_path).name)
        assert list(tmp_path.iterdir()) == []
    assert len(names) == 2


def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with partial_folder(tmp_path / "out") as folder:
        path = the_folder(tmp_path)
        path.rename(tmp_path / "moved")
        path.symlink_to(home)
        folder.new_file("authorized_keys").close()
        assert list(home.iterdir()) == []
        folder.place("authorized_keys")
    assert list(home.iterdir()) == []
    assert (tmp_path / "out").is_file()


def _old_name(path: Path) -> None:
    (path / ".out.partial").symlink_to(path / "home")


def _guessed_name(path: Path) -> None:
    (path / ".out.0123abcd.partial").symlink_to(path / "home")


def _folder_of_another_user(path: Path) -> None:
    (path / ".out.0123abcd.partial").mkdir()
    os.chown(path / ".out.0123abcd.partial", ANOTHER_USER, ANOTHER_USER)
    (path / ".out.0123abcd.partial" / "root").symlink_to(path / "home")


def _folder_of_a_longer_name(path: Path) -> None:
    (path / ".out.more.0123abcd.partial").mkdir()


@pytest.mark.parametrize(
    "planted", [_old_name, _guessed_name, _folder_of_another_user, _folder_of_a_longer_name]
)
def test_what_others_put_there_before_is_neither_followed_nor_touched(
    planted: Callable[[Path], None], served: Served, capfd: Output, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    planted(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["get", served.node.result, "-o", "out"]) == 0
    assert Path("out/stdout").read_bytes() == b"42\n"
    assert list((tmp_path / "home").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {*before, "out"}


def _link(path: Path) -> None:
    (path / "home").mkdir()
    path.joinpath("out").symlink_to("home")


def _broken_link(path: Path) -> None:
    path.joinpath("out").symlink_to("nowhere")


def _empty_directory_of_another_user(path: Path) -> None:
    path.joinpath("out").mkdir()
    os.chown(path / "out", ANOTHER_USER, ANOTHER_USER)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("merge", [[], ["--merge"]])
@pytest.mark.parametrize("planted", [_link, _broken_link, _empty_directory_of_another_user])
def test_a_destination_that_others_made_is_refused(
    planted: Callable[[Path], None],
    merge: list[str],
    count: int,
    served: Served,
    capfd: Output,
    tmp_path: Path,
) -> None:
    job = a_job(served, capfd, count=count)
    planted(tmp_path)
    if planted is _link and count == 2 and not merge:
        os.chown(tmp_path / "out", ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)
    assert main(["get", job, "-o", "out", *merge]) == 5
    assert "error: out" in capfd.readouterr().err.replace(f"{tmp_path}/", "")
    assert not list(tmp_path.rglob("stdout"))


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_comes_to_the_destination_meanwhile_is_not_replaced(kind: str, tmp_path: Path) -> None:
    with partial_folder(tmp_path / "out") as folder:
        if kind == "file":
            folder.new_file("root").close()
        else:
            os.mkdir("root", dir_fd=folder.folder)
        (tmp_path / "out").write_text("of another")
        with pytest.raises(CannotExport, match="exists"):
            folder.place("root")
    assert (tmp_path / "out").read_text() == "of another"


def test_a_file_is_placed_where_the_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*names: object, **settings: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(partial.os, "link", link)
    with partial_folder(tmp_path / "out") as folder:
        folder.new_file("root").close()
        folder.place("root")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _receipt_link(path: Path) -> None:
    (path / "bashrc").write_text("mine")
    (path / "file").symlink_to("bashrc")


def _receipt_hard_link(path: Path) -> None:
    (path / "bashrc").write_text("mine")
    os.link(path / "bashrc", path / "file")


def _receipt_of_another_user(path: Path) -> None:
    (path / "file").write_text("theirs")
    os.chown(path / "file", ANOTHER_USER, ANOTHER_USER)


def _receipt_pipe(path: Path) -> None:
    os.mkfifo(path / "file")


@pytest.mark.parametrize(
    "planted", [_receipt_link, _receipt_hard_link, _receipt_of_another_user, _receipt_pipe]
)
def test_a_file_that_others_planted_is_not_written_to(
    planted: Callable[[Path], None], tmp_path: Path
) -> None:
    planted(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(CommandError):
        ownfiles.write_file(tmp_path / "file", "x")
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("whose", ["another user's", "open to all", "a link of another user"])
def test_a_devnet_is_read_from_no_directory_of_others(whose: str, tmp_path: Path, capfd: Output) -> None:
    net = tmp_path / "net"
    net.mkdir()
    if whose == "another user's":
        os.chown(net, ANOTHER_USER, ANOTHER_USER)
    elif whose == "open to all":
        net.chmod(0o777)
    else:
        net.rename(tmp_path / "mine")
        net.symlink_to("mine")
        os.chown(net, ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)
    for command in ("down", "status", "env", "up"):
        assert main(["devnet", command, "--dir", str(net)]) == 5
        assert "another" in capfd.readouterr().err


def put_bomb(served: Served, kind: str) -> str:
    """A few kilobytes that stand for a petabyte of zeros, or for 2^30 folders."""
    put = served.node.blocks.put
    if kind == "folders":
        below = put(dagpb.encode([], dagpb.directory_data()), "dag-pb")
        for _ in range(30):
            links = [dagpb.DagLink(below, name, 0) for name in ("a", "b")]
            below = put(dagpb.encode(links, dagpb.directory_data()), "dag-pb")
        return below
    size_bytes = 262144
    below = put(bytes(size_bytes), "raw")
    for _ in range(4):
        links = [dagpb.DagLink(below, "", size_bytes)] * 174
        data = dagpb.file_data(size_bytes * 174, [size_bytes] * 174)
        below, size_bytes = put(dagpb.encode(links, data), "dag-pb"), size_bytes * 174
    return below


@pytest.mark.parametrize("flags", [["-o", "out"], ["--car", "out"]])
@pytest.mark.parametrize("command", [["get"], ["ipfs", "get"]])
@pytest.mark.parametrize("kind", ["folders", "zeros"])
def test_a_bomb_ends_at_a_limit_and_leaves_nothing(
    kind: str,
    command: list[str],
    flags: list[str],
    served: Served,
    capfd: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A tenth of the real one, which is measured below.
    monkeypatch.setattr(unfolding, "HARMLESS_SIZE_BYTES", 25_600_000)
    bomb = put_bomb(served, kind)
    assert main([*command, bomb, *flags]) == 5
    err = capfd.readouterr().err
    assert "unfold to more than" in err and "--max-size" in err and "--yes" in err
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_a_bomb_of_folders_ends_within_seconds(served: Served, capfd: Output) -> None:
    bomb = put_bomb(served, "folders")
    began = time.monotonic()
    assert main(["get", bomb, "-o", "out"]) == 5
    assert time.monotonic() - began < 30
    assert "of blocks unfold to more than 10,000 files and directories" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("what", "given", "came_bytes", "size_bytes", "entries", "passes"),
    [
        ("a small result of few blocks", (None, None, False), 1, 200_000_000, 1, True),
        ("ten times what came", (None, None, False), 40_000_000, 400_000_000, 1, True),
        ("more than ten times", (None, None, False), 30_000_000, 310_000_000, 1, False),
        ("more than a gigabyte, all of which came", (None, None, False), 2 * 10**9, 10**9 + 1, 1, False),
        ("as much as --max-size says", (2 * 10**9, None, False), 1, 2 * 10**9, 1, True),
        ("more than --max-size says, though it is little", (10, None, False), 100, 11, 1, False),
        ("more than --max-size says, with --yes", (10, None, True), 100, 11, 1, False),
        ("anything with --yes", (None, None, True), 1, 10**11, 900_000, True),
        ("more files than blocks of this size name ten times", (None, None, False), 4_000, 0, 10_001, False),
        ("as many as blocks of this size name", (None, None, False), 90_000, 0, 20_000, True),
        ("more files than anyone wants", (None, None, False), 10**9, 0, 100_001, False),
        ("as many as --max-files says", (None, 200_000, False), 10**9, 0, 200_000, True),
        ("more than --max-files says", (None, 3, False), 10**9, 0, 4, False),
    ],
)
def test_what_may_be_written_without_being_asked_for(
    what: str,
    given: tuple[int | None, int | None, bool],
    came_bytes: int,
    size_bytes: int,
    entries: int,
    passes: bool,
) -> None:
    room = Unfolding(*given)
    room.has_come(came_bytes)
    if passes:
        room.add(size_bytes, entries)
        return
    with pytest.raises(CannotExport, match="allowed"):
        room.add(size_bytes, entries)


def test_several_results_share_one_limit(
    served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfolding, "HARMLESS_SIZE_BYTES", 60_000)
    job = a_job(served, capfd, count=3)
    for flags in ([], ["--merge"]):
        assert main(["get", job, "-o", f"out{len(flags)}", *flags]) == 5
        assert "unfold to more than 60 KB" in capfd.readouterr().err
    assert main(["get", job, "-o", "out", "--yes"]) == 0


@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
@pytest.mark.parametrize(("typed", "status"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_a_person_at_a_terminal_is_asked(
    typed: str, status: bool, terminal: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    shown = on_a_terminal("get", put_zeros(served), "-o", "out", typed=typed)
    assert "on this disk: go on? [y/N]" in shown
    assert Path("out").exists() == status


def put_zeros(served: Served) -> str:
    """A file of 272 MB, of zeros."""
    put = served.node.blocks.put
    chunk = put(bytes(262144), "raw")
    links = [dagpb.DagLink(chunk, "", 262144)] * 174
    middle = put(dagpb.encode(links, dagpb.file_data(262144 * 174, [262144] * 174)), "dag-pb")
    size_bytes = 262144 * 174
    return put(
        dagpb.encode(
            [dagpb.DagLink(middle, "", size_bytes)] * 6, dagpb.file_data(size_bytes * 6, [size_bytes] * 6)
        ),
        "dag-pb",
    )


def test_a_job_is_submitted_and_its_result_fetched_without_a_question(served: Served, capfd: Output) -> None:
    main(["submit", job_file("works")])
    (job,) = served.node.records
    assert main(["get", job, "-o", "out"]) == 0
    assert "go on?" not in capfd.readouterr().err
