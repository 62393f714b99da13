"""Messages of peers about a job's executions, taken into the job's record: the owner's side.

A message counts only if it is of the peer that the execution was given to. An answer to what is
over gets a release or a cancel, since whoever gave it may hold resources, or still run it.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.records import lifecycle
from p2pnode.core.records.events import Action, Send
from p2pnode.core.records.lifecycle import (
    GIVEN_UP,
    LIVE,
    LONG_RUNNING,
    OPEN,
    Execution,
    ExecutionState,
)
from p2pnode.core.values.trust import Trust
from p2pnode.core.values.units import format_price
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.messages import (
    Ask,
    Award,
    Bid,
    Cancel,
    Ended,
    Message,
    Receipt,
    Refusal,
    Release,
    Replicate,
    Update,
)
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.states import Fault, RefusalKind

from .desired import why_misplaced
from .limits import deadline_of
from .transitions import JobTransitions

# A bid is not awarded in its last moments: the award has to travel, too.
BID_MARGIN_S = 1.0
# A peer that bids for less would be asked again and again, before any other has answered.
BID_VALID_MS_MIN = 2_000


def _of_peer(transitions: JobTransitions, id: str, peer: str) -> Execution | None:
    execution = transitions.record.executions.get(id)
    return execution if execution is not None and execution.peer == peer else None


def bid(transitions: JobTransitions, trust: Trust, peer: str, bid: Bid, now: float) -> None:
    """Take a peer's bid, which holds resources there; release it if its ask is over or it costs too much."""
    known = transitions.known.get(peer)
    execution = _of_peer(transitions, bid.execution, peer)
    if execution is None or execution.state not in (*OPEN, *LIVE):
        # The peer answers an ask that is over; until it hears so, it holds resources.
        transitions.actions.append(Send(peer, Release(execution=bid.execution, round=bid.round)))
    elif execution.state not in (ExecutionState.ASKED, ExecutionState.QUEUED):
        return
    elif bid.valid_ms < BID_VALID_MS_MIN:
        reason = f"bid for {bid.valid_ms} ms only"
        transitions.cancel(execution, reason, now)
        transitions.remember_refusal(peer, RefusalKind.BUSY, reason, now)
        transitions.reliance.failed(peer, now)
    elif known and (dear := why_misplaced(transitions.record, known.advert, trust, bid.price_micros)):
        reason = f"bid for {format_price(bid.price_micros)}: {dear}"
        transitions.cancel(execution, reason, now)
        transitions.remember_refusal(peer, RefusalKind.UNSUITABLE, reason, now)
    else:
        execution.move(ExecutionState.BID, now)
        execution.bid = bid
        execution.deadline = now + bid.valid_ms / 1000 - BID_MARGIN_S


def of_no_job(peer: str, message: Bid | Refusal | Update, aside: Collection[str]) -> list[Action]:
    """Answer what is over: the peer may hold resources for it, or run it still. `aside` is left alone."""
    match message:
        case Bid(execution=execution, round=round):
            return [Send(peer, Release(execution=execution, round=round))]
        case Update(execution=execution, round=round) if execution not in aside:
            return [Send(peer, Cancel(execution=execution, round=round, reason="the job is over"))]
        case _:
            return []


def refused(transitions: JobTransitions, peer: str, refusal: Refusal, now: float) -> None:
    """Take a refusal: the ask waits at the peer, or the execution ends."""
    execution = _of_peer(transitions, refusal.execution, peer)
    if execution is None:
        return
    if refusal.refusal_kind is RefusalKind.QUEUED:
        if execution.state is ExecutionState.ASKED:
            execution.move(ExecutionState.QUEUED, now, refusal.reason)
            transitions.note("Queueing", refusal.reason, now, execution)
    elif execution.state in OPEN:
        transitions.remember_refusal(peer, refusal.refusal_kind, refusal.reason, now)
        transitions.note("Refusal", refusal.reason, now, execution)
        del transitions.record.executions[execution.id]
    elif execution.state is ExecutionState.AWARDED and not execution.unconfirmed:
        transitions.remember_refusal(peer, refusal.refusal_kind, refusal.reason, now, of_award=True)
        transitions.note("Refusal", refusal.reason, now, execution)
        execution.move(ExecutionState.CANCELLED, now, refusal.reason)
        if refusal.refusal_kind is RefusalKind.UNSUITABLE:
            # Only it can look up whether it may have such a job: of others this says nothing.
            transitions.reliance.began(peer)
        else:
            transitions.reliance.failed(peer, now)
    elif execution.state in LIVE and execution.unconfirmed:
        transitions.give_up(execution, refusal.reason, now)


