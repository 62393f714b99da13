"""When a deputy takes a job over, and whose word about a job it takes."""

from __future__ import annotations

import pytest

from p2pnode.core.records.events import DropJob, JobStopped, SaveJob
from p2pnode.core.records.lifecycle import (
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
)
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import (
    ASK_OWNER_S,
    COMMANDS_WAITING_MAX,
    COPIES_PER_PEER_MAX,
    CUT_OFF_WAIT_S,
    STAGGER_S,
    Replication,
)
from p2pnode.core.wire.codec import replace
from p2pnode.core.wire.messages import Command, CommandAction, Owned, Replicate, WhoOwns

from .core_support import JOB, new_record, sent, spec

DEPUTIES = ("first", "second")


def of_owner(epoch: int = 1, deputies: tuple[str, ...] = DEPUTIES, id: str = JOB) -> JobRecord:
    record = new_record(id, "owner", spec(), 0)
    record.epoch, record.deputies = epoch, deputies
    return record


def keeping(me: str, lost: tuple[str, ...] = ()) -> Replication:
    replication = Replication(me, set(lost))
    (keep,) = sync.replicates(of_owner(), (), None, 0)
    assert replication.replicate("owner", keep, None, 0)
    return replication


def lose(replication: Replication, *peers: str, now: float = 10) -> None:
    replication.lost = {*replication.lost, *peers}
    for peer in peers:
        replication.peer_lost(peer, now, forgot=False)


@pytest.mark.parametrize(
    ("me", "lost", "wait_s"),
    [
        ("first", ["owner"], 0),
        ("second", ["owner"], STAGGER_S),
        ("second", ["first", "owner"], CUT_OFF_WAIT_S),
        ("first", ["second", "owner"], CUT_OFF_WAIT_S),
    ],
)
def test_the_first_deputy_that_lives_takes_over_and_one_that_hears_nobody_waits(
    me: str, lost: list[str], wait_s: float
) -> None:
    replication = keeping(me)
    lose(replication, *lost)
    assert replication.take_over_due == 10 + wait_s
    ((record, before, orders),) = replication.take_over(10 + wait_s)
    assert (record.owner, before, orders) == (me, "owner", [])
    assert "owner" in record.past_members and me not in record.deputies
    assert not replication.copies


def test_two_that_take_over_at_once_have_different_authority() -> None:
    epochs = []
    for me in DEPUTIES:
        replication = keeping(me)
        lose(replication, "owner")
        ((record, _, _),) = replication.take_over(100)
        epochs.append(record.epoch)
    assert len(set(epochs)) == 2


def test_an_owner_that_is_back_in_time_keeps_its_job_and_hears_what_its_users_wanted() -> None:
    replication = keeping("second")
    lose(replication, "owner")
    for _ in range(COMMANDS_WAITING_MAX + 1):
        assert replication.command_owner(JobStopped(JOB, "enough")) == []
    told = sent(replication.peer_back("owner"), Command)
    assert len(told) == COMMANDS_WAITING_MAX and {peer for peer, _ in told} == {"owner"}
    assert {message.action for _, message in told} == {CommandAction.STOP}
    assert replication.take_over(1000) == []


def test_an_owner_without_its_journal_is_replaced_though_it_is_heard() -> None:
    replication = keeping("first")
    replication.peer_lost("owner", 10, forgot=True)
    assert replication.peer_back("owner") == []
    assert [before for _, before, _ in replication.take_over(10)] == ["owner"]


def test_a_stranger_who_claims_a_job_is_asked_about_and_not_believed() -> None:
    replication = keeping("first")
    (keep,) = sync.replicates(of_owner(epoch=9), (), None, 0)
    assert {peer for peer, _ in sent(replication.replicate("stranger", keep, None, 5), WhoOwns)} == {
        "owner",
        "second",
    }
    assert (
        replication.owned("stranger", Owned(job=JOB, epoch=9, owner="stranger"), replication.copies[JOB], 5)
        == []
    )
    assert replication.copies[JOB].owner == "owner"


