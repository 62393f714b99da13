"""Executions that this node runs for others: the worker's side, without I/O.

`handle` an event, do the actions, come back with `Tick` at `deadline`. A bid holds the
resources that it offers until it is awarded, released or expired, so an award is never
refused for want of room. An ask for which there is no room waits here, and is bid for when
there is some, requester by requester (`core.worker.queueing`). Everything is
idempotent by execution id: an ask that comes twice gets the same bid, an award that comes
twice starts one program.

Whom to obey when owners die is `core.worker.owner_tracking`'s part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.placement.matching import (
    SCHEDULING_REASONS,
    infeasible_reason,
    minus,
    requirements_of,
)
from p2pnode.core.placement.standing import Standing
from p2pnode.core.records import ending
from p2pnode.core.records.ending import (
    LEAVING_GRACE_S_MAX,
    PUBLISH_TIMEOUT_S,
    STOP_GRACE_S_MAX,
    run_limit_s,
    stop_grace_s,
)
from p2pnode.core.records.events import (
    Action,
    DropReservation,
    Event,
    Finished,
    Leaving,
    PeerLost,
    Progressed,
    Received,
    SaveReservation,
    SchedulingChanged,
    Send,
    Start,
    Tick,
)
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import (
    Adopt,
    Ask,
    Award,
    Bid,
    Cancel,
    Capacity,
    Ended,
    Owned,
    Refusal,
    Release,
)
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import Fault, RefusalKind, Scheduling, Stage

from . import owner_tracking, queueing

# Long enough for a requester to hear the other bidders and award; short, since it holds resources.
BID_VALID_S = 10.0
# Pulling a large image over a slow line; without a limit a stuck pull would hold its resources for ever.
PREPARE_TIMEOUT_S = 30 * 60.0
# A bid that was held for longer, and not awarded, kept others waiting; losing bids are released long before.
BID_MISSED_S = 5.0
# Asks that wait here for room: a few for each job of each requester of a busy network.
WAITING_MAX = 1_024
# Identities cost nothing: however many ask, there is a place for the asks of others.
WAITING_OF_STRANGERS_MAX = 256
WAITING_PER_PEER_MAX = 128
# A requester that still wants it asks again.
WAIT_TIMEOUT_S = 60 * 60.0
# A receipt is small; an owner that is away for longer finds the result by its job's deputies.
ENDED_KEPT_S = 60 * 60.0
ENDED_KEPT_MAX = 1_000

_STAGES = {
    Stage.PREPARING: ReservationState.PREPARING,
    Stage.RUNNING: ReservationState.RUNNING,
    Stage.PUBLISHING: ReservationState.PUBLISHING,
}


@dataclass(slots=True)
class Worker:
    # Says what is wrong with a spec that a peer sent, or None: requesters' own checks can't be trusted.
    check_spec: Callable[[JobSpec], str | None]
    # The whole, with nothing reserved; None until the engines were looked at.
    capacity: Capacity | None = None
    reservations: dict[str, Reservation] = field(default_factory=dict)
    scheduling: Scheduling = Scheduling.SCHEDULABLE
    # When draining ends what still runs.
    drained_at: float | None = None
    leaving: bool = False
    # Somebody was refused for want of room, and waits to hear that there is some again.
    refused_busy: bool = False
    owes_news: bool = False
    # Ends batch work of lower priority where more urgent work has no room.
    preempts: bool = False
    # The longest time that a program here may take to end once it is told to.
    stop_grace_s_max: int = STOP_GRACE_S_MAX
    standing: Standing = field(default_factory=Standing)
    # When a requester that waits may get more than now.
    _better_at: float = inf

    @property
    def deadline(self) -> float:
        times = [one.deadline for one in self.reservations.values() if one.deadline is not None]
        if self.drained_at is not None and self.scheduling is Scheduling.DRAINING:
            times.append(self.drained_at)
        times.append(self._better_at)
        return min(times, default=inf)

    @property
    def held(self) -> list[Reservation]:
        """The reservations that hold resources."""
        return queueing.holding(self.reservations.values())

    @property
    def cache_keys_used(self) -> list[int]:
        """The cache keys of images and inputs of what runs here or has ended of late, the newest first."""
        ran = sorted((one for one in self.reservations.values() if one.ran), key=lambda one: -one.created)
        return list(dict.fromkeys(cache_key for one in ran for cache_key in one.requirements.cache_keys))

    @property
    def available(self) -> Capacity | None:
        """The capacity now: `free` is the whole, less what every reservation holds."""
        if self.capacity is None:
            return None
        held = (reservation.requirements.resources for reservation in self.held)
        return codec.replace(self.capacity, free=minus(self.capacity.total, held), scheduling=self.scheduling)

    def handle(self, event: Event, now: float) -> list[Action]:
        actions = self._handle(event, now)
        return actions + self._grant(now)

    def _handle(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(message=Ask() | Award() | Release() | Cancel() | Adopt() as about):
                with compartment(Compartment.EXECUTION, about.execution):
                    return self._on_message(event, now)
            case Received(peer, Owned() as owned):
                return owner_tracking.on_owned(self.reservations.values(), peer, owned)
            case Progressed(execution, stage, detail):
                with compartment(Compartment.EXECUTION, execution):
                    return self._progressed(execution, stage, detail, now)
            case Finished(execution=execution) as finished:
                with compartment(Compartment.EXECUTION, execution):
                    return self._finished(finished, now)
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
                return self._asked(peer, ask, lacks, now)
            case Received(peer, Award() as award):
                return self._awarded(peer, award, now)
            case Received(peer, Release(execution=execution)):
                reservation = self._reservation_of(peer, execution)
                waits = reservation and reservation.state in (
                    ReservationState.OFFERED,
                    ReservationState.WAITING,
                )
                return self._unused(reservation, now) if reservation and waits else []
            case Received(peer, Cancel(execution=execution, reason=reason)):
                return self._cancelled(peer, execution, reason, now)
            case Received(peer, Adopt() as adopt):
                return owner_tracking.adopted(self.reservations.get(adopt.execution), peer, adopt)
            case _:
                return []

    def resume(self, now: float) -> list[Action]:
        """After a restart: go on with all that was awarded; bids that nobody took expire by themselves."""
        actions: list[Action] = []
        for reservation in self.reservations.values():
            if reservation.state is ReservationState.ENDED and reservation.ran:
                self.standing.ran(reservation.owner)
            if reservation.award is not None:
                with compartment(Compartment.EXECUTION, reservation.execution):
                    actions += self.resume_reservation(reservation, reservation.award, now)
        return actions

    def resume_reservation(self, reservation: Reservation, award: Award, now: float) -> list[Action]:
        """Go on with what was awarded."""
        if reservation.state is ReservationState.ENDING:
            return [Start(reservation, award), *self._end(reservation, now)]
        # The reservation begins again at its start: the executor and the engine know how far it came.
        reservation.state, reservation.deadline = ReservationState.PREPARING, now + PREPARE_TIMEOUT_S
        return [
            *self._report(reservation, Stage.PREPARING, "Its node was restarted"),
            Start(reservation, award),
        ]

    def _reservation_of(self, peer: str, execution: str) -> Reservation | None:
        reservation = self.reservations.get(execution)
        # Only who asked may decide: an execution id is no secret.
        return reservation if reservation is not None and reservation.owner == peer else None

    # Asks and bids

    def _asked(self, peer: str, ask: Ask, lacks: str, now: float) -> list[Action]:
        reservation = self.reservations.get(ask.execution)
        if reservation is not None:
            repeat = reservation.owner == peer and reservation.state is ReservationState.OFFERED
            return [self._bid(reservation, now)] if repeat else []
        refused = self._why_not(peer, ask, lacks, now)
        if refused is not None:
            refusal_kind, reason = refused
            self.refused_busy |= refusal_kind is RefusalKind.BUSY
            return [self._refuse(peer, ask, refusal_kind, reason)]
        reservation = Reservation(
            execution=ask.execution,
            owner=peer,
            job=ask.job,
            round=ask.round,
            spec_hash=ask.spec_hash,
            priority=ask.priority,
            requirements=ask.requirements,
            state=ReservationState.WAITING,
            deadline=now + WAIT_TIMEOUT_S,
            created=now,
        )
        self.reservations[reservation.execution] = reservation
        waiting = self._waiting(now)
        if self._room(now).has(reservation):
            return self._make_bid(reservation, now)
        reason = f"busy; the ask waits there as number {waiting.index(reservation) + 1}"
        queued = self._refuse(peer, ask, RefusalKind.QUEUED, reason)
        return [SaveReservation(reservation), queued, *self._preempt(reservation, now)]

    def _why_not(self, peer: str, ask: Ask, lacks: str, now: float) -> tuple[RefusalKind, str] | None:
        capacity_now = self.available
        if capacity_now is None or not capacity_now.engines:
            return RefusalKind.UNSUITABLE, "runs nothing for others"
        if self.leaving:
            return RefusalKind.UNSUITABLE, "is shutting down"
        musts = ask.requirements.must or ()
        reason = (
            infeasible_reason(ask.requirements, capacity_now)
            or lacks
            or extensions.not_understood(musts, "the job")
        )
        if reason:
            return RefusalKind.UNSUITABLE, reason
        if self.scheduling is not Scheduling.SCHEDULABLE:
            return RefusalKind.BUSY, SCHEDULING_REASONS[self.scheduling]
        waiting = [one for one in self.reservations.values() if one.state is ReservationState.WAITING]
        if len(waiting) >= WAITING_MAX:
            return RefusalKind.BUSY, f"busy: {WAITING_MAX} asks wait here, the limit"
        if sum(one.owner == peer for one in waiting) >= WAITING_PER_PEER_MAX:
            return RefusalKind.BUSY, f"busy: {WAITING_PER_PEER_MAX} asks of this requester wait here already"
        proven = self.standing.is_proven
        if not proven(peer, now) and sum(not proven(one.owner, now) for one in waiting) >= (
            WAITING_OF_STRANGERS_MAX
        ):
            limit = f"{WAITING_OF_STRANGERS_MAX} asks of requesters that are new here"
            return RefusalKind.BUSY, f"busy: {limit} wait here already"
        return None

    def _waiting(self, now: float) -> list[Reservation]:
        return queueing.waiting(self.reservations.values(), self.standing, now)

    def _room(self, now: float) -> queueing.Room:
        assert self.capacity is not None
        return queueing.Room(self.capacity, self.reservations.values(), self.standing, now)

    def _make_bid(self, reservation: Reservation, now: float) -> list[Action]:
        reservation.state, reservation.deadline = ReservationState.OFFERED, now + BID_VALID_S
        self.standing.served(queueing.share_of(reservation.owner, self.standing, now), now)
        return [SaveReservation(reservation), self._bid(reservation, now)]

    def _grant(self, now: float) -> list[Action]:
        """Bid for what waits here and has room now, in turns."""
        self._better_at = inf
        if self.leaving or self.scheduling is not Scheduling.SCHEDULABLE or self.capacity is None:
            return []
        waiting = self._waiting(now)
        if not waiting:
            return []
        actions: list[Action] = []
        room = self._room(now)
        for reservation in waiting:
            with compartment(Compartment.EXECUTION, reservation.execution):
                if room.has(reservation):
                    actions += self._make_bid(reservation, now)
                    room = self._room(now)
        owners = {one.owner for one in waiting if one.state is ReservationState.WAITING}
        times = (self.standing.better_at(owner, now) for owner in owners)
        self._better_at = min((at for at in times if at is not None), default=inf)
        return actions

    def _preempt(self, reservation: Reservation, now: float) -> list[Action]:
        if not self.preempts or self.capacity is None:
            return []
        reason = f"made room for a job of priority {reservation.priority}"
        chosen = queueing.victims(reservation, self.capacity, self.held, self.standing.me)
        return [action for one in chosen for action in self._kill(one, reason, Fault.MOVED, now)]

    def _bid(self, reservation: Reservation, now: float) -> Send:
        assert self.capacity is not None and reservation.deadline is not None
        return Send(
            reservation.owner,
            Bid(
                execution=reservation.execution,
                round=reservation.round,
                valid_ms=max(0, int((reservation.deadline - now) * 1000)),
                price_micros=self.capacity.price_micros,
                start_ms=0,
            ),
        )

    # Executions

    def _awarded(self, peer: str, award: Award, now: float) -> list[Action]:
        reservation = self._reservation_of(peer, award.execution)
        if reservation is None or reservation.state is ReservationState.WAITING:
            reason = "no such bid is open: it expired, was released or was used"
            return [self._refuse(peer, award, RefusalKind.EXPIRED, reason)]
        if reservation.state is not ReservationState.OFFERED:
            return []
        wrong = self._why_not_the_same(reservation, award)
        if wrong is not None:
            self.standing.missed(peer, now)
            return [self._refuse(peer, award, RefusalKind.UNSUITABLE, wrong), *self._drop(reservation)]
        self.standing.awarded(peer, now)
        reservation.award, reservation.epoch, reservation.deputies = award, award.epoch, award.deputies
        reservation.state, reservation.deadline = ReservationState.PREPARING, now + PREPARE_TIMEOUT_S
        return [
            *self._report(reservation, Stage.PREPARING, self._less_grace(award.spec)),
            Start(reservation, award),
        ]

    def _less_grace(self, spec: JobSpec) -> str:
        """The word to the owner of a program that gets less time to end than it asks for; else ""."""
        if stop_grace_s(spec) <= self.stop_grace_s_max:
            return ""
        return f"its StopGracePeriod is cut to {self.stop_grace_s_max} s, the most that this peer gives"

    def _why_not_the_same(self, reservation: Reservation, award: Award) -> str | None:
        """An ask could be made to look harmless, and its award bring something else."""
        if codec.digest(award.spec) != reservation.spec_hash:
            return "the job is not the one that was asked about"
        if (
            requirements_of(award.spec) != reservation.requirements
            or award.spec.priority != reservation.priority
        ):
            return "the job needs other things than its ask said"
        return self.check_spec(award.spec)

    def _refuse(self, peer: str, message: Ask | Award, refusal_kind: RefusalKind, reason: str) -> Send:
        # A reason may quote the job's constraints, which have no such limit.
        refusal = Refusal(
            execution=message.execution,
            round=message.round,
            refusal_kind=refusal_kind,
            reason=reason[:REASON_LENGTH_MAX],
        )
        return Send(peer, refusal)

    def _cancelled(self, peer: str, execution: str, reason: str, now: float) -> list[Action]:
        reservation = self._reservation_of(peer, execution)
        if reservation is None or reservation.state is ReservationState.ENDING:
            return []
        if reservation.award is None:
            return self._unused(reservation, now)
        return self._kill(reservation, f"cancelled: {reason}", Fault.CANCELLED, now)

    def _progressed(self, execution: str, stage: Stage, detail: str, now: float) -> list[Action]:
        reservation = self.reservations.get(execution)
        if reservation is None or reservation.award is None or reservation.state is ReservationState.ENDING:
            return []
        state = _STAGES[stage]
        if state is not reservation.state:
            reservation.state, reservation.deadline = state, self._limit(reservation, stage, now)
            reservation.ran |= state is ReservationState.RUNNING
        return self._report(reservation, stage, detail)

    def _limit(self, reservation: Reservation, stage: Stage, now: float) -> float | None:
        assert reservation.award is not None
        match stage:
            case Stage.PREPARING:
                return now + PREPARE_TIMEOUT_S
            case Stage.PUBLISHING:
                return now + PUBLISH_TIMEOUT_S
            case Stage.RUNNING:
                seconds = run_limit_s(reservation.award.spec)
                return owner_tracking.forsaken_at(reservation) if seconds is None else now + seconds

    def _report(self, reservation: Reservation, stage: Stage, detail: str) -> list[Action]:
        reservation.sequence += 1
        return [
            SaveReservation(reservation),
            Send(reservation.owner, owner_tracking.update(reservation, stage, detail)),
        ]

    def _finished(self, finished: Finished, now: float) -> list[Action]:
        reservation = self.reservations.get(finished.execution)
        if reservation is None or reservation.ended is not None:
            return []
        ended = Ended(execution=reservation.execution, round=reservation.round, receipt=finished.signed)
        reservation.state, reservation.deadline = ReservationState.ENDED, now + ENDED_KEPT_S
        reservation.ended, reservation.award = ended, None
        kept = [one for one in self.reservations.values() if one.state is ReservationState.ENDED]
        self._note_room()
        if reservation.ran:
            self.standing.ran(reservation.owner)
        actions: list[Action] = [SaveReservation(reservation), Send(reservation.owner, ended)]
        for old in kept[: max(0, len(kept) - ENDED_KEPT_MAX)]:
            actions += self._drop(old)
        return actions

    def _owner_lost(self, peer: str, now: float) -> list[Action]:
        """Drop what `peer` only asked about; let what it awarded go on, and wait for another owner."""
        actions: list[Action] = []
        for reservation in [one for one in self.reservations.values() if one.owner == peer]:
            with compartment(Compartment.EXECUTION, reservation.execution):
                if reservation.state in (ReservationState.OFFERED, ReservationState.WAITING):
                    actions += self._unused(reservation, now)
                elif reservation.orphaned is None:
                    actions += owner_tracking.orphaned(reservation, now)
        return actions

    def _expired(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.drained_at is not None and self.drained_at <= now and self.scheduling is Scheduling.DRAINING:
            self.drained_at = None
            actions += self._end_all("its node was drained", now)
        over = [one for one in self.reservations.values() if one.deadline is not None and one.deadline <= now]
        for reservation in over:
            with compartment(Compartment.EXECUTION, reservation.execution):
                actions += self._overdue(reservation, now)
        return actions

    def _overdue(self, reservation: Reservation, now: float) -> list[Action]:
        if reservation.state is ReservationState.WAITING:
            reason = f"waited for room for {WAIT_TIMEOUT_S / 60:.0f} minutes"
            refusal = Refusal(
                execution=reservation.execution,
                round=reservation.round,
                refusal_kind=RefusalKind.BUSY,
                reason=reason,
            )
            return [Send(reservation.owner, refusal), *self._drop(reservation)]
        if reservation.award is None:
            return self._unused(reservation, now)
        if reservation.state is ReservationState.ENDING:
            reservation.end_keep = False
            return self._end(reservation, now)
        if reservation.deadline == owner_tracking.forsaken_at(reservation):
            reason = "nobody has looked after it since its owner fell silent"
            return self._kill(reservation, reason, Fault.NETWORK, now, publish=True)
        if reservation.state is ReservationState.RUNNING:
            reason = f"ran longer than its limit of {run_limit_s(reservation.award.spec)} s"
            return self._kill(reservation, reason, Fault.TIMEOUT, now, publish=True)
        limit_s = PREPARE_TIMEOUT_S if reservation.state is ReservationState.PREPARING else PUBLISH_TIMEOUT_S
        reason = f"{reservation.state.lower()} took longer than {limit_s:.0f} s"
        return self._kill(reservation, reason, Fault.PEER, now, keep=False)

    def _kill(
        self,
        reservation: Reservation,
        reason: str,
        fault: Fault,
        now: float,
        *,
        keep: bool = True,
        publish: bool = False,
    ) -> list[Action]:
        ending.begin(reservation, reason, fault, keep=keep, publish=publish)
        return self._end(reservation, now)

    def _end(self, reservation: Reservation, now: float) -> list[Action]:
        most_s = min(self.stop_grace_s_max, LEAVING_GRACE_S_MAX if self.leaving else inf)
        kill = ending.kill(reservation, most_s, now)
        return [SaveReservation(reservation), kill]

    def _leave(self, now: float) -> list[Action]:
        """Give back all that was promised, so that owners can place it elsewhere before we are gone."""
        self.leaving = True
        actions: list[Action] = []
        for reservation in list(self.reservations.values()):
            if reservation.state in (ReservationState.OFFERED, ReservationState.WAITING):
                refusal = Refusal(
                    execution=reservation.execution,
                    round=reservation.round,
                    refusal_kind=RefusalKind.UNSUITABLE,
                    reason="is shutting down",
                )
                actions += [Send(reservation.owner, refusal), *self._drop(reservation)]
        return actions + self._end_all("its node was shut down", now)

    def _end_all(self, reason: str, now: float) -> list[Action]:
        live = [
            one
            for one in self.reservations.values()
            if one.award and one.state is not ReservationState.ENDING
        ]
        return [action for one in live for action in self._kill(one, reason, Fault.MOVED, now)]

    def _unused(self, reservation: Reservation, now: float) -> list[Action]:
        """Drop a reservation never awarded; a bid that was held for long is held against its requester."""
        if reservation.state is ReservationState.OFFERED:
            assert reservation.deadline is not None
            held_s = now - (reservation.deadline - BID_VALID_S)
            if held_s >= BID_MISSED_S:
                self.standing.missed(reservation.owner, now)
        return self._drop(reservation)

    def _drop(self, reservation: Reservation) -> list[Action]:
        del self.reservations[reservation.execution]
        self._note_room()
        return [DropReservation(reservation.execution)]

    def _note_room(self) -> None:
        self.owes_news |= self.refused_busy
        self.refused_busy = False