def rejected(transitions: JobTransitions, peer: str, message: Message, reason: str, now: float) -> None:
    """The peer has thrown a message of this job away: what it asked for does not happen."""
    record, kind = transitions.record, type(message).__name__.lower()
    transitions.note("Problem", f"{peer} did not take the {kind}: {reason}", now)
    if isinstance(message, Replicate) and peer in record.deputies:
        # The next one would be thrown away as well.
        record.declined = tuple(dict.fromkeys((peer, *record.declined)))[:PEERS_NAMED_MAX]
        record.synced.pop(peer, None)
    if isinstance(message, Ask | Award):
        refusal = Refusal(
            execution=message.execution,
            round=message.round,
            refusal_kind=RefusalKind.UNSUITABLE,
            reason=reason,
        )
        refused(transitions, peer, refusal, now)


def receipt_refused(transitions: JobTransitions, peer: str, id: str, reason: str, now: float) -> None:
    """The peer's word on how the execution ended cannot be taken; nothing better will come of it."""
    execution = _of_peer(transitions, id, peer)
    if execution is not None and execution.state in LIVE:
        transitions.give_up(execution, f"sent a receipt that does not count: {reason}", now)


def updated(transitions: JobTransitions, peer: str, update: Update, now: float) -> None:
    """How far the execution is."""
    execution = _of_peer(transitions, update.execution, peer)
    if execution is None:
        return
    if execution.state is ExecutionState.CANCELLED:
        # The peer does not know yet; a cancel may have been lost with a disk.
        transitions.send_cancel(peer, execution.id, execution.round, execution.reason)
    if execution.state not in LIVE or update.sequence <= execution.sequence:
        return
    execution.sequence = update.sequence
    if execution.unconfirmed:
        execution.unconfirmed, execution.deadline = False, None
    state = update.stage.state
    if state in lifecycle.EXECUTION_MOVES[execution.state]:
        execution.move(state, now)
        if state is ExecutionState.RUNNING:
            transitions.reliance.began(peer)
        # The start is what people wait for, so it should not be lost with its owner.
        runs = state is ExecutionState.RUNNING
        transitions.note("Execution", update.detail or state.value, now, execution, urgent=runs)
    elif update.detail:
        transitions.note("Execution", update.detail, now, execution)
    execution.deadline = deadline_of(transitions.record, execution, now)


def ended(transitions: JobTransitions, peer: str, ended: Ended, receipt: Receipt, now: float) -> None:
    """The execution has ended; `receipt` is what its peer has signed."""
    execution = _of_peer(transitions, ended.execution, peer)
    if execution is None or not (execution.state in LIVE or execution.awaits_receipt):
        return
    if not _receipt_fits(transitions, execution, receipt):
        if execution.state in LIVE:
            transitions.give_up(execution, "sent a receipt that is not about this execution", now)
        return
    if execution.state in GIVEN_UP and not _still_counts(transitions, execution, receipt):
        _leftovers(transitions, execution, receipt, ended.receipt, now)
        return
    if transitions.record.spec.type not in LONG_RUNNING and _is_completed(transitions, execution):
        # An owner that was away and waits for its deputies' word has not ended the second yet.
        reason = "another result of this replica counts"
        execution.move(ExecutionState.CANCELLED, now, reason)
        transitions.note("Execution", f"Cancelled: {reason}", now, execution, True)
        _leftovers(transitions, execution, receipt, ended.receipt, now)
        return
    execution.unconfirmed = False
    execution.exit_code, execution.fault = receipt.exit_code, receipt.fault
    execution.result_cid, execution.receipt = receipt.result_cid, ended.receipt
    if receipt.fault is None and receipt.exit_code == 0:
        execution.move(ExecutionState.COMPLETED, now)
        _note_liars(transitions, execution, now)
        transitions.reliance.ended(peer)
        transitions.note("Execution", f"Completed, result {receipt.result_cid}", now, execution, True)
    else:
        execution.move(ExecutionState.FAILED, now, receipt.reason)
        execution.fault = receipt.fault or Fault.JOB
        moved = execution.fault is Fault.MOVED
        if execution.is_peers_fault or (moved and peer not in transitions.reliance.proven):
            transitions.reliance.failed(peer, now)
        else:
            transitions.reliance.began(peer)
        if execution.is_excuse:
            transitions.reliance.excused(peer, now)
        topic = "Moved" if execution.fault is Fault.MOVED else "Failed"
        transitions.note("Execution", f"{topic}: {receipt.reason}", now, execution, True)
    if execution.state is ExecutionState.FAILED or transitions.record.spec.type in LONG_RUNNING:
        transitions.broke(execution, now)


