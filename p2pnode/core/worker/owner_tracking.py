"""The owner that a compute peer obeys while owners die and come back: rules about a reservation.

An award names the owner's deputies and its epoch. A deputy that takes over adopts the
execution with a higher epoch; of two that claim it, the higher epoch is obeyed, and of equal
ones the higher peer id, as everywhere. While nobody is heard of, the program goes on: batch
work to its end, since its result is wanted; what would run for ever, for a time.
"""

from __future__ import annotations

from p2pnode.core.records.events import Action, Send
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.records.reservations import STAGES, Reservation, ReservationState
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
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
    if not _trusts(reservation, peer) or (adopt.epoch, peer) < (reservation.epoch, reservation.owner):
        return [Send(peer, Owned(job=reservation.job, epoch=reservation.epoch, owner=reservation.owner))]
    reservation.owner, reservation.epoch, reservation.deputies = peer, adopt.epoch, adopt.deputies
    # The owner that was announced may not be among the new deputies, and has to be announced anew.
    reservation.announced_to = (0, "")
    if forsaken_at(reservation) is not None:
        reservation.deadline = None
    reservation.orphaned = None
    if reservation.ended is not None:
        return [reservations.save(reservation), Send(peer, reservation.ended)]
    if reservation.state is ReservationState.ENDING:
        return [reservations.save(reservation)]
    reservation.sequence += 1
    return [reservations.save(reservation), Send(peer, update(reservation, Stage(reservation.state), ""))]


def on_owned(reservations: Reservations, peer: str, owned: Owned) -> list[Action]:
    """A peer that may know says who owns a job: let that one know of what runs here for it."""
    actions: list[Action] = []
    for reservation in reservations.values():
        higher = (owned.epoch, owned.owner) > max(
            (reservation.epoch, reservation.owner), reservation.announced_to
        )
        if (
            reservation.job != owned.job
            or not higher
            or not _trusts(reservation, peer)
            or reservation.state not in STAGES
        ):
            continue
        reservation.announced_to = owned.epoch, owned.owner
        if owned.owner not in reservation.deputies:
            reservation.deputies = (owned.owner, *reservation.deputies)[:PEERS_NAMED_MAX]
        actions += [reservations.save(reservation), Send(owned.owner, _orphan(reservation))]
    return actions


def orphaned(reservations: Reservations, reservation: Reservation, now: float) -> list[Action]:
    """Its owner is silent: tell all who may take over, and the owner itself should it come back."""
    if reservation.state not in STAGES:
        return []
    reservation.orphaned = now
    reservation.deadline = forsaken_at(reservation) or reservation.deadline
    tell = dict.fromkeys((reservation.owner, *reservation.deputies))
    return [reservations.save(reservation), *(Send(peer, _orphan(reservation)) for peer in tell)]


def forsaken_at(reservation: Reservation) -> float | None:
    """When a program that would run for ever is ended because nobody looks after it; None: never."""
    for_ever = reservation.award is not None and reservation.award.spec.type in LONG_RUNNING
    if reservation.orphaned is None or reservation.state is not ReservationState.RUNNING or not for_ever:
        return None
    return reservation.orphaned + ORPHAN_TIMEOUT_S


def _trusts(reservation: Reservation, peer: str) -> bool:
    return peer == reservation.owner or peer in reservation.deputies


def _orphan(reservation: Reservation) -> Orphan:
    assert reservation.award is not None
    return Orphan(
        execution=reservation.execution,
        round=reservation.round,
        job=reservation.job,
        replica=reservation.award.replica,
        owner=reservation.owner,
        epoch=reservation.epoch,
    )
