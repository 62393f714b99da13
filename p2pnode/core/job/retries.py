"""When what has failed is tried again, and when no more: rules about a replica's failures.

A failure is the job's own (a bad command, a missing image, an exit status that is not 0),
the peer's, or the network's. The job's own would fail anywhere, so it is shown at once, and
tried again only if the job asks for it. What must always run is tried for ever, ever more
slowly (as Kubernetes does with CrashLoopBackOff), until it has run for a while.
"""

from __future__ import annotations

from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.records.lifecycle import (
    BROKEN,
    LONG_RUNNING,
    OWN_FAULTS,
    Execution,
    ExecutionState,
    JobRecord,
)
from p2pnode.core.wire.spec import RETRIES_MAX, RETRIES_META_KEY, JobType
from p2pnode.core.wire.states import Fault

# Tries of one replica that fail for the network's reasons, or whose peers were lost while it ran: it may be
# what harms them.
ATTEMPTS_MAX = 3
# Peers that sign that they failed a replica by their own fault: ids cost nothing, and so many liars that
# offer most must not end a job that an honest peer would run.
PEERS_AT_FAULT_MAX = 30
# And tries of which no program ran, as far as their lost peers said: invented peers do that.
UNBEGUN_MAX = 10
# Tries of one job on one peer that failed there.
TRIES_PER_PEER_MAX = 2
BACK_OFF_S = 1.0
BACK_OFF_S_MAX = 60.0
# A program that ran so long has started well: its next failure is a first one.
STEADY_S = 60.0
# A peer's failures of a job that runs for ever are forgotten: whatever it was may be mended.
FAILURE_COUNTS_S = 10 * 60.0


def back_off_s(record: JobRecord, execution: Execution) -> float:
    """How long to wait before another try of what has just failed or ended.

    The first try after a lost or moved execution is made at once: nothing was wrong with the program.
    """
    if execution.fault is Fault.MOVED or execution.state is ExecutionState.LOST:
        return 0.0
    tries = _failures_in_a_row(record, execution.replica) - _elsewhere(record, execution)
    jitter = 0.75 + rendezvous_hash(record.id, tries, str(execution.replica)) / 2**66
    return float(min(BACK_OFF_S_MAX, BACK_OFF_S * 2 ** min(max(tries - 1, 0), 10)) * jitter)


def hopeless(record: JobRecord, replicas: set[int]) -> list[Execution]:
    """The failures of one of these replicas if no further try would mend it, else none; for batch jobs."""
    for replica in sorted(replicas):
        failed = _failed(record, replica)
        own = sum(one.fault in OWN_FAULTS for one in failed)
        unbegun = sum(one.is_unbegun for one in failed)
        at_fault = [one.peer for one in failed if one.is_peers_fault]
        others = len(failed) - own - unbegun - len(at_fault)
        spent = others >= ATTEMPTS_MAX or unbegun >= UNBEGUN_MAX
        if own > retries(record) or spent or len(set(at_fault)) >= PEERS_AT_FAULT_MAX:
            return failed
    return []


def is_given_up(record: JobRecord, replica: int) -> bool:
    """Is this replica, bound to its peer, not to be tried again? For ops jobs."""
    failed = _failed(record, replica)
    own = sum(one.fault in OWN_FAULTS for one in failed)
    lost = any(one.state is ExecutionState.LOST for one in failed)
    return lost or own > retries(record) or len(failed) - own >= TRIES_PER_PEER_MAX


def is_last(record: JobRecord, replica: int) -> bool:
    """Is a replica that has failed not to be tried again?"""
    match record.spec.type:
        case JobType.BATCH:
            return bool(hopeless(record, {replica}))
        case JobType.OPS:
            return is_given_up(record, replica)
        case _:
            return False


def retries(record: JobRecord) -> int:
    """How often the job wants to be tried again when it fails by itself."""
    text = record.spec.meta.get(RETRIES_META_KEY, "0")
    return min(int(text), RETRIES_MAX) if text.isascii() and text.isdecimal() else 0


def failures_by_peer(record: JobRecord, now: float) -> dict[str, int]:
    """How often each peer has failed this run, in a way that another peer may not."""
    counts: dict[str, int] = {}
    for_ever = record.spec.type in LONG_RUNNING
    for one in record.now_of(*BROKEN):
        if one.fault is Fault.MOVED:
            continue
        if for_ever and (one.fault in OWN_FAULTS or one.modified < now - FAILURE_COUNTS_S):
            continue
        counts[one.peer] = counts.get(one.peer, 0) + 1
    return counts


def _failed(record: JobRecord, replica: int) -> list[Execution]:
    failed = record.now_of(*BROKEN)
    return [one for one in failed if one.replica == replica and one.fault is not Fault.MOVED]


def _elsewhere(record: JobRecord, execution: Execution) -> int:
    """The failures that were other peers' fault: nothing is to be waited for because of those."""
    failed = record.now_of(ExecutionState.FAILED)
    others = [one for one in failed if one.replica == execution.replica and one.peer != execution.peer]
    return min(sum(one.is_peers_fault for one in others), PEERS_AT_FAULT_MAX)


def _failures_in_a_row(record: JobRecord, replica: int | None) -> int:
    ended = [one for one in record.now_of(*BROKEN, ExecutionState.COMPLETED) if one.replica == replica]
    count = 0
    for one in reversed(ended):
        steady = one.started is not None and one.modified - one.started >= STEADY_S
        if one.fault is Fault.MOVED:
            continue
        count += 1
        if steady and record.spec.type is not JobType.BATCH:
            break
    return count
