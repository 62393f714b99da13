"""The node's data directory, which no other user of the machine may read."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from p2pnode.config import CONFIG_FILE
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.serving import PRIVATE_FOLDERS, make_private

NOBODY = 65_534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_data_directory_that_others_may_read_becomes_private_with_all_its_folders(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / "executions").mkdir(parents=True)
    (data_dir / CONFIG_FILE).touch()
    for path in (data_dir, data_dir / "executions"):
        path.chmod(0o755)
    make_private(data_dir)
    assert {mode(path) for path in (data_dir, *(data_dir / name for name in PRIVATE_FOLDERS))} == {0o700}
    assert mode(data_dir / CONFIG_FILE) == 0o600
    make_private(data_dir)


def test_a_data_directory_may_be_a_link_and_its_folders_may_not(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    make_private(tmp_path / "data")
    (tmp_path / "disk" / "published").rmdir()
    (tmp_path / "disk" / "published").symlink_to(tmp_path)
    with pytest.raises(OSError, match="published is not a directory: move it away"):
        make_private(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_data_directory_of_another_user_is_refused_with_what_to_do(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(OSError, match=r"belongs to user 65534, .* give it to that user"):
        make_private(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_cannot_read_a_block(tmp_path: Path) -> None:
    data_dir = Path(f"/tmp/p2pnode-private-{os.getpid()}")
    data_dir.mkdir(mode=0o755)
    try:
        make_private(data_dir)
        store = BlockStore(data_dir / "blocks")
        store.put(b"a result of somebody's")
        (block,) = (path for path in (data_dir / "blocks" / "blocks").rglob("*") if path.is_file())
        assert mode(block) == 0o600
        read = ["cat", block]
        done = subprocess.run(read, user=NOBODY, group=NOBODY, capture_output=True, check=False, cwd="/")
        assert done.returncode != 0
        # The block's own mode holds where somebody opens the directories again.
        for path in (data_dir, *block.parents[:3]):
            path.chmod(0o755)
        done = subprocess.run(read, user=NOBODY, group=NOBODY, capture_output=True, check=False, cwd="/")
        assert b"ermission denied" in done.stderr
    finally:
        subprocess.run(["rm", "-rf", data_dir], check=True)


def test_a_file_in_the_place_of_the_data_directory_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(NotADirectoryError, match="data is not a directory: move it away"):
        make_private(tmp_path / "data")
