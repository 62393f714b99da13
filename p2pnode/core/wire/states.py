"""The words for the states of jobs and executions, for faults, refusals, stages and scheduling."""

from __future__ import annotations

import enum


class JobState(enum.StrEnum):
    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class ExecutionState(enum.StrEnum):
    ASKED = "Asked"
    # The peer has no room now, and bids when it has.
    QUEUED = "Queued"
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


class Fault(enum.StrEnum):
    """The party at fault for a failure: it decides whether another peer may do better."""

    JOB = "job"
    PEER = "peer"
    NETWORK = "network"
    # Nobody's: the peer ended it for reasons of its own (drained, shut down, a more urgent job).
    MOVED = "moved"
    # The job's: it ran longer than the job allows.
    TIMEOUT = "timeout"
    # Nobody's: its requester wanted it no more.
    CANCELLED = "cancelled"


class RefusalKind(enum.StrEnum):
    """Why a peer says no: for good, or only until something is free."""

    UNSUITABLE = "unsuitable"
    BUSY = "busy"
    # No room now; the ask waits at the peer, which bids when there is some.
    QUEUED = "queued"
    EXPIRED = "expired"


class Stage(enum.StrEnum):
    """How far an awarded execution is, as its peer reports it."""

    PREPARING = "preparing"
    RUNNING = "running"
    PUBLISHING = "publishing"

    @property
    def state(self) -> ExecutionState:
        """The execution's state in this stage, which has the same name."""
        return ExecutionState[self.name]


class Scheduling(enum.StrEnum):
    """The work that a peer takes on, as its operator says."""

    SCHEDULABLE = "schedulable"
    # Nothing new; what runs goes on.
    CORDONED = "cordoned"
    # Nothing new, and what runs is to move away.
    DRAINING = "draining"
