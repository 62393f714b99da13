"""A job's executions and their ends, event by event, as its owner sees them."""

from __future__ import annotations

import copy
import dataclasses
from math import inf
from typing import Any

import pytest

from p2pnode.core.job.conclusion import EXECUTIONS_ENDED_KEPT_MAX
from p2pnode.core.job.limits import OVERDUE_GRACE_S
from p2pnode.core.job.machine import Job
from p2pnode.core.job.retries import TRIES_PER_PEER_MAX
from p2pnode.core.records.events import PeerLost, Received, Tick
from p2pnode.core.records.lifecycle import (
    LIVE,
    NO_REASON,
    OPEN,
    VERSIONS_KEPT_MAX,
    ExecutionState,
    JobState,
    Outcome,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Ask, Cancel, Command, Release, Replicate
from p2pnode.core.wire.spec import STOP_GRACE_S, JobType, Timeouts
from p2pnode.core.wire.states import Fault, Stage

from .core_support import a_command, asked, bid, end, new_job, running, sent, spec, update


def test_what_is_noted_of_a_job_that_has_ended_is_told_and_over() -> None:
    job = new_job()
    job.begin(0)
    job.command(a_command("stop", "enough"), 1)
    other = codec.replace(spec(), type=JobType.OPS)
    job.command(a_command("update", "", other), 2)
    assert 2 < job.deadline < 10
    assert sent(job.handle(Tick(), job.deadline), Replicate)
    assert job.deadline == inf


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_a_late_or_repeated_update_changes_nothing(sequence: int) -> None:
    job, execution = running()
    job.handle(Received("a", update(execution, sequence)), 1)
    assert job.record.executions[execution].state is ExecutionState.RUNNING


def test_a_receipt_of_success_completes_the_job() -> None:
    job, execution = running()
    job.handle(end(job, execution), 9)
    assert (job.record.state, job.record.outcome) == (JobState.COMPLETED, Outcome.COMPLETED)
    assert job.record.executions[execution].result_cid == "bafy"
    assert job.record.executions[execution].receipt is not None


@pytest.mark.parametrize(
    ("exit_code", "outcome"), [(3, Outcome.PROGRAM), (None, Outcome.EXECUTION), (0, Outcome.EXECUTION)]
)
def test_a_failure_that_is_the_jobs_own_fails_it_without_another_try(
    exit_code: int | None, outcome: Outcome
) -> None:
    job, execution = running("ab")
    actions = job.handle(end(job, execution, exit_code, Fault.JOB), 9)
    assert (job.record.state, job.record.outcome, job.record.reason) == (JobState.FAILED, outcome, "it broke")
    assert not sent(actions, Ask)


def test_a_failure_of_the_peer_is_tried_at_all_others_before_there_again_and_the_tries_end() -> None:
    job = new_job("abcd")
    job.begin(0)
    now = 0.0
    while not job.record.ended:
        for peer, execution in asked(job).items():
            job.handle(Received(peer, bid(execution)), now)
        for one in job.record.of(*LIVE):
            job.handle(end(job, one.id, None, Fault.PEER), now)
        if not asked(job) and not job.record.ended:
            now = job.deadline
            job.handle(Tick(), now)
    failed = [one.peer for one in job.record.of(ExecutionState.FAILED)]
    assert set(failed[:4]) == set(failed[4:]) == set("abcd")
    assert len(failed) == 4 * TRIES_PER_PEER_MAX
    assert (job.record.state, job.record.outcome) == (JobState.FAILED, Outcome.EXECUTION)
    assert job.record.reason.startswith("it broke; then no peer can take it: 4 of 4: failed this job 2 times")


def test_a_lost_peer_is_not_asked_again_at_once_and_is_not_why_the_job_failed() -> None:
    job, execution = running("abcd")
    lost = job.record.executions[execution].peer
    now = 1.0
    job.handle(PeerLost(lost, "no sign of it"), now)
    while not job.record.ended:
        assert lost not in asked(job)
        for peer, other in asked(job).items():
            job.handle(Received(peer, bid(other)), now)
        (one,) = job.record.of(*LIVE)
        job.handle(end(job, one.id, None, Fault.NETWORK), now)
        if not job.record.of(*LIVE) and not job.record.ended:
            now = job.deadline
            job.handle(Tick(), now)
    assert job.record.first_failure == "it broke"
    # The peer never said a word on its award, which says nothing of the job.
    assert job.record.reason == "replica 0 failed 4 times; the first: it broke"


def test_a_lost_peer_that_ends_what_it_was_told_to_end_is_no_failure_of_the_job() -> None:
    job, execution = running("abcd")
    job.handle(PeerLost(job.record.executions[execution].peer, "no sign of it"), 1)
    job.handle(end(job, execution, None, Fault.JOB), 2)
    assert job.record.executions[execution].state is ExecutionState.LOST
    assert job.record.first_failure == "" and not job.record.ended
    other = job.record.of(*OPEN)[0]
    job.handle(Received(other.peer, bid(other.id)), 3)
    for asked_again in job.record.of(ExecutionState.ASKED):
        job.handle(Received(asked_again.peer, bid(asked_again.id)), 3)
    (live,) = job.record.of(*LIVE)
    job.handle(PeerLost(live.peer, "no sign of it"), 4)
    assert not job.record.ended


def test_a_job_that_nobody_is_left_for_says_what_failed_first() -> None:
    job = new_job("a")
    job.begin(0)
    now = 0.0
    while not job.record.ended:
        for peer, execution in asked(job).items():
            job.handle(Received(peer, bid(execution)), now)
        for one in job.record.of(*LIVE):
            job.handle(end(job, one.id, None, Fault.PEER), now)
        if not job.record.ended:
            now = job.deadline
            job.handle(Tick(), now)
    assert job.record.outcome is Outcome.EXECUTION
    assert job.record.reason.startswith("it broke; then no peer can take it: 1 of 1: failed this job 2 times")


def test_a_receipt_about_another_execution_is_the_peers_failure() -> None:
    job, execution = running()
    event = end(job, execution)
    assert event.receipt is not None
    wrong = Received("a", event.message, codec.replace(event.receipt, replica=7), "bafyreceipt")
    job.handle(wrong, 1)
    assert job.record.executions[execution].state is ExecutionState.LOST
    assert not job.record.ended


def test_a_lost_peers_late_result_counts_and_ends_the_other_try() -> None:
    job, execution = running("ab")
    job.handle(PeerLost("a", "no link"), 1)
    second = asked(job)["b"]
    for peer, id in asked(job).items():
        job.handle(Received(peer, bid(id, 0 if peer == "b" else 9, job.record.round)), 3)
    assert [one.id for one in job.record.of(*LIVE)] == [second]
    actions = job.handle(end(job, execution), 4)
    assert [peer for peer, _ in sent(actions, Cancel)] == ["b"]
    assert job.record.state is JobState.COMPLETED


def test_news_of_a_cancelled_execution_is_answered_with_cancel_again() -> None:
    job, execution = running("ab", count=1)
    one = job.record.executions[execution]
    one.move(ExecutionState.CANCELLED, 1, "not needed")
    actions = job.handle(Received("a", update(execution, 3, Stage.RUNNING)), 2)
    assert ("a", "not needed") in [(peer, message.reason) for peer, message in sent(actions, Cancel)]


def test_stopping_cancels_what_runs_and_releases_what_was_asked() -> None:
    job, _ = running()
    actions = job.command(a_command("stop", "enough"), 1)
    assert [message.reason for _, message in sent(actions, Cancel)] == ["enough"]
    assert (job.record.state, job.record.outcome) == (JobState.STOPPED, Outcome.STOPPED)
    fresh = new_job("ab")
    fresh.begin(0)
    assert len(sent(fresh.command(a_command("stop", "enough"), 1), Release)) == 2


def test_a_job_that_a_peer_stops_without_a_reason_says_so() -> None:
    job, _ = running()
    job.command(a_command("stop", ""), 1)
    assert job.record.reason == NO_REASON


def test_a_reason_that_is_too_long_for_the_wire_is_cut() -> None:
    job, _ = running()
    ((_, message),) = sent(job.command(a_command("stop", "r" * 5000), 1), Cancel)
    assert len(message.reason) == REASON_LENGTH_MAX


def test_what_runs_long_past_its_timeout_is_given_up() -> None:
    job, _ = running("a", timeouts=Timeouts(execution_s=10), deputies=1)
    job.handle(Tick(), 9)
    assert job.deadline == 10 + STOP_GRACE_S + OVERDUE_GRACE_S
    assert sent(job.handle(Tick(), job.deadline), Cancel)


def test_the_total_timeout_ends_the_job_and_all_that_runs() -> None:
    job, _ = running("a", timeouts=Timeouts(total_s=100))
    actions = job.handle(Tick(), 100)
    assert sent(actions, Cancel)
    assert (job.record.state, job.record.outcome) == (JobState.FAILED, Outcome.TIMEOUT)


def cancelled_end(execution: str, job: Job, exit_code: int | None = 143, cid: str | None = "bafyleft"):
    one = job.record.executions[execution]
    told = end(job, execution, exit_code, Fault.CANCELLED)
    receipt = codec.replace(told.receipt, result_cid=cid, round=one.round)
    return dataclasses.replace(told, receipt=receipt)


@pytest.mark.parametrize(
    ("how", "state"),
    [
        (a_command("stop"), JobState.STOPPED),
        (Tick(), JobState.FAILED),
        (a_command("rerun"), JobState.PENDING),
    ],
    ids=["stop", "total timeout", "rerun"],
)
def test_what_a_cancelled_execution_left_is_recorded_once_and_changes_nothing_else(how, state) -> None:
    job, execution = running("a", timeouts=Timeouts(total_s=100))
    if isinstance(how, Command):
        job.command(how, 100)
    else:
        job.handle(how, 100)
    one = job.record.executions[execution]
    assert one.state is ExecutionState.CANCELLED and one.awaits_receipt
    assert job.record.state is state
    reason = one.reason
    told = cancelled_end(execution, job)
    assert job.handle(told, 100.1)
    assert (one.state, one.reason, one.exit_code, one.result_cid) == (
        ExecutionState.CANCELLED,
        reason,
        143,
        "bafyleft",
    )
    assert one.receipt == told.message.receipt and job.record.state is state
    again = dataclasses.replace(told, receipt=codec.replace(told.receipt, result_cid="bafyother"))
    job.handle(again, 100.2)
    assert one.result_cid == "bafyleft"


def test_another_peers_word_on_a_cancelled_execution_is_not_taken() -> None:
    job, execution = running("a")
    job.command(a_command("stop", "enough"), 50)
    told = dataclasses.replace(cancelled_end(execution, job), peer="b")
    job.handle(told, 51)
    assert job.record.executions[execution].receipt is None


def test_a_lost_execution_that_was_told_to_end_leaves_its_output_and_stays_lost() -> None:
    job, execution = running("ab")
    peer = job.record.executions[execution].peer
    job.handle(PeerLost(peer, "silent"), 50)
    job.handle(cancelled_end(execution, job), 60)
    one = job.record.executions[execution]
    assert (one.state, one.result_cid, one.exit_code) == (ExecutionState.LOST, "bafyleft", 143)
    assert not job.record.ended


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Fault.JOB, Outcome.PROGRAM), (Fault.TIMEOUT, Outcome.EXECUTION)],
)
def test_the_exit_code_of_a_program_that_was_ended_is_not_its_own(fault, outcome) -> None:
    job, execution = running("a")
    job.handle(end(job, execution, 143, fault), 20)
    assert (job.record.state, job.record.outcome) == (JobState.FAILED, outcome)


