"""What peers say of a job's executions, taken into the job's record: the owner's side.

A message counts only if it is of the peer that the execution was given to. An answer to what is
over gets a release or a cancel, since whoever gave it may hold resources, or still run it.
"""

from __future__ import annotations

from p2pnode.core.records import lifecycle
from p2pnode.core.records.ending import run_limit_s, stop_grace_s
from p2pnode.core.records.events import Send
from p2pnode.core.records.lifecycle import (
    GIVEN_UP,
    LIVE,
    LONG_RUNNING,
    OPEN,
    Execution,
    ExecutionState,
)
from p2pnode.core.wire.messages import (
    PEERS_NAMED_MAX,
    Ask,
    Award,
    Bid,
    Fault,
    Keep,
    Message,
    Receipt,
    Refusal,
    Refusing,
    Release,
    Stage,
    Update,
)

from .transitions import JobSteps

# A bid is not awarded in its last moments: the award has to travel, too.
BID_MARGIN_S = 1.0
# The peer itself ends what runs too long; this covers publishing and a slow link before we do it for it.
OVERDUE_GRACE_S = 60.0

_STAGES = {
    Stage.PREPARING: ExecutionState.PREPARING,
    Stage.RUNNING: ExecutionState.RUNNING,
    Stage.PUBLISHING: ExecutionState.PUBLISHING,
}


def _of_peer(steps: JobSteps, id: str, peer: str) -> Execution | None:
    execution = steps.record.executions.get(id)
    return execution if execution is not None and execution.peer == peer else None


def bid(steps: JobSteps, peer: str, bid: Bid, now: float) -> None:
    """It would run the execution, and holds resources for it."""
    execution = _of_peer(steps, bid.execution, peer)
    if execution is None or execution.state not in (*OPEN, *LIVE):
        # It answers an ask that is over; until it hears so, it holds resources.
        steps.actions.append(Send(peer, Release(execution=bid.execution, round=bid.round)))
    elif execution.state in (ExecutionState.ASKED, ExecutionState.QUEUED):
        execution.move(ExecutionState.BID, now)
        execution.bid = bid
        execution.deadline = now + bid.valid_ms / 1000 - BID_MARGIN_S


def refused(steps: JobSteps, peer: str, refusal: Refusal, now: float) -> None:
    """It does not take the execution, does not have it any more, or lets the ask wait."""
    execution = _of_peer(steps, refusal.execution, peer)
    if execution is None:
        return
    if refusal.refusing is Refusing.QUEUED:
        if execution.state is ExecutionState.ASKED:
            execution.move(ExecutionState.QUEUED, now, refusal.reason)
            steps.note("Queueing", refusal.reason, now, execution)
    elif execution.state in OPEN:
        steps.remember_refusal(peer, refusal.refusing, refusal.reason, now)
        steps.note("Refusal", refusal.reason, now, execution)
        del steps.record.executions[execution.id]
    elif execution.state is ExecutionState.AWARDED and not execution.unconfirmed:
        steps.remember_refusal(peer, refusal.refusing, refusal.reason, now)
        steps.note("Refusal", refusal.reason, now, execution)
        execution.move(ExecutionState.CANCELLED, now, refusal.reason)
    elif execution.state in LIVE and execution.unconfirmed:
        steps.give_up(execution, refusal.reason, now)


def rejected(steps: JobSteps, peer: str, message: Message, reason: str, now: float) -> None:
    """The peer has thrown a message of this job away: what it asked for does not happen."""
    record, kind = steps.record, type(message).__name__.lower()
    steps.note("Problem", f"{peer} did not take the {kind}: {reason}", now)
    if isinstance(message, Keep) and peer in record.deputies:
        # The next one would be thrown away as well.
        record.deputies = tuple(one for one in record.deputies if one != peer)
        record.declined = (peer, *record.declined)[:PEERS_NAMED_MAX]
        record.former = tuple(dict.fromkeys((peer, *record.former)))[:PEERS_NAMED_MAX]
        record.synced.pop(peer, None)
    if isinstance(message, Ask | Award):
        refusal = Refusal(
            execution=message.execution, round=message.round, refusing=Refusing.UNSUITABLE, reason=reason
        )
        refused(steps, peer, refusal, now)


def receipt_refused(steps: JobSteps, peer: str, id: str, reason: str, now: float) -> None:
    """The peer's word on how the execution ended cannot be taken; nothing better will come of it."""
    execution = _of_peer(steps, id, peer)
    if execution is not None and execution.state in LIVE:
        steps.give_up(execution, f"sent a receipt that does not count: {reason}", now)


def updated(steps: JobSteps, peer: str, update: Update, now: float) -> None:
    """How far the execution is."""
    execution = _of_peer(steps, update.execution, peer)
    if execution is None:
        return
    if execution.state is ExecutionState.CANCELLED:
        # It does not know yet; a cancel may have been lost with a disk.
        steps.send_cancel(peer, execution.id, execution.round, execution.reason)
    if execution.state not in LIVE or update.sequence <= execution.sequence:
        return
    execution.sequence = update.sequence
    if execution.unconfirmed:
        execution.unconfirmed, execution.deadline = False, None
    state = _STAGES[update.stage]
    if state in lifecycle.EXECUTION_MOVES[execution.state]:
        execution.move(state, now)
        # It tells what people wait for, so it should not be lost with its owner.
        runs = state is ExecutionState.RUNNING
        steps.note("Execution", update.detail or state.value, now, execution, urgent=runs)
    elif update.detail:
        steps.note("Execution", update.detail, now, execution)
    seconds = run_limit_s(steps.record.spec)
    if execution.state is ExecutionState.RUNNING and seconds is not None and not execution.deadline:
        execution.deadline = now + seconds + stop_grace_s(steps.record.spec) + OVERDUE_GRACE_S


