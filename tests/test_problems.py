"""Problems in the journal, and the care of a start that follows a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio.testing

from p2pnode.core.wire.compartments import Compartment
from p2pnode.faults import problems
from p2pnode.faults.caution import CAREFUL_S, Caution
from p2pnode.node.journal import Journal

JOB, EXECUTION, MESSAGE = Compartment.JOB, Compartment.EXECUTION, Compartment.MESSAGE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Journal]:
    store = Journal(tmp_path)
    yield store
    store.close()


def again(store: Journal, tmp_path: Path, *, well: bool) -> Journal:
    store.close(well=well)
    return Journal(tmp_path)


def test_what_fails_again_is_the_same_problem_counted(store: Journal) -> None:
    for reason in ("one", "two"):
        store.problems.add(JOB, "j-1", reason, aside=reason == "one")
    (problem,) = store.problems.all()
    # Set aside it stays, whatever else is said of it.
    assert (problem.reason, problem.count, problem.aside) == ("two", 2, True)
    assert store.problems.aside(JOB) == {"j-1"}
    assert store.problems.aside(EXECUTION) == frozenset()


def test_of_many_problems_those_that_are_set_aside_stay(
    store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "PROBLEMS_MAX", 3)
    store.problems.add(JOB, "first", "it broke", aside=True)
    for number in range(10):
        store.problems.add(MESSAGE, f"{number}", "refused", aside=False)
    assert [one.subject for one in store.problems.all()] == ["9", "8", "first"]


def test_a_large_message_is_not_kept(store: Journal) -> None:
    sizes = (problems.PAYLOAD_SIZE_BYTES_MAX, problems.PAYLOAD_SIZE_BYTES_MAX + 1)
    for size in sizes:
        store.problems.add(MESSAGE, f"{size}", "", "", aside=False, payload=bytes(size))
    kept = {one.subject: one.payload is not None for one in store.problems.all()}
    assert kept == {str(sizes[0]): True, str(sizes[1]): False}


def undone(store: Journal) -> None:
    with store.step():
        store.set_meta("within", "1")
        raise KeyError


def test_a_part_of_a_transaction_is_undone_by_itself(store: Journal) -> None:
    with store.transaction():
        store.set_meta("before", "1")
        with pytest.raises(KeyError):
            undone(store)
        store.set_meta("after", "1")
    assert [store.meta(key) for key in ("before", "within", "after")] == ["1", None, "1"]


def test_a_node_knows_whether_it_has_ended_in_good_order(store: Journal, tmp_path: Path) -> None:
    assert store.ended_well
    store = again(store, tmp_path, well=True)
    assert store.ended_well
    store = again(store, tmp_path, well=False)
    assert not store.ended_well
    store.close()


async def test_what_was_tried_when_a_careful_start_ended_is_not_tried_a_third_time(
    store: Journal, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    # The first crash: nobody was careful.
    with Caution(store.problems, ended_well=store.ended_well).trying(EXECUTION, "e-1"):
        store = again(store, tmp_path, well=False)
    # The second one, of a start that was.
    caution = Caution(store.problems, ended_well=store.ended_well)
    assert not caution.is_suspect(EXECUTION, "e-1")
    store.problems.trying(EXECUTION, "e-1")
    store.problems.trying(MESSAGE, "7 of peer")
    with caution.trying(EXECUTION, "e-2"):
        pass
    store = again(store, tmp_path, well=False)
    caution = Caution(store.problems, ended_well=store.ended_well)
    assert caution.is_suspect(EXECUTION, "e-1") and caution.is_suspect(MESSAGE, "7 of peer")
    assert not caution.is_suspect(EXECUTION, "e-2")
    assert store.problems.aside(EXECUTION) == {"e-1"}
    # A suspect is forgotten once it has been told.
    store = again(store, tmp_path, well=False)
    assert not Caution(store.problems, ended_well=store.ended_well).is_suspect(MESSAGE, "7 of peer")
    store.close()


async def test_care_ends_after_a_while(store: Journal, mock_clock: trio.testing.MockClock) -> None:
    caution = Caution(store.problems, ended_well=False)
    with caution.trying(EXECUTION, "e-1"):
        assert store.problems.take_tried() == [(EXECUTION, "e-1")]
    mock_clock.jump(CAREFUL_S)
    with caution.trying(EXECUTION, "e-1"):
        assert store.problems.take_tried() == []
