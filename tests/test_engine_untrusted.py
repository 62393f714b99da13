"""Words of other processes, and what lies in inputs: an engine believes none of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.engines.docker import answers
from p2pnode.engines.wasm.processes import Event, event_untrusted
from p2pnode.engines.wasm.request import UnsuitableProgram, prepare

from .engine_support import make_workload


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"event":"exited","status":1e400,"cpu_ms":1,"memory_bytes_max":1}', id="infinite"),
        pytest.param(b'{"event":"exited","status":1.5,"cpu_ms":1,"memory_bytes_max":1}', id="a fraction"),
        pytest.param(b'{"event":"exited","status":256,"cpu_ms":1,"memory_bytes_max":1}', id="over a byte"),
        pytest.param(b'{"event":"exited","status":0,"cpu_ms":-1,"memory_bytes_max":1}', id="negative time"),
        pytest.param(b'{"event":"exited","status":0,"cpu_ms":1e30,"memory_bytes_max":1}', id="ages"),
        pytest.param(b'{"event":"exited","status":0,"memory_bytes_max":' + b"9" * 5000 + b"}", id="digits"),
        pytest.param(b'{"event":"ended","exit_code":[0]}', id="a list for a number"),
        pytest.param(b'{"event":"ended","exit_code":true}', id="a truth for a number"),
        pytest.param(b'{"event":"ended","exit_code":4000000000}', id="an exit code of no receipt"),
        pytest.param(b'{"event":"ended","reason":{}}', id="an object for a text"),
        pytest.param(b'{"event":"refused","reason":"\\ud800"}', id="half a character"),
        pytest.param(b'{"event":"refused","reason":"\xff"}', id="bytes that are no text"),
        pytest.param(b'{"event":"refused","reason":"' + b"x" * 3000 + b'"}', id="a long text"),
        pytest.param(b'{"event":"invented"}', id="another event"),
        pytest.param(b'{"event":["started"]}', id="a list for an event"),
        pytest.param(b"[" * 10_000, id="depth"),
        pytest.param(b'{"event":' + b'{"a":' * 3_000, id="depth in a field"),
        pytest.param(b"NaN", id="no number"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_a_worker_may_not_say_is_no_event(line: bytes) -> None:
    assert event_untrusted(line) is None


def test_what_a_worker_says_is_read() -> None:
    line = b'{"event":"exited","status":-9,"cpu_ms":12,"memory_bytes_max":4096}'
    assert event_untrusted(line) == Event("exited", status=-9, cpu_ms=12, memory_bytes_max=4096)


STATE = '"State":{"Status":"exited","Running":false,"Pid":0,"ExitCode":%s,"OOMKilled":%s}'


def container(state: str, more: str = "") -> bytes:
    return ('{"Id":"1","Image":"sha256:1","Config":{"Labels":null},' + state + more + "}").encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no fields"),
        pytest.param(container(STATE % ("1e400", "false")), id="an infinite exit code"),
        pytest.param(container(STATE % ('"0"', "false")), id="a text for a number"),
        pytest.param(container(STATE % (0, 1)), id="a number for a truth"),
        pytest.param(container(STATE % (0, "false"), ',"SizeRw":-1'), id="a negative size"),
        pytest.param(container(STATE % (0, "false"), ',"Mounts":{}'), id="an object for a list"),
        pytest.param(
            container(STATE % (0, "false"), ',"GraphDriver":{"Data":[1]}'), id="a list for an object"
        ),
        pytest.param(b"[" * 100_000, id="depth"),
    ],
)
def test_what_no_engine_says_of_a_container_is_refused(data: bytes) -> None:
    with pytest.raises(answers.BadAnswer, match="the Docker engine's answer cannot be read"):
        answers.decode(data, answers.Container)


def test_a_container_is_read_with_any_storage_driver() -> None:
    plain = answers.decode(container(STATE % (3, "true")), answers.Container)
    assert (plain.state.exit_code, plain.state.out_of_memory, plain.labels) == (3, True, {})
    assert plain.upper_directory == ""
    more = ',"GraphDriver":{"Name":"overlay2","Data":{"UpperDir":"/u","LowerDir":"/l"}},"SizeRw":5'
    overlay = answers.decode(container(STATE % (0, "false"), more), answers.Container)
    assert (overlay.upper_directory, overlay.size_rw) == ("/u", 5)


def link_as_input(directory: Path, secret: Path) -> Path:
    (directory / "module.wasm").symlink_to(secret)
    return directory / "module.wasm"


def link_in_a_folder(directory: Path, secret: Path) -> Path:
    (directory / "folder").mkdir()
    (directory / "folder" / "m").symlink_to(secret)
    return directory / "folder"


def folder_that_is_a_link(directory: Path, secret: Path) -> Path:
    (directory / "folder").symlink_to(secret.parent)
    return directory / "folder"


def pipe(directory: Path, secret: Path) -> Path:
    os.mkfifo(directory / "m")
    return directory


def no_module(directory: Path, secret: Path) -> Path:
    (directory / "m").write_bytes(secret.read_bytes())
    return directory


@pytest.mark.parametrize("make", [link_as_input, link_in_a_folder, folder_that_is_a_link, pipe, no_module])
@pytest.mark.parametrize("entry", ["/in", "/in/m"])
def test_no_byte_of_a_file_is_told_by_way_of_a_module(make, entry: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "outside").mkdir()
    (tmp_path / "planted").mkdir()
    secret = tmp_path / "outside" / "m"
    secret.write_bytes(b"root:SECRET:1:2:3")
    planted = make(tmp_path / "planted", secret)
    workload = make_workload(tmp_path, WasmTask(entry_module=entry), inputs={"/in": planted})
    with pytest.raises(UnsuitableProgram) as caught:
        prepare(workload)
    assert "root" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_became_a_link_is_not_shown_to_the_program(tmp_path: Path) -> None:
    module, planted, secret = tmp_path / "module.wasm", tmp_path / "planted", tmp_path / "secret"
    module.write_bytes(b"\0asm\1\0\0\0")
    secret.write_bytes(b"secret")
    planted.symlink_to(secret)
    workload = make_workload(tmp_path, WasmTask(entry_module="/m"), inputs={"/m": module, "/data/x": planted})
    with pytest.raises(OSError, match="symbolic links"):
        prepare(workload)
    assert not (workload.directory / "files-0" / "x").exists()
