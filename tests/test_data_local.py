"""Paths of the node's own host: what the allow-list lets a job have, and nothing beside it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.wire.states import Fault
from p2pnode.data.failures import DataFailed
from p2pnode.data.inputs import Access, Inputs, Ipfs
from p2pnode.data.local import AllowedPath
from tests.data_support import Content, Execution


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    (path / "logs").mkdir(parents=True)
    (path / "logs" / "a.log").write_text("a")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    return path


def execution(tmp_path: Path, *allowed: str) -> Execution:
    return Execution(tmp_path, Access(paths=tuple(map(AllowedPath.parse, allowed))))


def local(path: Path | str, **params: Any) -> tuple[str, dict[str, Any]]:
    return "local", {"SourcePath": str(path), **params}


async def test_a_path_at_or_below_an_allowed_one_is_given_as_it_is(tmp_path: Path, data: Path) -> None:
    node = execution(tmp_path, str(data))
    for path in (data, data / "logs", data / "logs" / "a.log"):
        (one,) = await node.fetch(local(path))
        assert one.path == path and one.read_only


async def test_nothing_is_allowed_and_the_source_not_offered_unless_the_operator_says_so(
    tmp_path: Path, data: Path
) -> None:
    with pytest.raises(DataFailed, match="not among the paths that this node allows") as failed:
        await execution(tmp_path).fetch(local(data))
    # Another peer may allow it.
    assert failed.value.fault is Fault.PEER
    ipfs = Ipfs(Content().fetch, Content().export)
    assert "local" not in Inputs(ipfs, Access(), tmp_path, FetchRate()).types
    assert "local" in Inputs(ipfs, Access(paths=(AllowedPath(data),)), tmp_path, FetchRate()).types


@pytest.mark.parametrize("path", ["secret/key", "data/../secret/key", "data-2", "."])
async def test_a_path_beside_the_allowed_one_is_refused(tmp_path: Path, data: Path, path: str) -> None:
    (tmp_path / "data-2").mkdir()
    with pytest.raises(DataFailed, match="not among"):
        await execution(tmp_path, str(data)).fetch(local(f"{tmp_path}/{path}"))


async def test_links_are_resolved_before_they_are_compared(tmp_path: Path, data: Path) -> None:
    (data / "out").symlink_to(tmp_path / "secret")
    (data / "self").symlink_to(data / "self")
    (data / "in").symlink_to(data / "logs")
    (tmp_path / "alias").symlink_to(data)
    node = execution(tmp_path, str(tmp_path / "alias"))
    for path in (data / "out", data / "out" / "key", data / "self"):
        with pytest.raises(DataFailed):
            await node.fetch(local(path))
    (one,) = await node.fetch(local(tmp_path / "alias" / "in"))
    assert one.path == data / "logs"


async def test_writing_needs_both_sides(tmp_path: Path, data: Path) -> None:
    node = execution(tmp_path, f"{data}:ro", f"{data / 'logs'}:rw")
    with pytest.raises(DataFailed, match="for reading only"):
        await node.fetch(local(data, ReadWrite=True))
    (writable,) = await node.fetch(local(data / "logs", ReadWrite=True))
    assert not writable.read_only
    (asked_for_less,) = await node.fetch(local(data / "logs"))
    assert asked_for_less.read_only


async def test_what_is_not_there_is_made_only_for_writing(tmp_path: Path, data: Path) -> None:
    node = execution(tmp_path, f"{data}:rw")
    for params in ({}, {"CreateAs": "dir"}, {"ReadWrite": True, "CreateAs": "noCreate"}):
        with pytest.raises(DataFailed, match="not there"):
            await node.fetch(local(data / "new", **params))
    (made,) = await node.fetch(local(data / "new" / "state", ReadWrite=True))
    assert made.path.is_dir()
    (file,) = await node.fetch(local(data / "new" / "file", ReadWrite=True, CreateAs="file"))
    assert file.path.is_file()


async def test_devices_pipes_and_sockets_are_refused(tmp_path: Path, data: Path) -> None:
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "s"))
        for name in ("pipe", "s"):
            with pytest.raises(DataFailed, match="neither a directory nor a file"):
                await execution(tmp_path, f"{data}:rw").fetch(local(data / name, ReadWrite=True))


@pytest.mark.parametrize("text", ["data", "", "./data:rw", ":rw"])
def test_an_allowed_path_is_absolute(text: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        AllowedPath.parse(text)