def ended(steps: JobSteps, peer: str, id: str, receipt: Receipt, receipt_cid: str, now: float) -> None:
    """The execution has ended; `receipt` is signed by its peer."""
    execution = _of_peer(steps, id, peer)
    if execution is None or not (execution.state in LIVE or execution.awaits_receipt):
        return
    if not _receipt_fits(steps, execution, receipt):
        if execution.state in LIVE:
            steps.give_up(execution, "sent a receipt that is not about this execution", now)
        return
    if execution.state in GIVEN_UP and not _still_counts(steps, execution, receipt):
        _leftovers(steps, execution, receipt, receipt_cid, now)
        return
    if steps.record.spec.type not in LONG_RUNNING and _is_completed(steps, execution):
        # An owner that was away and waits for its deputies' word has not ended the second yet.
        reason = "another result of this replica counts"
        execution.move(ExecutionState.CANCELLED, now, reason)
        steps.note("Execution", f"Cancelled: {reason}", now, execution, True)
        _leftovers(steps, execution, receipt, receipt_cid, now)
        return
    execution.unconfirmed = False
    execution.exit_code, execution.fault = receipt.exit_code, receipt.fault
    execution.result_cid, execution.receipt_cid = receipt.result_cid, receipt_cid
    if receipt.fault is None and receipt.exit_code == 0:
        execution.move(ExecutionState.COMPLETED, now)
        steps.note("Execution", f"Completed, result {receipt.result_cid}", now, execution, True)
    else:
        execution.move(ExecutionState.FAILED, now, receipt.reason)
        execution.fault = receipt.fault or Fault.JOB
        topic = "Moved" if execution.fault is Fault.MOVED else "Failed"
        steps.note("Execution", f"{topic}: {receipt.reason}", now, execution, True)
    if execution.state is ExecutionState.FAILED or steps.record.spec.type in LONG_RUNNING:
        steps.broke(execution, now)


def _still_counts(steps: JobSteps, execution: Execution, receipt: Receipt) -> bool:
    """Does the end of what was given up change how its job goes?"""
    record = steps.record
    if execution.state is ExecutionState.CANCELLED or record.ended or execution.run != record.run:
        return False
    # It was told to end, or failed without a word of its program: what counts is that it was lost.
    told = receipt.exit_code is None or receipt.fault is Fault.CANCELLED
    return not (told or record.spec.type in LONG_RUNNING or _is_completed(steps, execution))


def _leftovers(steps: JobSteps, execution: Execution, receipt: Receipt, receipt_cid: str, now: float) -> None:
    """Keep what is left of an execution that nobody waits for: its output and the exit code."""
    execution.exit_code, execution.receipt_cid = receipt.exit_code, receipt_cid
    execution.result_cid, execution.modified = receipt.result_cid, now
    execution.fault = execution.fault or receipt.fault
    how = "" if receipt.exit_code is None else f" with exit code {receipt.exit_code}"
    left = f"left {receipt.result_cid}" if receipt.result_cid else "left nothing"
    back = "Came back, and has" if execution.state is ExecutionState.LOST else "Has"
    steps.note("Execution", f"{back} ended it{how}; {left}", now, execution, urgent=True)


def _is_completed(steps: JobSteps, execution: Execution) -> bool:
    """Has another execution of its replica and run completed?"""
    done = steps.record.of(ExecutionState.COMPLETED)
    return any((one.replica, one.run) == (execution.replica, execution.run) for one in done)


def _receipt_fits(steps: JobSteps, execution: Execution, receipt: Receipt) -> bool:
    record = steps.record
    version = record.versions.get(execution.version)
    named = (receipt.job, receipt.execution, receipt.round, receipt.replica, receipt.peer)
    return (
        named == (record.id, execution.id, execution.round, execution.replica, execution.peer)
        and receipt.requester in record.parties
        and version is not None
        and receipt.spec_hash == version.spec_hash
    )


def claimed(steps: JobSteps, peer: str, id: str, round: int) -> None:
    """A peer runs something for this job, and does not know for whom."""
    execution = _of_peer(steps, id, peer)
    steps.send_adopt(peer, id, round)
    if execution is None or execution.state not in LIVE:
        reason = execution.reason if execution else ""
        steps.send_cancel(peer, id, round, reason or "the owner of the job does not want it")


def peer_lost(steps: JobSteps, peer: str, reason: str, now: float) -> None:
    """A peer is silent: what it was given is to be placed elsewhere."""
    record = steps.record
    for execution in record.of(*OPEN):
        if execution.peer == peer:
            steps.cancel(execution, reason, now)
            steps.remember_refusal(peer, Refusing.BUSY, reason, now)
    for execution in record.of(*LIVE):
        if execution.peer == peer:
            steps.remember_refusal(peer, Refusing.BUSY, reason, now)
            steps.give_up(execution, reason, now)
    if record.synced.pop(peer, None) is not None:
        steps.tell_by = now
