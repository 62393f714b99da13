"""How a job ends, and its executions that are overdue."""

from __future__ import annotations

from p2pnode.core.records.lifecycle import LIVE, LONG_RUNNING, OPEN, Execution, JobRecord
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import ExecutionState, JobState, Outcome, RefusalKind

from . import handover
from .transitions import AWARD_CONFIRM_S, JobTransitions

# Ended executions of a job that runs for ever: enough to see what happened, and not more each time.
EXECUTIONS_ENDED_KEPT_MAX = 100


def end_overdue(transitions: JobTransitions, now: float) -> None:
    """Give up the executions whose deadline has passed, each with its reason."""
    record = transitions.record
    for execution in record.of(*OPEN, *LIVE):
        if execution.deadline is None or execution.deadline > now:
            continue
        if execution.state is ExecutionState.ASKED:
            transitions.cancel(execution, "did not answer in time", now)
            transitions.remember_refusal(execution.peer, RefusalKind.BUSY, "did not answer in time", now)
            transitions.note("Refusal", "did not answer in time", now, execution)
        elif execution.state is ExecutionState.BID:
            transitions.cancel(execution, "its bid expired before it was needed", now)
        elif execution.unconfirmed:
            why = f"did not answer its new owner within {handover.ADOPT_CONFIRM_S:.0f} s"
            transitions.give_up(execution, why, now)
        elif execution.state is ExecutionState.AWARDED:
            transitions.reliance.failed(execution.peer, now)
            transitions.give_up(execution, f"did not confirm its award within {AWARD_CONFIRM_S:.0f} s", now)
        elif execution.state is ExecutionState.PREPARING:
            transitions.reliance.failed(execution.peer, now)
            transitions.give_up(execution, "is still preparing, and has told of no progress", now)
        else:
            transitions.give_up(execution, "is long past its timeout", now)


def wind_up(transitions: JobTransitions, failed: list[Execution], now: float) -> None:
    """End a job of which a replica has `failed` for good, once nothing of it runs that may give a result."""
    record = transitions.record
    transitions.cancel_all(record.of(*OPEN), "the job has failed", now)
    if record.of(*LIVE):
        return
    # The loss of a peer along the way explains nothing, unless that is all there is.
    first = next((one for one in failed if one.state is ExecutionState.FAILED), failed[0])
    outcome = Outcome.PROGRAM if first.program_failed else Outcome.EXECUTION
    times = f"replica {first.replica} failed {len(failed)} times; the first: "
    tries = times if len(failed) > 1 else ""
    transitions.end(JobState.FAILED, outcome, tries + first.reason, now)


def end_if_done(transitions: JobTransitions, now: float) -> None:
    """End a job of which all has run that was wanted, by how that went."""
    record = transitions.record
    done = len(record.now_of(ExecutionState.COMPLETED))
    match record.spec.type:
        case JobType.BATCH if done >= record.spec.count:
            transitions.end(JobState.COMPLETED, Outcome.COMPLETED, "", now)
        case JobType.OPS if record.targets and not record.now_of(*LIVE):
            failed = len(record.targets) - done
            if not failed:
                transitions.end(JobState.COMPLETED, Outcome.COMPLETED, "", now)
                return
            lost = [one.reason for one in record.now_of(ExecutionState.LOST)]
            first = record.first_failure or (*lost, "its peer left before it could run")[0]
            total = len(record.targets)
            reason = first if total == 1 else f"{failed} of {total} executions failed; the first: {first}"
            transitions.end(JobState.FAILED, _failure_outcome(record), reason, now)
        case JobType.SERVICE if record.spec.count == 0 and record.state is not JobState.RUNNING:
            record.move(JobState.RUNNING, now, "scaled to zero")
        case JobType.DAEMON if not record.now_of(*LIVE):
            transitions.queue("no peer matches now", now)


def _failure_outcome(record: JobRecord) -> Outcome:
    failed = record.now_of(ExecutionState.FAILED)
    program = any(one.program_failed for one in failed)
    return Outcome.PROGRAM if program else Outcome.EXECUTION


def forget_old(record: JobRecord) -> None:
    """Drop the oldest of the executions that have ended, of a job that runs for ever."""
    if record.spec.type not in LONG_RUNNING:
        return
    ended = [one.id for one in record.executions.values() if one.state not in (*LIVE, *OPEN)]
    for id in ended[:-EXECUTIONS_ENDED_KEPT_MAX]:
        del record.executions[id]
