"""A job among strangers: who has kept its word is asked, and tries what a stranger says to fail."""

from __future__ import annotations

from p2pnode.core.job.doubting import with_proven
from p2pnode.core.job.machine import Job
from p2pnode.core.placement.adverts import KnownPeers
from p2pnode.core.records.events import Received, Tick
from p2pnode.core.records.lifecycle import LIVE, ExecutionState, JobState
from p2pnode.core.wire.spec import RETRIES_META_KEY
from p2pnode.core.wire.states import Fault

from .core_support import advert, asked, bid, end, known, new_job, spec


def test_a_proven_peer_is_asked_in_the_place_of_the_last_for_each_second_replica_that_is_needed() -> None:
    ranked = [advert(peer) for peer in "abcdefgh"]

    def asked(most: int, needed: int, proven: str) -> str:
        return "".join(one.peer for one in with_proven(ranked, most, needed, set(proven)))

    assert asked(3, 1, "") == "abc"
    assert asked(3, 1, "gh") == "abg"
    assert asked(3, 1, "b") == "abc"
    assert asked(4, 3, "gh") == "abgh"
    # One place is left to others.
    assert asked(1, 1, "h") == "a"


def failed_by_a(*, proven: str, **meta: str) -> Job:
    """A job for which both peers bid, and that a, the cheaper one, says to fail wherever it runs."""
    table = KnownPeers()
    for peer, held in known(*map(advert, "ab")).items():
        table[peer] = held
    for peer in proven:
        table.reliance.ended(peer)
    job = new_job(wanted=spec(meta=meta), table=table)
    job.begin(0)
    both = asked(job)
    job.handle(Received("b", bid(both["b"], price=5)), 0)
    job.handle(Received("a", bid(both["a"])), 0)
    fails(job, "a", 0)
    return job


def fails(job: Job, peer: str, now: float, fault: Fault | None = Fault.JOB) -> None:
    (one,) = job.record.of(*LIVE)
    assert one.peer == peer
    job.handle(end(job, one.id, 0 if fault is None else 1, fault), now)


def tried_again() -> Job:
    job = failed_by_a(proven="b")
    assert not job.record.ended
    now = job.deadline
    job.handle(Tick(), now)
    again = asked(job)
    assert again.keys() == {"b"}
    job.handle(Received("b", bid(again["b"], price=5)), now)
    return job


def test_a_strangers_word_that_a_job_fails_is_shown_once_a_proven_peer_says_so_too() -> None:
    job = tried_again()
    fails(job, "b", 10)
    assert (job.record.state, len(job.record.of(ExecutionState.FAILED))) == (JobState.FAILED, 2)


def test_a_stranger_whose_word_was_wrong_is_asked_last() -> None:
    job = tried_again()
    fails(job, "b", 10, None)
    assert job.record.state is JobState.COMPLETED
    assert job._steps.reliance.doubts("ab", str, (), 10).failing == {"a"}


def test_a_failure_is_shown_at_once_where_nobody_has_kept_its_word_or_the_failing_peer_has() -> None:
    for proven in ("", "a", "ab"):
        assert failed_by_a(proven=proven).record.state is JobState.FAILED


def test_a_job_that_says_how_often_it_is_tried_again_is_tried_no_more_often() -> None:
    assert failed_by_a(proven="b", **{RETRIES_META_KEY: "0"}).record.state is JobState.FAILED
    assert not failed_by_a(proven="b", **{RETRIES_META_KEY: "1"}).record.ended
