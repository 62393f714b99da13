"""Parts that both engines share: environment, log files, the watch on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.log_order import STDERR
from p2pnode.core.wire.spec import Resources, WasmTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines import workload as shared
from p2pnode.engines.docker.images import pull_fault
from p2pnode.engines.docker.logs import GAP_NOTE, ResumedLog, resumed
from p2pnode.engines.workload import (
    LogFile,
    Looks,
    as_the_program_sees,
    disk_problem,
    environment,
    failed,
    next_look_s,
)
from p2pnode.system.removal import clear_directory
from p2pnode.system.trees import Use

from .engine_support import make_workload


def test_the_engines_variables_win_over_the_tasks_and_ours_over_both(tmp_path: Path) -> None:
    engine = WasmTask(entry_module="/m", environment={"B": "engine", "BACALHAU_JOB_ID": "forged"})
    workload = make_workload(tmp_path, engine, environment={"A": "task", "B": "task"})
    variables = environment(workload)
    assert (variables["A"], variables["B"]) == ("task", "engine")
    assert variables["BACALHAU_JOB_ID"] == variables["P2PNODE_JOB_ID"] == workload.job_id
    assert (variables["P2PNODE_REPLICA"], variables["P2PNODE_REPLICA_COUNT"]) == ("1", "2")


def test_a_reason_fits_its_message() -> None:
    assert len(failed(Fault.JOB, "x" * 10_000).reason) == REASON_LENGTH_MAX


def test_a_log_is_cut_once_and_only_when_something_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "LOG_SIZE_BYTES_MAX", 10)
    log = LogFile(tmp_path / "log")
    log.write(b"0123456789")
    assert (tmp_path / "log").read_bytes() == b"0123456789"
    for _ in range(3):
        log.write(b"more")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"0123456789\n[p2pnode: output cut at 10 bytes]\n"


def test_a_full_disk_is_noted_and_not_raised() -> None:
    log = LogFile(Path("/dev/full"))
    log.write(b"lost")
    log.write(b"lost too")
    log.close()
    assert log.problem == "cannot keep the program's output: No space left on device"


def test_a_resumed_log_appends_only_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    log = ResumedLog(tmp_path / "log")
    for part in (b"on", b"e\ntwo", b"\nthree\n", b"four\n"):
        log.write(part)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_the_order_of_resumed_logs_is_that_of_the_whole_stream_and_counts_what_it_does_not_tell(
    tmp_path: Path,
) -> None:
    workload = make_workload(tmp_path, WasmTask(entry_module="/m"))
    workload.stdout.write_bytes(b"one\nthree\n")
    workload.stderr.write_bytes(b"two\n")
    workload.order.add(STDERR, 99)
    out, err = resumed(workload)
    out.write(b"one\n")
    err.write(b"two\n")
    out.write(b"three\nfour\n")
    assert workload.order.runs == [4, 4, 11]
    out.close()
    err.close()
    out, err = resumed(workload)
    # Its beginning is gone.
    out.write(b"four\n")
    err.write(b"two\nfive\n")
    out.close()
    err.close()
    size = workload.stdout.stat().st_size
    assert workload.order.runs == [size, 9] and workload.stderr.stat().st_size == 9


def test_a_resumed_log_whose_beginning_is_gone_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    log = ResumedLog(tmp_path / "log")
    log.write(b"six\n")
    log.write(b"seven\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n" + GAP_NOTE + b"six\nseven\n"


def test_clearing_a_directory_removes_links_and_not_what_they_lead_to(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "kept").mkdir(parents=True)
    (inside / "deep").mkdir(parents=True)
    (inside / "directory").symlink_to(outside)
    (inside / "deep" / "link").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    clear_directory(inside)
    assert os.listdir(inside) == []
    assert os.listdir(outside) == ["kept"]


def test_disk_use_counts_entries_and_holes_and_follows_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = Resources(disk_bytes=100_000)
    workload = make_workload(
        tmp_path, WasmTask(entry_module="/m"), results={"outputs": "/outputs"}, resources=resources
    )
    outputs = workload.results[0].host_path
    (tmp_path / "huge").write_bytes(bytes(1_000_000))
    (outputs / "link").symlink_to(tmp_path / "huge")
    assert disk_problem(workload, (outputs,)) == ""
    assert "the job's disk limit is 100000" in disk_problem(workload, (outputs,), Use(100_001, 1))
    for content in (lambda file: file.write(bytes(120_000)), lambda file: file.truncate(10**12)):
        with open(outputs / "file", "wb") as file:
            content(file)
        assert "the job's disk limit is 100000" in disk_problem(workload, (outputs,))
    (outputs / "file").unlink()
    for number in range(25):
        (outputs / f"empty-{number}").touch()
    assert "the job's disk limit is 100000" in disk_problem(workload, (outputs,))
    monkeypatch.setattr(shared, "ENTRIES_MAX", 20)
    assert disk_problem(workload, (outputs,)) == "it wrote more than 20 files and directories"
    assert disk_problem(workload, (), Use(0, 21)) == "it wrote more than 20 files and directories"


@pytest.mark.parametrize(
    ("took_s", "pause_s"), [(0, 0.25), (0.001, 0.25), (0.025, 0.25), (0.1, 1.0), (3.0, 30.0)]
)
def test_the_pause_after_a_look_is_ten_times_what_it_took(took_s: float, pause_s: float) -> None:
    assert next_look_s(took_s) == pytest.approx(pause_s)


async def test_a_look_that_took_long_is_not_due_at_once(autojump_clock: trio.testing.MockClock) -> None:
    looks = Looks()

    async def look() -> str:
        await trio.sleep(2)
        return "found"

    assert looks.due
    assert await looks.take(look) == "found"
    await trio.sleep(19.9)
    assert not looks.due
    await trio.sleep(0.2)
    assert looks.due


def test_an_error_names_no_path_of_the_host(tmp_path: Path) -> None:
    workload = make_workload(
        tmp_path, WasmTask(entry_module="/m"), inputs={"/in": tmp_path}, results={"outputs": "/outputs"}
    )
    text = f'mounting "{workload.results[0].host_path}" to "/o", {workload.directory}/x, {tmp_path}/y'
    assert as_the_program_sees(text, workload) == 'mounting "/outputs" to "/o", (the execution)/x, /in/y'
    other = f"{tmp_path}-2 {workload.results[0].host_path}-2"
    assert as_the_program_sees(other, workload) == f"{tmp_path}-2 (the execution)/results/outputs-2"


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("manifest for a/b:1 not found: manifest unknown: manifest unknown", Fault.JOB),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", Fault.JOB),
        ("invalid reference format", Fault.JOB),
        ('Head "http://r/v2/a/manifests/1": no basic auth credentials', Fault.PEER),
        ("unauthorized: authentication required", Fault.PEER),
        ("no matching manifest for linux/amd64 in the manifest list entries", Fault.PEER),
        ('Get "https://r/v2/": dial tcp: lookup r on 1.1.1.1:53: no such host', Fault.NETWORK),
        ('Get "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused', Fault.NETWORK),
        ('Get "https://r/v2/": net/http: TLS handshake timeout', Fault.NETWORK),
        ("toomanyrequests: You have reached your pull rate limit", Fault.NETWORK),
    ],
)
def test_whose_fault_a_failed_pull_is(reason: str, fault: Fault) -> None:
    assert pull_fault(reason) is fault
