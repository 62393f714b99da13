"""Executions that each type of job should have: where something is missing, and what is too much."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.job.desired import (
    MissingPlacement,
    learn_targets,
    missing_placements,
    surplus,
)
from p2pnode.core.placement.adverts import Known
from p2pnode.core.records.lifecycle import (
    Execution,
    ExecutionState,
    JobRecord,
    job_version,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import (
    Constraint,
    JobType,
    Operator,
    WasmTask,
)
from p2pnode.core.wire.states import Fault, Scheduling

from .core_support import JOB, advert, known, new_record, spec

RUNNING, COMPLETED = ExecutionState.RUNNING, ExecutionState.COMPLETED
FAILED, LOST = ExecutionState.FAILED, ExecutionState.LOST
PREPARING = ExecutionState.PREPARING


def job(kind: JobType, *states: tuple[str, int, ExecutionState], **changes: Any) -> JobRecord:
    """A record whose executions are at these peers, for these replicas, in these states, in this order."""
    record = new_record(JOB, "me", spec(type=kind, **changes), 0)
    for peer, replica, state in states:
        add(record, peer, replica, state)
    return record


def add(record: JobRecord, peer: str, replica: int, state: ExecutionState, **changes: Any) -> Execution:
    number = len(record.executions)
    one = Execution(
        id=f"e-{number}",
        peer=peer,
        round=number,
        replica=replica,
        state=state,
        version=record.version,
        run=record.run,
        created=number,
        modified=number,
        **changes,
    )
    record.executions[one.id] = one
    return one


def changed(record: JobRecord) -> None:
    """A new version of the file, with another program."""
    record.version += 1
    task = codec.replace(record.spec.task, engine=WasmTask(entry_module="/other"))
    record.spec = codec.replace(record.spec, task=task)
    record.versions[record.version] = job_version(record.spec, 1)


def table(*peers: str, **changes: Any) -> dict[str, Known]:
    return known(*(advert(peer, **changes) for peer in peers))


def ended(record: JobRecord, peers: dict[str, Known]) -> list[str]:
    return [one.id for one, _ in surplus(record, peers)]


@pytest.mark.parametrize(
    ("states", "missing"),
    [
        ([], [0, 1]),
        ([("a", 0, RUNNING)], [1]),
        ([("a", 0, COMPLETED), ("b", 1, RUNNING)], []),
        ([("a", 0, FAILED), ("b", 1, LOST)], [0, 1]),
    ],
)
def test_a_batch_job_wants_each_replica_once(states: Any, missing: list[int]) -> None:
    record = job(JobType.BATCH, *states, count=2)
    assert missing_placements(record, table("a", "b")) == [MissingPlacement(replica) for replica in missing]


def test_a_service_that_ended_is_wanted_again_and_a_batch_of_another_run_is_not_counted() -> None:
    service = job(JobType.SERVICE, ("a", 0, COMPLETED), ("b", 1, RUNNING), count=2)
    assert missing_placements(service, table("a", "b")) == [MissingPlacement(0)]
    batch = job(JobType.BATCH, ("a", 0, COMPLETED), ("a", 0, RUNNING))
    batch.run = 2
    assert missing_placements(batch, table("a")) == [MissingPlacement(0)]
    assert ended(batch, table("a")) == ["e-1"]


@pytest.mark.parametrize("kind", [JobType.BATCH, JobType.OPS])
def test_what_has_completed_is_not_run_to_a_second_end(kind: JobType) -> None:
    record = job(kind, ("a", 0, COMPLETED), ("b", 0, RUNNING))
    assert ended(record, table("a", "b")) == ["e-1"]


def test_of_two_executions_of_a_replica_the_later_is_too_much() -> None:
    record = job(JobType.BATCH, ("a", 0, RUNNING), ("b", 0, RUNNING))
    assert ended(record, table("a", "b")) == ["e-1"]


def test_a_service_scaled_down_ends_the_highest_replicas_and_to_zero_all() -> None:
    record = job(JobType.SERVICE, ("a", 0, RUNNING), ("b", 1, RUNNING), ("c", 2, RUNNING), count=3)
    record.spec = codec.replace(record.spec, count=1)
    assert ended(record, table("a", "b", "c")) == ["e-1", "e-2"]
    record.spec = codec.replace(record.spec, count=0)
    assert ended(record, table("a", "b", "c")) == ["e-0", "e-1", "e-2"]
    assert missing_placements(record, table("a", "b", "c")) == []


def test_a_changed_service_moves_one_by_one_and_the_new_one_runs_before_the_old_one_ends() -> None:
    record = job(JobType.SERVICE, ("a", 0, RUNNING), ("b", 1, RUNNING), count=2)
    changed(record)
    peers = table("a", "b", "c")
    assert missing_placements(record, peers) == [MissingPlacement(0)] and ended(record, peers) == []
    new = add(record, "c", 0, PREPARING)
    assert missing_placements(record, peers) == [] and ended(record, peers) == []
    new.state = RUNNING
    assert ended(record, peers) == ["e-0"]
    record.executions["e-0"].state = ExecutionState.CANCELLED
    assert missing_placements(record, peers) == [MissingPlacement(1)]


def test_a_changed_daemon_ends_peer_by_peer_and_stops_where_the_new_version_breaks() -> None:
    record = job(JobType.DAEMON)
    peers = table("a", "b")
    learn_targets(record, peers)
    for peer, replica in record.targets.items():
        add(record, peer, replica, RUNNING)
    changed(record)
    assert ended(record, peers) == ["e-0"]
    record.executions["e-0"].state = ExecutionState.CANCELLED
    assert ended(record, peers) == [] and missing_placements(record, peers) == [MissingPlacement(0, "a")]
    add(record, "a", 0, FAILED, fault=Fault.JOB)
    assert ended(record, peers) == []


def test_the_targets_of_ops_are_those_of_its_beginning_and_a_daemons_grow() -> None:
    ops, daemon = job(JobType.OPS), job(JobType.DAEMON)
    for peers in (table("a", "b"), table("a", "b", "c")):
        learn_targets(ops, peers)
        learn_targets(daemon, peers)
    assert (ops.targets, daemon.targets) == ({"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 2})


def test_a_daemon_ends_where_it_no_longer_matches_but_not_where_a_peer_is_only_silent() -> None:
    here = (Constraint(key="os", operator=Operator.EQUALS, values=("linux",)),)
    record = job(JobType.DAEMON, ("a", 0, RUNNING), ("b", 1, RUNNING), constraints=here)
    assert ended(record, table("a")) == []
    assert ended(record, {**table("a"), **table("b", labels={"os": "plan9"})}) == ["e-1"]


def test_a_draining_peer_is_left_by_what_runs_for_ever_and_gets_nothing_new() -> None:
    peers = {**table("a", scheduling=Scheduling.DRAINING), **table("b")}
    daemon = job(JobType.DAEMON, ("a", 0, RUNNING))
    learn_targets(daemon, peers)
    assert list(daemon.targets) == ["b"] and ended(daemon, peers) == ["e-0"]
    service = job(JobType.SERVICE, ("a", 0, RUNNING))
    assert missing_placements(service, peers) == [MissingPlacement(0)] and ended(service, peers) == []
    add(service, "b", 0, RUNNING)
    assert surplus(service, peers) == [(service.executions["e-0"], "moved, as its peer is being drained")]
