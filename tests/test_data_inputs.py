"""Inputs of all types together: inline data, content, modules, faults, and what is done twice."""

from __future__ import annotations

import base64
import errno
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.wire.states import Fault
from p2pnode.data.failures import DataFailed
from p2pnode.data.inputs import Access
from p2pnode.data.local import AllowedPath
from tests.data_support import Content, Execution, files_in

CID = "bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


def inline(url: str) -> tuple[str, dict[str, Any]]:
    return "inline", {"URL": url}


def archive(*entries: tarfile.TarInfo, data: bytes = b"x") -> tuple[str, dict[str, Any]]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for entry in entries:
            entry.size = len(data) if entry.isfile() else 0
            tar.addfile(entry, io.BytesIO(data) if entry.isfile() else None)
    return inline("data:application/gzip;base64," + base64.b64encode(packed.getvalue()).decode())


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:,hello%20world", b"hello world"),
        ("data:text/plain;base64,aGVsbG8=", b"hello"),
        ("data:text/plain;charset=utf-8,a,b", b"a,b"),
        ("DATA:application/octet-stream;BASE64,/w==", b"\xff"),
        ("data:text/plain;base64,aGVs%62G8=", b"hello"),
        ("data:,", b""),
    ],
)
async def test_inline_data_is_a_file(tmp_path: Path, url: str, data: bytes) -> None:
    (one,) = await Execution(tmp_path).fetch(inline(url))
    assert one.path.read_bytes() == data


async def test_an_inline_archive_is_a_directory(tmp_path: Path) -> None:
    (one,) = await Execution(tmp_path).fetch(archive(entry("a/", tarfile.DIRTYPE), entry("a/b"), entry("c")))
    assert files_in(one.path) == {"a/b": b"x", "c": b"x"}


async def test_a_program_in_an_inline_archive_stays_one_and_gets_no_rights(tmp_path: Path) -> None:
    run, data = entry("run"), entry("data")
    run.mode, data.mode = 0o4710, 0o600
    (one,) = await Execution(tmp_path).fetch(archive(run, data))
    assert {path.name: path.stat().st_mode & 0o7777 for path in one.path.iterdir()} == {
        "run": 0o755,
        "data": 0o644,
    }


async def test_a_path_that_is_not_below_its_cid_is_the_jobs_own_fault(tmp_path: Path) -> None:
    execution = Execution(tmp_path, content=Content({"bafy/a": b"x"}))
    (one,) = await execution.fetch(("ipfs", {"CID": "bafy/a"}))
    assert one.path.read_bytes() == b"x"
    with pytest.raises(DataFailed, match="has no entry b") as failed:
        await Execution(tmp_path, name="e-2").fetch(("ipfs", {"CID": "bafy/b"}))
    assert failed.value.fault is Fault.JOB


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out")],
        [entry("/etc/out")],
        [entry("a/../../out")],
        [entry("link", tarfile.SYMTYPE, "/etc")],
        [entry("link", tarfile.SYMTYPE, ".."), entry("link/out")],
        [entry("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("pipe", tarfile.FIFOTYPE)],
        [entry("device", tarfile.CHRTYPE)],
    ],
)
async def test_an_inline_archive_cannot_lead_out(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    with pytest.raises(DataFailed, match="refused") as failed:
        await Execution(tmp_path).fetch(archive(*entries))
    assert failed.value.fault is Fault.JOB
    assert "out" not in {Path(name).name for name in files_in(tmp_path)}


async def test_an_inline_archive_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path) -> None:
    bomb = archive(entry("zeros"), data=bytes(5_000_000))
    with pytest.raises(DataFailed, match="disk limit"):
        await Execution(tmp_path).fetch(bomb, disk_bytes=1_000_000)


@pytest.mark.parametrize(
    "url",
    [
        "data:;base64,!!!",
        "data:application/gzip;base64,aGVsbG8=",
        "data:application/gzip;base64,H4sIAAAAAAA=",
    ],
)
async def test_broken_inline_data_is_the_jobs_fault(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataFailed) as failed:
        await Execution(tmp_path).fetch(inline(url))
    assert failed.value.fault is Fault.JOB