def _note_liars(transitions: JobTransitions, completed: Execution, now: float) -> None:
    """Have those that failed the same replica by the fault of others be asked last: it was not so."""
    for one in transitions.record.now_of(ExecutionState.FAILED):
        elsewhere = one.replica == completed.replica and one.peer != completed.peer
        if elsewhere and one.is_excuse and one.peer not in transitions.reliance.proven:
            transitions.reliance.failed(one.peer, now)


def _still_counts(transitions: JobTransitions, execution: Execution, receipt: Receipt) -> bool:
    """Does the end of what was given up change how its job goes?"""
    record = transitions.record
    if execution.state is ExecutionState.CANCELLED or record.ended or execution.run != record.run:
        return False
    # The loss counts if the program was told to end, or failed without a word of its own.
    told = receipt.exit_code is None or receipt.fault is Fault.CANCELLED
    return not (told or record.spec.type in LONG_RUNNING or _is_completed(transitions, execution))


def _leftovers(
    transitions: JobTransitions, execution: Execution, receipt: Receipt, signed: Signed, now: float
) -> None:
    """Keep what is left of an execution that nobody waits for: its output and the exit code."""
    execution.exit_code, execution.receipt = receipt.exit_code, signed
    execution.result_cid, execution.modified = receipt.result_cid, now
    execution.fault = execution.fault or receipt.fault
    how = "" if receipt.exit_code is None else f" with exit code {receipt.exit_code}"
    left = f"left {receipt.result_cid}" if receipt.result_cid else "left nothing"
    back = "Came back, and has" if execution.state is ExecutionState.LOST else "Has"
    transitions.note("Execution", f"{back} ended it{how}; {left}", now, execution, urgent=True)


def _is_completed(transitions: JobTransitions, execution: Execution) -> bool:
    """Has another execution of its replica and run completed?"""
    done = transitions.record.of(ExecutionState.COMPLETED)
    return any((one.replica, one.run) == (execution.replica, execution.run) for one in done)


def _receipt_fits(transitions: JobTransitions, execution: Execution, receipt: Receipt) -> bool:
    record = transitions.record
    version = record.versions.get(execution.version)
    named = (receipt.job, receipt.execution, receipt.round, receipt.replica, receipt.peer)
    return (
        named == (record.id, execution.id, execution.round, execution.replica, execution.peer)
        and receipt.requester in record.members
        and version is not None
        and receipt.spec_hash == version.spec_hash
    )


def claimed(transitions: JobTransitions, peer: str, id: str, round: int) -> None:
    """A peer runs something for this job, and does not know for whom."""
    execution = _of_peer(transitions, id, peer)
    transitions.send_adopt(peer, id, round)
    if execution is None or execution.state not in LIVE:
        reason = execution.reason if execution else ""
        transitions.send_cancel(peer, id, round, reason or "the owner of the job does not want it")


def peer_lost(transitions: JobTransitions, peer: str, reason: str, now: float) -> None:
    """A peer is silent: what it was given is to be placed elsewhere."""
    record = transitions.record
    transitions.away.add(peer)
    for execution in record.of(*OPEN):
        if execution.peer == peer:
            transitions.cancel(execution, reason, now)
            transitions.remember_refusal(peer, RefusalKind.BUSY, reason, now)
    for execution in record.of(*LIVE):
        if execution.peer == peer:
            transitions.remember_refusal(peer, RefusalKind.BUSY, reason, now)
            transitions.give_up(execution, reason, now)
    if record.synced.pop(peer, None) is not None:
        transitions.tell_by = now
