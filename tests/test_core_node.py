"""Decisions of one node's core as a whole: its jobs in turn, its copies, whom it obeys, and how it leaves."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records.events import (
    AdvertHeard,
    Event,
    JobStopped,
    JobSubmitted,
    Leaving,
    PeerBack,
    PeerLost,
    Received,
    Tick,
)
from p2pnode.core.records.lifecycle import JobState
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import STAGGER_S
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Adopt, Ask, Cancel, Command, Orphan, Owned, Replicate
from p2pnode.core.wire.spec import JobSpec, JobType, Timeouts

from .core_support import JOB, NONCE, a_command, advert, bid, sent, signed, spec
from .fake_keys import FakeKeys
from .test_told_ends import ended, word

EXECUTION = "e-" + "0" * 32


def core(me: str = "me", peers: str = "", trust: Trust = ANYBODY) -> Core:
    node = Core(me, lambda spec: None, FakeKeys(me), trust=trust)
    for peer in peers:
        hear(node, peer)
    return node


def hear(node: Core, peer: str, now: float = 0) -> list:
    told = advert(peer)
    return node.handle(AdvertHeard(signed(told), told, 90_000, peer), now)


def with_job(peers: str = "abcd", wanted: JobSpec | None = None, operators: tuple[str, ...] = ()) -> Core:
    node = core(peers=peers, trust=Trust(operators, tuple(peers) if operators else ()))
    node.handle(JobSubmitted(JOB, wanted or spec(), NONCE), 0)
    return node


def of_owner(node: Core) -> Replicate:
    """The whole of the node's job, as its deputies are told it."""
    (told,) = sync.replicates(copy.deepcopy(node.jobs[JOB].record), (), None, 0)
    return told


def stop(job: str = JOB) -> Command:
    return a_command("stop", job=job)


def test_of_jobs_that_wait_the_most_urgent_asks_first_and_of_equals_the_oldest() -> None:
    node, waits = core(), Timeouts(queue_s=60)
    jobs = {f"j-{number:032x}": priority for number, priority in enumerate((0, 5, 9, 5))}
    for number, (job, priority) in enumerate(jobs.items()):
        node.handle(JobSubmitted(job, spec(timeouts=waits, priority=priority), NONCE), number / 100)
    actions = hear(node, "a", 1)
    asked = [message.job for _, message in sent([*actions, *node.handle(Tick(), 2)], Ask)]
    assert asked == sorted(jobs, key=lambda job: -jobs[job])


@pytest.mark.parametrize("brings", ["deputy", "stranger"])
@pytest.mark.parametrize(("signs", "obeyed"), [("me", True), ("ops", True), ("deputy", False), ("x", False)])
def test_an_owner_obeys_the_requester_and_controllers_whoever_brings_their_word(
    brings: str, signs: str, obeyed: bool
) -> None:
    node = with_job(operators=("ops",))
    deputy = node.jobs[JOB].record.deputies[0]
    record = node.jobs[JOB].record
    peer = deputy if brings == "deputy" else brings
    with nullcontext() if obeyed else pytest.raises(BadMessage, match="may not command"):
        node.handle(Received(peer, a_command("stop", by=deputy if signs == "deputy" else signs)), 1)
    assert (record.state is JobState.STOPPED) is obeyed


def test_a_command_that_its_controller_did_not_sign_is_refused() -> None:
    node = with_job()
    forged = a_command("stop")
    forged = codec.replace(forged, signed=codec.replace(forged.signed, signature=bytes(64)))
    with pytest.raises(BadMessage, match="not signed"):
        node.handle(Received("a", forged), 1)


def test_a_deputy_passes_a_controllers_command_on_to_the_owner() -> None:
    owner = with_job()
    first, second = owner.jobs[JOB].record.deputies
    deputy = core(first)
    deputy.handle(Received("me", of_owner(owner)), 1)
    assert [to for to, _ in sent(deputy.handle(Received(second, stop()), 2), Command)] == ["me"]


def test_a_deputy_that_acts_yields_to_its_requester() -> None:
    owner = with_job()
    first = owner.jobs[JOB].record.deputies[0]
    deputy = core(first)
    deputy.handle(Received("me", of_owner(owner)), 1)
    deputy.handle(PeerLost("me", "is silent"), 2)
    assert deputy.jobs[JOB].record.owner == first
    deputy.handle(PeerBack("me"), 3)
    deputy.handle(Received("me", of_owner(owner)), 4)
    assert JOB not in deputy.jobs and deputy.replication.copies[JOB].owner == "me"


