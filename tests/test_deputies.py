"""Which peers become a job's deputies, how many, and what the history says where there are too few."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from p2pnode.core.job.deputies import SHORTAGE_TOLD_AFTER_S, shortage_told_at
from p2pnode.core.job.machine import Job
from p2pnode.core.node import Core
from p2pnode.core.placement.adverts import Known
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, JobSubmitted, PeerLost, Received, Rejected, SaveLines, Tick
from p2pnode.core.records.lifecycle import LIVE, JobRecord
from p2pnode.core.replication.replicas import COPIES_MAX, COPIES_PER_PEER_MAX
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec, protocols
from p2pnode.core.wire.codec import Untimely
from p2pnode.core.wire.fields import MEMBERS_NAMED_MAX
from p2pnode.core.wire.mandates import job_id
from p2pnode.core.wire.messages import Adopt, Replicate
from p2pnode.core.wire.spec import Constraint, JobSpec, JobType, Operator, Timeouts
from p2pnode.core.wire.states import Scheduling, Stage

from .core_support import (
    JOB,
    NONCE,
    a_command,
    a_mandate,
    advert,
    known,
    new_record,
    running,
    sent,
    spec,
    update,
)
from .fake_keys import FakeKeys

NORTH = Constraint(key="zone", operator=Operator.EQUALS, values=("north",))
NOT_SOUTH = Constraint(key="zone", operator=Operator.NOT_EQUALS, values=("south",))
FAVOURED = Constraint(key="favour_zone", operator=Operator.EQUALS, values=("north",))
# Such a job does not end because nobody can run it.
WAITS = Timeouts(queue_s=500)
LATER = SHORTAGE_TOLD_AFTER_S
DEPUTYS = job_id("deputy", NONCE)
NO_DEPUTY = protocols.spoken(deputy=False)


def table(**peers: Any) -> dict[str, Known]:
    """Adverts of peers by their names, each with what is special about it."""
    adverts = []
    for peer, changes in peers.items():
        spoken = changes.pop("protocols", protocols.SPOKEN)
        adverts.append(codec.replace(advert(peer, **changes), protocols=spoken))
    return known(*adverts)


def job_of(
    wanted: JobSpec, peers: dict[str, Known], trust: Trust = ANYBODY, lost: tuple[str, ...] = ()
) -> tuple[Job, list[Action]]:
    job = Job(new_record(JOB, "me", wanted, 0), "me", FakeKeys("me"), peers, lost, trust)
    return job, job.begin(0)


def said(actions: list[Action]) -> list[str]:
    """The lines of history about too few deputies."""
    lines = [line.text for one in actions if isinstance(one, SaveLines) for line in one.lines]
    return [text for text in lines if "deputies found" in text]


@pytest.mark.parametrize(
    ("changes", "constraints", "trust", "reason"),
    [
        ({}, (), ANYBODY, None),
        ({"protocols": NO_DEPUTY}, (), ANYBODY, "looks after no jobs of others"),
        ({"protocols": ("deputy/1", "link/9")}, (), ANYBODY, "speaks link/9 only; this node speaks link/4"),
        ({"scheduling": Scheduling.DRAINING}, (), ANYBODY, "is being drained"),
        ({"scheduling": Scheduling.CORDONED}, (), ANYBODY, None),
        ({"labels": {"zone": "north"}}, (NORTH,), ANYBODY, None),
        ({"labels": {"zone": "south"}}, (NORTH,), ANYBODY, "label zone is 'south'; wanted: zone = north"),
        ({"labels": {}}, (NORTH,), ANYBODY, "has no label zone; wanted: zone = north"),
        ({"labels": {}}, (NOT_SOUTH,), ANYBODY, None),
        ({"labels": {"zone": "south"}}, (FAVOURED,), ANYBODY, None),
        ({"engines": ()}, (), ANYBODY, None),
        ({}, (), Trust(operators=("a",)), None),
        ({}, (), Trust(peers=("a",)), None),
        ({}, (), Trust(operators=("b",), peers=("a",)), None),
        ({}, (), Trust(operators=("b",), peers=("c",)), "is neither an operator nor trusted"),
        ({"labels": {"zone": "south"}}, (NORTH,), Trust(peers=("a",)), "label zone is 'south'"),
        ({"protocols": NO_DEPUTY}, (), Trust(operators=("a",)), "looks after no jobs of others"),
    ],
    ids=[
        "a peer that looks after jobs becomes a deputy",
        "a peer that does not say so does not",
        "a peer of another link does not",
        "a peer that is being drained does not",
        "a cordoned peer does",
        "a peer that meets the Constraints does",
        "a peer that the Constraints exclude does not",
        "a peer without the label that they ask for does not",
        "a peer without the label that they exclude does",
        "a peer that a preference does not name does",
        "a peer without engines does",
        "an operator does",
        "a trusted peer does",
        "one of the trusted does where operators are named, too",
        "a stranger does not where others are trusted",
        "a trusted peer that the Constraints exclude does not",
        "an operator that looks after no jobs does not",
    ],
)
def test_who_becomes_a_deputy(
    changes: dict[str, Any], constraints: tuple[Constraint, ...], trust: Trust, reason: str | None
) -> None:
    wanted = spec(constraints=constraints, deputies=1, timeouts=WAITS)
    job, actions = job_of(wanted, table(a=dict(changes)), trust)
    assert job.record.deputies == (() if reason else ("a",))
    told = [message for peer, message in sent(actions, Replicate) if peer == "a"]
    assert [message.spec for message in told] == ([] if reason else [wanted])
    found = said(job.handle(Tick(), LATER))
    assert len(found) == (1 if reason else 0)
    assert not reason or f"1 of 1: {reason}" in found[0]


@pytest.mark.parametrize("deputies", [0, 1, 2, 3])
def test_a_job_has_as_many_deputies_as_its_file_says(deputies: int) -> None:
    job, actions = job_of(spec(deputies=deputies), known(*map(advert, "abcde")))
    assert len(job.record.deputies) == deputies
    assert {peer for peer, _ in sent(actions, Replicate)} == set(job.record.deputies)
    assert not said(job.handle(Tick(), LATER))


def test_one_of_three_deputies_that_is_lost_is_replaced() -> None:
    lost: set[str] = set()
    job = Job(
        new_record(JOB, "me", spec(deputies=3), 0), "me", FakeKeys("me"), known(*map(advert, "abcd")), lost
    )
    job.begin(0)
    gone = job.record.deputies[1]
    lost.add(gone)
    job.handle(PeerLost(gone, "is silent"), 1)
    assert len(job.record.deputies) == 3 and gone not in job.record.deputies


def test_a_peer_that_was_told_of_the_job_before_gets_all_of_it_as_a_deputy() -> None:
    lost: set[str] = set()
    trust = Trust(operators=("a", "b"))
    record = new_record(JOB, "me", spec(deputies=1), 0)
    job = Job(record, "me", FakeKeys("me"), known(advert("a"), advert("b")), lost, trust)
    job.begin(0)
    (first,) = job.record.deputies
    other = {"a": "b", "b": "a"}[first]
    job.read_by(other, 1)
    assert other in job.record.synced
    lost.add(first)
    actions = job.handle(PeerLost(first, "is silent"), 2)
    assert job.record.deputies == (other,)
    assert [one.full for peer, one in sent(actions, Replicate) if peer == other] == [True]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_job_that_wants_fewer_deputies_takes_their_copies_back(kept: int) -> None:
    job, _ = running("abc")
    first, second = job.record.deputies
    actions = job.command(a_command("update", "", spec(deputies=kept)), 1)
    assert job.record.deputies == (first, second)[:kept]
    for peer in (first, second)[kept:]:
        told = [message for one, message in sent(actions, Replicate) if one == peer]
        assert [(mandate.read(message.mandate).members[1:], message.spec) for message in told] == [
            (job.record.deputies, None)
        ]


def test_deputies_that_new_constraints_exclude_never_see_the_new_file() -> None:
    peers = table(a={}, b={}, c={"labels": {"zone": "north"}})
    job, _ = job_of(spec(deputies=3), peers)
    changed = spec(deputies=3, constraints=(NORTH,))
    actions = job.command(a_command("update", "", changed), 1)
    assert job.record.deputies == ("c",)
    specs = {peer: message.spec for peer, message in sent(actions, Replicate)}
    assert specs == {"a": None, "b": None, "c": changed}


def test_a_deputy_whose_labels_change_is_replaced_and_workers_are_told() -> None:
    job, execution = running("a")
    peers = table(a={}, b={"labels": {"zone": "north"}}, c={"labels": {"zone": "north"}})
    record = job.record
    record.spec = codec.replace(record.spec, constraints=(NORTH,))
    record.mandate = a_mandate("me", "a", "b", wanted=record.spec)
    actions = Job(record, "me", FakeKeys("me"), peers).handle(Tick(), 1)
    assert record.deputies == ("b", "c") and "a" in record.past_members
    told = [mandate.read(message.mandate).members for _, message in sent(actions, Adopt)]
    assert told == [("me", "b", "c")]
    assert execution in record.executions


def test_the_requester_of_a_job_may_always_hold_its_copy() -> None:
    record = new_record(JOB, "theirs", spec(constraints=(NORTH,), deputies=1), 0)
    record.mandate = mandate.extended(FakeKeys("theirs"), record.mandate, "theirs", ["me"])
    record.owner = "me"
    Job(record, "me", FakeKeys("me"), table(theirs={"protocols": NO_DEPUTY})).handle(Tick(), 1)
    assert record.deputies == ("theirs",)


def test_whom_a_node_trusts_counts_for_its_own_jobs_only() -> None:
    trust = Trust(operators=("b",))
    theirs = new_record(JOB, "theirs", spec(deputies=1), 0)
    theirs.mandate = mandate.extended(FakeKeys("theirs"), theirs.mandate, "theirs", ["me"])
    theirs.owner = "me"
    Job(theirs, "me", FakeKeys("me"), known(advert("a")), ("theirs",), trust).handle(Tick(), 1)
    assert theirs.deputies == ("theirs", "a")


@pytest.mark.parametrize(("trusted", "named"), [((), ("a",)), (("b",), ("b",)), (("c",), ())])
def test_a_deputy_that_has_taken_over_names_whom_the_requester_trusts(
    trusted: tuple[str, ...], named: tuple[str, ...]
) -> None:
    theirs = new_record(JOB, "theirs", spec(deputies=1), 0)
    theirs.mandate = a_mandate("theirs", "me", trusted=trusted)
    theirs.owner = "me"
    Job(theirs, "me", FakeKeys("me"), known(*map(advert, "ab")), ("theirs",)).handle(Tick(), 1)
    assert set(theirs.deputies) == {"theirs", *named} or (not trusted and len(theirs.deputies) == 2)


def test_an_owner_that_may_name_no_more_members_lets_what_runs_alone() -> None:
    job, execution = running("a")
    record, others = job.record, [f"m{number}" for number in range(MEMBERS_NAMED_MAX - 2)]
    record.mandate = a_mandate("theirs", "me")
    record.mandate = mandate.extended(FakeKeys("me"), record.mandate, "me", others)
    lost = {"theirs", *others}
    acting = Job(record, "me", FakeKeys("me"), known(*map(advert, "abc")), lost)
    acting.handle(Tick(), 1)
    assert not sent(acting.handle(Received("a", update(execution, 3, Stage.RUNNING)), 2), Adopt)
    assert len(record.authority.members) == MEMBERS_NAMED_MAX and record.executions[execution].state in LIVE


# Too few


def test_a_job_that_finds_too_few_deputies_says_so_once_with_reasons_by_count() -> None:
    excluded = {"labels": {"zone": "south"}}
    peers = table(
        a={"labels": {"zone": "north"}},
        b=dict(excluded),
        c=dict(excluded),
        d={"labels": {"zone": "north"}, "protocols": NO_DEPUTY},
    )
    job, actions = job_of(spec(constraints=(NORTH,)), peers, lost=("d",))
    assert not said(actions), "adverts may be on their way"
    assert job.deadline <= LATER
    assert said(job.handle(Tick(), LATER)) == [
        "1 of 2 deputies found: 2 of 4: label zone is 'south'; wanted: zone = north; 1 of 4: is silent"
    ]
    again = job.handle(Tick(), 2 * LATER) + job.handle(PeerLost("b", "is silent"), 3 * LATER)
    assert not said(again)
    assert shortage_told_at(job.record, ()) == float("inf")


def test_after_a_restart_and_until_its_file_changes_a_job_does_not_say_it_again() -> None:
    job, _ = job_of(spec(), known(advert("a")))
    job.handle(Tick(), LATER)
    record = codec.decode(codec.encode(job.record), JobRecord)
    record.mandate = a_mandate("me")
    later = Job(record, "me", FakeKeys("me"), known(advert("a")))
    assert not said(later.resume(100) + later.handle(Tick(), 100 + LATER))
    changed = later.command(a_command("update", "", spec(deputies=3)), 200)
    assert said(changed + later.handle(Tick(), 200 + LATER)) == [
        "1 of 3 deputies found: no more peers are known"
    ]


def test_a_job_without_any_deputy_says_what_is_lost() -> None:
    job, _ = job_of(spec(timeouts=WAITS), {})
    (text,) = said(job.handle(Tick(), LATER))
    assert text.startswith("0 of 2 deputies found (while the node that looks after it is away, nobody does")
    assert text.endswith("no more peers are known")


@pytest.mark.parametrize("kind", JobType)
def test_a_job_that_wants_no_deputies_lacks_none(kind: JobType) -> None:
    job, actions = job_of(spec(type=kind, deputies=0, timeouts=WAITS), {})
    assert not said(actions + job.handle(Tick(), LATER))


# The other side


def core(me: str, **settings: Any) -> Core:
    return Core(me, lambda spec: None, FakeKeys(me), **settings)


def replicate(**changes: Any) -> Replicate:
    _, actions = job_of(spec(), known(advert("deputy"), advert("other")))
    (message,) = (message for peer, message in sent(actions, Replicate) if peer == "deputy")
    return codec.replace(message, **changes)


def test_a_node_that_looks_after_no_jobs_refuses_a_copy_with_the_reason() -> None:
    node = core("deputy", deputy=False)
    with pytest.raises(Untimely, match="this node looks after no jobs of others"):
        node.handle(Received("me", replicate()), 1)
    assert not node.replication.copies


def full_of(*owners: tuple[str, int]) -> Core:
    """A node that keeps so many copies of each of these owners."""
    node = core("deputy")
    for owner, count in owners:
        record = new_record(JOB, owner, spec(), 0, ("deputy",))
        node.replication.copies |= {f"{owner}-{number}": record for number in range(count)}
    return node


FULL = {
    "of all owners together": (full_of(*((f"o{n}", 1_000) for n in range(10))), "copies of 10000 jobs"),
    "of one owner": (full_of(("me", COPIES_PER_PEER_MAX)), "copies of 2000 jobs of this owner"),
}


@pytest.mark.parametrize(("node", "reason"), FULL.values(), ids=FULL)
def test_a_node_that_is_full_of_copies_refuses_one_with_the_reason_and_another_is_taken(
    node: Core, reason: str
) -> None:
    assert len(node.replication.copies) in (COPIES_MAX, COPIES_PER_PEER_MAX)
    with pytest.raises(Untimely, match=f"{reason} already, its limit"):
        node.handle(Received("me", replicate()), 1)
    assert JOB not in node.replication.copies
    job, actions = job_of(spec(deputies=1), known(*map(advert, "ab")))
    ((full, told),) = sent(actions, Replicate)
    again = job.handle(Rejected(full, told, reason), 2)
    (other,) = job.record.deputies
    assert other != full and [(peer, one.full) for peer, one in sent(again, Replicate) if peer == other]


def test_a_node_that_is_full_of_copies_goes_on_with_those_and_with_jobs_of_its_own() -> None:
    node = core("deputy")
    node.handle(Received("me", replicate()), 1)
    node.replication.copies |= full_of(("me", COPIES_PER_PEER_MAX - 1)).replication.copies
    node.handle(Received("me", replicate(revision=9)), 2)
    assert node.replication.copies[JOB].revision == 9
    node.handle(Received("me", replicate(mandate=a_mandate("deputy", "me", job=DEPUTYS), job=DEPUTYS)), 3)
    assert DEPUTYS in node.jobs


@pytest.mark.parametrize(
    ("settings", "changes"),
    [({}, {}), ({"deputy": False}, {"mandate": a_mandate("deputy", "me", job=DEPUTYS), "job": DEPUTYS})],
    ids=["one that looks after jobs", "one whose user submitted the job"],
)
def test_a_copy_is_taken_by(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    node = core("deputy", **settings)
    node.handle(Received("me", replicate(**changes)), 1)
    # A requester that had lost its copy looks after the job itself again.
    assert [*node.replication.copies, *node.jobs] == [changes.get("job", JOB)]


def test_a_node_that_looks_after_no_jobs_any_more_goes_on_with_what_it_holds() -> None:
    node = core("deputy")
    node.handle(Received("me", replicate()), 1)
    node.deputy = False
    node.handle(Received("me", replicate(revision=9)), 2)
    assert node.replication.copies[JOB].revision == 9


def test_a_node_entrusts_its_jobs_to_whom_its_settings_name() -> None:
    node = core("me", trust=Trust(operators=("b",), peers=("d",)))
    for peer in "abcd":
        node.table.known |= known(advert(peer))
    node.handle(JobSubmitted(JOB, spec(deputies=3), NONCE), 1)
    assert set(node.jobs[JOB].record.deputies) == {"b", "d"}


def test_trust_is_a_value_that_nobody_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ANYBODY.operators = ("a",)  # type: ignore[misc]
