"""Placement of a job: whom it asks, whose bid it awards, how long it waits, as its owner sees it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from p2pnode.core.job.asking import BETTER_WAIT_S, BID_WINDOW_S, ENOUGH_WAIT_S
from p2pnode.core.job.incoming import BID_MARGIN_S
from p2pnode.core.job.refusals import REFUSAL_HOLDS_S, REFUSED_AWARD_HOLDS_S
from p2pnode.core.job.transitions import AWARD_CONFIRM_S, STRANGER_CONFIRM_S_MIN
from p2pnode.core.records.events import PeerBack, PeerLost, Received, Tick
from p2pnode.core.records.lifecycle import LIVE, OPEN, ExecutionState, JobState, Outcome
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Ask, Award, Cancel, Release
from p2pnode.core.wire.spec import Timeouts
from p2pnode.core.wire.states import Fault, RefusalKind

from .core_support import advert, asked, awarded, bid, known, new_job, refusal, running, sent, spec, update


def test_a_job_asks_more_peers_than_it_has_replicas() -> None:
    job = new_job("abcdefghij")
    assert len(sent(job.begin(0), Ask)) == 3


def test_the_cheapest_bid_is_awarded_as_soon_as_all_have_answered() -> None:
    job = new_job("ab")
    job.begin(0)
    ids = asked(job)
    assert not sent(job.handle(Received("a", bid(ids["a"], 9)), 0), Award)
    assert [peer for peer, _ in sent(job.handle(Received("b", bid(ids["b"], 2)), 0.1), Award)] == ["b"]


@pytest.mark.parametrize(
    ("changes", "count", "at_once"),
    [({}, 1, True), ({"price_micros": 1}, 1, False), ({"start_ms": 5}, 1, False), ({}, 2, False)],
    ids=[
        "as it was advertised",
        "for more than it was advertised",
        "to begin later",
        "for one of several replicas",
    ],
)
def test_the_bid_of_the_peer_that_the_adverts_rank_first_is_awarded_at_once(
    changes: dict[str, Any], count: int, at_once: bool
) -> None:
    job = new_job("abcd", spec(count=count))
    job.begin(0)
    first = next(peer for peer in asked(job) if peer not in job.record.deputies)
    offer = codec.replace(bid(asked(job)[first]), **changes)
    assert bool(sent(job.handle(Received(first, offer), 0.1), Award)) is at_once
    other = new_job("abcd")
    other.begin(0)
    last = next(peer for peer in asked(other) if peer in other.record.deputies)
    assert not sent(other.handle(Received(last, bid(asked(other)[last])), 0.1), Award), "it may lose"


def test_with_bids_enough_the_others_get_a_moment_and_are_then_released() -> None:
    job = new_job("ab")
    job.begin(0)
    ids = asked(job)
    job.handle(Received("a", bid(ids["a"])), 1)
    assert job.deadline == 1 + ENOUGH_WAIT_S
    actions = job.handle(Tick(), job.deadline)
    assert [peer for peer, _ in sent(actions, Award)] == ["a"]
    assert [peer for peer, _ in sent(actions, Release)] == ["b"]


def test_losing_bids_are_kept_until_the_award_is_confirmed_and_released_at_once_then() -> None:
    job, execution, actions = awarded("ab")
    assert not sent(actions, Release)
    actions = job.handle(Received("a", update(execution, 1)), 0.2)
    assert [peer for peer, _ in sent(actions)] == ["b"]
    assert sent(actions, Release)


def test_a_refused_award_goes_to_the_next_bid() -> None:
    job, execution, _ = awarded("ab")
    actions = job.handle(Received("a", refusal(execution, RefusalKind.EXPIRED)), 1)
    assert [peer for peer, _ in sent(actions, Award)] == ["b"]


def test_an_award_that_is_not_confirmed_is_cancelled_and_goes_to_the_next_bid() -> None:
    job, _, _ = awarded("ab")
    assert job.deadline == STRANGER_CONFIRM_S_MIN
    actions = job.handle(Tick(), STRANGER_CONFIRM_S_MIN)
    assert [peer for peer, _ in sent(actions, Cancel)] == ["a"]
    assert [peer for peer, _ in sent(actions, Award)] == ["b"]
    assert job.deadline == STRANGER_CONFIRM_S_MIN + AWARD_CONFIRM_S


def test_a_replayed_bid_or_refusal_does_not_end_what_runs() -> None:
    job, execution = running()
    for message in (bid(execution), refusal(execution, RefusalKind.EXPIRED)):
        actions = job.handle(Received("a", message), 1)
        assert not sent(actions, Cancel) and not sent(actions, Release)
    assert job.record.executions[execution].state is ExecutionState.RUNNING


@pytest.mark.parametrize("execution", ["e-" + "f" * 32, "of another peer"])
def test_a_bid_for_what_was_never_asked_of_that_peer_is_released(execution: str) -> None:
    job, own = running()
    message = bid(own if execution == "of another peer" else execution)
    actions = job.handle(Received("stranger", message), 1)
    assert [peer for peer, _ in sent(actions, Release)] == ["stranger"]


def test_replicas_are_spread_over_peers() -> None:
    job = new_job("abc", spec(count=2))
    job.begin(0)
    for peer, execution in asked(job).items():
        job.handle(Received(peer, bid(execution)), 0)
    live = job.record.of(*LIVE)
    assert len({one.peer for one in live}) == 2
    assert sorted(one.replica or 0 for one in live) == [0, 1]


def test_too_few_peers_are_asked_for_several_replicas_each() -> None:
    job = new_job("a", spec(count=3))
    assert len({message.execution for _, message in sent(job.begin(0), Ask)}) == 3


def test_a_job_that_no_peer_can_run_fails_with_the_reasons_grouped() -> None:
    job = new_job("ab", spec(cpu_millis=64_000))
    assert not sent(job.begin(0), Ask)
    job.handle(Tick(), job.deadline)
    assert job.record.outcome is Outcome.NO_PEER
    assert "2 of 2: too small" in job.record.reason


def test_a_job_that_only_lacks_room_waits_and_asks_when_there_is_some() -> None:
    busy = known(advert("a", free=spec(10).task.resources))
    job = new_job(wanted=spec(timeouts=Timeouts(queue_s=60)), table=busy)
    # A peer without room is asked, too: the ask waits there.
    assert [peer for peer, _ in sent(job.begin(0), Ask)] == ["a"]
    job.handle(Received("a", refusal(asked(job)["a"], RefusalKind.QUEUED, "busy: waits there")), 1)
    assert job.record.state is JobState.QUEUED and job.waits
    assert "busy: waits there" in job.record.reason
    busy.update(known(advert("b")))
    assert [peer for peer, _ in sent(job.handle(Tick(), 30), Ask)] == ["b"]
    actions = job.handle(Received("a", bid(asked(job)["a"])), 31)
    assert not sent(actions, Award)
    # By the adverts there is more room at the other.
    assert not sent(job.handle(Tick(), 31 + ENOUGH_WAIT_S), Award)
    actions = job.handle(Tick(), 31 + ENOUGH_WAIT_S + BETTER_WAIT_S)
    assert [peer for peer, _ in sent(actions, Award)] == ["a"]


def test_a_job_without_room_fails_when_its_queue_timeout_has_passed() -> None:
    busy = known(advert("a", free=spec(10).task.resources))
    job = new_job(wanted=spec(timeouts=Timeouts(queue_s=60)), table=busy)
    job.begin(0)
    job.handle(Received("a", refusal(asked(job)["a"], RefusalKind.QUEUED, "busy: waits there")), 1)
    job.handle(Tick(), 60.9)
    assert not job.record.ended
    job.handle(Tick(), 61)
    assert (job.record.state, job.record.outcome) == (JobState.FAILED, Outcome.NO_PEER)


def test_a_peer_that_refused_is_asked_again_only_when_it_has_advertised_anew() -> None:
    table = known(advert("a"))
    job = new_job(wanted=spec(timeouts=Timeouts(queue_s=500)), table=table)
    job.begin(0)
    assert not sent(job.handle(Received("a", refusal(asked(job)["a"])), 1), Ask)
    assert not sent(job.handle(Tick(), 2), Ask)
    table.update(known(advert("a", number=2)))
    assert sent(job.handle(Tick(), 3), Ask)


def test_a_peer_that_refused_all_of_a_job_is_left_alone_for_a_while_whatever_it_advertises() -> None:
    table = known(advert("a"))
    job = new_job(wanted=spec(timeouts=Timeouts(queue_s=5_000)), table=table)
    job.begin(0)
    job.handle(Received("a", bid(asked(job)["a"])), 1)
    (execution,) = job.record.of(ExecutionState.AWARDED)
    job.handle(Received("a", refusal(execution.id, RefusalKind.UNSUITABLE, "its policy refuses it")), 2)
    table.update(known(advert("a", number=2)))
    assert not sent(job.handle(Tick(), REFUSED_AWARD_HOLDS_S), Ask)
    assert sent(job.handle(Tick(), REFUSED_AWARD_HOLDS_S + 3), Ask)


def test_peers_that_do_not_answer_are_released_when_the_window_ends() -> None:
    job = new_job("ab")
    job.begin(0)
    assert job.deadline == BID_WINDOW_S
    assert len(sent(job.handle(Tick(), BID_WINDOW_S), Release)) == 2


def test_with_bids_enough_nobody_waits_for_a_peer_that_was_never_heard_itself() -> None:
    table = known(*map(advert, "ab"))
    table["b"] = dataclasses.replace(table["b"], brought_by="neighbour")
    job = new_job(table=table)
    job.begin(0)
    asks = asked(job)
    assert set(asks) == {"a", "b"}
    actions = job.handle(Received("a", bid(asks["a"])), 0.01)
    assert [peer for peer, _ in sent(actions, Award)] == ["a"]


def test_peers_that_were_heard_themselves_are_deputies_before_those_that_a_neighbour_has_brought() -> None:
    table = known(*map(advert, "abcd"))
    for peer in "ab":
        table[peer] = dataclasses.replace(table[peer], brought_by="neighbour")
    job = new_job(table=table)
    job.begin(0)
    assert set(job.record.deputies) == {"c", "d"}


def test_a_peer_whose_advert_stays_the_same_is_asked_again_after_a_while() -> None:
    job = new_job("a", spec(timeouts=Timeouts(queue_s=500), deputies=1))
    job.begin(0)
    job.handle(Received("a", refusal(asked(job)["a"])), 1)
    job.handle(Tick(), 2)
    assert job.deadline == 1 + REFUSAL_HOLDS_S
    assert [peer for peer, _ in sent(job.handle(Tick(), 1 + REFUSAL_HOLDS_S), Ask)] == ["a"]


def test_a_bid_is_let_go_before_its_peer_gives_the_room_away() -> None:
    job, execution, _ = awarded("ab")
    other = next(one for one in job.record.of(ExecutionState.BID) if one.id != execution)
    assert other.bid is not None
    valid_s = other.bid.valid_ms / 1000
    assert other.deadline == valid_s - BID_MARGIN_S


def test_what_a_lost_peer_ran_is_placed_on_another() -> None:
    job, execution = running("ab")
    asked_now = sent(job.handle(PeerLost("a", "is silent"), 1), Ask)
    assert [peer for peer, _ in asked_now] == ["b"]
    one = job.record.executions[execution]
    assert (one.state, one.fault) == (ExecutionState.LOST, Fault.PEER)


def test_a_peer_that_is_back_is_asked_again_at_once() -> None:
    job = new_job("a")
    job.begin(0)
    job.handle(PeerLost("a", "is silent"), 1)
    assert not job.record.of(*OPEN)
    assert [peer for peer, _ in sent(job.handle(PeerBack("a"), 1.5), Ask)] == ["a"]
