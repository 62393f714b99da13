"""A worker's state: its capacity, its reservations, and what it owes to those that it turned away."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.placement.matching import minus
from p2pnode.core.placement.policy import NO_POLICY, TakePolicy
from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import Action, Send
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Ask, Award, Capacity, Refusal
from p2pnode.core.wire.spec import STOP_GRACE_S_MAX, JobSpec
from p2pnode.core.wire.states import RefusalKind, Scheduling

from .reservations import Reservations

# Long enough for a requester to hear the other bidders and award; short, since it holds resources.
BID_VALID_S = 10.0
# A bid that was held for longer, and not awarded, kept others waiting; losing bids are released long before.
BID_MISSED_S = 5.0


def _no_role(peer: str) -> str:
    return ""


@dataclass(slots=True)
class WorkerState:
    # Says what is wrong with a spec that a peer sent, or None: requesters' own checks can't be trusted.
    check_spec: Callable[[JobSpec], str | None]
    # The whole, with nothing reserved; None until the engines were looked at.
    capacity: Capacity | None = None
    reservations: Reservations = field(default_factory=Reservations)
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
    policy: TakePolicy = NO_POLICY
    # Gives the role of a peer in the private network, as it has proven it; "": not known, or in none.
    role_of: Callable[[str], str] = _no_role
    # The namespaces of jobs whose awards found a quota used up: their asks wait (`admission`).
    namespaces: dict[str, str] = field(default_factory=dict)
    # The peers that are silent; kept by the participant.
    lost: Collection[str] = frozenset()
    # When a requester that waits may get more than now.
    better_at: float = inf
    # The capacity now, and what it was derived from.
    _available: tuple[Capacity, Reservations, int, Scheduling, Capacity] | None = None

    @property
    def held(self) -> list[Reservation]:
        """The reservations that hold resources."""
        return self.reservations.holding

    @property
    def available(self) -> Capacity | None:
        """The capacity now: `free` is the whole, less what every reservation holds."""
        if self.capacity is None:
            return None
        whole, reservations, changes = self.capacity, self.reservations, self.reservations.changes
        now = self._available
        if (
            now is None
            or now[0] is not whole
            or now[1] is not reservations
            or now[2:4] != (changes, self.scheduling)
        ):
            free = minus(whole.total, (reservation.requirements.resources for reservation in self.held))
            now = (
                whole,
                reservations,
                changes,
                self.scheduling,
                codec.replace(whole, free=free, scheduling=self.scheduling),
            )
            self._available = now
        return now[-1]

    @property
    def cache_keys_used(self) -> list[int]:
        """The cache keys of images and inputs of what runs here or has ended of late, the newest first."""
        ran = sorted((one for one in self.reservations.values() if one.ran), key=lambda one: -one.created)
        return list(dict.fromkeys(cache_key for one in ran for cache_key in one.requirements.cache_keys))

    def of_owner(self, peer: str, execution: str) -> Reservation | None:
        """The reservation, if `peer` is its owner: an execution id is no secret."""
        reservation = self.reservations.get(execution)
        return reservation if reservation is not None and reservation.owner == peer else None

    def drop(self, reservation: Reservation) -> Action:
        """Forget a reservation; whoever was refused for want of room will hear that there is some."""
        self.note_room()
        return self.reservations.drop(reservation.execution)

    def drop_unused(self, reservation: Reservation, now: float) -> Action:
        """Forget a reservation never awarded; a bid that was held for long counts against its requester."""
        if reservation.state is ReservationState.BID:
            assert reservation.deadline is not None
            held_s = now - (reservation.deadline - BID_VALID_S)
            if held_s >= BID_MISSED_S:
                self.standing.missed(reservation.owner, now)
        return self.drop(reservation)

    def note_room(self) -> None:
        """Note that resources are free again."""
        self.owes_news |= self.refused_busy
        self.refused_busy = False


def refuse(peer: str, message: Ask | Award | Reservation, refusal_kind: RefusalKind, reason: str) -> Send:
    """The refusal of an ask or an award, or of what an ask has reserved."""
    # A reason may quote the job's constraints, which have no such limit.
    refusal = Refusal(
        execution=message.execution,
        round=message.round,
        refusal_kind=refusal_kind,
        reason=reason[:REASON_LENGTH_MAX],
    )
    return Send(peer, refusal)
