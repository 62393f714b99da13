"""Lists of jobs: which jobs a user asks for, and where a page of them begins."""

from __future__ import annotations

import math

from p2pnode.api.queries import JobsQuery
from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire.states import JobState

_ENDED = {JobState.COMPLETED, JobState.FAILED, JobState.STOPPED}


def fits(record: JobRecord, asked: JobsQuery) -> bool:
    """Whether a job is one that is asked for; `namespace` is left to the journal."""
    spec = record.spec
    if asked.state and record.state not in asked.state:
        return False
    if asked.type and spec.type not in asked.type:
        return False
    if not all(_has_label(record, label) for label in asked.label):
        return False
    text = asked.text.casefold()
    return any(text in one.casefold() for one in (record.id, spec.name, record.reason))


def _has_label(record: JobRecord, label: str) -> bool:
    key, equals, value = label.partition("=")
    labels = record.spec.labels
    return key in labels and (not equals or labels[key] == value)


def ended_of(asked: JobsQuery) -> bool | None:
    """Whether only ended jobs, or only others, are in the states that are asked for; None: both may be."""
    if not asked.state:
        return None
    ended = {state in _ENDED for state in asked.state}
    return ended.pop() if len(ended) == 1 else None


def name_of(created: float, id: str) -> str:
    """The place behind a job, as `next` gives and `after` takes it."""
    return f"{id}@{created!r}"


def place_of(name: str) -> tuple[float, str] | None:
    """The place that `name_of` named, None for the begin; raises `ServiceError`."""
    if not name:
        return None
    id, _, created = name.rpartition("@")
    try:
        at = float(created)
    except ValueError:
        at = math.nan
    if not math.isfinite(at) or not id:
        reason = f"after is {name!a}; it has to be `next` of the page before"
        raise ServiceError(Code.BAD_REQUEST, reason)
    return at, id
