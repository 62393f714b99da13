"""The jobs of a node by execution and by deadline, as they are worked on."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.records.lifecycle import JobState
from p2pnode.core.values.deadlines import STALE_PER_NAME_MAX
from p2pnode.core.wire.compartments import Broken
from p2pnode.core.wire.states import Outcome

from .core_support import new_record, spec
from .fake_keys import FakeKeys

JOB, OTHER = "j-" + "1" * 32, "j-" + "2" * 32


def owned(*ids: str) -> OwnedJobs:
    jobs = OwnedJobs("me", FakeKeys("me"), {}, ())
    for id in ids:
        jobs.take(new_record(id, "me", spec(), 0))
    return jobs


def set_deadline(jobs: OwnedJobs, id: str, at: float) -> None:
    with jobs.worked_on(jobs[id]):
        jobs[id].deadline = at


def test_the_earliest_deadline_counts_whatever_it_was_before() -> None:
    jobs = owned(JOB, OTHER)
    assert jobs.deadline == inf and jobs.due(10**9) == []
    for at in (50, 10, 30):
        set_deadline(jobs, JOB, at)
    set_deadline(jobs, OTHER, 40)
    assert jobs.deadline == 30
    assert jobs.due(29) == [] and jobs.due(30) == [jobs[JOB]]
    assert jobs.due(40) == [jobs[JOB], jobs[OTHER]]
    del jobs[JOB]
    assert jobs.deadline == 40


def test_deadlines_of_before_are_not_kept_without_end() -> None:
    jobs = owned(JOB)
    for at in range(10_000, 20_000):
        set_deadline(jobs, JOB, at)
    assert len(jobs._deadlines) <= STALE_PER_NAME_MAX * 2 + 1
    assert jobs.deadline == 19_999


def test_an_execution_is_found_while_its_job_has_it() -> None:
    jobs = owned(JOB)
    with jobs.worked_on(jobs[JOB]):
        jobs[JOB].record.executions["e-1"] = None  # type: ignore[assignment]
    assert jobs.of_execution("e-1") is jobs[JOB]
    assert jobs.of_execution("e-2") is None
    with jobs.worked_on(jobs[JOB]):
        del jobs[JOB].record.executions["e-1"]
    assert jobs.of_execution("e-1") is None


def break_in(jobs: OwnedJobs, id: str) -> None:
    with jobs.worked_on(jobs[id]):
        jobs[id].record.executions["e-1"] = None  # type: ignore[assignment]
        raise KeyError("x")


def test_what_breaks_in_a_job_is_in_no_index_until_it_is_taken_again() -> None:
    jobs = owned(JOB)
    with pytest.raises(Broken):
        break_in(jobs, JOB)
    assert jobs.touched == {JOB}
    assert jobs.of_execution("e-1") is None


def test_a_job_that_has_ended_and_waits_for_nothing_is_forgotten() -> None:
    jobs = owned(JOB, OTHER)
    jobs[JOB].record.move(JobState.STOPPED, 1, "enough", Outcome.STOPPED)
    with jobs.worked_on(jobs[JOB]):
        jobs[JOB].deadline = inf
    jobs.forget_ended()
    assert list(jobs) == [OTHER]
