"""The owner that a compute peer obeys while owners die and come back: rules about a reservation.

An award brings the job's mandate, which names the members by rank (`core.records.mandate`). A member
of lower rank than the present owner is obeyed at once, one of higher rank only while the owner is
silent. While nobody is heard of, the program goes on: batch work to its end, since its result is
wanted; what would run for ever, for a time.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, Send
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.records.reservations import STAGES, Reservation, ReservationState
from p2pnode.core.wire.messages import Adopt, Orphan, Owned, Refusal, Update
from p2pnode.core.wire.states import RefusalKind, Stage

from .reservations import Reservations

# An owner whose laptop sleeps and whose deputies are gone comes back within this time, or not at all.
ORPHAN_TIMEOUT_S = 60 * 60.0


def update(reservation: Reservation, stage: Stage, detail: str) -> Update:
    return Update(
        execution=reservation.execution,
        round=reservation.round,
        sequence=reservation.sequence,
        stage=stage,
        detail=detail,
    )


def adopted(reservations: Reservations, peer: str, adopt: Adopt) -> list[Action]:
    """A peer says that it looks after an execution: answer how far that is, or who it obeys instead."""
    reservation = reservations.get(adopt.execution)
    if (
        reservation is None
        or reservation.job != adopt.job
        or reservation.state in (ReservationState.BID, ReservationState.WAITING)
    ):
        reason = "knows nothing of this execution any more"
        refusal = Refusal(
            execution=adopt.execution, round=adopt.round, refusal_kind=RefusalKind.EXPIRED, reason=reason
        )
        return [Send(peer, refusal)]
    reservation.mandate = mandate.newest(reservation.mandate or adopt.mandate, adopt.mandate)
    if reservation.ended is not None and peer in mandate.read(reservation.mandate).members:
        # The receipt is its peer's word, whoever is told of it.
        return [reservations.save(reservation), Send(peer, reservation.ended)]
    if not may_order(reservation, peer):
        owned = Owned(job=reservation.job, owner=reservation.owner, mandate=reservation.mandate)
        return [reservations.save(reservation), Send(peer, owned)]
    reservation.owner, reservation.announced_to = peer, ()
    if forsaken_at(reservation) is not None:
        reservation.deadline = None
    reservation.orphaned = None
    if reservation.state is ReservationState.ENDING:
        return [reservations.save(reservation)]
    reservation.sequence += 1
    return [reservations.save(reservation), Send(peer, update(reservation, Stage(reservation.state), ""))]


def may_order(reservation: Reservation, peer: str) -> bool:
    """Whether a peer may say what becomes of an execution: its owner, or a member in its place."""
    if reservation.mandate is None:
        return peer == reservation.owner
    authority = mandate.read(reservation.mandate)
    silent = reservation.orphaned is not None
    return mandate.obeys(authority, reservation.owner, peer, owner_is_silent=silent)


def may_read(reservation: Reservation, peer: str) -> bool:
    """Whether a peer gets the output of an execution while it runs: who may order, and controllers."""
    if may_order(reservation, peer):
        return True
    return reservation.mandate is not None and mandate.read(reservation.mandate).may_command(peer)


def on_owned(
    reservations: Reservations, peer: str, owned: Owned, lost: Collection[str], now: float
) -> list[Action]:
    """A member says who owns a job: the owner itself may resign to it, and one that is silent be replaced."""
    actions: list[Action] = []
    for reservation in reservations.values():
        if reservation.job != owned.job or reservation.mandate is None or reservation.state not in STAGES:
            continue
        reservation.mandate = mandate.newest(reservation.mandate, owned.mandate)
        members = mandate.read(reservation.mandate).members
        resigns = peer == reservation.owner != owned.owner
        if owned.owner not in members or not (resigns or reservation.orphaned is not None):
            continue
        if peer not in members and not resigns:
            continue
        if resigns:
            reservation.owner = owned.owner
            if owned.owner in lost:
                # The heir's silence was noticed before, and concerned others.
                actions += orphaned(reservations, reservation, now)
                continue
        if owned.owner not in reservation.announced_to:
            reservation.announced_to = (*reservation.announced_to, owned.owner)
            actions.append(Send(owned.owner, _orphan(reservation)))
        actions.append(reservations.save(reservation))
    return actions


def orphaned(reservations: Reservations, reservation: Reservation, now: float) -> list[Action]:
    """Its owner is silent: tell all who may take over, and the owner itself should it come back."""
    if reservation.state is ReservationState.ENDED or reservation.mandate is None:
        return []
    reservation.orphaned = now
    if reservation.state is ReservationState.ENDING:
        return [reservations.save(reservation)]
    reservation.deadline = forsaken_at(reservation) or reservation.deadline
    tell = dict.fromkeys((reservation.owner, *mandate.read(reservation.mandate).members))
    return [reservations.save(reservation), *(Send(peer, _orphan(reservation)) for peer in tell)]


def forsaken_at(reservation: Reservation) -> float | None:
    """When a program that would run for ever is ended because nobody looks after it; None: never."""
    for_ever = reservation.award is not None and reservation.award.spec.type in LONG_RUNNING
    if reservation.orphaned is None or reservation.state is not ReservationState.RUNNING or not for_ever:
        return None
    return reservation.orphaned + ORPHAN_TIMEOUT_S


def _orphan(reservation: Reservation) -> Orphan:
    assert reservation.award is not None
    return Orphan(
        execution=reservation.execution,
        round=reservation.round,
        job=reservation.job,
        replica=reservation.award.replica,
        owner=reservation.owner,
    )
