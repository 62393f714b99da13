"""Executions that a peer runs for others, from the award to the end, and who may decide over them."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.placement.locality import source_cache_key
from p2pnode.core.records.ending import KEEP_TIMEOUT_S, PREPARE_TIMEOUT_S, PUBLISH_TIMEOUT_S
from p2pnode.core.records.events import (
    DropReservation,
    Kill,
    Leaving,
    PeerLost,
    Progressed,
    Received,
    SchedulingChanged,
    Start,
    Tick,
)
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Adopt, Bid, Ended, Refusal, Update
from p2pnode.core.wire.spec import STOP_GRACE_S, STOP_GRACE_S_MAX, InputSource, JobType, Source, Timeouts
from p2pnode.core.wire.states import Fault, RefusalKind, Scheduling, Stage
from p2pnode.core.worker.executions import ENDED_KEPT_MAX

from .core_support import a_mandate, ask, award, sent, spec
from .worker_support import ASK, CANCEL, ID, RELEASE, finished, held, kill, new, offered, refusal_of, running


def test_an_award_starts_one_program_however_often_it_comes() -> None:
    worker = offered()
    actions = worker.handle(Received("me", award(ASK)), 1)
    ((_, message),) = sent(actions, Update)
    assert (message.sequence, message.stage) == (1, Stage.PREPARING)
    assert len([action for action in actions if isinstance(action, Start)]) == 1
    assert worker.handle(Received("me", award(ASK)), 2) == []


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


def test_what_ended_for_an_owner_that_died_is_told_to_the_next() -> None:
    worker = running()
    worker.handle(PeerLost("me", "silent"), 15)
    worker.handle(finished(), 20)
    message = Adopt(execution=ID, round=1, job=ask().job, mandate=a_mandate("me", "deputy"))
    assert [peer for peer, _ in sent(worker.handle(Received("deputy", message), 25), Ended)] == ["deputy"]
    assert held(worker) == 0


def test_stages_are_reported_with_growing_numbers() -> None:
    worker = running()
    ((_, first),) = sent(worker.handle(Progressed(ID, Stage.RUNNING, "half"), 11))
    ((_, second),) = sent(worker.handle(Progressed(ID, Stage.PUBLISHING, ""), 12))
    assert first.sequence < second.sequence
    assert (first.detail, second.stage) == ("half", Stage.PUBLISHING)


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
