"""What this node lends to others: the compute peer's side, without I/O.

`handle` an event, do the actions, come back with `Tick` at `deadline`. A bid holds the
resources that it offers until it is awarded, released or expired, so an award is never
refused for want of room. Everything is idempotent by execution id: an ask that comes
twice gets the same bid, an award that comes twice starts one program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from . import wire
from .events import (
    Action,
    DropLoan,
    Event,
    Finished,
    Kill,
    Leaving,
    Progressed,
    Received,
    SaveLoan,
    Send,
    Start,
    Tick,
)
from .lending_records import Loan, LoanState
from .matching import minus, requirements_of, why_not
from .messages import (
    REASON_LENGTH_MAX,
    Ask,
    Award,
    Bid,
    Cancel,
    Ended,
    Fault,
    Offer,
    Refusal,
    Refusing,
    Release,
    Stage,
    Update,
)
from .spec import JobSpec

# Long enough for a requester to hear the other bidders and award; short, since it holds resources.
BID_VALID_S = 10.0
# Pulling a large image over a slow line; without a limit a stuck pull would hold its resources for ever.
PREPARE_TIMEOUT_S = 30 * 60.0
# Hashing and storing some 100 GB.
PUBLISH_TIMEOUT_S = 10 * 60.0
# One requester must not be able to reserve a whole machine by asking and never awarding.
OPEN_BIDS_PER_PEER_MAX = 32
# Programs at once on one node: each is a process or a container with pipes and a directory.
LOANS_MAX = 256

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
    leaving: bool = False
    # Somebody was refused for want of room, and waits to hear that there is some again.
    refused_busy: bool = False
    owes_news: bool = False

    @property
    def deadline(self) -> float:
        return min((one.deadline for one in self.loans.values() if one.deadline is not None), default=inf)

    @property
    def offer(self) -> Offer | None:
        """What is on offer now: the capacity, less what every loan holds."""
        if self.capacity is None:
            return None
        held = (loan.requirements.resources for loan in self.loans.values())
        return wire.replace(self.capacity, free=minus(self.capacity.total, held))

    def handle(self, event: Event, now: float) -> list[Action]:
        match event:
            case Received(peer, Ask() as ask):
                return self._asked(peer, ask, now)
            case Received(peer, Award() as award):
                return self._awarded(peer, award, now)
            case Received(peer, Release(execution=execution)):
                loan = self._loan_of(peer, execution)
                return self._drop(loan) if loan and loan.state is LoanState.OFFERED else []
            case Received(peer, Cancel(execution=execution, reason=reason)):
                return self._cancelled(peer, execution, reason)
            case Progressed(execution, stage, detail):
                return self._progressed(execution, stage, detail, now)
            case Finished() as finished:
                return self._finished(finished)
            case Tick():
                return self._expired(now)
            case Leaving():
                return self._leave()
            case _:
                return []

    def resume(self, now: float) -> list[Action]:
        """After a restart: go on with all that was awarded; bids that nobody took expire by themselves."""
        actions: list[Action] = []
        for loan in self.loans.values():
            if loan.award is None:
                continue
            if loan.state is LoanState.ENDING:
                assert loan.end_fault is not None
                kill = Kill(loan.execution, loan.end_reason, loan.end_fault, loan.end_publish)
                actions += [Start(loan, loan.award), kill]
                continue
            # It begins again at its start: the runner and the engine know how far it came.
            loan.state, loan.deadline = LoanState.PREPARING, now + PREPARE_TIMEOUT_S
            actions += [
                *self._report(loan, Stage.PREPARING, "Its node was restarted"),
                Start(loan, loan.award),
            ]
        return actions

    def _loan_of(self, peer: str, execution: str) -> Loan | None:
        loan = self.loans.get(execution)
        # Only who asked may decide: an execution id is no secret.
        return loan if loan is not None and loan.owner == peer else None

    def _asked(self, peer: str, ask: Ask, now: float) -> list[Action]:
        loan = self.loans.get(ask.execution)
        if loan is not None:
            repeat = loan.owner == peer and loan.state is LoanState.OFFERED
            return [self._bid(loan, now)] if repeat else []
        refused = self._why_not(peer, ask)
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
            deadline=now + BID_VALID_S,
            created=now,
        )
        self.loans[loan.execution] = loan
        return [SaveLoan(loan), self._bid(loan, now)]

    def _why_not(self, peer: str, ask: Ask) -> tuple[Refusing, str] | None:
        offer = self.offer
        if offer is None or not offer.engines:
            return Refusing.UNSUITABLE, "runs nothing for others"
        if self.leaving:
            return Refusing.UNSUITABLE, "is shutting down"
        unfit = why_not(ask.requirements, offer)
        if unfit is not None:
            return unfit.refusing, unfit.reason
        if len(self.loans) >= LOANS_MAX:
            return Refusing.BUSY, f"busy: {LOANS_MAX} executions at once, the limit"
        mine = sum(one.owner == peer and one.state is LoanState.OFFERED for one in self.loans.values())
        if mine >= OPEN_BIDS_PER_PEER_MAX:
            return Refusing.BUSY, f"busy: {OPEN_BIDS_PER_PEER_MAX} bids to this requester are still open"
        return None

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

    def _awarded(self, peer: str, award: Award, now: float) -> list[Action]:
        loan = self._loan_of(peer, award.execution)
        if loan is None:
            reason = "no such bid is open: it expired, was released or was used"
            return [self._refuse(peer, award, Refusing.EXPIRED, reason)]
        if loan.state is not LoanState.OFFERED:
            return []
        wrong = self._why_not_the_same(loan, award)
        if wrong is not None:
            return [self._refuse(peer, award, Refusing.UNSUITABLE, wrong), *self._drop(loan)]
        loan.award = award
        loan.state, loan.deadline = LoanState.PREPARING, now + PREPARE_TIMEOUT_S
        return [*self._report(loan, Stage.PREPARING, ""), Start(loan, award)]

    def _why_not_the_same(self, loan: Loan, award: Award) -> str | None:
        """An ask could be made to look harmless, and its award bring something else."""
        if wire.digest(award.spec) != loan.spec_hash:
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

    def _cancelled(self, peer: str, execution: str, reason: str) -> list[Action]:
        loan = self._loan_of(peer, execution)
        if loan is None or loan.state is LoanState.ENDING:
            return []
        if loan.state is LoanState.OFFERED:
            return self._drop(loan)
        return self._kill(loan, f"cancelled: {reason}", Fault.JOB, publish=False)

    def _progressed(self, execution: str, stage: Stage, detail: str, now: float) -> list[Action]:
        loan = self.loans.get(execution)
        if loan is None or loan.award is None or loan.state is LoanState.ENDING:
            return []
        state = _STAGES[stage]
        if state is not loan.state:
            loan.state, loan.deadline = state, self._limit(loan.award.spec, stage, now)
        return self._report(loan, stage, detail)

    def _limit(self, spec: JobSpec, stage: Stage, now: float) -> float | None:
        match stage:
            case Stage.PREPARING:
                return now + PREPARE_TIMEOUT_S
            case Stage.PUBLISHING:
                return now + PUBLISH_TIMEOUT_S
            case Stage.RUNNING:
                seconds = run_limit_s(spec)
                return None if seconds is None else now + seconds

    def _report(self, loan: Loan, stage: Stage, detail: str) -> list[Action]:
        loan.sequence += 1
        update = Update(
            execution=loan.execution, round=loan.round, sequence=loan.sequence, stage=stage, detail=detail
        )
        return [SaveLoan(loan), Send(loan.owner, update)]

    def _finished(self, finished: Finished) -> list[Action]:
        loan = self.loans.get(finished.execution)
        if loan is None:
            return []
        ended = Ended(execution=loan.execution, round=loan.round, receipt=finished.signed)
        return [Send(loan.owner, ended), *self._drop(loan)]

    def _expired(self, now: float) -> list[Action]:
        actions: list[Action] = []
        over = [one for one in self.loans.values() if one.deadline is not None and one.deadline <= now]
        for loan in over:
            if loan.award is None:
                actions += self._drop(loan)
            elif loan.state is LoanState.RUNNING:
                reason = f"ran longer than its limit of {run_limit_s(loan.award.spec)} s"
                actions += self._kill(loan, reason, Fault.JOB, publish=True)
            else:
                limit_s = PREPARE_TIMEOUT_S if loan.state is LoanState.PREPARING else PUBLISH_TIMEOUT_S
                reason = f"{loan.state.lower()} took longer than {limit_s:.0f} s"
                actions += self._kill(loan, reason, Fault.PEER, publish=False)
        return actions

    def _kill(self, loan: Loan, reason: str, fault: Fault, *, publish: bool) -> list[Action]:
        loan.state, loan.deadline = LoanState.ENDING, None
        loan.end_reason, loan.end_fault, loan.end_publish = reason, fault, publish
        return [SaveLoan(loan), Kill(loan.execution, reason, fault, publish)]

    def _leave(self) -> list[Action]:
        """Give back all that was promised, so that owners can place it elsewhere before we are gone."""
        self.leaving = True
        actions: list[Action] = []
        for loan in list(self.loans.values()):
            if loan.state is LoanState.OFFERED:
                refusal = Refusal(
                    execution=loan.execution,
                    round=loan.round,
                    refusing=Refusing.UNSUITABLE,
                    reason="is shutting down",
                )
                actions += [Send(loan.owner, refusal), *self._drop(loan)]
            elif loan.state is not LoanState.ENDING:
                actions += self._kill(loan, "its node was shut down", Fault.PEER, publish=False)
        return actions

    def _drop(self, loan: Loan) -> list[Action]:
        del self.loans[loan.execution]
        self.owes_news |= self.refused_busy
        self.refused_busy = False
        return [DropLoan(loan.execution)]


def run_limit_s(spec: JobSpec) -> int | None:
    """For how long a program may run: the ExecutionTimeout, else the TotalTimeout, else without limit."""
    timeouts = spec.task.timeouts
    return timeouts.execution_s if timeouts.execution_s is not None else timeouts.total_s