def test_an_ended_job_does_nothing_any_more() -> None:
    job, execution = running()
    receipt = end(job, execution)
    job.handle(receipt, 9)
    assert job.handle(receipt, 10) == job.handle(Tick(), 10**9) == []
    assert job.deadline == float("inf")


def test_a_record_keeps_the_newest_versions_of_its_file_up_to_a_number() -> None:
    job = new_job("a", spec(type=JobType.SERVICE))
    job.begin(0)
    for cpu_millis in range(1, 2 * VERSIONS_KEPT_MAX):
        job.command(a_command("update", "", spec(cpu_millis, type=JobType.SERVICE)), cpu_millis)
    newest = 2 * VERSIONS_KEPT_MAX
    assert list(job.record.versions) == list(range(newest - VERSIONS_KEPT_MAX + 1, newest + 1))


def test_a_service_that_ends_again_and_again_keeps_the_newest_of_its_ended_executions() -> None:
    job, execution = running(type=JobType.SERVICE)
    for number in range(EXECUTIONS_ENDED_KEPT_MAX + 9):
        old = copy.copy(job.record.executions[execution])
        old.id, old.state = f"e-old-{number}", ExecutionState.COMPLETED
        job.record.executions[old.id] = old
    job.command(a_command("update", "", spec(type=JobType.SERVICE, count=1, priority=1)), 5)
    kept = [one.id for one in job.record.of(ExecutionState.COMPLETED)]
    assert kept == [f"e-old-{number}" for number in range(9, EXECUTIONS_ENDED_KEPT_MAX + 9)]
    assert execution in job.record.executions


def test_a_failed_replica_waits_before_it_is_tried_again() -> None:
    job, execution = running("ab", type=JobType.SERVICE)
    actions = job.handle(end(job, execution, 1, Fault.JOB), 1)
    assert not sent(actions, Ask)
    assert 1 < job.deadline <= 2
    assert sent(job.handle(Tick(), job.deadline), Ask)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"spec_hash": "0" * 64}, False),
        ({"requester": "stranger"}, False),
        ({"job": "j-" + "9" * 32}, False),
        ({"round": 9}, False),
        ({"replica": 1}, False),
        ({"peer": "b"}, False),
    ],
    ids=[
        "its own",
        "another program",
        "a stranger's",
        "another job",
        "another round",
        "another replica",
        "b's",
    ],
)
def test_a_receipt_counts_for_the_execution_that_it_is_about(changes: dict[str, Any], counts: bool) -> None:
    job, execution = running("a")
    event = end(job, execution)
    assert event.receipt is not None
    job.handle(dataclasses.replace(event, receipt=codec.replace(event.receipt, **changes)), 1)
    state = job.record.executions[execution].state
    assert state is (ExecutionState.COMPLETED if counts else ExecutionState.LOST)
