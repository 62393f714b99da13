"""One identity on two nodes: who notices it, and what is done so that the right one is found again."""

from __future__ import annotations

import pytest

from p2pnode.core.placement.twins import (
    ANSWER_GAP_S,
    ASKED_MAX,
    PART_GAP_S,
    PROCESSES_MAX,
    SAID_KEPT_S,
    TELL_GAP_S,
    Doubles,
    OwnNumbers,
)
from p2pnode.core.wire.signing import Signed

A, B = b"a", b"b"


@pytest.mark.parametrize(
    ("number", "foreign"),
    [
        pytest.param(100, False, id="the newest of earlier runs"),
        pytest.param(7, False, id="one of earlier runs"),
        pytest.param(1_000, False, id="one of this run"),
        pytest.param(999, True, id="one between them, older than the newest of this run"),
        pytest.param(1_001, True, id="one above all"),
    ],
)
def test_a_number_that_was_never_issued_is_anothers(number: int, foreign: bool) -> None:
    own = OwnNumbers(before=100)
    assert own.next(1_000) == 1_000
    assert own.is_foreign(number) is foreign


def test_the_next_number_is_above_all_that_were_heard_under_the_id_though_the_twins_clock_is_ahead() -> None:
    own = OwnNumbers(before=100)
    assert own.next(50) == 101
    own.heard(9_000, 0.0, leaving=False)
    assert [own.next(200), own.next(200), own.next(20_000)] == [9_001, 9_002, 20_000]


def test_a_twin_is_told_at_first_and_again_after_a_while_and_answered_now_and_then() -> None:
    own = OwnNumbers()
    assert own.heard(10, 0.0, leaving=False) == (True, True)
    assert own.heard(11, 1.0, leaving=False) == (False, False)
    assert own.heard(12, ANSWER_GAP_S, leaving=False) == (False, True)
    assert own.heard(13, TELL_GAP_S, leaving=False) == (True, True)


def test_a_twin_that_leaves_is_answered_at_once_and_once() -> None:
    own = OwnNumbers()
    own.heard(10, 0.0, leaving=False)
    assert own.heard(11, 1.0, leaving=True) == (False, True)
    assert own.heard(11, 1.1, leaving=True) == (False, False)


def test_two_living_twins_that_hear_each_other_do_not_flood() -> None:
    twins, sent, now = (OwnNumbers(), OwnNumbers()), 0, 0.0
    speaker, number = 0, twins[0].next(0)
    while now < 100:
        now += 0.1
        _, answers = twins[1 - speaker].heard(number, now, leaving=False)
        if answers:
            speaker, number, sent = 1 - speaker, twins[1 - speaker].next(int(now * 1000)), sent + 1
    assert sent <= 2 * (100 / ANSWER_GAP_S + 1)
    assert all(one.twin > 0 for one in twins)


def test_a_restarted_peer_is_let_in_anew_and_nobody_is_told() -> None:
    doubles = Doubles()
    assert doubles.connected("p", {A}, 0.0) == (False, False)
    assert doubles.connected("p", {A, B}, 1.0) == (True, False)
    assert doubles.connected("p", {B}, 2.0) == (False, False)
    assert doubles.connected("p", {B, b"c"}, 3.0) == (True, False)


def test_two_processes_that_both_come_back_are_told_and_parted_now_and_then() -> None:
    doubles = Doubles()
    doubles.connected("p", {A, B}, 0.0)
    for key in (A, B):
        doubles.heard("p", key, signed(1))
    assert doubles.connected("p", {B, A}, 1.0) == (False, True)
    assert doubles.connected("p", {B, A}, PART_GAP_S) == (True, False)
    assert doubles.connected("p", {B, A}, 1.0 + TELL_GAP_S) == (True, True)


@pytest.mark.parametrize(
    ("gone", "left", "parts"),
    [
        pytest.param(A, {B}, True, id="the twin has gone: the other was never greeted"),
        pytest.param(A, {A}, False, id="one of two connections of one process"),
        pytest.param(A, set(), False, id="the last connection"),
    ],
)
def test_what_is_left_of_two_processes_is_to_connect_anew(gone: bytes, left: set[bytes], parts: bool) -> None:
    assert Doubles().disconnected("p", gone, left) is parts


def signed(number: int) -> Signed:
    return Signed(body=str(number).encode(), signature=bytes(64))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("farewell", [False, True])
def test_each_of_two_nodes_finds_what_it_never_said_in_what_their_neighbour_heard_of_both(
    first: int, farewell: bool
) -> None:
    """Whichever said the newer: the neighbour's table alone would tell one of them nothing."""
    twins = [OwnNumbers(before=100), OwnNumbers(before=100)]
    doubles = Doubles()
    doubles.connected("p", {A, B}, 0.0)
    numbers = [twins[(first + turn) % 2].next(1_000 + turn) for turn in range(2)]
    for key, number in zip((A, B), numbers, strict=True):
        doubles.heard("p", key, signed(number))
    if farewell:
        numbers.append(twins[1].next(2_000))
        doubles.heard("p", None, signed(numbers[-1]))
    said = [int(one.body) for one in doubles.said("p", 1.0)]
    assert said == numbers
    for own in twins:
        assert any(own.is_foreign(number) for number in said)


def test_what_two_nodes_said_is_kept_over_their_coming_back_and_for_a_while_only() -> None:
    doubles = Doubles()
    doubles.heard("p", None, signed(6))
    assert doubles.said("p", 0.0) == []
    doubles.connected("p", {A, B}, 0.0)
    doubles.heard("p", A, signed(7))
    doubles.heard("p", B, signed(8))
    doubles.connected("p", {A, B}, 1.0)
    assert doubles.said("p", SAID_KEPT_S - 1) == [signed(7), signed(8)]
    assert doubles.said("p", SAID_KEPT_S) == []
    # The node was restarted: what a process of before said is not told to this one.
    doubles.connected("p", {B, b"c"}, 2.0)
    assert doubles.said("p", 3.0) == []


def test_who_did_not_answer_is_asked_again_when_both_come_back_and_a_few_times_only() -> None:
    doubles = Doubles()
    doubles.connected("p", {A, B}, 0.0)
    assert doubles.unheard("p") == {A, B}
    doubles.heard("p", A, signed(7))
    doubles.heard("p", b"of nobody", signed(8))
    assert doubles.unheard("p") == {B}
    assert [doubles.connected("p", {A, B}, 1.0)[0] for _ in range(ASKED_MAX)] == [True] * (ASKED_MAX - 1) + [
        False
    ]


def test_of_many_processes_under_one_id_a_few_are_asked() -> None:
    doubles = Doubles()
    doubles.connected("p", {bytes([number]) for number in range(20)}, 0.0)
    assert len(doubles.unheard("p")) == PROCESSES_MAX
