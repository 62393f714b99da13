"""A job is changed, or begun anew, by a command that its owner carries out."""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.records.lifecycle import LONG_RUNNING, OPEN, VERSIONS_KEPT_MAX, JobState, job_version
from p2pnode.core.wire.spec import JobSpec

from . import deputies
from .transitions import JobTransitions


def update(transitions: JobTransitions, spec: JobSpec, lost: Collection[str], now: float) -> None:
    """Go on by another file: its executions replace those of before one by one, or all begins anew."""
    record = transitions.record
    if spec.type is not record.spec.type:
        transitions.note("Submission", f"Change refused: the job's type stays {record.spec.type}", now)
        return
    if spec.deputies < record.spec.deputies:
        deputies.keep_at_most(transitions, spec.deputies, lost, now)
    record.version += 1
    record.spec = spec
    version = record.versions[record.version] = job_version(spec, now)
    record.spec_hash = version.spec_hash
    for old in sorted(record.versions)[:-VERSIONS_KEPT_MAX]:
        del record.versions[old]
    transitions.cancel_all(record.of(*OPEN), "the job was changed", now)
    changed = f"Job changed to version {record.version}"
    if record.ended or spec.type not in LONG_RUNNING:
        begin_anew(transitions, changed, now)
    else:
        record.refusals, record.retry_at, record.waiting_since = {}, {}, None
        record.modified = now
        transitions.note("Submission", changed, now, urgent=True)
    if transitions.me == record.requester:
        # The charter names the newest version of the file.
        deputies.recharter(transitions, record.authority.members)


def begin_anew(transitions: JobTransitions, text: str, now: float) -> None:
    """Begin the job's next run."""
    record = transitions.record
    transitions.cancel_all(record.of(*OPEN), "the job was begun anew", now)
    record.run += 1
    record.begun = now
    record.refusals, record.retry_at, record.targets = {}, {}, {}
    record.waiting_since, record.first_failure = None, ""
    record.move(JobState.PENDING, now)
    transitions.note("Submission", text, now, urgent=True)