async def test_content_is_fetched_by_its_cid_and_its_lack_is_the_networks_fault(tmp_path: Path) -> None:
    node = Execution(tmp_path)
    with pytest.raises(DataFailed, match=CID) as failed:
        await node.fetch(("ipfs", {"CID": CID}))
    assert failed.value.fault is Fault.NETWORK
    node.content.files[CID] = b"data"
    (one,) = await node.fetch(("ipfs", {"CID": CID}))
    assert one.path.read_bytes() == b"data"
    assert node.told == ["fetching /input0: 4 B"]


async def test_inputs_that_are_whole_are_kept_over_a_restart_and_come_in_their_order(tmp_path: Path) -> None:
    node = Execution(tmp_path)
    with pytest.raises(DataFailed):
        await node.fetch(inline("data:,first"), ("ipfs", {"CID": CID}))
    kept = node.inputs / "0"
    kept.write_text("still there")
    node.content.files[CID] = b"second"
    inputs = await node.fetch(inline("data:,first"), ("ipfs", {"CID": CID}))
    assert [one.path.read_text() for one in inputs] == ["still there", "second"]


async def test_an_unknown_type_is_the_peers_fault(tmp_path: Path) -> None:
    with pytest.raises(DataFailed, match="no source of type s4") as failed:
        await Execution(tmp_path).fetch(("s4", {}))
    assert failed.value.fault is Fault.PEER


async def test_a_full_disk_is_the_peers_fault(tmp_path: Path) -> None:
    node = Execution(tmp_path)

    def export(cid: str, path: Path, size_bytes_max: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    node.content.files[CID] = b"x"
    node.content.export = export  # type: ignore[method-assign]
    with pytest.raises(DataFailed, match="input /input0: No space left") as failed:
        await node.fetch(("ipfs", {"CID": CID}))
    assert failed.value.fault is Fault.PEER


async def test_a_directory_with_one_file_is_a_module_where_the_job_says_so(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.wasm").write_bytes(b"\0asm")
    node = Execution(tmp_path, Access(paths=(AllowedPath(tmp_path),)))
    source = ("local", {"SourcePath": str(tmp_path / "code")})
    (module,) = await node.fetch(source, module="/input0")
    (directory,) = await node.fetch(source, module="/elsewhere")
    assert module.path.name == "main.wasm"
    assert directory.path.is_dir()


@pytest.mark.parametrize(
    ("what", "entries"),
    [
        ("many empty files", [entry(f"{at}") for at in range(40)]),
        ("many empty directories", [entry(f"{at}/", tarfile.DIRTYPE) for at in range(40)]),
        ("few files far down", [entry(f"{at}/" * 20 + "x") for at in range(2)]),
    ],
)
async def test_tiny_entries_count_as_what_they_take_on_disk(
    what: str, entries: list[tarfile.TarInfo], tmp_path: Path
) -> None:
    with pytest.raises(DataFailed, match="take more than") as caught:
        await Execution(tmp_path).fetch(archive(*entries), disk_bytes=39 * 4096)
    assert caught.value.fault is Fault.JOB
    for _ in range(2):
        await Execution(tmp_path).fetch(archive(*entries), disk_bytes=44 * 4096)


async def test_a_link_in_the_place_of_a_module_is_not_followed(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_bytes(b"root only")
    folder.mkdir()
    (folder / "module.wasm").symlink_to(secret)
    execution = Execution(tmp_path, Access(paths=(AllowedPath(folder),)))
    with pytest.raises(DataFailed, match=r"the module module\.wasm is a link") as caught:
        await execution.fetch(("local", {"SourcePath": str(folder)}), module="/input0")
    assert caught.value.fault is Fault.JOB


async def test_content_that_unfolds_beyond_the_jobs_disk_is_the_jobs_fault(tmp_path: Path) -> None:
    node = Execution(tmp_path)
    node.content.files[CID] = bytes(10_001)
    with pytest.raises(DataFailed, match="take more than 10 KB, which is the job's disk limit") as failed:
        await node.fetch(("ipfs", {"CID": CID}), disk_bytes=10_000)
    assert failed.value.fault is Fault.JOB
