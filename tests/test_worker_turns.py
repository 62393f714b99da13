"""Turns of those who ask a peer where room is short: strangers' share, priority."""

from __future__ import annotations

import pytest

from p2pnode.core.records.events import Finished, Kill, Progressed, Received
from p2pnode.core.wire.messages import Bid, Refusal, Release
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import Fault, RefusalKind, Stage
from p2pnode.core.worker.bidding import WAITING_PER_PEER_MAX
from p2pnode.core.worker.machine import Worker

from .core_support import ask, award, receipt, sent, signed, spec
from .worker_support import finished, full_lending, held, new, refusal_of, running


def end(worker: Worker, slot: int, now: float) -> list[str]:
    """End one that was awarded; returns whose asks are bid for then."""
    id = ask(slot=slot).execution
    worker.handle(Progressed(id, Stage.RUNNING, ""), now)
    found = receipt(id)
    actions = worker.handle(Finished(id, signed(found)), now)
    return [f"{peer} {slots[one.execution]}" for peer, one in sent(actions, Bid)]


slots = {ask(slot=slot).execution: slot for slot in range(40)}


def test_what_one_requester_has_waiting_is_bid_for_by_priority_and_then_by_age() -> None:
    worker = full_lending("a")
    urgent = spec(priority=7)
    for at, (slot, wanted) in enumerate([(4, spec()), (5, urgent), (6, urgent)], 1):
        worker.handle(Received("a", ask(wanted, slot)), at)
    assert [end(worker, slot, 9) for slot in range(3)] == [["a 5"], ["a 6"], ["a 4"]]


def test_requesters_take_turns_whatever_priority_each_claims() -> None:
    worker = full_lending("a", "b")
    for slot in (4, 5, 6):
        worker.handle(Received("a", ask(spec(priority=999), slot)), slot)
    worker.handle(Received("b", ask(slot=7)), 7)
    worker.handle(Received("stranger", ask(spec(priority=9_999), 8)), 1)
    assert [end(worker, slot, 9) for slot in range(4)] == [["a 4"], ["b 7"], ["stranger 8"], ["a 5"]]


def test_many_strangers_have_one_turn_between_them() -> None:
    worker = full_lending("a")
    for slot in range(10, 20):
        worker.handle(Received(f"stranger{slot}", ask(slot=slot)), slot / 10)
    for slot in (4, 5):
        worker.handle(Received("a", ask(slot=slot)), slot)
    bids = [end(worker, slot, 9) for slot in range(4)]
    assert bids == [["a 4"], ["stranger10 10"], ["a 5"], ["stranger11 11"]]


def test_strangers_bids_hold_half_of_the_room_however_many_they_are() -> None:
    worker = new()
    for slot in range(8):
        worker.handle(Received(f"stranger{slot}", ask(slot=slot)), slot / 10)
    assert held(worker) == 2000
    assert sent(worker.handle(Received("me", ask(slot=20)), 1), Bid)
    # An awarded bid is open no more: there is room for another stranger's.
    first = ask(slot=0)
    bids = sent(worker.handle(Received("stranger0", award(first)), 2), Bid)
    assert [slots[one.execution] for _, one in bids] == [2]


def test_a_stranger_is_bid_a_whole_machine_where_nobody_else_is_concerned() -> None:
    large = ask(spec(4000), 30)
    worker = new()
    assert sent(worker.handle(Received("stranger", large), 0), Bid)
    worker = new()
    worker.handle(Received("other", ask()), 0)
    assert refusal_of(worker, large, "stranger").refusal_kind is RefusalKind.QUEUED


@pytest.mark.parametrize(("asker", "ends"), [("me", True), ("node", True), ("other", False)])
@pytest.mark.parametrize("preempts", [False, True])
def test_a_node_that_may_ends_less_urgent_batch_work_of_the_asker_or_for_its_own_user(
    asker: str, ends: bool, preempts: bool
) -> None:
    worker = running(cpu_millis=2000)
    worker.preempts = preempts
    urgent = ask(spec(cpu_millis=3000, priority=5), 9)
    actions = worker.handle(Received(asker, urgent), 11)
    ends &= preempts
    assert [action.ending.fault for action in actions if isinstance(action, Kill)] == [Fault.MOVED] * ends
    if ends:
        bids = sent(worker.handle(finished(), 12), Bid)
        assert [(peer, one.execution) for peer, one in bids] == [(asker, urgent.execution)]


def test_who_was_refused_for_want_of_room_hears_soon_that_there_is_some() -> None:
    worker = full_lending()
    asks = [ask(slot=slot) for slot in range(4, 4 + WAITING_PER_PEER_MAX)]
    for one in asks:
        worker.handle(Received("me", one), 1)
    worker.handle(Received("me", Release(execution=asks[0].execution, round=1)), 2)
    assert not worker.owes_news, "nobody was turned away"
    for one in (asks[0], ask(slot=1_000)):
        refused = sent(worker.handle(Received("me", one), 3), Refusal)
    assert [message.refusal_kind for _, message in refused] == [RefusalKind.BUSY]
    worker.handle(Received("me", Release(execution=asks[1].execution, round=1)), 4)
    assert worker.owes_news


@pytest.mark.parametrize(
    ("kind", "priority", "ends"),
    [
        (JobType.BATCH, 4, True),
        (JobType.BATCH, 5, False),
        (JobType.BATCH, 6, False),
        (JobType.OPS, 4, False),
        (JobType.SERVICE, 4, False),
        (JobType.DAEMON, 4, False),
    ],
)
def test_urgent_work_takes_the_room_of_batch_work_of_lower_priority_only(
    kind: JobType, priority: int, ends: bool
) -> None:
    worker, wanted = new(), spec(cpu_millis=2000, type=kind, priority=priority)
    worker.preempts = True
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ask(wanted), wanted)), 0)
    actions = worker.handle(Received("me", ask(spec(cpu_millis=3000, priority=5), 9)), 11)
    assert any(isinstance(action, Kill) for action in actions) is ends