def test_users_of_a_deputy_command_nothing() -> None:
    owner = with_job()
    first = owner.jobs[JOB].record.deputies[0]
    deputy = core(first)
    deputy.handle(Received("me", of_owner(owner)), 1)
    assert not sent(deputy.handle(JobStopped(JOB, "enough"), 2))
    deputy.handle(PeerLost("me", "is silent"), 3)
    deputy.handle(JobStopped(JOB, "enough"), 4)
    assert deputy.jobs[JOB].record.state is not JobState.STOPPED


def test_a_leaving_owner_hands_its_jobs_to_a_deputy_that_is_there() -> None:
    node = with_job()
    record = node.jobs[JOB].record
    silent = record.deputies[0]
    node.handle(PeerLost(silent, "is silent"), 1)
    heir = next(peer for peer in record.deputies if peer != silent)
    told = [message for peer, message in sent(node.handle(Leaving(), 2), Owned) if peer == heir]
    assert [message.owner for message in told] == [heir]
    assert JOB not in node.jobs


def test_a_job_is_handed_over_whole_and_goes_on_at_its_heir() -> None:
    node = with_job()
    heir = node.jobs[JOB].record.deputies[0]
    next_owner = core(heir, "abcd")
    next_owner.handle(Received("me", of_owner(node)), 0)
    for peer, message in sent(node.handle(Leaving(), 1)):
        if peer == heir and isinstance(message, Replicate | Owned):
            next_owner.handle(Received("me", message), 1)
    assert next_owner.jobs[JOB].record.owner == heir


@pytest.mark.parametrize("kind", [JobType.BATCH, JobType.SERVICE])
def test_who_takes_a_job_over_ends_the_orphans_it_was_told_of_meanwhile_and_has_no_place_for(
    kind: JobType,
) -> None:
    owner = with_job(wanted=spec(type=kind))
    second = owner.jobs[JOB].record.deputies[1]
    deputy = core(second, "abcd")
    deputy.handle(Received("me", of_owner(owner)), 1)
    deputy.handle(PeerLost("me", "is silent"), 2)
    orphan = Orphan(execution=EXECUTION, round=1, job=JOB, replica=0, owner="me")
    assert not sent(deputy.handle(Received("compute", orphan), 2.5)), "the first deputy may take it over"
    actions = deputy.handle(Tick(), 2 + STAGGER_S)
    told = [type(message) for peer, message in sent(actions) if peer == "compute"]
    assert told[:2] == [Adopt, Cancel]


def test_an_owner_that_yields_releases_what_it_asked_for() -> None:
    node = with_job("ab")
    asked = [one for one in node.jobs[JOB].record.executions.values() if one.peer == "a"]
    node.handle(Received("a", bid(asked[0].id)), 0.1)
    actions = node.handle(Leaving(), 1)
    assert "a" in [peer for peer, message in sent(actions) if type(message).__name__ == "Release"]


def test_an_owners_job_and_a_deputys_copy_stay_of_their_type_whatever_a_peer_says() -> None:
    owner = with_job()
    first, second = owner.jobs[JOB].record.deputies
    deputy = core(first)
    deputy.handle(Received("me", of_owner(owner)), 1)
    ops = spec(type=JobType.OPS)
    change = a_command("update", "", ops)
    for node, message in (
        (owner, change),
        (deputy, change),
        (deputy, codec.replace(of_owner(owner), spec=ops, commands=(change.signed,))),
    ):
        with pytest.raises(BadMessage, match="ops"):
            node.handle(Received(second, message), 2)


@pytest.mark.parametrize(
    ("meanwhile", "counts"),
    [
        ([], False),
        ([PeerLost("b", "is silent"), PeerBack("b")], True),
        ([PeerLost("b", "has lost its disk", forgot=True)], True),
        ([PeerLost("c", "is silent"), PeerBack("c")], False),
        ([None], True),
    ],
    ids=["heard all the time", "silent", "without its disk", "while another was silent", "before a restart"],
)
def test_of_a_job_that_ended_what_a_deputy_has_done_counts_if_it_was_not_heard_since(
    meanwhile: list[Event | None], counts: bool
) -> None:
    node = with_job("bc")
    record, told = node.jobs[JOB].record, of_owner(node)
    node.handle(Received("x", stop()), 1)
    assert JOB not in node.jobs, "it is in the journal only"
    for event in meanwhile:
        node.handle(event, 2) if event else node.resume([], [], 2)
    done = ended(id="e-" + "9" * 32, owner="b")
    done = codec.replace(done, receipt=word(execution=done.id))
    told = codec.replace(told, acts_since_ms=1, executions=(done,))
    node.handle(Received("b", told, record=record), 3)
    assert (done.id in record.executions) is counts
