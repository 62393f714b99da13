"""Commands of users, given where a copy is held: how they are numbered, and how they find the owner."""

from __future__ import annotations

import copy

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records import mandate
from p2pnode.core.records.events import (
    Action,
    DropJob,
    Event,
    JobRerun,
    JobStopped,
    JobUpdated,
    PeerLost,
    Received,
    Rejected,
    SaveJob,
    Send,
    Tick,
)
from p2pnode.core.records.lifecycle import JobRecord, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Command
from p2pnode.core.wire.spec import Timeouts

from .core_support import JOB, a_mandate, new_record, sent, spec
from .fake_keys import FakeKeys

# Members by rank: the requester, an operator of its, and another.
MEMBERS = ("me", "ops", "third")


# The job waits for peers that run it, of which there are none here.
WANTED = spec(deputies=2, timeouts=Timeouts(queue_s=500))


def record_of(owner: str = "me") -> JobRecord:
    record = new_record(JOB, "me", WANTED, 0)
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


# Jobs that have ended, whose owner may be another than the copy says


# As long as a user waits: service.commands says so.
PATIENCE_S = 15


class Network:
    """Nodes that hear each other at once, each with the record of an ended job in its journal, or none."""

    def __init__(self, owners: dict[str, str | None], dead: str = "") -> None:
        """`owners` says whom each node's record names; None: it has no record."""
        self.now, self.dead, self.messages = 1000.0, dead, 0
        self.nodes = {peer: core(peer) for peer in owners}
        self.journals: dict[str, bytes] = {}
        for peer, owner in owners.items():
            if owner is not None:
                record = record_of(owner)
                record.move(JobState.COMPLETED, 1, "", Outcome.COMPLETED)
                self.journals[peer] = codec.encode(record)

    def record(self, peer: str) -> JobRecord | None:
        return codec.decode(self.journals[peer], JobRecord) if peer in self.journals else None

    def journalled(self, peer: str) -> JobRecord | None:
        """The journal's record of a job that the core does not hold."""
        node = self.nodes[peer]
        return None if JOB in node.jobs or JOB in node.replication.copies else self.record(peer)

    def give(self, peer: str, event: Event) -> None:
        pending = [(peer, event)]
        while pending:
            at, event = pending.pop(0)
            if isinstance(event, Received):
                event = Received(event.peer, event.message, None, self.journalled(at))
            for action in self.nodes[at].handle(event, self.now):
                match action:
                    case SaveJob(record):
                        self.journals[at] = codec.encode(record)
                    case DropJob():
                        self.journals.pop(at, None)
                    case Send(to, message) if to in self.nodes and to != self.dead:
                        self.messages += 1
                        pending.append((to, Received(at, message)))

    def rerun(self, peer: str) -> None:
        self.give(peer, JobRerun(JOB, "", self.journalled(peer)))

    def run(self, length_s: float) -> None:
        """Let time pass; who watches the dead node finds it lost after a while."""
        for _ in range(int(length_s)):
            self.now += 1
            for peer, node in self.nodes.items():
                if peer == self.dead:
                    continue
                if self.now >= 1006 and self.dead in node.partners - node.lost:
                    self.give(peer, PeerLost(self.dead, "is silent"))
                self.give(peer, Tick())


RERUNS: dict[str, tuple[str, dict[str, str | None], str]] = {
    "to the last owner": ("ops", {"me": "me", "ops": "me", "third": "me"}, ""),
    "to a former owner, which knows the last": ("ops", {"me": "me", "ops": "third", "third": "me"}, ""),
    "to a former owner, which takes the asker for the last": (
        "ops",
        {"me": "third", "ops": "third", "third": "ops"},
        "",
    ),
    "round among three that name each other": ("ops", {"me": "ops", "ops": "third", "third": "me"}, ""),
    "to an owner that has lost its disk": ("ops", {"me": None, "ops": "me", "third": "me"}, ""),
    "to an owner that has died, and is not watched": ("ops", {"me": "me", "ops": "me", "third": "me"}, "me"),
    "by the requester to a deputy that has died": (
        "me",
        {"me": "third", "ops": "third", "third": None},
        "third",
    ),
    "by the requester to a deputy that has lost its disk": (
        "me",
        {"me": "third", "ops": "third", "third": None},
        "",
    ),
}


@pytest.mark.parametrize(("at", "owners", "dead"), RERUNS.values(), ids=RERUNS)
def test_a_rerun_is_carried_out_in_time_that_goes(at: str, owners: dict[str, str | None], dead: str) -> None:
    network = Network(owners, dead)
    network.rerun(at)
    network.run(PATIENCE_S)
    record = network.record(at)
    assert record is not None and record.run == 2 and not record.ended
    network.run(60)
    alive = [one for one in network.nodes if one != dead]
    views = {(view.owner, view.run) for one in alive if (view := network.record(one)) is not None}
    assert len(views) == 1, views
    assert network.messages < 300


def test_a_rerun_that_the_owner_throws_away_has_nobody_take_the_job_over() -> None:
    network = Network({"me": "me", "ops": "me", "third": "me"}, dead="me")
    network.rerun("ops")
    (command,) = network.nodes["ops"].replication.commands[JOB]
    network.give("ops", Rejected("me", command, "no such job type here"))
    network.dead = ""
    network.run(PATIENCE_S)
    assert {network.record(one).run for one in network.nodes} == {1}  # type: ignore[union-attr]
    assert not network.nodes["ops"].replication.copies


def test_commands_that_wait_for_a_silent_owner_go_to_the_member_that_has_taken_over() -> None:
    ops, third = holding("ops", record_of(), "me"), holding("third", record_of(), "me")
    third.handle(PeerLost("me", "is silent"), 1)
    (command,) = (one for _, one in sent(holding("ops", record_of()).handle(JobStopped(JOB, ""), 5), Command))
    assert not sent(third.handle(Received("x", command), 2), Command)
    ops.replication.behind.clear()
    ops.handle(PeerLost("me", "is silent"), 2)
    (whole,) = sync.replicates(copy.deepcopy(ops.jobs[JOB].record), (), None, 3)
    assert [to for to, _ in sent(third.handle(Received("ops", whole), 3), Command)] == ["ops"]
