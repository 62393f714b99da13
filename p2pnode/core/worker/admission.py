"""Asks and awards against the operator's policy: what is refused for ever, and what waits for its quota."""

from __future__ import annotations

from p2pnode.core.placement.policy import QuotaParty, facts_of_ask, facts_of_job, holding_of
from p2pnode.core.records import mandate
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire.messages import Award
from p2pnode.core.wire.states import RefusalKind

from .state import WorkerState

# Jobs that wait for their namespace's quota are some of those that ask; the oldest is forgotten first.
NAMESPACES_KEPT_MAX = 1_000


def why_not_ask(worker: WorkerState, reservation: Reservation) -> tuple[RefusalKind, str] | None:
    """Why an ask never gets a bid, whatever the job turns out to be; None where it may."""
    me, policy, owner = worker.standing.me, worker.policy, reservation.owner
    decision = policy.decide(facts_of_ask(owner, worker.role_of(owner), reservation.requirements), me)
    reason = decision.reason if decision.taken is False else policy.too_large(holding_of(reservation), me)
    return (RefusalKind.UNSUITABLE, reason) if reason else None


def price_micros_of(worker: WorkerState, reservation: Reservation) -> int:
    """The price of a bid on an ask, by what the ask tells."""
    owner = reservation.owner
    facts = facts_of_ask(owner, worker.role_of(owner), reservation.requirements)
    return worker.policy.price_of(facts)


def why_not_award(
    worker: WorkerState, reservation: Reservation, award: Award, lacks: str
) -> tuple[RefusalKind, str] | None:
    """Why a job is not taken, now that all of it is known; None where it is, and what it counts to is noted.

    A namespace is told only now: where its quota is used up, the job's next ask waits for it.
    """
    me, policy = worker.standing.me, worker.policy
    reservation.requester = mandate.read(award.mandate).charter.members[0]
    reservation.namespace = award.spec.namespace
    role = worker.role_of(reservation.requester)
    decision = policy.decide(facts_of_job(reservation.requester, role, award.spec), me)
    if not decision.taken:
        return RefusalKind.UNSUITABLE, decision.reason
    if reason := lacks or policy.too_large(holding_of(reservation), me):
        return RefusalKind.UNSUITABLE, reason
    others = [holding_of(one) for one in worker.held if one is not reservation]
    over = policy.over_quota(holding_of(reservation), others, me)
    if over is None:
        return None
    if any(quota.each is QuotaParty.NAMESPACE for quota in policy.quotas):
        worker.namespaces[reservation.job] = reservation.namespace
        if len(worker.namespaces) > NAMESPACES_KEPT_MAX:
            del worker.namespaces[next(iter(worker.namespaces))]
    return RefusalKind.BUSY, over
