"""Asks, and the bids that they get: at once, in turn, or not at all.

A bid holds the resources that it offers until it is awarded, released or expired, so an award is
never refused for want of room. An ask for which there is no room waits, and is bid for when there is
some, requester by requester (`queueing`).
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from p2pnode.core.placement.arrival import fetch_s
from p2pnode.core.placement.matching import SCHEDULING_REASONS, infeasible_reason
from p2pnode.core.records.events import Action, Send
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import extensions
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.messages import Ask, Bid
from p2pnode.core.wire.states import Fault, RefusalKind, Scheduling

from . import admission, executions, queueing
from .state import BID_VALID_S, WorkerState, refuse

# Asks that wait here for room: a few for each job of each requester of a busy network.
WAITING_MAX = 1_024
# Identities cost nothing: however many ask, there is a place for the asks of others.
WAITING_OF_STRANGERS_MAX = 256
WAITING_PER_PEER_MAX = 128
# A requester that still wants it asks again.
WAIT_TIMEOUT_S = 60 * 60.0


def asked(worker: WorkerState, peer: str, ask: Ask, lacks: str, now: float) -> list[Action]:
    """Answer an ask with a bid or a refusal; `lacks` is what its inputs want here, by the shell's word.

    It refuses what it can never run (`matching.infeasible_reason`), all while it is cordoned or
    drained, and what finds too many waiting; the rest waits. An ask that comes twice gets the same bid.
    """
    reservation = worker.reservations.get(ask.execution)
    if reservation is not None:
        repeat = reservation.owner == peer and reservation.state is ReservationState.BID
        return [_bid(worker, reservation, now)] if repeat else []
    reservation = _waiting(worker, peer, ask, now)
    refused = _why_not(worker, peer, ask, lacks, now) or admission.why_not_ask(worker, reservation)
    if refused is not None:
        refusal_kind, reason = refused
        worker.refused_busy |= refusal_kind is RefusalKind.BUSY
        return [refuse(peer, ask, refusal_kind, reason)]
    saved = worker.reservations.save(reservation)
    waiting = queueing.waiting(worker.reservations, worker.standing, now)
    room = _room(worker, now)
    if room.has(reservation):
        return _make_bid(worker, reservation, now)
    over = room.over_quota(reservation)
    reason = f"{over or 'busy'}; the ask waits there as number {waiting.index(reservation) + 1}"
    queued = refuse(peer, ask, RefusalKind.QUEUED, reason)
    return [saved, queued, *([] if over else _preempt(worker, reservation, now))]


def _waiting(worker: WorkerState, peer: str, ask: Ask, now: float) -> Reservation:
    return Reservation(
        execution=ask.execution,
        owner=peer,
        job=ask.job,
        namespace=worker.namespaces.get(ask.job, ""),
        round=ask.round,
        spec_hash=ask.spec_hash,
        priority=ask.priority,
        requirements=ask.requirements,
        sizes=ask.sizes,
        state=ReservationState.WAITING,
        deadline=now + WAIT_TIMEOUT_S,
        created=now,
    )


def grant(worker: WorkerState, now: float) -> list[Action]:
    """Bid for what waits here and has room now, in turns."""
    worker.better_at = inf
    if worker.leaving or worker.scheduling is not Scheduling.SCHEDULABLE or worker.capacity is None:
        return []
    waiting = queueing.waiting(worker.reservations, worker.standing, now)
    if not waiting:
        return []
    actions: list[Action] = []
    room = _room(worker, now)
    for reservation in waiting:
        with compartment(Compartment.EXECUTION, reservation.execution):
            if room.has(reservation):
                actions += _make_bid(worker, reservation, now)
                room = _room(worker, now)
    owners = {one.owner for one in waiting if one.state is ReservationState.WAITING}
    times = (worker.standing.better_at(owner, now) for owner in owners)
    worker.better_at = min((at for at in times if at is not None), default=inf)
    return actions


def _why_not(
    worker: WorkerState, peer: str, ask: Ask, lacks: str, now: float
) -> tuple[RefusalKind, str] | None:
    capacity_now = worker.available
    if capacity_now is None or not capacity_now.engines:
        return RefusalKind.UNSUITABLE, "runs nothing for others"
    if worker.leaving:
        return RefusalKind.UNSUITABLE, "is shutting down"
    musts = ask.requirements.must or ()
    reason = (
        infeasible_reason(ask.requirements, capacity_now)
        or lacks
        or extensions.not_understood(musts, "the job")
    )
    if reason:
        return RefusalKind.UNSUITABLE, reason
    if worker.scheduling is not Scheduling.SCHEDULABLE:
        return RefusalKind.BUSY, SCHEDULING_REASONS[worker.scheduling]
    waiting = worker.reservations.of(ReservationState.WAITING)
    if len(waiting) >= WAITING_MAX:
        return RefusalKind.BUSY, f"busy: {WAITING_MAX} asks wait here, the limit"
    if sum(one.owner == peer for one in waiting) >= WAITING_PER_PEER_MAX:
        return RefusalKind.BUSY, f"busy: {WAITING_PER_PEER_MAX} asks of this requester wait here already"
    proven = worker.standing.is_proven
    if not proven(peer, now) and sum(not proven(one.owner, now) for one in waiting) >= (
        WAITING_OF_STRANGERS_MAX
    ):
        limit = f"{WAITING_OF_STRANGERS_MAX} asks of requesters that are new here"
        return RefusalKind.BUSY, f"busy: {limit} wait here already"
    return None


def _room(worker: WorkerState, now: float) -> queueing.Room:
    assert worker.capacity is not None
    return queueing.Room(worker.capacity, worker.reservations, worker.standing, worker.policy, now)


def _make_bid(worker: WorkerState, reservation: Reservation, now: float) -> list[Action]:
    reservation.state, reservation.deadline = ReservationState.BID, now + BID_VALID_S
    worker.standing.served(queueing.share_of(reservation.owner, worker.standing, now), now)
    return [worker.reservations.save(reservation), _bid(worker, reservation, now)]


def _preempt(worker: WorkerState, reservation: Reservation, now: float) -> list[Action]:
    if not worker.preempts or worker.capacity is None:
        return []
    reason = f"made room for a job of priority {reservation.priority}"
    chosen = queueing.victims(reservation, worker.capacity, worker.held, worker.standing.me)
    return [action for one in chosen for action in executions.kill(worker, one, reason, Fault.MOVED, now)]


def _bid(worker: WorkerState, reservation: Reservation, now: float) -> Send:
    assert worker.capacity is not None and reservation.deadline is not None
    return Send(
        reservation.owner,
        Bid(
            execution=reservation.execution,
            round=reservation.round,
            valid_ms=max(0, int((reservation.deadline - now) * 1000)),
            price_micros=admission.price_micros_of(worker, reservation),
            start_ms=_start_ms(worker, reservation),
        ),
    )


def _start_ms(worker: WorkerState, reservation: Reservation) -> int:
    """How long it takes to fetch what it lacks here, beside all that is being fetched."""
    assert worker.capacity is not None
    here = {cache_key for cache_key, _ in worker.capacity.cached}
    lacks = _large(reservation, here)
    if not lacks or not (lacks := _large(reservation, here.union(worker.cache_keys_used))):
        return 0
    for one in worker.reservations.of(ReservationState.PREPARING):
        lacks |= _large(one, here)
    return int(fetch_s(lacks.values(), worker.capacity.fetch_rate) * 1000)


def _large(reservation: Reservation, here: Collection[int]) -> dict[int, int]:
    """Sizes, by cache key, of all it uses that is not here and takes some time to come."""
    sizes = zip(reservation.requirements.cache_keys, reservation.sizes, strict=False)
    return {cache_key: size for cache_key, size in sizes if size and cache_key not in here}
