"""The operator's own program that is asked about each job, as it says yes, says no, or says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2pnode.core.jobfile import render
from p2pnode.notices.probe import RUNS_MAX, Probe

from .core_support import spec
from .hook_site import HookSite, running_hooks

SPEC = spec(namespace="bob")


def asked(words: list[str], url: str = "") -> tuple[str, list[str]]:
    """The refusal of a program or service, and what is kept for people."""
    kept: list[str] = []
    probe = Probe(words, url, lambda name, reason: kept.append(reason))
    return trio.run(probe.why_not, SPEC, "12D3KooWBob"), kept


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_a_program_gets_the_job_and_its_requester_and_takes_it_by_0(tmp_path: Path) -> None:
    assert asked(shell(f"cat > {tmp_path}/job")) == ("", [])
    found = json.loads((tmp_path / "job").read_text())
    assert found == {"requester": "12D3KooWBob", "spec": render(SPEC)}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo out; echo too late >&2; echo more >&2; exit 1", "too late"),
        ("exit 7", "exit status 7"),
        ("yes >&2 & head -c 100000 /dev/zero >&2; kill $!; exit 1", ""),
    ],
)
def test_a_program_that_refuses_is_quoted_with_its_first_line_of_stderr(script: str, said: str) -> None:
    reason, kept = asked(shell(script))
    assert reason.startswith(f"its operator's probe refuses it: {said}")
    assert (len(reason) < 1000, kept) == (True, [])


def test_a_program_that_cannot_be_asked_refuses_and_people_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pnode.notices.probe.RUN_S_MAX", 0.3)
    refused = "its operator's probe could not be asked"
    reason, (kept,) = asked(["/nowhere/probe"])
    assert (reason, kept.partition(": [")[0]) == (refused, "/nowhere/probe cannot be run")
    assert asked(shell("exec sleep 60")) == (refused, ["no answer within 0 s"])


def test_only_so_many_programs_run_at_once(tmp_path: Path) -> None:
    script = (
        f"mkdir {tmp_path}/$$; ls {tmp_path} | wc -l >&2; read job; sleep 0.2; rmdir {tmp_path}/$$; exit 1"
    )
    probe = Probe(shell(script), "", lambda name, reason: None)
    counts: list[int] = []

    async def ask() -> None:
        counts.append(int((await probe.why_not(SPEC, "bob")).rpartition(" ")[2]))

    async def ask_many() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2 * RUNS_MAX):
                nursery.start_soon(ask)

    trio.run(ask_many)
    assert len(counts) == 2 * RUNS_MAX and max(counts) <= RUNS_MAX


@pytest.fixture
def site() -> Iterator[HookSite]:
    with running_hooks() as running:
        yield running


def test_a_service_gets_the_job_and_its_requester_and_takes_it_by_2xx(site: HookSite) -> None:
    site.bodies += [b"", b'{"shouldBid": true}']
    site.answers += [(204, {}), (201, {"Content-Length": "19"})]
    assert asked([], site.url("/takes")) == asked([], site.url("/takes")) == ("", [])
    assert [one.path for one in site.posted] == ["/takes", "/takes"]
    assert json.loads(site.posted[0].body) == {"requester": "12D3KooWBob", "spec": render(SPEC)}
    assert site.posted[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"reason": "not bob today"}', "not bob today"),
        (403, b'{"reason": 7}', "403 Forbidden"),
        (500, b"<html>", "500 Internal Server Error"),
        (302, b"", "302 Found"),
        (403, b'{"reason": "' + b"x" * 100_000 + b'"}', "403 Forbidden"),
        (403, b"[" * 10_000, "403 Forbidden"),
        (200, b'{"shouldBid": false, "reason": "not bob today"}', "not bob today"),
        (200, b'{"ShouldBid": false}', "its answer is shouldBid: false"),
    ],
    ids=["reason", "no text", "no JSON", "redirect", "too long", "too deep", "as Bacalhau's", "in Go's case"],
)
def test_a_service_that_refuses_is_quoted_with_its_reason_or_status(
    site: HookSite, status: int, body: bytes, said: str
) -> None:
    site.bodies.append(body)
    site.answers.append((status, {"Content-Length": str(len(body))}))
    reason, kept = asked([], site.url("/takes"))
    assert reason.startswith(f"its operator's probe refuses it: {said}")
    assert (len(reason) < 1000, kept) == (True, [])


def test_a_service_that_does_not_answer_refuses_and_people_are_told_without_its_login(
    site: HookSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "its operator's probe could not be asked"
    reason, (kept,) = asked([], "http://ada:secret@127.0.0.1:9/takes")
    assert reason == refused and "127.0.0.1:9" in kept and "secret" not in kept
    monkeypatch.setattr("p2pnode.notices.probe.RUN_S_MAX", 0.3)
    site.answers.append((0, {}))
    assert asked([], site.url("/takes")) == (refused, ["no answer within 0 s"])
