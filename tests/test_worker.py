"""What a peer promises and runs for others, event by event."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.placement.locality import source_cache_key
from p2pnode.core.placement.standing import (
    MISS_FORGOTTEN_S,
    OPEN_BIDS_PER_PEER_MAX,
    OPEN_BIDS_PER_STRANGER_MAX,
    REQUESTERS_MAX,
    Standing,
)
from p2pnode.core.records.ending import (
    KEEP_TIMEOUT_S,
    PUBLISH_TIMEOUT_S,
    STOP_GRACE_S,
    STOP_GRACE_S_MAX,
)
from p2pnode.core.records.events import (
    Action,
    DropReservation,
    Finished,
    Kill,
    Leaving,
    PeerLost,
    Progressed,
    Received,
    SaveReservation,
    SchedulingChanged,
    Start,
    Tick,
)
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Adopt, Award, Bid, Cancel, Ended, Owned, Refusal, Release, Update
from p2pnode.core.wire.spec import (
    Constraint,
    InputSource,
    JobType,
    Operator,
    Source,
    Timeouts,
)
from p2pnode.core.wire.states import Fault, RefusalKind, Scheduling, Stage
from p2pnode.core.worker.bidding import WAITING_OF_STRANGERS_MAX, WAITING_PER_PEER_MAX
from p2pnode.core.worker.executions import ENDED_KEPT_MAX, PREPARE_TIMEOUT_S
from p2pnode.core.worker.machine import Worker
from p2pnode.core.worker.queueing import LOANS_MAX
from p2pnode.core.worker.state import BID_VALID_S

from .core_support import ROOM, ask, award, capacity, receipt, sent, signed, spec

ASK = ask()
ID = ASK.execution
RELEASE = Release(execution=ID, round=1)
CANCEL = Cancel(execution=ID, round=1, reason="enough")


def new(wrong: str | None = None, proven: tuple[str, ...] = ("me",)) -> Worker:
    worker = Worker(lambda spec: wrong, capacity(), standing=Standing("node"))
    for peer in proven:
        worker.standing.ran(peer)
    return worker


def offered() -> Worker:
    worker = new()
    worker.handle(Received("me", ASK), 0)
    return worker


def running(**changes: object) -> Worker:
    worker, wanted = new(), spec(**changes)  # type: ignore[arg-type]
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ASK, wanted)), 0)
    worker.handle(Progressed(ID, Stage.RUNNING, ""), 10)
    assert worker.reservations[ID].state is ReservationState.RUNNING
    return worker


def finished() -> Finished:
    found = receipt(ID)
    return Finished(ID, signed(found))


def held(worker: Worker) -> int:
    assert worker.available is not None
    return ROOM.cpu_millis - worker.available.free.cpu_millis


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


def test_an_award_starts_one_program_however_often_it_comes() -> None:
    worker = offered()
    actions = worker.handle(Received("me", award(ASK)), 1)
    ((_, message),) = sent(actions, Update)
    assert (message.sequence, message.stage) == (1, Stage.PREPARING)
    assert len([action for action in actions if isinstance(action, Start)]) == 1
    assert worker.handle(Received("me", award(ASK)), 2) == []


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


def refusal_of(worker: Worker, asked=ASK, peer="me") -> Refusal:
    ((_, message),) = sent(worker.handle(Received(peer, asked), 0), Refusal)
    assert isinstance(message, Refusal)
    return message


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


def full_lending(*proven: str) -> Worker:
    worker = new(proven=("me", *proven))
    for slot in range(4):
        worker.handle(Received("me", ask(slot=slot)), 0)
        worker.handle(Received("me", award(ask(slot=slot))), 0)
    return worker


def end(worker: Worker, slot: int, now: float) -> list[str]:
    """Whose asks are bid for when one that was awarded ends."""
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
    # Who awards holds no bid any more: there is room for another stranger's.
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


@pytest.mark.parametrize("scheduling", [Scheduling.CORDONED, Scheduling.DRAINING])
def test_a_cordoned_node_takes_nothing_new_and_goes_on_with_what_it_has(scheduling: Scheduling) -> None:
    worker = running()
    worker.handle(SchedulingChanged(scheduling), 11)
    assert refusal_of(worker, ask(slot=2)).refusal_kind is RefusalKind.BUSY
    assert worker.reservations[ID].state is ReservationState.RUNNING
    worker.handle(SchedulingChanged(Scheduling.SCHEDULABLE), 12)
    assert sent(worker.handle(Received("me", ask(slot=3)), 13), Bid)


def test_what_ran_here_is_told_as_held_until_its_end_is_forgotten() -> None:
    content = Source(type="ipfs", params={"CID": "bafy"})
    wanted = spec()
    task = codec.replace(wanted.task, inputs=(InputSource(source=content, target="/in"),))
    wanted = codec.replace(wanted, task=task)
    worker = new()
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ASK, wanted)), 0)
    assert worker.cache_keys_used == []
    worker.handle(Progressed(ID, Stage.RUNNING, ""), 10)
    worker.handle(finished(), 20)
    assert worker.cache_keys_used == [source_cache_key(content)]
    worker.handle(Tick(), worker.deadline)
    assert worker.cache_keys_used == []


def test_draining_ends_at_its_deadline_what_still_runs() -> None:
    worker = running()
    worker.handle(SchedulingChanged(Scheduling.DRAINING, 60), 11)
    assert worker.deadline == 60
    assert kill(worker.handle(Tick(), 60)).ending.fault is Fault.MOVED


def test_a_deputy_is_obeyed_with_a_higher_epoch_only_and_a_stranger_infeasible_reason() -> None:
    worker = running()

    def adopt(peer: str, epoch: int) -> list[Action]:
        message = Adopt(execution=ID, round=1, job=ask().job, epoch=epoch, deputies=("me",))
        return worker.handle(Received(peer, message), 20)

    assert sent(adopt("stranger", 9), Owned) and worker.reservations[ID].owner == "me"
    assert sent(adopt("deputy", 1), Owned) and worker.reservations[ID].owner == "me"
    assert sent(adopt("deputy", 2), Update) and worker.reservations[ID].owner == "deputy"
    assert sent(adopt("me", 1), Owned) and worker.reservations[ID].owner == "deputy"


def test_what_ended_for_an_owner_that_died_is_told_to_the_next() -> None:
    worker = running()
    worker.handle(PeerLost("me", "silent"), 15)
    worker.handle(finished(), 20)
    message = Adopt(execution=ID, round=1, job=ask().job, epoch=2, deputies=())
    assert [peer for peer, _ in sent(worker.handle(Received("deputy", message), 25), Ended)] == ["deputy"]
    assert held(worker) == 0


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


def test_stages_are_reported_with_growing_numbers() -> None:
    worker = running()
    ((_, first),) = sent(worker.handle(Progressed(ID, Stage.RUNNING, "half"), 11))
    ((_, second),) = sent(worker.handle(Progressed(ID, Stage.PUBLISHING, ""), 12))
    assert first.sequence < second.sequence
    assert (first.detail, second.stage) == ("half", Stage.PUBLISHING)


def kill(actions: list) -> Kill:
    (found,) = (action for action in actions if isinstance(action, Kill))
    return found


def test_a_program_past_its_timeout_is_killed_and_what_it_wrote_is_kept() -> None:
    worker = running(timeouts=Timeouts(execution_s=5))
    assert worker.deadline == 15
    found = kill(worker.handle(Tick(), 15))
    assert (found.ending.fault, found.ending.keep, found.ending.publish) == (Fault.TIMEOUT, True, True)
    assert "5 s" in found.ending.reason


def test_a_program_without_a_timeout_may_run_for_ever() -> None:
    assert running().deadline == inf


@pytest.mark.parametrize("stage", [Stage.PREPARING, Stage.PUBLISHING])
def test_preparing_or_publishing_for_too_long_is_the_peers_fault(stage: Stage) -> None:
    worker = running()
    worker.handle(Progressed(ID, stage, ""), 20)
    limit_s = PREPARE_TIMEOUT_S if stage is Stage.PREPARING else PUBLISH_TIMEOUT_S
    assert worker.deadline == 20 + limit_s
    found = kill(worker.handle(Tick(), worker.deadline))
    assert (found.ending.fault, found.ending.keep) == (Fault.PEER, False)


def test_a_cancel_kills_once_and_holds_the_resources_until_the_program_is_dead() -> None:
    worker = running()
    found = kill(worker.handle(Received("me", CANCEL), 11))
    assert (found.ending.fault, found.ending.keep, found.ending.publish) == (Fault.CANCELLED, True, False)
    assert found.ending.reason == "cancelled: enough"
    assert worker.handle(Received("me", CANCEL), 12) == []
    assert held(worker) == 1000
    actions = worker.handle(finished(), 13)
    assert [to for to, _ in sent(actions, Ended)] == ["me"]
    assert held(worker) == 0


ENDS = {
    "cancel": (Received("me", CANCEL), Fault.CANCELLED),
    "drain": (SchedulingChanged(Scheduling.DRAINING, 12), Fault.MOVED),
    "leave": (Leaving(), Fault.MOVED),
    "timeout": (None, Fault.TIMEOUT),
}


@pytest.mark.parametrize("asked", [None, 0, 45, 300])
@pytest.mark.parametrize("way", ENDS)
def test_however_a_program_is_ended_it_has_its_grace_and_what_it_wrote_is_kept(way, asked) -> None:
    worker = running(timeouts=Timeouts(execution_s=2, stop_grace_s=asked))
    event, fault = ENDS[way]
    actions = worker.handle(event, 11) if event else []
    found = kill(actions or worker.handle(Tick(), 12))
    assert (found.ending.fault, found.ending.keep) == (fault, True)
    assert found.grace_s == {None: STOP_GRACE_S, 300: STOP_GRACE_S_MAX}.get(asked, asked)
    assert held(worker) == 1000, "its room is held meanwhile"


def test_what_takes_too_long_to_end_is_ended_at_once_and_its_output_is_given_up() -> None:
    worker = running()
    worker.handle(Received("me", CANCEL), 11)
    assert worker.deadline == 11 + STOP_GRACE_S + KEEP_TIMEOUT_S
    found = kill(worker.handle(Tick(), worker.deadline))
    assert (found.ending.fault, found.ending.keep, found.grace_s) == (Fault.CANCELLED, False, 0)
    assert worker.deadline == inf and held(worker) == 1000


def test_an_end_goes_on_after_a_restart() -> None:
    worker = running(timeouts=Timeouts(stop_grace_s=30))
    worker.handle(Received("me", CANCEL), 11)
    again = new()
    again.reservations = worker.reservations
    start, found = (one for one in again.resume(20) if isinstance(one, Start | Kill))
    assert isinstance(start, Start) and isinstance(found, Kill)
    assert (found.ending.keep, found.grace_s, again.deadline) == (True, 30, 20 + 30 + KEEP_TIMEOUT_S)


def test_an_owner_hears_that_its_grace_period_is_cut() -> None:
    wanted = spec(timeouts=Timeouts(stop_grace_s=61))
    worker = new()
    worker.handle(Received("me", ask(wanted)), 0)
    actions = worker.handle(Received("me", award(ask(wanted), wanted)), 0)
    ((_, update),) = sent(actions, Update)
    assert "cut to 60 s" in update.detail


def test_a_release_does_not_end_what_was_awarded() -> None:
    worker = running()
    assert worker.handle(Received("me", RELEASE), 11) == []
    assert worker.reservations[ID].state is ReservationState.RUNNING


def test_an_end_is_told_once() -> None:
    worker = running()
    assert worker.handle(finished(), 20)
    assert worker.handle(finished(), 21) == []


def test_a_leaving_node_refuses_its_bids_kills_what_it_runs_and_takes_no_more() -> None:
    worker = running()
    other = ask(slot=1)
    worker.handle(Received("me", other), 11)
    actions = worker.handle(Leaving(), 12)
    assert [message.execution for _, message in sent(actions, Refusal)] == [other.execution]
    assert kill(actions).ending.fault is Fault.MOVED
    assert refusal_of(worker, ask(slot=2)).reason == "is shutting down"


def test_after_a_restart_what_was_awarded_goes_on_and_open_bids_expire() -> None:
    worker = running()
    worker.handle(Received("me", ask(slot=1)), 11)
    again = new()
    again.reservations = worker.reservations
    actions = again.resume(20)
    assert [action.reservation.execution for action in actions if isinstance(action, Start)] == [ID]
    assert again.handle(Tick(), 21.1) == [DropReservation(ask(slot=1).execution)]


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


@pytest.mark.parametrize("waits", [False, True], ids=["bid", "waiting"])
def test_what_was_only_promised_to_an_owner_that_is_lost_is_free_at_once(waits: bool) -> None:
    worker = full_lending() if waits else new()
    asked = ask(slot=9)
    worker.handle(Received("owner", asked), 1)
    before = held(worker)
    assert worker.handle(PeerLost("owner", "is silent"), 2) == [DropReservation(asked.execution)]
    assert asked.execution not in worker.reservations
    assert before - held(worker) == (0 if waits else 1000)


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


def test_so_many_ended_executions_are_remembered_and_the_oldest_are_forgotten_first() -> None:
    worker = running()
    one = worker.reservations[ID]
    for number in range(ENDED_KEPT_MAX):
        ended = {"state": ReservationState.ENDED, "deadline": 3000.0 - number}
        worker.reservations.save(codec.replace(one, execution=f"e-old-{number}", **ended))
    actions = worker.handle(finished(), 20)
    oldest = f"e-old-{ENDED_KEPT_MAX - 1}"
    assert [one.execution for one in actions if isinstance(one, DropReservation)] == [oldest]
    assert len(worker.reservations) == ENDED_KEPT_MAX and ID in worker.reservations


@pytest.mark.parametrize(
    ("kind", "execution_s", "total_s", "limit_s"),
    [
        (JobType.BATCH, None, None, None),
        (JobType.BATCH, 10, None, 10),
        (JobType.BATCH, None, 20, 20),
        (JobType.OPS, 10, 20, 10),
        (JobType.SERVICE, 10, 20, None),
        (JobType.DAEMON, 10, 20, None),
    ],
)
def test_a_program_runs_as_long_as_its_job_lets_it_and_what_runs_for_ever_without_limit(
    kind: JobType, execution_s: int | None, total_s: int | None, limit_s: int | None
) -> None:
    worker = running(type=kind, timeouts=Timeouts(execution_s=execution_s, total_s=total_s))
    assert worker.reservations[ID].deadline == (None if limit_s is None else 10 + limit_s)
