"""The names of the states of jobs and executions; `core.records.lifecycle` says which may follow which."""

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
