"""The block of a job that is waited for tells who is how far, of few executions and of many."""

from __future__ import annotations

import pytest

from p2pnode.cli.jobblock import EXECUTIONS_SHOWN_MAX, JobBlock
from p2pnode.cli.transfers import Transfer, transfer_of
from p2pnode.core.values.text import visible
from tests.top_samples import a_job, an_event, an_execution

from .test_cli_terminal import EVIL


def block(*states: str) -> JobBlock:
    return JobBlock(a_job("works", *states, state="Pending"))


def lines(one: JobBlock) -> list[str]:
    return one.lines(1.25, "*")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("fetching /data: 1.04 KB", Transfer("fetching /data", 1040, None, None)),
        ("fetching /data: 1.5 MB of 3 MB (ada)", Transfer("fetching /data", 1_500_000, 3_000_000, 0.5)),
        ("fetching /d: 3 of 9 objects, 1 MB of 4 MB", Transfer("fetching /d", 1_000_000, 4_000_000, 0.25)),
        ("pulling image a/b:1: 45% (ada)", Transfer("pulling image a/b:1", None, None, 0.45)),
        ("pulling image a/b: 945%", Transfer("pulling image a/b", None, None, 1.0)),
        ("s3://b/key: 0 B (ada)", Transfer("s3://b/key", 0, None, None)),
        ("fetching /data: 5 MB of 0 B", Transfer("fetching /data", 5_000_000, 0, None)),
        ("pulling image busybox (ada)", None),
        ("compiling the module", None),
        ("fetching /data: 1.2.3 KB", None),
        ("fetching /data: 99999999999999999 EB", None),
        ("45%", None),
        ("", None),
    ],
)
def test_a_line_of_history_tells_of_a_transfer_or_does_not(message: str, expected: Transfer | None) -> None:
    assert transfer_of(message) == expected


def test_a_job_without_executions_is_one_line_with_what_happens() -> None:
    one = block()
    one.note(an_event("Asked 3 peers", state="Pending"))
    assert lines(one) == ["*   1.2 s  j-works  Pending  Asked 3 peers"]
    one.note(an_event("no docker engine (bob)", "e-9", "Asked"))
    assert lines(one) == ["*   1.2 s  j-works  Pending  no docker engine (bob)"]


def test_an_execution_has_a_line_with_its_peer_once_that_is_known() -> None:
    one = block()
    one.note(an_event("Awarded replica 0 (ada)", "e-12345678abc", "Awarded"))
    assert one.lacks_a_peer
    assert lines(one)[1] == "  e-12345678  Awarded     Awarded replica 0 (ada)"
    one.learn([an_execution("e-12345678abc", "Awarded")])
    assert not one.lacks_a_peer
    assert lines(one)[1] == "  ada  Awarded     Awarded replica 0"
    one.note(an_event("compiling the module (ada)", "e-12345678abc"))
    assert lines(one)[1] == "  ada  Preparing   compiling the module"
    one.note(an_event("Running (ada)", "e-12345678abc", "Running"))
    assert lines(one) == ["*   1.2 s  j-works  Running", "  ada  Running"]


def test_a_download_has_a_bar_its_bytes_and_its_rate() -> None:
    one = block("Preparing")
    one.note(an_event("fetching /data: 1 MB of 8 MB (ada)", "e-works0", at=10.0))
    assert lines(one)[1] == "  ada  Preparing   ██░░░░░░░░░░░░░░  12%  1 MB of 8 MB  fetching /data"
    one.note(an_event("fetching /data: 4 MB of 8 MB (ada)", "e-works0", at=12.0))
    assert lines(one)[1] == "  ada  Preparing   ████████░░░░░░░░  50%  4 MB of 8 MB  1.5 MB/s  fetching /data"


@pytest.mark.parametrize("message", ["fetching /other: 2 MB (ada)", "fetching /data: 500 KB (ada)"])
def test_a_rate_is_that_of_one_transfer(message: str) -> None:
    """Another input, or the same from its beginning, is no part of it."""
    one = block("Preparing")
    one.note(an_event("fetching /data: 1 MB (ada)", "e-works0", at=10.0))
    one.note(an_event(message, "e-works0", at=12.0))
    assert "/s" not in lines(one)[1]


def test_a_pull_has_a_bar_alone_and_what_follows_it_has_none() -> None:
    one = block("Preparing")
    one.note(an_event("pulling image busybox: 45% (ada)", "e-works0"))
    assert lines(one)[1] == "  ada  Preparing   ███████░░░░░░░░░  45%  pulling image busybox"
    one.note(an_event("creating the container (ada)", "e-works0"))
    assert lines(one)[1] == "  ada  Preparing   creating the container"


def test_what_has_ended_folds_into_counts() -> None:
    one = block("Running", "Running", "Running")
    for index, state in enumerate(["Completed", "Lost", "Completed"]):
        one.note(an_event(f"{state}: so it is", f"e-works{index}", state))
        one.note(an_event("told again", f"e-works{index}", state))
    assert lines(one)[1:] == ["  +2 completed, 1 lost"]


def test_of_many_executions_the_first_have_lines() -> None:
    one = block(*["Running"] * (EXECUTIONS_SHOWN_MAX + 5))
    assert len(lines(one)) == 1 + EXECUTIONS_SHOWN_MAX + 1
    assert lines(one)[-1] == "  and 5 more under way"


def test_a_peers_words_are_visible() -> None:
    one = block("Preparing")
    one.learn([an_execution("e-works0", "Preparing", peer_name=EVIL)])
    one.note(an_event(EVIL, "e-works0"))
    one.note(an_event(EVIL, state="Pending"))
    assert [line for line in lines(one) if visible(line) != line] == []
    one.note(an_event(f"fetching {EVIL}: 1 KB", "e-works0"))
    assert [line for line in lines(one) if visible(line) != line] == []
