"""Turns for the room of a compute peer: rules about the reservations that hold some and those that wait.

What waits is served in turns: the requester that holds least here comes first, and all strangers
together count as one requester (`core.placement.standing`). Priority is the asker's own claim, so it
orders only the asks of one requester. Pure functions; `bidding` acts on what they say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from p2pnode.core.placement.matching import RESOURCE_NAMES, fits, minus
from p2pnode.core.placement.policy import TakePolicy, holding_of
from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire.messages import Capacity
from p2pnode.core.wire.spec import JobType, Resources

from .reservations import Reservations

# Programs at once on one node: each is a process or a container with pipes and a directory.
LOANS_MAX = 256
# Strangers' open bids hold at most a half of each resource, so that the other half stays for who awards.
STRANGERS_PERCENT = 50

# The one party that all strangers make up.
_STRANGERS = "strangers"


def waiting(reservations: Reservations, standing: Standing, now: float) -> list[Reservation]:
    """The asks that wait for room, in the order in which they get some."""
    asks = reservations.of(ReservationState.WAITING)
    if not asks:
        return []
    held = Counter(one.owner for one in reservations.holding)
    owners = {one.owner for one in asks}
    proven = {peer: standing.is_proven(peer, now) for peer in owners | set(held)}
    shares = {peer: peer if proven[peer] else _STRANGERS for peer in proven}
    held_by_share: Counter[str] = Counter()
    for peer, count in held.items():
        held_by_share[shares[peer]] += count
    own = _turns(sorted(asks, key=_urgency), held, lambda one: one.owner)
    misses = {peer: standing.misses(peer, now) for peer in owners}
    asks.sort(key=lambda one: (misses[one.owner], own[one.execution], one.created, one.execution))
    turns = _turns(asks, held_by_share, lambda one: shares[one.owner])
    # The longest wait since its last turn decides among equals: room for one is no requester's for ever.
    served = {share: standing.served_at(share) for share in shares.values()}
    return sorted(
        asks,
        key=lambda one: (
            turns[one.execution],
            served[shares[one.owner]],
            not proven[one.owner],
            one.created,
            one.execution,
        ),
    )


def share_of(owner: str, standing: Standing, now: float) -> str:
    """The name in which a requester takes turns: its own, or that of all strangers."""
    return owner if standing.is_proven(owner, now) else _STRANGERS


class Room:
    """The free room, and how much of it open bids to whom may hold; as of now, and of these reservations."""

    def __init__(
        self,
        capacity: Capacity,
        reservations: Reservations,
        standing: Standing,
        policy: TakePolicy,
        now: float,
    ) -> None:
        self._standing, self._policy, self._now = standing, policy, now
        held = reservations.holding
        self._held = [holding_of(one) for one in held] if policy.quotas else []
        bids = reservations.of(ReservationState.BID)
        self._count = len(held)
        self._total = capacity.total
        self._free = minus(capacity.total, (one.requirements.resources for one in held))
        self._open = Counter(one.owner for one in bids)
        self._strangers = [
            (standing.misses(one.owner, now), one.requirements.resources)
            for one in bids
            if not standing.is_proven(one.owner, now)
        ]

        asking = {one.owner for one in reservations.of(ReservationState.WAITING)}
        self._proven_wait = any(standing.is_proven(owner, now) for owner in asking)
        # By misses: what is left of the share, and whether nobody has any of it.
        self._shares: dict[int, tuple[Resources, bool]] = {}

    def has(self, reservation: Reservation) -> bool:
        """Is there room for what waits?

        It takes free resources, fewer than `LOANS_MAX` loans, fewer of its owner's bids than it may hold, and
        the rest of a quota; strangers share a part of the node.
        """
        return self._has_room(reservation) and self.over_quota(reservation) is None

    def over_quota(self, reservation: Reservation) -> str | None:
        """The quota that what waits exceeds, in words; None where it keeps within all."""
        return self._policy.over_quota(holding_of(reservation), self._held, self._standing.me)

    def _has_room(self, reservation: Reservation) -> bool:
        if self._count >= LOANS_MAX or not fits(reservation.requirements.resources, self._free):
            return False
        owner, now = reservation.owner, self._now
        if self._open[owner] >= self._standing.open_bids_max(owner, now):
            return False
        if self._standing.is_proven(owner, now):
            return True
        misses = self._standing.misses(owner, now)
        if misses not in self._shares:
            self._shares[misses] = self._share(misses)
        left, unused = self._shares[misses]
        if fits(reservation.requirements.resources, left):
            return True
        # An ask larger than the share has to be placed some day.
        return not misses and unused and not self._proven_wait

    def _share(self, misses: int) -> tuple[Resources, bool]:
        """The room left to strangers with so many misses or more, and whether they hold none."""
        percent = STRANGERS_PERCENT >> misses
        whole = Resources(**{name: getattr(self._total, name) * percent // 100 for name in RESOURCE_NAMES})
        used = [resources for theirs, resources in self._strangers if theirs >= misses]
        return minus(whole, used), not used


def fits_without(
    reservation: Reservation,
    capacity: Capacity,
    held: Iterable[Reservation],
    gone: Collection[Reservation] = (),
) -> bool:
    """Would there be room for it if some others were gone?"""
    left = (one.requirements.resources for one in held if one not in gone)
    return fits(reservation.requirements.resources, minus(capacity.total, left))


def victims(
    reservation: Reservation, capacity: Capacity, held: Collection[Reservation], me: str
) -> list[Reservation]:
    """The least batch work of lower priority that has to end to make room; none if it would not do.

    A requester can only claim that its work is more urgent than other work of its own; this node's
    own jobs, as its operator's, come before all.
    """
    able = [
        one
        for one in held
        if one.state is not ReservationState.ENDING
        and one.priority < reservation.priority
        and reservation.owner in (one.owner, me)
        and one.award is not None
        and one.award.spec.type is JobType.BATCH
    ]
    able.sort(key=lambda one: (one.priority, -one.created))
    chosen: list[Reservation] = []
    while able and not fits_without(reservation, capacity, held, chosen):
        chosen.append(able.pop(0))
    return chosen if fits_without(reservation, capacity, held, chosen) else []


def _urgency(reservation: Reservation) -> tuple[int, float, str]:
    return -reservation.priority, reservation.created, reservation.execution


def _turns(
    asks: Iterable[Reservation], held: Mapping[str, int], of: Callable[[Reservation], str]
) -> dict[str, int]:
    """How much would be held by each ask's requester, or party, when its turn comes."""
    counts = Counter(held)
    turns = {}
    for one in asks:
        turns[one.execution] = counts[of(one)]
        counts[of(one)] += 1
    return turns
