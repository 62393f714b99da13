"""A thousand invented peers that all were met, and bid, take little from honest requesters."""

from __future__ import annotations

import pytest

from p2pnode.core.job.asking import BID_WINDOW_S
from p2pnode.core.job.limits import PREPARE_SILENCE_S
from p2pnode.core.job.transitions import AWARD_CONFIRM_S
from p2pnode.core.placement.reliance import FAILING_FOR_S, SLOW_S, STRANGERS_FAILED_MAX, Reliance

from .sim.bidders import HONEST, JOBS, Bidders, Kind

INVENTED = 1_000
# The other kinds cost the same for each that is asked, and the asked are as many.
FEWER = 250
# Twice what the slowest job of ten seeds waits without the invented.
USUAL_S = 0.1
# Honest peers among liars that sign failures, and what the first job may wait with 30 of those: each costs it
# a second.
FREE = 5
LIARS_S_MAX = 30.0
# Jobs of each requester that meet the invented before it has learnt.
LESSONS_MAX = STRANGERS_FAILED_MAX + 1


@pytest.mark.parametrize(
    ("kind", "warm"),
    [(one, True) for one in Kind if one is not Kind.PREPARING] + [(Kind.IDLE, False)],
)
def test_each_requester_waits_for_a_few_invented_bidders_and_no_job_fails(kind: Kind, warm: bool) -> None:
    invented = INVENTED if kind is Kind.IDLE and warm else FEWER
    waits = Bidders(2, kind, invented, warm=warm).waits()
    late = [one for one in waits if one > USUAL_S]
    assert len(late) <= HONEST * LESSONS_MAX
    assert waits[JOBS // 2] <= USUAL_S
    assert waits[-1] <= max(BID_WINDOW_S, AWARD_CONFIRM_S) + USUAL_S


def test_who_says_to_prepare_for_ever_gets_what_is_submitted_until_that_is_noticed_and_no_more() -> None:
    waits = Bidders(2, Kind.PREPARING, FEWER, warm=True).waits(PREPARE_SILENCE_S)
    late = [one for one in waits if one > USUAL_S]
    assert len(late) <= HONEST * (LESSONS_MAX + SLOW_S / HONEST)
    assert waits[-1] <= PREPARE_SILENCE_S + USUAL_S


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(("liars", "ranges"), [(3, 3), (10, 10), (30, 2), (30, 30)])
def test_liars_that_win_and_fail_at_once_end_no_job_while_an_honest_peer_is_free(
    liars: int, ranges: int, warm: bool
) -> None:
    sim = Bidders(2, Kind.FAILING, liars, warm=warm, ranges=ranges, honest=1 + FREE, requesters=1)
    waits = sim.waits()
    assert waits[-1] <= LIARS_S_MAX
    assert sim.awarded_in_vain <= (LESSONS_MAX if warm else liars)
    assert waits[JOBS * 9 // 10] <= USUAL_S


def test_strangers_are_asked_after_the_proven_once_two_of_them_have_failed_and_for_a_while() -> None:
    reliance = Reliance()
    reliance.ended("proven")
    peers = {"proven", "one", "two", "new"}

    def strangers(now: float) -> frozenset[str]:
        return reliance.doubts(peers, lambda peer: "", (), now).strangers

    reliance.failed("one", 0)
    assert not strangers(1)
    reliance.failed("two", 0)
    assert strangers(1) == {"new"}
    assert not strangers(FAILING_FOR_S)


def test_a_range_of_which_two_have_failed_is_asked_last_but_for_its_proven() -> None:
    reliance = Reliance()
    reliance.ended("proven")
    for peer in ("bad 1", "bad 2"):
        reliance.failed(peer, 0)
    peers = {"bad 1", "bad 2", "bad 3", "good", "proven"}
    found = reliance.doubts(peers, lambda peer: "" if peer == "good" else "9.9.9.0/24", (), 1)
    assert (found.failing, found.strangers) == ({"bad 1", "bad 2", "bad 3"}, {"good"})


def test_a_program_that_begins_late_clears_its_peer() -> None:
    reliance = Reliance()
    for peer in ("a", "b"):
        reliance.awarded(peer, 0)
    peers = {"a", "b", "c"}
    assert reliance.doubts(peers, str, (), SLOW_S).failing == {"a", "b"}
    for peer in ("a", "b"):
        reliance.began(peer)
    assert not reliance.doubts(peers, str, (), SLOW_S).failing