def test_a_lower_claim_is_answered_with_who_the_owner_is() -> None:
    replication = keeping("first")
    replication.owned("owner", Owned(job=JOB, epoch=3, owner="second"), replication.copies[JOB], 5)
    (keep,) = sync.replicates(of_owner(), (), None, 0)
    ((peer, answer),) = sent(replication.replicate("owner", keep, None, 5), Owned)
    assert (peer, answer.epoch, answer.owner) == ("owner", 3, "second")


def test_a_new_owner_is_asked_whether_a_copy_is_wanted_and_one_that_is_not_is_dropped() -> None:
    replication = keeping("first")
    actions = replication.owned("owner", Owned(job=JOB, epoch=3, owner="second"), replication.copies[JOB], 5)
    assert [peer for peer, _ in sent(actions, WhoOwns)] == ["second"]
    header = sync.header(of_owner(epoch=3, deputies=("other",)), 6)
    assert replication.replicate("second", header, None, 6) == [DropJob(JOB)]
    assert not replication.copies


def test_what_was_missed_is_asked_for() -> None:
    replication = keeping("first")
    record = of_owner(epoch=4)
    later = replace(sync.header(record, 5), revision=7)
    actions = replication.replicate("owner", later, None, 5)
    assert [(peer, message.epoch) for peer, message in sent(actions, WhoOwns)] == [("owner", 0)]
    assert replication.copies[JOB].epoch == 4


def test_a_copy_that_nobody_renews_is_asked_about_now_and_then() -> None:
    replication = keeping("first")
    assert replication.ask_owners(ASK_OWNER_S - 1) == []
    assert [peer for peer, _ in sent(replication.ask_owners(ASK_OWNER_S))] == ["owner"]
    replication.lost = {"owner"}
    assert [peer for peer, _ in sent(replication.ask_owners(2 * ASK_OWNER_S))] == ["second"]


def test_a_message_that_comes_twice_changes_nothing_and_one_owner_fills_no_deputy() -> None:
    replication = keeping("first")
    (keep,) = sync.replicates(of_owner(), (), None, 0)
    assert replication.replicate("owner", keep, None, 1) == []
    kept = 1
    for number in range(1, COPIES_PER_PEER_MAX + 5):
        (one,) = sync.replicates(of_owner(id=f"j-{number:032x}"), (), None, 0)
        kept += any(isinstance(action, SaveJob) for action in replication.replicate("owner", one, None, 1))
    assert kept == len(replication.copies) == COPIES_PER_PEER_MAX


def test_what_names_no_deputy_here_is_not_kept() -> None:
    replication = Replication("first", set())
    (keep,) = sync.replicates(of_owner(deputies=("other",)), (), None, 0)
    assert isinstance(keep, Replicate) and replication.replicate("owner", keep, None, 0) == []
    assert not replication.copies


def test_a_copy_that_has_ended_hears_of_a_later_owner_too() -> None:
    replication = Replication("first", set())
    record = of_owner()
    record.move(JobState.STOPPED, 5, "enough", Outcome.STOPPED)
    actions = replication.owned("second", Owned(job=JOB, epoch=3, owner="third"), record, 5)
    assert [(peer, message.epoch) for peer, message in sent(actions, WhoOwns)] == [("third", 0)]
    assert (record.owner, record.epoch) == ("third", 3)
    # A job that has ended goes on nowhere: who hands it over hears how it ended.
    told = sent(replication.owned("third", Owned(job=JOB, epoch=9, owner="first"), record, 6), Replicate)
    assert [(peer, keep.state, keep.epoch) for peer, keep in told] == [("third", JobState.STOPPED, 9)]
    assert not replication.due and not replication.copies


@pytest.mark.parametrize(("since", "told"), [(None, True), (4.9, True), (5.0, True), (5.1, False)])
def test_a_deputy_is_told_what_has_changed_since_and_in_the_moment_of_its_last_copy(
    since: float | None, told: bool
) -> None:
    record = of_owner()
    record.executions["e-1"] = Execution(
        id="e-1", peer="a", round=1, replica=0, state=ExecutionState.RUNNING, created=1, modified=5
    )
    (keep,) = sync.replicates(record, (), since, 6)
    assert [one.id for one in keep.executions] == ["e-1"] * told
