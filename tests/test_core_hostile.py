"""Words of hostile peers that once led a core to something that it must never do."""

from __future__ import annotations

import pytest

from p2pnode.core.records import vetting
from p2pnode.core.records.lifecycle import (
    NO_REASON,
    ExecutionState,
    JobState,
    Outcome,
)
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec, messages
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import COUNTER_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.messages import Replicate
from p2pnode.core.wire.states import Fault

from .core_support import JOB, new_record, spec
from .test_core_boundary import OTHER, a_copy, a_keep


def told(**changes: object) -> Replicate:
    (keep,) = sync.replicates(new_record(JOB, "owner", spec(), 0.0), (), None, 0.0)
    return codec.replace(keep, **changes)


def test_what_is_told_of_a_job_as_old_as_can_be_is_told_again_in_the_wires_limits() -> None:
    keep = told(age_ms=MOMENT_MS_MAX, created_ms=MOMENT_MS_MAX)
    record = sync.applied(None, keep, "owner", 0.0)
    assert record is not None
    for again in (*sync.replicates(record, (), None, 10.0), sync.header(record, 10.0)):
        assert messages.decode_message_untrusted(codec.encode(again)).age_ms == MOMENT_MS_MAX


@pytest.mark.parametrize("counter", ["version", "run", "revision", "round"])
def test_a_counter_from_which_no_owner_could_count_on_is_refused(counter: str) -> None:
    assert vetting.message_untrusted(codec.encode(told()), lambda peer: None)
    keep = told(**{counter: COUNTER_MAX})
    with pytest.raises(BadMessage):
        vetting.message_untrusted(codec.encode(keep), lambda peer: None)


@pytest.mark.parametrize("state", [ExecutionState.LOST, ExecutionState.FAILED])
def test_a_failure_for_which_a_peer_gives_no_reason_is_told_as_such(state: ExecutionState) -> None:
    copy = a_copy(state=state, fault=Fault.PEER, reason="")
    record = sync.applied(None, a_keep(executions=(copy,)), OTHER, 0)
    assert record is not None
    assert record.executions[copy.id].reason == NO_REASON


def test_a_job_that_its_owner_has_stopped_for_no_reason_is_told_as_such() -> None:
    keep = told(state=JobState.STOPPED, outcome=Outcome.STOPPED, reason="")
    record = sync.applied(None, keep, "owner", 0)
    assert record is not None
    assert record.reason == NO_REASON
