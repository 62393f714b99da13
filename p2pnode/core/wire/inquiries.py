"""Questions of a node on a stream of their own, answered at once: output, its order, lists of jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from .codec import Meta, Record
from .extensions import Open
from .fields import (
    JOB_NAME_LENGTH_MAX,
    JOB_REASON_LENGTH_MAX,
    JOBS_PER_PAGE_MAX,
    LOGS_PIECE_SIZE_BYTES_MAX,
    Cid,
    ExecutionId,
    JobId,
    Moment,
    Natural,
)
from .log_order import RUNS_MAX
from .spec import JobType
from .states import JobState


class LogsRequest(Open, frozen=True):
    """Requester to peer, on a stream of its own: send me what an execution writes.

    The offsets are where in each stream to begin. With `follow` the pieces go on until the program has ended.
    """

    execution: ExecutionId
    stdout_offset: Natural
    stderr_offset: Natural
    follow: bool


class LogsPiece(Record, frozen=True):
    """Some bytes of one stream, in their order."""

    stream: Literal["stdout", "stderr"]
    data: Annotated[bytes, Meta(max_length=LOGS_PIECE_SIZE_BYTES_MAX)]


class LogOrderRequest(Open, frozen=True):
    """On a stream of its own: in which order was the output that a result holds written?"""

    result: Cid


class LogOrderAnswer(Record, frozen=True):
    """Bytes of runs, by turns of stdout and stderr (`core.wire.log_order`); none where it is not known."""

    runs: Annotated[tuple[Natural, ...], Meta(max_length=RUNS_MAX)]


class JobLine(Open, frozen=True):
    """A job as its owner tells it to anybody."""

    id: JobId
    name: Annotated[str, Meta(max_length=JOB_NAME_LENGTH_MAX)]
    namespace: Annotated[str, Meta(max_length=JOB_NAME_LENGTH_MAX)]
    type: JobType
    state: JobState
    reason: Annotated[str, Meta(max_length=JOB_REASON_LENGTH_MAX)]
    count: Natural
    created_ms: Moment


class JobsPage(Record, frozen=True):
    """A part of a node's own jobs, newest first; the last one has `more` false."""

    jobs: Annotated[tuple[JobLine, ...], Meta(max_length=JOBS_PER_PAGE_MAX)]
    more: bool
