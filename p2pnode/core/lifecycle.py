"""The life of a job and of its executions, as the owner sees it: states, legal moves, records.

    Pending --asked--> Queued <--> Running --> Completed | Failed | Stopped

    Asked --> Bid --> Awarded --> Preparing --> Running --> Publishing --> Completed | Failed
      an ask or bid that leads to nothing is forgotten; an awarded one --> Cancelled (not needed any more)
      an awarded one --> Lost (its peer is silent) --> Completed | Failed (it came back after all)

A stage may be skipped: what a peer did between two reports is not always told.
The records are what the journal keeps; nothing else about a job is state.
"""

from __future__ import annotations

import enum

from .messages import Bid, Fault, Refusing
from .spec import JobSpec
from .wire import Record, State


class JobState(enum.StrEnum):
    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class ExecutionState(enum.StrEnum):
    ASKED = "Asked"
    BID = "Bid"
    AWARDED = "Awarded"
    PREPARING = "Preparing"
    RUNNING = "Running"
    PUBLISHING = "Publishing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    LOST = "Lost"


class Outcome(enum.StrEnum):
    """How a job ended, for programs: what `submit` makes its exit status of."""

    COMPLETED = "completed"
    NO_PEER = "no-suitable-peer"
    PROGRAM = "program"
    EXECUTION = "execution"
    TIMEOUT = "timeout"
    STOPPED = "stopped"


_J, _E = JobState, ExecutionState

JOB_ENDED = frozenset({_J.COMPLETED, _J.FAILED, _J.STOPPED})
JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    _J.PENDING: frozenset({_J.QUEUED, _J.RUNNING, _J.FAILED, _J.STOPPED}),
    # Completed: the last execution was given up for lost, and came back with its result.
    _J.QUEUED: frozenset({_J.RUNNING, *JOB_ENDED}),
    _J.RUNNING: frozenset({_J.QUEUED, *JOB_ENDED}),
    _J.COMPLETED: frozenset(),
    _J.FAILED: frozenset(),
    _J.STOPPED: frozenset(),
}

# An execution that a peer has been given and has not ended, as far as the owner knows.
LIVE = frozenset({_E.AWARDED, _E.PREPARING, _E.RUNNING, _E.PUBLISHING})
OPEN = frozenset({_E.ASKED, _E.BID})
EXECUTION_MOVES: dict[ExecutionState, frozenset[ExecutionState]] = {
    _E.ASKED: frozenset({_E.BID}),
    _E.BID: frozenset({_E.AWARDED}),
    _E.AWARDED: frozenset(
        {_E.PREPARING, _E.RUNNING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}
    ),
    _E.PREPARING: frozenset({_E.RUNNING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.RUNNING: frozenset({_E.PREPARING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.PUBLISHING: frozenset({_E.PREPARING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.LOST: frozenset({_E.COMPLETED, _E.FAILED, _E.CANCELLED}),
    _E.COMPLETED: frozenset(),
    _E.FAILED: frozenset(),
    _E.CANCELLED: frozenset(),
}


class Execution(State, kw_only=True):
    """One peer's part in a job, from the ask to its end."""

    id: str
    peer: str
    round: int
    state: ExecutionState = ExecutionState.ASKED
    # Set by the award.
    replica: int | None = None
    reason: str = ""
    bid: Bid | None = None
    # When the owner gives up waiting for what comes next; None: it does not.
    deadline: float | None = None
    sequence: int = -1
    exit_code: int | None = None
    fault: Fault | None = None
    result_cid: str | None = None
    receipt_cid: str | None = None
    created: float
    modified: float

    def move(self, state: ExecutionState, now: float, reason: str = "") -> None:
        assert state in EXECUTION_MOVES[self.state], (self.id, self.state, state)
        self.state, self.modified, self.deadline = state, now, None
        self.reason = reason


class Refused(Record, frozen=True):
    """A peer's refusal, and the number of its advert then: until a newer one, it is not asked again."""

    number: int
    refusing: Refusing
    reason: str
    at: float


class JobRecord(State, kw_only=True):
    """All there is to know of a job."""

    id: str
    requester: str
    spec: JobSpec
    spec_hash: str
    created: float
    modified: float
    state: JobState = JobState.PENDING
    reason: str = ""
    outcome: Outcome | None = None
    executions: dict[str, Execution] = {}
    refusals: dict[str, Refused] = {}
    # Rounds of asking so far, and when the next may begin at the earliest.
    round: int = 0
    ask_after: float = 0.0
    # When the answers of this round are weighed, at the latest.
    window_ends: float | None = None
    # Since when some replica has had nobody to ask; None while none waits.
    waiting_since: float | None = None

    def move(self, state: JobState, now: float, reason: str = "", outcome: Outcome | None = None) -> None:
        assert state in JOB_MOVES[self.state], (self.id, self.state, state)
        assert (state in JOB_ENDED) == (outcome is not None), (self.id, state, outcome)
        self.state, self.modified, self.reason, self.outcome = state, now, reason, outcome

    @property
    def ended(self) -> bool:
        return self.state in JOB_ENDED

    def of(self, *states: ExecutionState) -> list[Execution]:
        """The executions in these states, in the order of asking."""
        return [one for one in self.executions.values() if one.state in states]
