"""Extensions that no member had need to sign: what they cost a requester, and whom they cost their place."""

from __future__ import annotations

import pytest

from p2pnode.core.job.deputies import UNNEEDED_HOLDS_S
from p2pnode.core.job.machine import Job
from p2pnode.core.job.transitions import TELL_DEPUTIES_S
from p2pnode.core.link.detection_times import CUT_OFF_WAIT_S
from p2pnode.core.node import Core
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, PeerLost, Received, Tick
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Adopt, Message, Owned, Replicate
from p2pnode.core.wire.spec import Timeouts

from .core_support import JOB, advert, known, new_record, running, sent, spec
from .fake_keys import FakeKeys


def serial(job: Job) -> int:
    return job.record.authority.charter.serial


def extended(job: Job, signer: str, *members: str) -> Mandate:
    return mandate.extended(FakeKeys(signer), job.record.mandate, signer, members)


def bring(job: Job, peer: str, given: Mandate, now: float, *, acts: bool) -> list[Action]:
    """A member brings a mandate: as one that acts for the job, or that only says who owns it."""
    if not acts:
        return job.handle(Received(peer, Owned(job=JOB, owner="me", mandate=given)), now)
    (word, *_) = sync.replicates(codec.decode(codec.encode(job.record), type(job.record)), (), None, now)
    return job.merge(peer, codec.replace(word, mandate=given, executions=()), now)


@pytest.mark.parametrize("acts", [True, False], ids=["as if it acted", "by the way"])
def test_a_member_that_signs_extension_after_extension_loses_its_place_and_costs_no_more_charters(
    acts: bool,
) -> None:
    job, _ = running("abcd")
    liar, honest = job.record.deputies
    first, begun = extended(job, liar, "x"), serial(job)
    told: list[Action] = []
    for number in range(50):
        still = liar in job.record.authority.members
        given = extended(job, liar, f"x{number}") if still else first
        told += bring(job, liar, given, 1 + number, acts=acts)
    assert liar not in job.record.deputies and liar in job.record.past_members
    assert honest in job.record.deputies and len(job.record.deputies) == 2
    # One without those that it named, one without it, and one with another deputy.
    assert serial(job) == begun + 3
    last = [message for peer, message in sent(told, Replicate) if peer == liar][-1]
    assert liar not in mandate.read(last.mandate).members and last.spec is None
    assert liar not in mandate.read(sent(told, Adopt)[-1][1].mandate).members


@pytest.mark.parametrize("later_s", [1.0, UNNEEDED_HOLDS_S], ids=["at once", "once in a while"])
def test_a_deputy_that_could_not_hear_the_requester_keeps_its_place_unless_that_is_so_again_and_again(
    later_s: float,
) -> None:
    job, _ = running("abcd")
    deputy = job.record.deputies[0]
    bring(job, deputy, extended(job, deputy, "x"), 1, acts=True)
    assert deputy in job.record.deputies and "x" not in job.record.deputies
    bring(job, deputy, extended(job, deputy, "x"), 1 + later_s, acts=True)
    assert (deputy in job.record.deputies) == (later_s >= UNNEEDED_HOLDS_S)


def test_extensions_of_a_deputy_that_the_requester_did_not_hear_cost_no_charter() -> None:
    job, _ = running("abcd")
    deputy, begun = job.record.deputies[0], serial(job)
    for number in range(3):
        job.handle(PeerLost(deputy, "is silent"), 10 * number)
        bring(job, deputy, extended(job, deputy, f"x{number}"), 10 * number + 1, acts=True)
    assert {"x0", "x1", "x2"} <= set(job.record.deputies) and serial(job) == begun


def test_a_deputy_that_brings_what_another_has_signed_keeps_its_place() -> None:
    job, _ = running("abcd")
    liar, honest = job.record.deputies
    for number in range(3):
        given = extended(job, liar, f"x{number}") if liar in job.record.deputies else job.record.mandate
        bring(job, honest, given, 1 + number, acts=False)
    assert honest in job.record.deputies and liar not in job.record.deputies


def test_who_is_named_by_a_deputy_that_was_away_may_have_named_others_itself() -> None:
    job, _ = running("abcd")
    away, begun = job.record.deputies[0], serial(job)
    job.handle(PeerLost(away, "is silent"), 1)
    one = extended(job, away, "heir")
    two = mandate.extended(FakeKeys("heir"), one, "heir", ["second"])
    bring(job, "heir", two, 2, acts=True)
    assert {"heir", "second"} <= set(job.record.deputies) and serial(job) == begun


def test_who_has_lost_its_place_may_be_named_again_later() -> None:
    job, _ = running("ab", deputies=1)
    (liar,) = job.record.deputies
    for number in range(2):
        bring(job, liar, extended(job, liar, f"x{number}"), 1 + number, acts=True)
    (other,) = job.record.deputies
    assert other != liar
    job.record.declined = (other,)
    job.handle(Tick(), 2 + UNNEEDED_HOLDS_S)
    job.handle(PeerLost(other, "is silent"), 2 + UNNEEDED_HOLDS_S)
    assert job.record.deputies == (liar,)


# A member of higher rank than a deputy that acts


def acting(me: str, lost: tuple[str, ...], *peers: str) -> tuple[Core, list[Action]]:
    """A deputy that has taken over from a requester that is gone, and what it says then."""
    node = Core(me, lambda spec: None, FakeKeys(me))
    for peer in peers:
        node.table.known |= known(advert(peer))
    record = new_record(JOB, "me", spec(deputies=2, timeouts=Timeouts(queue_s=500)), 0, ("first", "second"))
    node.resume([record], [], 0)
    for peer in lost:
        node.handle(PeerLost(peer, "is silent"), 10)
    return node, node.handle(Tick(), 10 + CUT_OFF_WAIT_S)


@pytest.mark.parametrize("kind", [Replicate, Owned], ids=["as if it acted", "by the way"])
def test_a_deputy_that_acts_has_one_of_higher_rank_stop_that_named_others(kind: type[Message]) -> None:
    first, _ = acting("first", ("me",))
    second, _ = acting("second", ("me", "first"), "x")
    assert "x" in second.jobs[JOB].record.deputies
    second.lost.clear()
    record, now = second.jobs[JOB].record, 50.0
    word = Owned(job=JOB, owner="second", mandate=record.mandate)
    said = [word] if kind is Owned else sync.replicates(record, (), None, now)
    answers: list[Action] = []
    for message in said:
        answers += first.handle(Received("second", message), now)
    answers += first.handle(Tick(), now + TELL_DEPUTIES_S)
    assert first.jobs[JOB].record.owner == "first"
    for peer, message in sent(answers, Replicate):
        if peer == "second":
            second.handle(Received("first", message), now + TELL_DEPUTIES_S)
    assert JOB not in second.jobs and second.replication.copies[JOB].owner == "first"
    # Peers that it named are told who acts, by the mandate that counts.
    assert "x" in first.jobs[JOB].record.authority.members
    assert [message.full for peer, message in sent(answers, Replicate) if peer == "x"][:1] == [True]
