"""A peer that says for ever that it prepares, or publishes, does not keep a job."""

from __future__ import annotations

import pytest

from p2pnode.core.job.limits import OVERDUE_GRACE_S, PREPARE_SILENCE_S
from p2pnode.core.job.machine import Job
from p2pnode.core.records.ending import PREPARE_TIMEOUT_S, PUBLISH_TIMEOUT_S
from p2pnode.core.records.events import Received, Tick
from p2pnode.core.records.lifecycle import LIVE, ExecutionState
from p2pnode.core.wire.messages import Ask, Cancel
from p2pnode.core.wire.states import Stage

from .core_support import awarded, sent, update

SAYS_EVERY_S = 60.0


def told(job: Job, execution: str, sequence: int, stage: Stage, now: float) -> None:
    """The peer's word on its award, and on how far it is."""
    peer = job.record.executions[execution].peer
    job.handle(Received(peer, update(execution, sequence, stage)), now)


@pytest.mark.parametrize(
    ("stage", "limit_s"),
    [
        (Stage.PREPARING, PREPARE_SILENCE_S),
        (Stage.PUBLISHING, PUBLISH_TIMEOUT_S + OVERDUE_GRACE_S),
    ],
)
def test_an_execution_without_news_is_given_up_and_goes_elsewhere(stage: Stage, limit_s: float) -> None:
    job, execution, _ = awarded("abcd")
    peer = job.record.executions[execution].peer
    told(job, execution, 1, stage, 1)
    assert job.record.executions[execution].deadline == 1 + limit_s
    assert not sent(job.handle(Tick(), limit_s), Cancel)
    actions = job.handle(Tick(), 1 + limit_s)
    assert job.record.executions[execution].state is ExecutionState.LOST
    assert [to for to, _ in sent(actions, Cancel)] == [peer]
    assert peer not in [to for to, _ in sent(actions, Ask)] != []


def test_news_of_progress_keeps_it_for_as_long_as_an_honest_peer_prepares() -> None:
    job, execution, _ = awarded("abcd")
    begun = now = 1.0
    sequence = 1
    while job.record.executions[execution].state in LIVE:
        told(job, execution, sequence, Stage.PREPARING, now)
        sequence, now = sequence + 1, min(now + SAYS_EVERY_S, job.deadline)
        job.handle(Tick(), now)
    assert now == begun + PREPARE_TIMEOUT_S + OVERDUE_GRACE_S


def test_an_owner_that_was_away_hears_its_peers_before_it_gives_anything_up() -> None:
    job, execution, _ = awarded("abcd")
    told(job, execution, 1, Stage.PREPARING, 1)
    later = 10 * PREPARE_SILENCE_S
    job.resume(later)
    job.handle(Tick(), later + 1)
    assert job.record.executions[execution].state is ExecutionState.PREPARING
    assert job.record.executions[execution].deadline == later + OVERDUE_GRACE_S
