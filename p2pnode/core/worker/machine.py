"""Executions that this node runs for others: the worker's side, without I/O.

`handle` an event, do the actions, come back with `Tick` at `deadline`. Everything is idempotent by
execution id. Asks and bids are `bidding`'s part, what was awarded is that of `executions`, and whom to
obey when owners die that of `owner_tracking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from p2pnode.core.records.events import (
    Action,
    Event,
    Finished,
    Leaving,
    PeerLost,
    Progressed,
    Received,
    SchedulingChanged,
    Tick,
)
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.messages import Adopt, Ask, Award, Cancel, Owned, Release
from p2pnode.core.wire.states import RefusalKind, Scheduling

from . import bidding, executions, owner_tracking
from .state import WorkerState, refuse

# Nothing was awarded yet.
_OPEN = (ReservationState.BID, ReservationState.WAITING)


@dataclass(slots=True)
class Worker(WorkerState):
    """A worker's state, and which event is whose part."""

    @property
    def deadline(self) -> float:
        drains = self.drained_at is not None and self.scheduling is Scheduling.DRAINING
        drained_at = self.drained_at if drains and self.drained_at is not None else inf
        return min(self.reservations.deadline, drained_at, self.better_at)

    def handle(self, event: Event, now: float) -> list[Action]:
        actions = self._handle(event, now)
        return actions + bidding.grant(self, now)

    def _handle(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(message=Ask() | Award() | Release() | Cancel() | Adopt() as about):
                with compartment(Compartment.EXECUTION, about.execution):
                    return self._on_message(event, now)
            case Received(peer, Owned() as owned):
                return owner_tracking.on_owned(self.reservations, peer, owned, self.lost, now)
            case Progressed(execution, stage, detail):
                with compartment(Compartment.EXECUTION, execution):
                    return executions.progressed(self, execution, stage, detail, now)
            case Finished(execution=execution) as finished:
                with compartment(Compartment.EXECUTION, execution):
                    return executions.finished(self, finished, now)
            case PeerLost(peer):
                return self._owner_lost(peer, now)
            case SchedulingChanged(scheduling, deadline):
                self.scheduling, self.drained_at = scheduling, deadline
                return []
            case Tick():
                return self._expired(now)
            case Leaving():
                return self._leave(now)
            case _:
                return []

    def _on_message(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, Ask() as ask, lacks=lacks):
                return bidding.asked(self, peer, ask, lacks, now)
            case Received(peer, Award() as award, lacks=lacks):
                return executions.awarded(self, peer, award, lacks, now)
            case Received(peer, Release(execution=execution)):
                reservation = self.of_owner(peer, execution)
                if reservation is None or reservation.state not in _OPEN:
                    return []
                return [self.drop_unused(reservation, now)]
            case Received(peer, Cancel(execution=execution, reason=reason)):
                return executions.cancelled(self, peer, execution, reason, now)
            case Received(peer, Adopt() as adopt):
                return owner_tracking.adopted(self.reservations, peer, adopt)
            case _:
                return []

    def resume(self, now: float) -> list[Action]:
        """After a restart: go on with all that was awarded; bids that nobody took expire by themselves."""
        actions: list[Action] = []
        for reservation in list(self.reservations.values()):
            if reservation.state is ReservationState.ENDED and reservation.ran:
                self.standing.ran(reservation.owner)
            if reservation.award is not None:
                with compartment(Compartment.EXECUTION, reservation.execution):
                    actions += executions.resume(self, reservation, reservation.award, now)
        return actions

    def _owner_lost(self, peer: str, now: float) -> list[Action]:
        """Drop what `peer` only asked about; let what it awarded go on, and wait for another owner."""
        actions: list[Action] = []
        for reservation in [one for one in self.reservations.values() if one.owner == peer]:
            with compartment(Compartment.EXECUTION, reservation.execution):
                if reservation.state in _OPEN:
                    actions.append(self.drop_unused(reservation, now))
                elif reservation.orphaned is None:
                    actions += owner_tracking.orphaned(self.reservations, reservation, now)
        return actions

    def _expired(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.drained_at is not None and self.drained_at <= now and self.scheduling is Scheduling.DRAINING:
            self.drained_at = None
            actions += executions.end_all(self, "its node was drained", now)
        for reservation in self.reservations.due(now):
            with compartment(Compartment.EXECUTION, reservation.execution):
                actions += self._overdue(reservation, now)
        return actions

    def _overdue(self, reservation: Reservation, now: float) -> list[Action]:
        if reservation.state is ReservationState.WAITING:
            reason = f"waited for room for {bidding.WAIT_TIMEOUT_S / 60:.0f} minutes"
            refusal = refuse(reservation.owner, reservation, RefusalKind.BUSY, reason)
            return [refusal, self.drop(reservation)]
        if reservation.award is None:
            return [self.drop_unused(reservation, now)]
        return executions.overdue(self, reservation, reservation.award, now)

    def _leave(self, now: float) -> list[Action]:
        """Give back all that was promised, so that owners can place it elsewhere before we are gone."""
        self.leaving = True
        actions: list[Action] = []
        for reservation in self.reservations.of(*_OPEN):
            refusal = refuse(reservation.owner, reservation, RefusalKind.UNSUITABLE, "is shutting down")
            actions += [refusal, self.drop(reservation)]
        return actions + executions.end_all(self, "its node was shut down", now)
