"""Strangers take turns, and together they take no more than their share of a node's time."""

from __future__ import annotations

import pytest
import trio

from p2pnode.network import strangers
from p2pnode.network.strangers import BURST_S, KNOWN_FOR_S, SHARE, TURN_S_MAX, Strangers

WORK_S = 0.01


class Work:
    """Turns of which each costs as much of the node's time as is said."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.strangers = Strangers(lambda: self.spent_s)

    async def turn(self, peer: str, cost_s: float = WORK_S) -> float:
        """Seconds that the peer waited for it."""
        begun = trio.current_time()
        async with self.strangers.turn(peer):
            self.spent_s += cost_s
            return trio.current_time() - begun

    async def busy(self) -> None:
        """The strangers of before have used the burst up."""
        while self.spent_s < BURST_S + WORK_S:
            await self.turn("others")


async def test_all_strangers_together_get_their_share_of_the_time_and_no_more(autojump_clock: object) -> None:
    work = Work()
    await work.busy()
    before = work.spent_s

    async def flood(peer: str) -> None:
        while True:
            await work.turn(peer)

    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(flood, f"stranger-{number}")
    assert work.spent_s - before == pytest.approx(60 * SHARE, rel=0.02)


async def test_a_stranger_waits_for_one_turn_of_each_other_however_much_they_want(
    autojump_clock: object,
) -> None:
    work = Work()
    await work.busy()

    async def flood(peer: str) -> None:
        while True:
            await work.turn(peer)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(flood, f"stranger-{number}")
        await trio.sleep(5)
        assert await work.turn("another") <= 4.01 * WORK_S / SHARE
        nursery.cancel_scope.cancel()


async def test_whom_the_node_works_with_does_not_wait(autojump_clock: object) -> None:
    work = Work()
    await work.busy()
    work.strangers.know(["friend"])
    assert await work.turn("friend", 10.0) == 0
    assert await work.turn("friend") == 0


async def test_a_peer_that_was_not_heard_of_for_long_is_a_stranger_again(autojump_clock: object) -> None:
    work = Work()
    work.strangers.know(["friend"])
    await trio.sleep(KNOWN_FOR_S)
    await work.busy()
    assert await work.turn("friend") > 0


async def test_answers_that_the_node_has_asked_for_do_not_wait_and_further_messages_do(
    autojump_clock: object,
) -> None:
    work = Work()
    await work.busy()
    work.strangers.expect("peer", 2)
    assert [await work.turn("peer") for _ in range(2)] == [0, 0]
    assert await work.turn("peer") > 0


async def test_a_turn_that_waited_for_a_disk_does_not_hold_up_the_next_for_long(
    autojump_clock: object,
) -> None:
    work = Work()
    await work.busy()
    await work.turn("one", 1_000.0)
    assert await work.turn("another") <= (TURN_S_MAX + WORK_S) / SHARE


async def test_a_turn_that_fails_or_is_cancelled_costs_what_it_took_and_lets_the_next_in(
    autojump_clock: object,
) -> None:
    work = Work()
    await work.busy()

    async def fail() -> None:
        async with work.strangers.turn("one"):
            work.spent_s += WORK_S
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    with trio.move_on_after(0):
        await work.turn("one")
    assert WORK_S / SHARE <= await work.turn("another") < 3 * WORK_S / SHARE


async def test_peers_that_are_known_and_answers_that_are_expected_have_limits(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "KNOWN_MAX", 2)
    work = Work()
    await work.busy()
    work.strangers.know(["a", "b", "c"])
    assert await work.turn("a") > 0
    assert await work.turn("c") == 0
    for peer in ("x", "y", "z"):
        work.strangers.expect(peer, 1)
    assert await work.turn("x") > 0
    assert await work.turn("z") == 0
