"""One job, as its owner looks after it: asks for bids, awards, watches, tries again, ends.

A reconciler: every event first changes what is known, then `_reconcile` compares what the
job wants (Count successful executions) with what there is, and acts on the difference.
Nothing polls: it is called when something happened, or when `deadline` passes.

A round of asking goes: ask up to `asks_for(needed)` peers; weigh the bids when all have
answered, or shortly after there are enough, or when the window ends; award the best; keep
the others until the awards are confirmed (the next best is then at hand), and release them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from . import lifecycle
from .adverts import Known
from .asking import REFUSAL_HOLDS_S, Asking
from .events import Action, Event, JobStopped, Note, PeerLost, Received, SaveJob, Send
from .lending import run_limit_s
from .lifecycle import LIVE, OPEN, Execution, ExecutionState, JobRecord, JobState, Outcome, Refused
from .messages import (
    REASON_LENGTH_MAX,
    Award,
    Bid,
    Cancel,
    Ended,
    Fault,
    Receipt,
    Refusal,
    Refusing,
    Release,
    Stage,
    Update,
)
from .ranking import best_bid

# The peer journals the award and answers at once; a loaded two-core machine takes tenths of a second.
AWARD_CONFIRM_S = 5.0
# A bid is not awarded in its last moments: the award has to travel, too.
BID_MARGIN_S = 1.0
# The peer itself ends what runs too long; this covers publishing and a slow link before we do it for it.
OVERDUE_GRACE_S = 60.0
# Tries of one replica that fail for reasons other than the job's own.
ATTEMPTS_MAX = 3
RETRY_BACKOFF_S = 1.0

_STAGES = {
    Stage.PREPARING: ExecutionState.PREPARING,
    Stage.RUNNING: ExecutionState.RUNNING,
    Stage.PUBLISHING: ExecutionState.PUBLISHING,
}


@dataclass(slots=True)
class Job:
    record: JobRecord
    # The owner's own peer id, and its live table of peers (read only here).
    me: str
    known: Mapping[str, Known]
    deadline: float = inf
    _actions: list[Action] = field(default_factory=list)

    def begin(self, now: float) -> list[Action]:
        self._note("Submission", "Job submitted")
        return self._settle(now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in an event that concerns this job, or a `Tick`, or news of peers."""
        if self.record.ended:
            return []
        match event:
            case Received(peer, Bid() as bid):
                self._bid(peer, bid, now)
            case Received(peer, Refusal() as refusal):
                self._refused(peer, refusal, now)
            case Received(peer, Update() as update):
                self._updated(peer, update, now)
            case Received(peer, Ended(execution=id), receipt, receipt_cid):
                assert receipt is not None and receipt_cid is not None
                self._ended(peer, id, receipt, receipt_cid, now)
            case PeerLost(peer, reason):
                self._lost(peer, reason, now)
            case JobStopped(_, reason):
                self._end(JobState.STOPPED, Outcome.STOPPED, reason, now)
            case _:
                pass
        return self._settle(now)

    @property
    def waits(self) -> bool:
        """Does some replica wait for somebody to ask? Then news of peers concern this job."""
        if self.record.ended or self.record.of(*OPEN):
            return False
        return bool(self._vacant()) and self._hopeless() is None

    # What an event says

    def _of_peer(self, id: str, peer: str) -> Execution | None:
        execution = self.record.executions.get(id)
        return execution if execution is not None and execution.peer == peer else None

    def _bid(self, peer: str, bid: Bid, now: float) -> None:
        execution = self._of_peer(bid.execution, peer)
        if execution is None or execution.state not in (ExecutionState.ASKED, ExecutionState.BID, *LIVE):
            # It answers an ask that is over; until it hears so, it holds resources.
            self._actions.append(Send(peer, Release(execution=bid.execution, round=bid.round)))
        elif execution.state is ExecutionState.ASKED:
            execution.move(ExecutionState.BID, now)
            execution.bid = bid
            execution.deadline = now + bid.valid_ms / 1000 - BID_MARGIN_S

    def _refused(self, peer: str, refusal: Refusal, now: float) -> None:
        execution = self._of_peer(refusal.execution, peer)
        if execution is None or execution.state not in (*OPEN, ExecutionState.AWARDED):
            return
        self._remember_refusal(peer, refusal.refusing, refusal.reason, now)
        self._note("Refusal", refusal.reason, execution)
        if execution.state is ExecutionState.AWARDED:
            execution.move(ExecutionState.CANCELLED, now, refusal.reason)
        else:
            del self.record.executions[execution.id]

    def _updated(self, peer: str, update: Update, now: float) -> None:
        execution = self._of_peer(update.execution, peer)
        if execution is None:
            return
        if execution.state is ExecutionState.CANCELLED:
            # It does not know yet; a cancel may have been lost with a disk.
            self._send_cancel(execution, execution.reason)
        if execution.state not in LIVE or update.sequence <= execution.sequence:
            return
        execution.sequence = update.sequence
        state = _STAGES[update.stage]
        if state in lifecycle.EXECUTION_MOVES[execution.state]:
            execution.move(state, now)
            seconds = run_limit_s(self.record.spec)
            if state is ExecutionState.RUNNING and seconds is not None:
                execution.deadline = now + seconds + OVERDUE_GRACE_S
            self._note("Execution", update.detail or state.value, execution)
        elif update.detail:
            self._note("Execution", update.detail, execution)

    def _ended(self, peer: str, id: str, receipt: Receipt, receipt_cid: str, now: float) -> None:
        execution = self._of_peer(id, peer)
        if execution is None or execution.state not in (*LIVE, ExecutionState.LOST):
            return
        if execution.state is ExecutionState.LOST and self._replica_is_done(execution.replica):
            return
        if not self._receipt_fits(execution, receipt):
            self._give_up(execution, "sent a receipt that is not about this execution", now)
            return
        execution.exit_code, execution.fault = receipt.exit_code, receipt.fault
        execution.result_cid, execution.receipt_cid = receipt.result_cid, receipt_cid
        if receipt.fault is None and receipt.exit_code == 0:
            execution.move(ExecutionState.COMPLETED, now)
            self._note("Execution", f"Completed, result {receipt.result_cid}", execution)
            for other in self.record.of(*LIVE):
                if other.replica == execution.replica:
                    self._cancel(other, "another execution of this replica has completed", now)
        else:
            execution.move(ExecutionState.FAILED, now, receipt.reason)
            execution.fault = receipt.fault or Fault.JOB
            self._note("Execution", f"Failed: {receipt.reason}", execution)
            self._back_off(execution.replica, now)

    def _receipt_fits(self, execution: Execution, receipt: Receipt) -> bool:
        record = self.record
        return (
            receipt.job,
            receipt.execution,
            receipt.round,
            receipt.replica,
            receipt.peer,
            receipt.requester,
            receipt.spec_hash,
        ) == (
            record.id,
            execution.id,
            execution.round,
            execution.replica,
            execution.peer,
            self.me,
            record.spec_hash,
        )

    def _lost(self, peer: str, reason: str, now: float) -> None:
        for execution in self.record.of(*OPEN):
            if execution.peer == peer:
                self._cancel(execution, reason, now)
                self._remember_refusal(peer, Refusing.BUSY, reason, now)
        for execution in self.record.of(*LIVE):
            if execution.peer == peer:
                self._give_up(execution, reason, now)

    # What to do about it

    def _settle(self, now: float) -> list[Action]:
        self._reconcile(now)
        self.deadline = self._next_deadline(now)
        actions, self._actions = self._actions, []
        return [SaveJob(self.record), *actions]

    def _reconcile(self, now: float) -> None:
        record = self.record
        if record.ended:
            return
        self._overdue(now)
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None and now >= record.created + total_s:
            reason = f"its TotalTimeout of {total_s} s has passed"
            self._end(JobState.FAILED, Outcome.TIMEOUT, reason, now)
            return
        failed = self._hopeless()
        if failed is not None:
            self._wind_up(failed, now)
            return
        vacant = self._vacant()
        if vacant:
            self._place(vacant, now)
        elif len(record.of(ExecutionState.COMPLETED)) >= record.spec.count:
            self._end(JobState.COMPLETED, Outcome.COMPLETED, "", now)
        elif not record.of(ExecutionState.AWARDED):
            record.waiting_since = None
            self._release(record.of(*OPEN), "not needed", now)
        if not record.ended and record.of(*LIVE) and record.state is not JobState.RUNNING:
            record.move(JobState.RUNNING, now)

    def _overdue(self, now: float) -> None:
        for execution in self.record.of(*OPEN, *LIVE):
            if execution.deadline is None or execution.deadline > now:
                continue
            if execution.state is ExecutionState.BID:
                self._cancel(execution, "its bid expired before it was needed", now)
            elif execution.state is ExecutionState.AWARDED:
                self._give_up(execution, f"did not confirm its award within {AWARD_CONFIRM_S:.0f} s", now)
            elif execution.state in LIVE:
                self._give_up(execution, "is long past its timeout", now)

    def _vacant(self) -> list[int]:
        """The replicas that nobody runs and nobody has completed."""
        held = {one.replica for one in self.record.of(*LIVE, ExecutionState.COMPLETED)}
        return [replica for replica in range(self.record.spec.count) if replica not in held]

    def _hopeless(self) -> Execution | None:
        """The first failure that no further try would mend, if there is one."""
        failed = self.record.of(ExecutionState.FAILED, ExecutionState.LOST)
        tries = Counter(one.replica for one in failed)
        for execution in failed:
            if execution.fault is Fault.JOB:
                return execution
            if tries[execution.replica] >= ATTEMPTS_MAX and execution.replica in self._vacant():
                return execution
        return None

    def _wind_up(self, failed: Execution, now: float) -> None:
        """Nothing new is begun; what runs may end, since its result is wanted all the same."""
        self._release(self.record.of(*OPEN), "the job has failed", now)
        if self.record.of(*LIVE):
            return
        program = failed.exit_code not in (None, 0)
        outcome = Outcome.PROGRAM if program else Outcome.EXECUTION
        self._end(JobState.FAILED, outcome, failed.reason, now)

    def _place(self, vacant: list[int], now: float) -> None:
        record = self.record
        asked, bids = record.of(ExecutionState.ASKED), record.of(ExecutionState.BID)
        asking = Asking(record, self.known)
        if asked and not asking.window_is_over(len(bids) >= len(vacant), now):
            return
        for execution in asked:
            self._cancel(execution, "did not answer in time", now)
            self._remember_refusal(execution.peer, Refusing.BUSY, "did not answer in time", now)
        if bids:
            self._note("Bids", f"{len(bids)} bid{'s' if len(bids) > 1 else ''}")
        while vacant and (bids := record.of(ExecutionState.BID)):
            self._award(vacant.pop(0), bids, now)
        if not vacant or now < record.ask_after:
            return
        round = asking.begin_round(len(vacant), now)
        if round:
            self._actions += round
            return
        refused = asking.give_up_waiting(now)
        if refused is not None:
            outcome = Outcome.EXECUTION if record.of(ExecutionState.COMPLETED, *LIVE) else Outcome.NO_PEER
            self._end(JobState.FAILED, outcome, refused, now)
        elif not record.of(*LIVE):
            reason = asking.why_waiting()
            if record.state is not JobState.QUEUED:
                record.move(JobState.QUEUED, now, reason)
                self._note("Queueing", reason)
            record.reason = reason

    def _award(self, replica: int, bids: list[Execution], now: float) -> None:
        asking = Asking(self.record, self.known)
        adverts = {peer: known.advert for peer, known in self.known.items()}
        need = asking.need
        best = best_bid(self.record.id, need, bids, adverts, asking.used, asking.failures)
        best.move(ExecutionState.AWARDED, now)
        best.replica, best.deadline = replica, now + AWARD_CONFIRM_S
        award = Award(execution=best.id, round=best.round, replica=replica, spec=self.record.spec)
        self._actions.append(Send(best.peer, award))
        self._note("Award", f"Awarded replica {replica}", best)

    def _replica_is_done(self, replica: int | None) -> bool:
        return any(one.replica == replica for one in self.record.of(ExecutionState.COMPLETED))

    def _remember_refusal(self, peer: str, refusing: Refusing, reason: str, now: float) -> None:
        known = self.known.get(peer)
        number = known.advert.number if known else 0
        held = self.record.refusals.items()
        self.record.refusals = {peer: one for peer, one in held if now < one.at + REFUSAL_HOLDS_S}
        self.record.refusals[peer] = Refused(number=number, refusing=refusing, reason=reason, at=now)

    def _back_off(self, replica: int | None, now: float) -> None:
        tries = sum(
            one.replica == replica for one in self.record.of(ExecutionState.FAILED, ExecutionState.LOST)
        )
        self.record.ask_after = now + RETRY_BACKOFF_S * 2 ** (tries - 1)

    def _give_up(self, execution: Execution, reason: str, now: float) -> None:
        """It may be dead or only out of reach: should it come back, it is to end."""
        self._send_cancel(execution, reason)
        execution.move(ExecutionState.LOST, now, reason)
        execution.fault = Fault.PEER
        self._note("Execution", f"Lost: {reason}", execution)
        self._back_off(execution.replica, now)

    def _cancel(self, execution: Execution, reason: str, now: float) -> None:
        if execution.state in OPEN:
            # An ask that led to nothing is history; a record of each would grow with every round.
            self._actions.append(Send(execution.peer, Release(execution=execution.id, round=execution.round)))
            del self.record.executions[execution.id]
        else:
            self._send_cancel(execution, reason)
            execution.move(ExecutionState.CANCELLED, now, reason)
            self._note("Execution", f"Cancelled: {reason}", execution)

    def _send_cancel(self, execution: Execution, reason: str) -> None:
        cancel = Cancel(execution=execution.id, round=execution.round, reason=reason[:REASON_LENGTH_MAX])
        self._actions.append(Send(execution.peer, cancel))

    def _release(self, executions: list[Execution], reason: str, now: float) -> None:
        for execution in executions:
            self._cancel(execution, reason, now)

    def _end(self, state: JobState, outcome: Outcome, reason: str, now: float) -> None:
        for execution in self.record.of(*OPEN, *LIVE):
            self._cancel(execution, reason or "the job has ended", now)
        self.record.move(state, now, reason, outcome)
        self._note("End", f"{state}: {reason}" if reason else str(state))

    def _next_deadline(self, now: float) -> float:
        record = self.record
        if record.ended:
            return inf
        times = [one.deadline for one in record.of(*OPEN, *LIVE) if one.deadline is not None]
        vacant = bool(self._vacant()) and self._hopeless() is None
        if vacant and record.of(ExecutionState.ASKED) and record.window_ends is not None:
            times.append(record.window_ends)
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None:
            times.append(record.created + total_s)
        if vacant and not record.of(*OPEN):
            times.append(
                record.ask_after if record.ask_after > now else Asking(record, self.known).wakes(now)
            )
        return min(times, default=inf)

    def _note(self, topic: str, text: str, execution: Execution | None = None) -> None:
        id, peer = (execution.id, execution.peer) if execution else ("", "")
        self._actions.append(Note(self.record.id, topic, text, id, peer))
