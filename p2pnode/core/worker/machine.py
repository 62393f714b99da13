"""What this node lends to others: the compute peer's side, without I/O.

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
    TAKING_REASONS,
    minus,
    never,
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
    DropLoan,
    Event,
    Finished,
    Leaving,
    PeerLost,
    Progressed,
    Received,
    SaveLoan,
    Send,
    Start,
    TakingChanged,
    Tick,
)
from p2pnode.core.records.reservations import Loan, LoanState
from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.compartments import Compartment, compartment
from p2pnode.core.wire.messages import (
    REASON_LENGTH_MAX,
    Adopt,
    Ask,
    Award,
    Bid,
    Cancel,
    Ended,
    Fault,
    Offer,
    Owned,
    Refusal,
    Refusing,
    Release,
    Stage,
    Taking,
)
from p2pnode.core.wire.spec import JobSpec

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
    Stage.PREPARING: LoanState.PREPARING,
    Stage.RUNNING: LoanState.RUNNING,
    Stage.PUBLISHING: LoanState.PUBLISHING,
}


@dataclass(slots=True)
class Lending:
    # Says what is wrong with a spec that a peer sent, or None: requesters' own checks can't be trusted.
    check_spec: Callable[[JobSpec], str | None]
    # What could be lent were nothing lent; None until the engines were looked at.
    capacity: Offer | None = None
    loans: dict[str, Loan] = field(default_factory=dict)
    taking: Taking = Taking.ALL
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
        times = [one.deadline for one in self.loans.values() if one.deadline is not None]
        if self.drained_at is not None and self.taking is Taking.DRAINING:
            times.append(self.drained_at)
        times.append(self._better_at)
        return min(times, default=inf)

    @property
    def held(self) -> list[Loan]:
        """The loans that hold resources."""
        return queueing.holding(self.loans.values())

    @property
    def marks_used(self) -> list[int]:
        """Of the images and inputs of what runs here or has ended of late, the newest first."""
        ran = sorted((one for one in self.loans.values() if one.ran), key=lambda one: -one.created)
        return list(dict.fromkeys(mark for one in ran for mark in one.requirements.uses))

    @property
    def offer(self) -> Offer | None:
        """What is on offer now: the capacity, less what every loan holds."""
        if self.capacity is None:
            return None
        held = (loan.requirements.resources for loan in self.held)
        return codec.replace(self.capacity, free=minus(self.capacity.total, held), taking=self.taking)

    def handle(self, event: Event, now: float) -> list[Action]:
        actions = self._handle(event, now)
        return actions + self._grant(now)

    def _handle(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(message=Ask() | Award() | Release() | Cancel() | Adopt() as about):
                with compartment(Compartment.EXECUTION, about.execution):
                    return self._told(event, now)
            case Received(peer, Owned() as owned):
                return owner_tracking.told_of_owner(self.loans.values(), peer, owned)
            case Progressed(execution, stage, detail):
                with compartment(Compartment.EXECUTION, execution):
                    return self._progressed(execution, stage, detail, now)
            case Finished(execution=execution) as finished:
                with compartment(Compartment.EXECUTION, execution):
                    return self._finished(finished, now)
            case PeerLost(peer):
                return self._owner_lost(peer, now)
            case TakingChanged(taking, deadline):
                self.taking, self.drained_at = taking, deadline
                return []
            case Tick():
                return self._expired(now)
            case Leaving():
                return self._leave(now)
            case _:
                return []

    def _told(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, Ask() as ask, lacks=lacks):
                return self._asked(peer, ask, lacks, now)
            case Received(peer, Award() as award):
                return self._awarded(peer, award, now)
            case Received(peer, Release(execution=execution)):
                loan = self._loan_of(peer, execution)
                waits = loan and loan.state in (LoanState.OFFERED, LoanState.WAITING)
                return self._unused(loan, now) if loan and waits else []
            case Received(peer, Cancel(execution=execution, reason=reason)):
                return self._cancelled(peer, execution, reason, now)
            case Received(peer, Adopt() as adopt):
                return owner_tracking.adopted(self.loans.get(adopt.execution), peer, adopt)
            case _:
                return []

    def resume(self, now: float) -> list[Action]:
        """After a restart: go on with all that was awarded; bids that nobody took expire by themselves."""
        actions: list[Action] = []
        for loan in self.loans.values():
            if loan.state is LoanState.ENDED and loan.ran:
                self.standing.ran(loan.owner)
            if loan.award is not None:
                with compartment(Compartment.EXECUTION, loan.execution):
                    actions += self.resume_loan(loan, loan.award, now)
        return actions

    def resume_loan(self, loan: Loan, award: Award, now: float) -> list[Action]:
        """Go on with what was awarded."""
        if loan.state is LoanState.ENDING:
            return [Start(loan, award), *self._end(loan, now)]
        # It begins again at its start: the runner and the engine know how far it came.
        loan.state, loan.deadline = LoanState.PREPARING, now + PREPARE_TIMEOUT_S
        return [*self._report(loan, Stage.PREPARING, "Its node was restarted"), Start(loan, award)]

    def _loan_of(self, peer: str, execution: str) -> Loan | None:
        loan = self.loans.get(execution)
        # Only who asked may decide: an execution id is no secret.
        return loan if loan is not None and loan.owner == peer else None

    # Asks and bids

    def _asked(self, peer: str, ask: Ask, lacks: str, now: float) -> list[Action]:
        loan = self.loans.get(ask.execution)
        if loan is not None:
            repeat = loan.owner == peer and loan.state is LoanState.OFFERED
            return [self._bid(loan, now)] if repeat else []
        refused = self._why_not(peer, ask, lacks, now)
        if refused is not None:
            refusing, reason = refused
            self.refused_busy |= refusing is Refusing.BUSY
            return [self._refuse(peer, ask, refusing, reason)]
        loan = Loan(
            execution=ask.execution,
            owner=peer,
            job=ask.job,
            round=ask.round,
            spec_hash=ask.spec_hash,
            priority=ask.priority,
            requirements=ask.requirements,
            state=LoanState.WAITING,
            deadline=now + WAIT_TIMEOUT_S,
            created=now,
        )
        self.loans[loan.execution] = loan
        waiting = self._waiting(now)
        if self._room(now).has(loan):
            return self._offer(loan, now)
        reason = f"busy; the ask waits there as number {waiting.index(loan) + 1}"
        queued = self._refuse(peer, ask, Refusing.QUEUED, reason)
        return [SaveLoan(loan), queued, *self._preempt(loan, now)]

    def _why_not(self, peer: str, ask: Ask, lacks: str, now: float) -> tuple[Refusing, str] | None:
        offer = self.offer
        if offer is None or not offer.engines:
            return Refusing.UNSUITABLE, "runs nothing for others"
        if self.leaving:
            return Refusing.UNSUITABLE, "is shutting down"
        musts = ask.requirements.must or ()
        reason = never(ask.requirements, offer) or lacks or extensions.not_understood(musts, "the job")
        if reason:
            return Refusing.UNSUITABLE, reason
        if self.taking is not Taking.ALL:
            return Refusing.BUSY, TAKING_REASONS[self.taking]
        waiting = [one for one in self.loans.values() if one.state is LoanState.WAITING]
        if len(waiting) >= WAITING_MAX:
            return Refusing.BUSY, f"busy: {WAITING_MAX} asks wait here, the limit"
        if sum(one.owner == peer for one in waiting) >= WAITING_PER_PEER_MAX:
            return Refusing.BUSY, f"busy: {WAITING_PER_PEER_MAX} asks of this requester wait here already"
        proven = self.standing.is_proven
        if not proven(peer, now) and sum(not proven(one.owner, now) for one in waiting) >= (
            WAITING_OF_STRANGERS_MAX
        ):
            limit = f"{WAITING_OF_STRANGERS_MAX} asks of requesters that are new here"
            return Refusing.BUSY, f"busy: {limit} wait here already"
        return None

    def _waiting(self, now: float) -> list[Loan]:
        return queueing.waiting(self.loans.values(), self.standing, now)

    def _room(self, now: float) -> queueing.Room:
        assert self.capacity is not None
        return queueing.Room(self.capacity, self.loans.values(), self.standing, now)

    def _offer(self, loan: Loan, now: float) -> list[Action]:
        loan.state, loan.deadline = LoanState.OFFERED, now + BID_VALID_S
        self.standing.served(queueing.party_of(loan.owner, self.standing, now), now)
        return [SaveLoan(loan), self._bid(loan, now)]

    def _grant(self, now: float) -> list[Action]:
        """Bid for what waits here and has room now, in turns."""
        self._better_at = inf
        if self.leaving or self.taking is not Taking.ALL or self.capacity is None:
            return []
        waiting = self._waiting(now)
        if not waiting:
            return []
        actions: list[Action] = []
        room = self._room(now)
        for loan in waiting:
            with compartment(Compartment.EXECUTION, loan.execution):
                if room.has(loan):
                    actions += self._offer(loan, now)
                    room = self._room(now)
        owners = {one.owner for one in waiting if one.state is LoanState.WAITING}
        times = (self.standing.better_at(owner, now) for owner in owners)
        self._better_at = min((at for at in times if at is not None), default=inf)
        return actions

    def _preempt(self, loan: Loan, now: float) -> list[Action]:
        if not self.preempts or self.capacity is None:
            return []
        reason = f"made room for a job of priority {loan.priority}"
        chosen = queueing.victims(loan, self.capacity, self.held, self.standing.me)
        return [action for one in chosen for action in self._kill(one, reason, Fault.MOVED, now)]

    def _bid(self, loan: Loan, now: float) -> Send:
        assert self.capacity is not None and loan.deadline is not None
        return Send(
            loan.owner,
            Bid(
                execution=loan.execution,
                round=loan.round,
                valid_ms=max(0, int((loan.deadline - now) * 1000)),
                price_micros=self.capacity.price_micros,
                start_ms=0,
            ),
        )

    # Executions

    def _awarded(self, peer: str, award: Award, now: float) -> list[Action]:
        loan = self._loan_of(peer, award.execution)
        if loan is None or loan.state is LoanState.WAITING:
            reason = "no such bid is open: it expired, was released or was used"
            return [self._refuse(peer, award, Refusing.EXPIRED, reason)]
        if loan.state is not LoanState.OFFERED:
            return []
        wrong = self._why_not_the_same(loan, award)
        if wrong is not None:
            self.standing.missed(peer, now)
            return [self._refuse(peer, award, Refusing.UNSUITABLE, wrong), *self._drop(loan)]
        self.standing.awarded(peer, now)
        loan.award, loan.epoch, loan.deputies = award, award.epoch, award.deputies
        loan.state, loan.deadline = LoanState.PREPARING, now + PREPARE_TIMEOUT_S
        return [*self._report(loan, Stage.PREPARING, self._less_grace(award.spec)), Start(loan, award)]

    def _less_grace(self, spec: JobSpec) -> str:
        """What its owner is told if a program does not get the time to end that it asks for; else ""."""
        if stop_grace_s(spec) <= self.stop_grace_s_max:
            return ""
        return f"its StopGracePeriod is cut to {self.stop_grace_s_max} s, the most that this peer gives"

    def _why_not_the_same(self, loan: Loan, award: Award) -> str | None:
        """An ask could be made to look harmless, and its award bring something else."""
        if codec.digest(award.spec) != loan.spec_hash:
            return "the job is not the one that was asked about"
        if requirements_of(award.spec) != loan.requirements or award.spec.priority != loan.priority:
            return "the job needs other things than its ask said"
        return self.check_spec(award.spec)

    def _refuse(self, peer: str, message: Ask | Award, refusing: Refusing, reason: str) -> Send:
        # A reason may quote the job's constraints, which have no such limit.
        refusal = Refusal(
            execution=message.execution,
            round=message.round,
            refusing=refusing,
            reason=reason[:REASON_LENGTH_MAX],
        )
        return Send(peer, refusal)

    def _cancelled(self, peer: str, execution: str, reason: str, now: float) -> list[Action]:
        loan = self._loan_of(peer, execution)
        if loan is None or loan.state is LoanState.ENDING:
            return []
        if loan.award is None:
            return self._unused(loan, now)
        return self._kill(loan, f"cancelled: {reason}", Fault.CANCELLED, now)

    def _progressed(self, execution: str, stage: Stage, detail: str, now: float) -> list[Action]:
        loan = self.loans.get(execution)
        if loan is None or loan.award is None or loan.state is LoanState.ENDING:
            return []
        state = _STAGES[stage]
        if state is not loan.state:
            loan.state, loan.deadline = state, self._limit(loan, stage, now)
            loan.ran |= state is LoanState.RUNNING
        return self._report(loan, stage, detail)

    def _limit(self, loan: Loan, stage: Stage, now: float) -> float | None:
        assert loan.award is not None
        match stage:
            case Stage.PREPARING:
                return now + PREPARE_TIMEOUT_S
            case Stage.PUBLISHING:
                return now + PUBLISH_TIMEOUT_S
            case Stage.RUNNING:
                seconds = run_limit_s(loan.award.spec)
                return owner_tracking.forsaken_at(loan) if seconds is None else now + seconds

    def _report(self, loan: Loan, stage: Stage, detail: str) -> list[Action]:
        loan.sequence += 1
        return [SaveLoan(loan), Send(loan.owner, owner_tracking.update(loan, stage, detail))]

    def _finished(self, finished: Finished, now: float) -> list[Action]:
        loan = self.loans.get(finished.execution)
        if loan is None or loan.ended is not None:
            return []
        ended = Ended(execution=loan.execution, round=loan.round, receipt=finished.signed)
        loan.state, loan.deadline = LoanState.ENDED, now + ENDED_KEPT_S
        loan.ended, loan.award = ended, None
        kept = [one for one in self.loans.values() if one.state is LoanState.ENDED]
        self._note_room()
        if loan.ran:
            self.standing.ran(loan.owner)
        actions: list[Action] = [SaveLoan(loan), Send(loan.owner, ended)]
        for old in kept[: max(0, len(kept) - ENDED_KEPT_MAX)]:
            actions += self._drop(old)
        return actions

    def _owner_lost(self, peer: str, now: float) -> list[Action]:
        """What it was only asked about is dropped; what it awarded goes on, and waits for another owner."""
        actions: list[Action] = []
        for loan in [one for one in self.loans.values() if one.owner == peer]:
            with compartment(Compartment.EXECUTION, loan.execution):
                if loan.state in (LoanState.OFFERED, LoanState.WAITING):
                    actions += self._unused(loan, now)
                elif loan.orphaned is None:
                    actions += owner_tracking.orphaned(loan, now)
        return actions

    def _expired(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.drained_at is not None and self.drained_at <= now and self.taking is Taking.DRAINING:
            self.drained_at = None
            actions += self._end_all("its node was drained", now)
        over = [one for one in self.loans.values() if one.deadline is not None and one.deadline <= now]
        for loan in over:
            with compartment(Compartment.EXECUTION, loan.execution):
                actions += self._overdue(loan, now)
        return actions

    def _overdue(self, loan: Loan, now: float) -> list[Action]:
        if loan.state is LoanState.WAITING:
            reason = f"waited for room for {WAIT_TIMEOUT_S / 60:.0f} minutes"
            refusal = Refusal(
                execution=loan.execution, round=loan.round, refusing=Refusing.BUSY, reason=reason
            )
            return [Send(loan.owner, refusal), *self._drop(loan)]
        if loan.award is None:
            return self._unused(loan, now)
        if loan.state is LoanState.ENDING:
            loan.end_keep = False
            return self._end(loan, now)
        if loan.deadline == owner_tracking.forsaken_at(loan):
            reason = "nobody has looked after it since its owner fell silent"
            return self._kill(loan, reason, Fault.NETWORK, now, publish=True)
        if loan.state is LoanState.RUNNING:
            reason = f"ran longer than its limit of {run_limit_s(loan.award.spec)} s"
            return self._kill(loan, reason, Fault.TIMEOUT, now, publish=True)
        limit_s = PREPARE_TIMEOUT_S if loan.state is LoanState.PREPARING else PUBLISH_TIMEOUT_S
        reason = f"{loan.state.lower()} took longer than {limit_s:.0f} s"
        return self._kill(loan, reason, Fault.PEER, now, keep=False)

    def _kill(
        self, loan: Loan, reason: str, fault: Fault, now: float, *, keep: bool = True, publish: bool = False
    ) -> list[Action]:
        ending.begin(loan, reason, fault, keep=keep, publish=publish)
        return self._end(loan, now)

    def _end(self, loan: Loan, now: float) -> list[Action]:
        most_s = min(self.stop_grace_s_max, LEAVING_GRACE_S_MAX if self.leaving else inf)
        kill = ending.kill(loan, most_s, now)
        return [SaveLoan(loan), kill]

    def _leave(self, now: float) -> list[Action]:
        """Give back all that was promised, so that owners can place it elsewhere before we are gone."""
        self.leaving = True
        actions: list[Action] = []
        for loan in list(self.loans.values()):
            if loan.state in (LoanState.OFFERED, LoanState.WAITING):
                refusal = Refusal(
                    execution=loan.execution,
                    round=loan.round,
                    refusing=Refusing.UNSUITABLE,
                    reason="is shutting down",
                )
                actions += [Send(loan.owner, refusal), *self._drop(loan)]
        return actions + self._end_all("its node was shut down", now)

    def _end_all(self, reason: str, now: float) -> list[Action]:
        live = [one for one in self.loans.values() if one.award and one.state is not LoanState.ENDING]
        return [action for one in live for action in self._kill(one, reason, Fault.MOVED, now)]

    def _unused(self, loan: Loan, now: float) -> list[Action]:
        """What was never awarded is over; a bid that was held for long is held against its requester."""
        if loan.state is LoanState.OFFERED:
            assert loan.deadline is not None
            held_s = now - (loan.deadline - BID_VALID_S)
            if held_s >= BID_MISSED_S:
                self.standing.missed(loan.owner, now)
        return self._drop(loan)

    def _drop(self, loan: Loan) -> list[Action]:
        del self.loans[loan.execution]
        self._note_room()
        return [DropLoan(loan.execution)]

    def _note_room(self) -> None:
        self.owes_news |= self.refused_busy
        self.refused_busy = False
