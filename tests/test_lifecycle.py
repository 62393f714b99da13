"""The records of a job: what they keep beyond what their fields say."""

from __future__ import annotations

from p2pnode.core.records.lifecycle import Execution, ExecutionState, JobRecord
from p2pnode.core.wire import codec

from .core_support import new_job


def test_executions_are_in_the_order_of_asking_after_the_journal_too() -> None:
    record = new_job("ab").record
    for round, id in enumerate(("e-2", "e-3", "e-1"), 1):
        record.executions[id] = Execution(id=id, peer="a", round=round, created=round, modified=round)
    again = codec.decode(codec.encode(record), JobRecord)
    assert [one.id for one in again.of(ExecutionState.ASKED)] == ["e-2", "e-3", "e-1"]
    assert again == record
