"""Executions that this node runs for others, from their award to their receipt."""

from __future__ import annotations

from math import inf

from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import ending, mandate
from p2pnode.core.records.ending import (
    LEAVING_GRACE_S_MAX,
    PREPARE_TIMEOUT_S,
    PUBLISH_TIMEOUT_S,
    run_limit_s,
    stop_grace_s,
)
from p2pnode.core.records.events import Action, Finished, Send, Start
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Award, Ended
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import Fault, RefusalKind, Stage

from . import admission, owner_tracking
from .state import WorkerState, refuse

# A receipt is small; an owner that is away for longer finds the result by its job's deputies.
ENDED_KEPT_S = 60 * 60.0
ENDED_KEPT_MAX = 1_000


def awarded(worker: WorkerState, peer: str, award: Award, lacks: str, now: float) -> list[Action]:
    """Start what was bid for; an award that comes twice starts one program.

    `lacks` is why the operator's probe refuses it, by the shell's word; "" where it does not.
    """
    reservation = worker.of_owner(peer, award.execution)
    if reservation is None or reservation.state is ReservationState.WAITING:
        reason = "no such bid is open: it expired, was released or was used"
        return [refuse(peer, award, RefusalKind.EXPIRED, reason)]
    if reservation.state is not ReservationState.BID:
        return []
    wrong = (
        _why_not_the_same(reservation, award)
        or _why_not_chartered(peer, reservation, award)
        or worker.check_spec(award.spec)
    )
    if wrong is not None:
        worker.standing.missed(peer, now)
        return [refuse(peer, award, RefusalKind.UNSUITABLE, wrong), worker.drop(reservation)]
    refused = admission.why_not_award(worker, reservation, award, lacks)
    if refused is not None:
        refusal_kind, reason = refused
        # Its requester could not know: no miss. Dropped first, so that what was refused is not news of room.
        dropped = worker.drop(reservation)
        worker.refused_busy |= refusal_kind is RefusalKind.BUSY
        return [refuse(peer, award, refusal_kind, reason), dropped]
    worker.standing.awarded(peer, now)
    reservation.award, reservation.mandate = award, award.mandate
    reservation.state, reservation.deadline = ReservationState.PREPARING, now + PREPARE_TIMEOUT_S
    return [
        *_report(worker, reservation, Stage.PREPARING, _less_grace(award.spec, worker.stop_grace_s_max)),
        Start(reservation, award),
    ]


def resume(worker: WorkerState, reservation: Reservation, award: Award, now: float) -> list[Action]:
    """Go on after a restart with what was awarded: its engine takes up a program that still runs.

    One that has ended meanwhile is not run again; its results are published (`node.executor`).
    """
    if reservation.state is ReservationState.ENDING:
        return [Start(reservation, award), *_end(worker, reservation, now)]
    # The reservation begins again at its start: the executor and the engine know how far it came.
    reservation.state, reservation.deadline = ReservationState.PREPARING, now + PREPARE_TIMEOUT_S
    return [
        *_report(worker, reservation, Stage.PREPARING, "Its node was restarted"),
        Start(reservation, award),
    ]


def progressed(worker: WorkerState, execution: str, stage: Stage, detail: str, now: float) -> list[Action]:
    """Tell the owner how far an execution has come, and set the limit of its stage."""
    reservation = worker.reservations.get(execution)
    if reservation is None or reservation.award is None or reservation.state is ReservationState.ENDING:
        return []
    state = ReservationState(stage)
    if state is not reservation.state:
        reservation.state, reservation.deadline = state, _limit(reservation, stage, now)
        reservation.ran |= state is ReservationState.RUNNING
    return _report(worker, reservation, stage, detail)


def finished(worker: WorkerState, finished: Finished, now: float) -> list[Action]:
    """Send the receipt of an execution to its owner, and keep it for a time."""
    reservation = worker.reservations.get(finished.execution)
    if reservation is None or reservation.ended is not None:
        return []
    ended = Ended(execution=reservation.execution, round=reservation.round, receipt=finished.signed)
    reservation.state, reservation.deadline = ReservationState.ENDED, now + ENDED_KEPT_S
    reservation.ended, reservation.award = ended, None
    actions: list[Action] = [worker.reservations.save(reservation), Send(reservation.owner, ended)]
    worker.note_room()
    if reservation.ran:
        worker.standing.ran(reservation.owner)
    kept = worker.reservations.of(ReservationState.ENDED)
    if len(kept) > ENDED_KEPT_MAX:
        kept.sort(key=lambda one: one.deadline or 0.0)
        actions += [worker.drop(old) for old in kept[: len(kept) - ENDED_KEPT_MAX]]
    return actions


