"""The reservations of a worker by state and by deadline, as they change."""

from __future__ import annotations

from math import inf

from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.values.deadlines import STALE_PER_NAME_MAX, Deadlines
from p2pnode.core.worker.reservations import Reservations

from .core_support import ask


def reservation(id: str, deadline: float | None = None, **changes: ReservationState) -> Reservation:
    one = ask()
    return Reservation(
        execution=id,
        owner="owner",
        job=one.job,
        round=1,
        spec_hash=one.spec_hash,
        priority=0,
        requirements=one.requirements,
        deadline=deadline,
        created=0,
        **changes,
    )


def test_a_reservation_is_found_by_the_state_that_it_was_saved_in_last() -> None:
    first, second = reservation("first"), reservation("second", state=ReservationState.WAITING)
    found = Reservations([first, second])
    assert (found.of(ReservationState.WAITING), found.holding) == ([second], [first])
    first.state = ReservationState.ENDED
    second.state = ReservationState.BID
    found.save(first)
    found.save(second)
    assert (found.of(ReservationState.ENDED), found.holding) == ([first], [second])
    found.drop("second")
    found.drop("second")
    assert found == {"first": first} and found.holding == [] and found.deadline == inf


def test_another_record_of_the_same_execution_takes_the_place_of_the_former() -> None:
    found = Reservations([reservation("one", 5)])
    again = reservation("one", 7)
    found.save(again)
    assert found.holding == [again] and found.holding[0] is again and found.deadline == 7


def test_those_that_are_due_come_in_the_order_in_which_they_were_asked_for() -> None:
    one, two, three = reservation("one", 30), reservation("two", 20), reservation("three")
    found = Reservations([one, two, three])
    assert found.deadline == 20 and found.due(19.9) == []
    assert found.due(30) == [one, two]
    two.deadline, three.deadline = None, 25
    found.save(two)
    found.save(three)
    assert found.deadline == 25 and found.due(30) == [one, three]


def test_deadlines_that_change_often_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for number in range(1000, 0, -1):
        deadlines.put("name", number)
    deadlines.put("name", inf)
    deadlines.put("other", inf)
    assert len(deadlines) <= STALE_PER_NAME_MAX * 2 + 1
    assert deadlines.first == inf and deadlines.due(2000) == set()
