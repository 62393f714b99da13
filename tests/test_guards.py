"""The guard of the shell: what it takes, what it lets pass, and how a task goes on."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pnode.core.wire.compartments import Compartment
from p2pnode.faults.guards import Guards
from p2pnode.faults.problems import JournalError


class Heard:
    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str]] = []
        self.ended_by: list[Exception] = []
        self.guards = Guards(
            lambda kind, subject, error: self.noted.append((kind, subject, repr(error))),
            self.ended_by.append,
        )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        AssertionError(),
        RecursionError(),
        MemoryError(),
        OSError(24, "Too many open files"),
        ExceptionGroup("", [KeyError(1)]),
    ],
)
async def test_what_is_raised_under_a_guard_ends_there_and_is_noted(error: Exception) -> None:
    heard = Heard()
    failed: list[Exception] = []
    with heard.guards.guard(Compartment.LINK, "peer", failed.append):
        raise error
    assert failed == [error]
    assert heard.noted == [("link", "peer", repr(error))]
    assert heard.ended_by == []


@pytest.mark.parametrize("error", [JournalError(), ExceptionGroup("", [ValueError(), JournalError()])])
async def test_a_journal_that_fails_ends_the_node_through_the_one_who_writes_it(error: Exception) -> None:
    heard = Heard()
    with heard.guards.guard(Compartment.LINK, "peer"):
        raise error
    assert heard.ended_by == [error]
    assert heard.noted == []


async def test_cancellation_passes_and_what_failed_beside_it_is_noted() -> None:
    heard = Heard()

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("at the end")

    with trio.CancelScope() as scope:
        scope.cancel()
        with heard.guards.guard(Compartment.TASK, "task"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails_when_cancelled)
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [subject for _, subject, _ in heard.noted] == ["task"]


async def test_a_task_in_a_nursery_ends_alone() -> None:
    heard = Heard()

    async def fails() -> None:
        raise ValueError

    async with trio.open_nursery() as nursery:
        heard.guards.start_soon(nursery, Compartment.LINK, "peer", fails)
        await trio.testing.wait_all_tasks_blocked()
    assert len(heard.noted) == 1


async def test_a_task_that_fails_is_begun_again_later_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    begun: list[float] = []

    async def fails() -> None:
        begun.append(trio.current_time())
        raise OSError(24, "Too many open files")

    with trio.move_on_after(20):
        await heard.guards.keep_running("block store", fails)
    assert [round(at - begun[0]) for at in begun] == [0, 1, 3, 7, 15]
