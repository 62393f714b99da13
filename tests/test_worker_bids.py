"""Bids and refusals of a peer, event by event, and what frees the bids."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.placement.standing import (
    MISS_FORGOTTEN_S,
    OPEN_BIDS_PER_PEER_MAX,
    OPEN_BIDS_PER_STRANGER_MAX,
    REQUESTERS_MAX,
    Standing,
)
from p2pnode.core.records.events import DropReservation, PeerLost, Received, SaveReservation, Start, Tick
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Award, Bid, Cancel, Refusal, Release
from p2pnode.core.wire.spec import Constraint, Operator
from p2pnode.core.wire.states import RefusalKind
from p2pnode.core.worker.bidding import WAITING_OF_STRANGERS_MAX, WAITING_PER_PEER_MAX
from p2pnode.core.worker.machine import Worker
from p2pnode.core.worker.queueing import LOANS_MAX
from p2pnode.core.worker.state import BID_VALID_S

from .core_support import ROOM, ask, award, capacity, sent, spec
from .worker_support import (
    ASK,
    CANCEL,
    ID,
    RELEASE,
    finished,
    full_lending,
    held,
    new,
    offered,
    refusal_of,
    running,
)


def test_a_bid_holds_the_resources_and_says_for_how_long() -> None:
    worker = new()
    actions = worker.handle(Received("me", ASK), 0)
    ((to, message),) = sent(actions, Bid)
    assert (to, message.execution, message.valid_ms) == ("me", ID, BID_VALID_S * 1000)
    assert any(isinstance(action, SaveReservation) for action in actions)
    assert held(worker) == 1000


def test_an_ask_that_comes_twice_gets_the_same_bid_and_holds_once() -> None:
    worker = offered()
    ((_, message),) = sent(worker.handle(Received("me", ASK), 4))
    assert message.valid_ms == (BID_VALID_S - 4) * 1000
    assert held(worker) == 1000


def test_a_bid_that_nobody_takes_expires() -> None:
    worker = offered()
    assert worker.deadline == BID_VALID_S
    assert worker.handle(Tick(), BID_VALID_S) == [DropReservation(ID)]
    assert (held(worker), worker.deadline) == (0, inf)


def test_a_released_bid_frees_its_resources_at_once() -> None:
    worker = offered()
    assert worker.handle(Received("me", RELEASE), 1) == [DropReservation(ID)]
    assert held(worker) == 0


@pytest.mark.parametrize("message", [RELEASE, CANCEL, award(ASK)], ids=["release", "cancel", "award"])
def test_only_who_asked_decides_over_a_bid(message: Release | Cancel | Award) -> None:
    worker = offered()
    actions = worker.handle(Received("stranger", message), 1)
    assert not any(isinstance(action, Start) for action in actions)
    assert worker.reservations[ID].state is ReservationState.BID


def test_an_award_without_an_open_bid_is_refused_as_expired() -> None:
    ((to, message),) = sent(new().handle(Received("me", award(ASK)), 0))
    assert (to, message.refusal_kind) == ("me", RefusalKind.EXPIRED)


@pytest.mark.parametrize(
    ("asked", "awarded", "wrong", "reason"),
    [
        (ASK, spec(name="other"), None, "not the one"),
        (ask(spec(4000), requirements=ASK.requirements), spec(4000), None, "other things"),
        (ask(priority=9), spec(), None, "other things"),
        (ASK, spec(), "the job is not valid", "not valid"),
    ],
    ids=["another job", "more resources", "another priority", "an invalid job"],
)
def test_an_award_that_is_not_what_was_asked_is_refused_and_frees_the_bid(
    asked, awarded, wrong: str | None, reason: str
) -> None:
    worker = new(wrong)
    worker.handle(Received("me", asked), 0)
    actions = worker.handle(Received("me", award(asked, awarded)), 1)
    ((_, message),) = sent(actions)
    assert message.refusal_kind is RefusalKind.UNSUITABLE
    assert reason in message.reason
    assert held(worker) == 0 and not any(isinstance(action, Start) for action in actions)


def test_what_never_fits_is_refused_for_good_and_what_does_not_fit_now_for_a_while() -> None:
    never = refusal_of(new(), ask(spec(64_000)))
    assert (never.refusal_kind, never.reason) == (
        RefusalKind.UNSUITABLE,
        "too small: CPU 64 asked, 4 in all",
    )
    worker = new()
    for slot in range(4):
        worker.handle(Received("me", ask(slot=slot)), 0)
    now = refusal_of(worker, ask(slot=4))
    assert (now.refusal_kind, now.reason) == (RefusalKind.QUEUED, "busy; the ask waits there as number 1")


def test_a_directory_that_is_not_here_is_a_reason_not_to_bid() -> None:
    worker = new()
    lacks = "/data is not there on this node"
    ((_, message),) = sent(worker.handle(Received("me", ASK, lacks=lacks), 0), Refusal)
    assert isinstance(message, Refusal)
    assert (message.refusal_kind, message.reason) == (RefusalKind.UNSUITABLE, lacks)
    assert not worker.reservations


def test_each_bid_that_was_held_to_no_use_halves_what_its_requester_may_hold() -> None:
    tiny, now = spec(cpu_millis=1), 0.0
    worker = new()
    large = codec.replace(ROOM, memory_bytes=10**12)
    worker.capacity = capacity(total=large, free=large)
    most = []
    for _ in range(8):
        for slot in range(OPEN_BIDS_PER_PEER_MAX + 1):
            worker.handle(Received("me", ask(tiny, slot)), now)
        most.append(len(worker.held))
        kept = worker.held[0].execution
        for id in [one for one in worker.reservations if one != kept]:
            worker.handle(Received("me", Release(execution=id, round=1)), now)
        now = worker.deadline
        worker.handle(Tick(), now)
    assert most == [32, 16, 8, 4, 2, 1, 1, 1]
    now += 5 * MISS_FORGOTTEN_S
    for slot in range(OPEN_BIDS_PER_PEER_MAX):
        worker.handle(Received("me", ask(tiny, slot)), now)
    assert len(worker.held) == OPEN_BIDS_PER_STRANGER_MAX, "it has to prove itself again"


def test_an_award_takes_a_miss_back() -> None:
    worker = offered()
    worker.handle(Tick(), BID_VALID_S)
    assert not worker.standing.is_proven("me", 10)
    worker.handle(Received("me", ask(slot=1)), 11)
    worker.handle(Received("me", award(ask(slot=1))), 12)
    assert worker.standing.is_proven("me", 12)


@pytest.mark.parametrize(
    "end", [RELEASE, CANCEL, PeerLost("me", "silent")], ids=["release", "cancel", "lost"]
)
@pytest.mark.parametrize("held_s", [1.0, 6.0])
def test_a_bid_that_is_let_go_late_is_missed_and_one_that_is_released_soon_is_not(end, held_s) -> None:
    worker = offered()
    worker.handle(end if isinstance(end, PeerLost) else Received("me", end), held_s)
    assert not worker.reservations
    assert worker.standing.misses("me", held_s) == (held_s > 5)


def test_who_waits_gets_its_bid_when_its_misses_are_forgotten() -> None:
    worker = new(proven=())
    for _ in range(5):
        worker.standing.missed("doubted", 0)
    worker.handle(Received("doubted", ask()), 0)
    ticks = []
    while not worker.held:
        ticks.append(worker.deadline)
        worker.handle(Tick(), worker.deadline)
    # A quarter of the machine, for which it may have one miss at most.
    assert ticks == [60 * number for number in range(1, 5)]


def test_after_a_restart_requesters_of_what_ran_here_are_known() -> None:
    worker = running()
    worker.handle(finished(), 20)
    again = new(proven=())
    again.reservations = worker.reservations
    assert not again.standing.is_proven("me", 21)
    again.resume(21)
    assert again.standing.is_proven("me", 21)


def test_requesters_are_remembered_up_to_a_number() -> None:
    standing = Standing()
    for number in range(REQUESTERS_MAX + 10):
        standing.ran(f"peer{number}")
        standing.missed(f"other{number}", 0)
    assert not standing.is_proven("peer0", 0) and standing.is_proven("peer10", 0)
    assert not standing.misses("other0", 0) and standing.misses("other10", 0)


def test_before_the_engines_were_looked_at_everything_is_refused() -> None:
    assert refusal_of(Worker(lambda spec: None)).reason == "runs nothing for others"


def test_one_requester_has_so_many_open_bids_and_all_together_so_many_executions() -> None:
    tiny = spec(cpu_millis=1)
    large = codec.replace(ROOM, memory_bytes=10**12)
    worker = Worker(lambda spec: None, capacity(total=large, free=large))
    for peer, most in [("me", OPEN_BIDS_PER_PEER_MAX), ("stranger", OPEN_BIDS_PER_STRANGER_MAX)]:
        if peer == "me":
            worker.standing.ran(peer)
        first = 100 * most
        for slot in range(first, first + most + 5):
            worker.handle(Received(peer, ask(tiny, slot)), 0)
        assert sum(one.owner == peer for one in worker.held) == most
    for slot in range(10_000, 10_000 + LOANS_MAX):
        worker.handle(Received(f"peer{slot}", ask(tiny, slot)), 0)
    assert len(worker.held) == LOANS_MAX
    for slot in range(5000, 5000 + WAITING_PER_PEER_MAX):
        worker.handle(Received("greedy", ask(tiny, slot)), 0)
    assert "wait here already" in refusal_of(worker, ask(tiny, 9999), "greedy").reason
    for slot in range(20_000, 20_000 + WAITING_OF_STRANGERS_MAX):
        worker.handle(Received(f"peer{slot}", ask(tiny, slot)), 0)
    assert "new here" in refusal_of(worker, ask(tiny, 9999), "another").reason
    assert "waits there" in refusal_of(worker, ask(tiny, 9999), "me").reason


def test_a_reason_that_quotes_a_long_constraint_is_cut_to_what_the_wire_takes() -> None:
    values = tuple(str(number) for number in range(5000))
    constraints = (Constraint(key="os", operator=Operator.IN, values=values),)
    reason = refusal_of(new(), ask(spec(constraints=constraints))).reason
    assert len(reason) == REASON_LENGTH_MAX


@pytest.mark.parametrize("waits", [False, True], ids=["bid", "waiting"])
def test_what_was_only_promised_to_an_owner_that_is_lost_is_free_at_once(waits: bool) -> None:
    worker = full_lending() if waits else new()
    asked = ask(slot=9)
    worker.handle(Received("owner", asked), 1)
    before = held(worker)
    assert worker.handle(PeerLost("owner", "is silent"), 2) == [DropReservation(asked.execution)]
    assert asked.execution not in worker.reservations
    assert before - held(worker) == (0 if waits else 1000)
