"""When what has failed is tried again, and when no more."""

from __future__ import annotations

import pytest

from p2pnode.core.job import retries as retrying
from p2pnode.core.job.retries import (
    ATTEMPTS_MAX,
    BACK_OFF_S_MAX,
    FAILURE_COUNTS_S,
    PEERS_AT_FAULT_MAX,
    STEADY_S,
)
from p2pnode.core.records.lifecycle import (
    Execution,
    ExecutionState,
    JobRecord,
)
from p2pnode.core.wire.spec import RETRIES_MAX, RETRIES_META_KEY, JobType
from p2pnode.core.wire.states import Fault

from .core_support import JOB, new_record, spec

FAILED, LOST = ExecutionState.FAILED, ExecutionState.LOST


def record_of(kind: JobType, *faults: Fault, ran_s: float = 1.0, **meta: str) -> JobRecord:
    """A job of whose replica 0 so many executions have failed, each at a peer of its own."""
    record = new_record(JOB, "me", spec(type=kind, meta=meta), 0)
    for number, fault in enumerate(faults):
        record.executions[f"e-{number}"] = Execution(
            id=f"e-{number}",
            peer=f"peer{number}",
            round=number,
            replica=0,
            state=FAILED,
            fault=fault,
            started=100.0 * number,
            created=100.0 * number,
            modified=100.0 * number + ran_s,
        )
    return record


def last(record: JobRecord) -> Execution:
    return list(record.executions.values())[-1]


def waits(kind: JobType, *faults: Fault, ran_s: float = 1.0) -> float:
    record = record_of(kind, *faults, ran_s=ran_s)
    return retrying.back_off_s(record, last(record))


def test_each_failure_in_a_row_doubles_the_wait_up_to_a_limit() -> None:
    found = [waits(JobType.SERVICE, *[Fault.JOB] * tries) for tries in range(1, 12)]
    for tries, wait_s in enumerate(found, 1):
        longest_s = min(BACK_OFF_S_MAX, 2 ** (tries - 1))
        assert 0.75 * longest_s <= wait_s <= longest_s
    assert len(set(found)) == len(found)


def test_what_ran_for_a_while_has_started_well_and_fails_as_if_for_the_first_time() -> None:
    assert waits(JobType.SERVICE, *[Fault.JOB] * 8, ran_s=STEADY_S) < 2


@pytest.mark.parametrize("kind", [JobType.BATCH, JobType.SERVICE])
def test_another_peer_is_not_waited_for_since_many_have_failed_by_their_own_fault(kind: JobType) -> None:
    assert waits(kind, *[Fault.PEER] * PEERS_AT_FAULT_MAX) <= 1
    assert waits(kind, *[Fault.PEER] * PEERS_AT_FAULT_MAX, Fault.PEER, Fault.PEER) > 1


def test_a_peer_that_fails_again_and_again_counts_once_and_waits_for_longer() -> None:
    record = record_of(JobType.BATCH, *[Fault.PEER] * PEERS_AT_FAULT_MAX)
    for one in record.executions.values():
        one.peer = "peer0"
    assert not retrying.hopeless(record, {0})
    assert retrying.back_off_s(record, last(record)) > BACK_OFF_S_MAX / 2


def test_what_was_lost_or_moved_is_tried_at_once() -> None:
    assert waits(JobType.BATCH, Fault.PEER, Fault.MOVED) == 0
    record = record_of(JobType.BATCH, Fault.PEER)
    last(record).state = LOST
    assert retrying.back_off_s(record, last(record)) == 0


@pytest.mark.parametrize(
    ("faults", "ends"),
    [
        ([Fault.JOB], True),
        ([Fault.NETWORK] * (ATTEMPTS_MAX - 1), False),
        ([Fault.NETWORK] * ATTEMPTS_MAX, True),
        ([Fault.PEER] * (PEERS_AT_FAULT_MAX - 1), False),
        ([Fault.PEER] * PEERS_AT_FAULT_MAX, True),
        ([Fault.NETWORK, Fault.PEER, Fault.NETWORK], False),
        ([Fault.MOVED] * (ATTEMPTS_MAX + 1), False),
        ([Fault.PEER, Fault.JOB], True),
    ],
)
def test_a_batch_job_fails_with_its_own_first_failure_and_after_some_of_its_peers(
    faults: list[Fault], ends: bool
) -> None:
    assert bool(retrying.hopeless(record_of(JobType.BATCH, *faults), {0})) is ends


def test_a_job_that_asks_for_retries_gets_them() -> None:
    wish = {RETRIES_META_KEY: "2"}
    assert not retrying.hopeless(record_of(JobType.BATCH, Fault.JOB, Fault.JOB, **wish), {0})
    assert retrying.hopeless(record_of(JobType.BATCH, Fault.JOB, Fault.JOB, Fault.JOB, **wish), {0})


@pytest.mark.parametrize(
    ("text", "retries"), [("3", 3), ("0", 0), ("9999", RETRIES_MAX), ("-1", 0), ("two", 0), ("²", 0)]
)
def test_a_strangers_wish_is_read_with_care(text: str, retries: int) -> None:
    assert retrying.retries(record_of(JobType.BATCH, **{RETRIES_META_KEY: text})) == retries


def test_an_ops_replica_is_given_up_when_its_peer_is_lost() -> None:
    record = record_of(JobType.OPS, Fault.PEER)
    assert not retrying.is_given_up(record, 0)
    last(record).state = LOST
    assert retrying.is_given_up(record, 0)


def test_a_services_failures_are_held_against_a_peer_for_a_time_only() -> None:
    record = record_of(JobType.SERVICE, Fault.PEER, Fault.JOB)
    assert retrying.failures_by_peer(record, 10) == {"peer0": 1}
    assert retrying.failures_by_peer(record, FAILURE_COUNTS_S + 2) == {}
    batch = record_of(JobType.BATCH, Fault.PEER, Fault.MOVED)
    assert retrying.failures_by_peer(batch, 10**6) == {"peer0": 1}
