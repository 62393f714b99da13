"""Commands of users, given where a copy is held: how they are numbered, and how they find the owner."""

from __future__ import annotations

import copy

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records import mandate
from p2pnode.core.records.events import (
    Action,
    JobRerun,
    JobStopped,
    JobUpdated,
    Received,
    SaveJob,
)
from p2pnode.core.records.lifecycle import JobRecord, JobState
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Command

from .core_support import JOB, a_mandate, new_record, sent, spec
from .fake_keys import FakeKeys

# Members by rank: the requester, an operator of its, and another.
MEMBERS = ("me", "ops", "third")


def record_of(owner: str = "me") -> JobRecord:
    record = new_record(JOB, "me", spec(deputies=2), 0)
    record.mandate = a_mandate(*MEMBERS, wanted=record.spec, controllers=("ops",))
    record.owner = owner
    return record


def core(me: str, *lost: str) -> Core:
    return Core(me, lambda spec: None, FakeKeys(me), lost=set(lost))


def holding(me: str, record: JobRecord, *lost: str) -> Core:
    """A node that goes on from its journal, which has this record."""
    node = core(me, *lost)
    node.resume([copy.deepcopy(record)], [], 0)
    return node


def numbers(actions: list[Action]) -> list[int]:
    return [mandate.read_command(message.signed).number for _, message in sent(actions, Command)]


def saved(actions: list[Action]) -> JobRecord:
    """The record as the journal has it now."""
    last = [one.record for one in actions if isinstance(one, SaveJob)][-1]
    return codec.decode(codec.encode(last), JobRecord)


ORDERS = (JobRerun(JOB, ""), JobUpdated(JOB, spec(500, deputies=2)), JobStopped(JOB, "enough"))


@pytest.mark.parametrize(
    "step_s", [0.0, 0.0001, -60.0], ids=["at once", "within a ms", "as the clock is set back"]
)
def test_each_command_of_a_user_counts_that_is_given_before_the_owner_has_answered(step_s: float) -> None:
    owner, ops = holding("me", record_of()), holding("ops", record_of())
    told: list[Action] = []
    for number, order in enumerate(ORDERS):
        told += ops.handle(order, 1000 + number * step_s)
    assert numbers(told) == sorted(set(numbers(told))) and len(numbers(told)) == len(ORDERS)
    done: list[Action] = []
    for _, message in sent(told, Command):
        done += owner.handle(Received("ops", message), 1001)
    record = saved(done)
    assert (record.run, record.version, record.state) == (3, 2, JobState.STOPPED)


@pytest.mark.parametrize("between", ["a restart", "a whole copy anew"])
def test_a_command_is_numbered_above_those_that_the_owner_has_not_told_back_after(between: str) -> None:
    ops = holding("ops", record_of())
    actions = ops.handle(JobRerun(JOB, ""), 1000)
    first = numbers(actions)
    if between == "a restart":
        ops = holding("ops", saved(actions))
    else:
        (whole,) = sync.replicates(record_of(), (), None, 0)
        ops.handle(Received("me", codec.replace(whole, revision=99)), 1000)
        assert ops.replication.copies[JOB].revision == 99
    assert numbers(ops.handle(JobStopped(JOB, ""), 900)) == [first[0] + 1]


def test_commands_of_the_owner_itself_are_all_carried_out_in_one_moment() -> None:
    owner = holding("me", record_of())
    told = [action for order in ORDERS for action in owner.handle(order, 1000)]
    done = [mandate.read_command(one).action for one in saved(told).commands]
    assert done == ["rerun", "update", "stop"]
