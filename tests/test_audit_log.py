"""The audit log: each request that may change something is in it, with who asked and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import ServiceError
from p2pnode.api.token_shapes import TokenKind
from p2pnode.client.finding import find
from p2pnode.system.audit_log import FILE_NAME, OLD_FILES_MAX, TEXT_LENGTH_MAX, AuditLog
from tests.fake_node import Served

JOB = b"Name: works\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


def lines(directory: Path, name: str = FILE_NAME) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


def told(directory: Path) -> list[tuple[str, str]]:
    return [(one["action"], one["result"]) for one in lines(directory)]


def test_what_a_user_has_asked_for_is_told_with_what_came_of_it(served: Served, tmp_path: Path) -> None:
    client = find(tmp_path, {})
    job = client.submit(JOB, "job.yaml")
    client.stop(job, "no longer wanted")
    client.jobs()
    with pytest.raises(ServiceError):
        client.stop("j-unknown", "")
    assert told(tmp_path) == [("submit", "done"), ("stop", "done"), ("stop", "not-found")]
    submitted, stopped, refused = lines(tmp_path)
    assert (submitted["job"], submitted["name"], submitted["change"]) == (job, "works", "new")
    assert (stopped["job"], stopped["reason"]) == (job, "no longer wanted")
    assert refused["job"] == "j-unknown"
    assert {one["caller"] for one in lines(tmp_path)} == {"owner"}
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_new_token_is_told_by_its_name_and_never_by_its_secret(served: Served, tmp_path: Path) -> None:
    secret = find(tmp_path, {}).create_token("ci", TokenKind.READ, None)
    (line,) = lines(tmp_path)
    assert (line["action"], line["name"], line["kind"]) == ("create_token", "ci", "read")
    assert secret not in (tmp_path / FILE_NAME).read_text()


def test_a_job_file_with_errors_is_told_as_such(served: Served, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Nonsense"):
        find(tmp_path, {}).submit(b"Nonsense: 1", "job.yaml")
    assert told(tmp_path) == [("submit", "bad-job")]


def test_a_text_can_forge_no_line_and_is_cut(tmp_path: Path) -> None:
    AuditLog(tmp_path).note("owner", "stop", {"reason": 'a\n{"caller": "x"}\u202e' + "b" * 9999}, "done")
    (line,) = lines(tmp_path)
    assert "\n" not in line["reason"] and "\u202e" not in line["reason"]
    assert len(line["reason"]) < TEXT_LENGTH_MAX + 20


def test_the_log_takes_a_limited_room_and_keeps_the_newest(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, size_bytes_max=500)
    for number in range(100):
        log.note("owner", "stop", {"number": number}, "done")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [FILE_NAME, *(f"{FILE_NAME}.{n + 1}" for n in range(OLD_FILES_MAX))]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    kept = [one["number"] for name in [*reversed(files[1:]), FILE_NAME] for one in lines(tmp_path, name)]
    assert kept == list(range(kept[0], 100))


def test_a_log_that_cannot_be_written_holds_nobody_up(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert find(tmp_path, {}).submit(JOB, "job.yaml")
    assert "audit.log cannot be written: Is a directory" in caplog.text
