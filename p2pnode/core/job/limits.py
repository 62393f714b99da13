"""Limits of an execution's stages as its owner counts them: by when its peer's next word has to be there.

An honest peer ends what is stuck by itself and says so. These hold for one that lies, or hangs.
"""

from __future__ import annotations

from p2pnode.core.records.ending import PREPARE_TIMEOUT_S, PUBLISH_TIMEOUT_S, run_limit_s, stop_grace_s
from p2pnode.core.records.lifecycle import Execution, ExecutionState, JobRecord

# The peer itself ends what takes too long; this covers publishing and a slow link before we do it for it.
OVERDUE_GRACE_S = 60.0
# Peers tell every few seconds how much of an image or an input is there; unpacking a large layer is silent
# for minutes. As long as the progress deadlines of Nomad and Kubernetes.
PREPARE_SILENCE_S = 10 * 60.0


def deadline_of(record: JobRecord, execution: Execution, now: float) -> float | None:
    """When the owner gives it up unless more comes; `now` its peer has told where it is."""
    match execution.state:
        case ExecutionState.PREPARING:
            whole = execution.modified + PREPARE_TIMEOUT_S + OVERDUE_GRACE_S
            return min(now + PREPARE_SILENCE_S, whole)
        case ExecutionState.PUBLISHING:
            return execution.modified + PUBLISH_TIMEOUT_S + OVERDUE_GRACE_S
        case ExecutionState.RUNNING if execution.deadline is None:
            seconds = run_limit_s(record.spec)
            grace_s = stop_grace_s(record.spec) + OVERDUE_GRACE_S
            return None if seconds is None else now + seconds + grace_s
        case _:
            return execution.deadline


def excuse(record: JobRecord, now: float) -> None:
    """Have the peers say again how far they are: the owner was away, and could not hear them."""
    for one in record.of(ExecutionState.PREPARING, ExecutionState.PUBLISHING):
        if one.deadline is not None:
            one.deadline = max(one.deadline, now + OVERDUE_GRACE_S)