def cancelled(worker: WorkerState, peer: str, execution: str, reason: str, now: float) -> list[Action]:
    """End an execution because its owner says so: a bid or a waiting ask is dropped.

    A program gets its stop signal, its grace and a kill, and what it wrote is kept (`core.records.ending`).
    """
    reservation = worker.reservations.get(execution)
    if reservation is None or reservation.state is ReservationState.ENDING:
        return []
    if reservation.award is None:
        return [worker.drop_unused(reservation, now)] if peer == reservation.owner else []
    if not owner_tracking.may_order(reservation, peer):
        return []
    return kill(worker, reservation, f"cancelled: {reason}", Fault.CANCELLED, now)


def overdue(worker: WorkerState, reservation: Reservation, award: Award, now: float) -> list[Action]:
    """End an execution whose stage has taken longer than its limit."""
    if reservation.state is ReservationState.ENDING:
        ending.keep_nothing(reservation)
        return _end(worker, reservation, now)
    if reservation.deadline == owner_tracking.forsaken_at(reservation):
        reason = "nobody has looked after it since its owner fell silent"
        return kill(worker, reservation, reason, Fault.NETWORK, now, publish=True)
    if reservation.state is ReservationState.RUNNING:
        reason = f"ran longer than its limit of {run_limit_s(award.spec)} s"
        return kill(worker, reservation, reason, Fault.TIMEOUT, now, publish=True)
    limit_s = PREPARE_TIMEOUT_S if reservation.state is ReservationState.PREPARING else PUBLISH_TIMEOUT_S
    reason = f"{reservation.state} took longer than {limit_s:.0f} s"
    return kill(worker, reservation, reason, Fault.PEER, now, keep=False)


def end_all(worker: WorkerState, reason: str, now: float) -> list[Action]:
    """End all that runs, so that it goes on elsewhere."""
    live = [one for one in worker.held if one.award and one.state is not ReservationState.ENDING]
    return [action for one in live for action in kill(worker, one, reason, Fault.MOVED, now)]


def kill(
    worker: WorkerState,
    reservation: Reservation,
    reason: str,
    fault: Fault,
    now: float,
    *,
    keep: bool = True,
    publish: bool = False,
) -> list[Action]:
    """End an execution politely; `keep` what it wrote, and `publish` it where the job wants its results."""
    ending.begin(reservation, reason, fault, keep=keep, publish=publish)
    return _end(worker, reservation, now)


def _end(worker: WorkerState, reservation: Reservation, now: float) -> list[Action]:
    most_s = min(worker.stop_grace_s_max, LEAVING_GRACE_S_MAX if worker.leaving else inf)
    action = ending.kill(reservation, most_s, now)
    return [worker.reservations.save(reservation), action]


def _limit(reservation: Reservation, stage: Stage, now: float) -> float | None:
    assert reservation.award is not None
    match stage:
        case Stage.PREPARING:
            return now + PREPARE_TIMEOUT_S
        case Stage.PUBLISHING:
            return now + PUBLISH_TIMEOUT_S
        case Stage.RUNNING:
            seconds = run_limit_s(reservation.award.spec)
            return owner_tracking.forsaken_at(reservation) if seconds is None else now + seconds


def _less_grace(spec: JobSpec, grace_s_max: int) -> str:
    """The word to the owner of a program that gets less time to end than it asks for; else ""."""
    if stop_grace_s(spec) <= grace_s_max:
        return ""
    return f"its StopGracePeriod is cut to {grace_s_max} s, the most that this peer gives"


def _why_not_the_same(reservation: Reservation, award: Award) -> str | None:
    """An ask could be made to look harmless, and its award bring something else."""
    if codec.digest(award.spec) != reservation.spec_hash:
        return "the job is not the one that was asked about"
    if requirements_of(award.spec) != reservation.requirements or award.spec.priority != reservation.priority:
        return "the job needs other things than its ask said"
    return None


def _why_not_chartered(peer: str, reservation: Reservation, award: Award) -> str | None:
    """The requester's charter says whose job it is, and what runs."""
    authority = mandate.read(award.mandate)
    if authority.charter.job != reservation.job or peer not in authority.members:
        return "the job's charter names neither this job nor its owner"
    try:
        mandate.vet_spec(award.spec, authority, (award.changed_by,) if award.changed_by else ())
    except BadMessage as exc:
        return str(exc)
    return None


def _report(worker: WorkerState, reservation: Reservation, stage: Stage, detail: str) -> list[Action]:
    reservation.sequence += 1
    update = owner_tracking.update(reservation, stage, detail)
    return [worker.reservations.save(reservation), Send(reservation.owner, update)]
