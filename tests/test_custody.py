"""When a deputy takes a job over, and whose word about a job it takes."""

from __future__ import annotations

import pytest

from p2pnode.core.records.events import DropJob, JobStopped, SaveJob
from p2pnode.core.records.lifecycle import (
    JobRecord,
    JobState,
    Outcome,
    new_record,
)
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import (
    ASK_OWNER_S,
    COPIES_PER_PEER_MAX,
    CUT_OFF_WAIT_S,
    ORDERS_WAITING_MAX,
    STAGGER_S,
    Custody,
)
from p2pnode.core.wire.codec import replace
from p2pnode.core.wire.messages import (
    Command,
    Keep,
    Order,
    Owned,
    WhoOwns,
)

from .core_support import JOB, sent, spec

DEPUTIES = ("first", "second")


def of_owner(epoch: int = 1, deputies: tuple[str, ...] = DEPUTIES, id: str = JOB) -> JobRecord:
    record = new_record(id, "owner", spec(), 0)
    record.epoch, record.deputies = epoch, deputies
    return record


def keeping(me: str, lost: tuple[str, ...] = ()) -> Custody:
    custody = Custody(me, set(lost))
    (keep,) = sync.keeps(of_owner(), (), None, 0)
    assert custody.keep("owner", keep, None, 0)
    return custody


def lose(custody: Custody, *peers: str, now: float = 10) -> None:
    custody.lost = {*custody.lost, *peers}
    for peer in peers:
        custody.peer_lost(peer, now, forgot=False)


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
    custody = keeping(me)
    lose(custody, *lost)
    assert custody.take_over_due == 10 + wait_s
    ((record, before, orders),) = custody.take_over(10 + wait_s)
    assert (record.owner, before, orders) == (me, "owner", [])
    assert "owner" in record.former and me not in record.deputies
    assert not custody.copies


def test_two_that_take_over_at_once_have_different_authority() -> None:
    epochs = []
    for me in DEPUTIES:
        custody = keeping(me)
        lose(custody, "owner")
        ((record, _, _),) = custody.take_over(100)
        epochs.append(record.epoch)
    assert len(set(epochs)) == 2


def test_an_owner_that_is_back_in_time_keeps_its_job_and_hears_what_its_users_wanted() -> None:
    custody = keeping("second")
    lose(custody, "owner")
    for _ in range(ORDERS_WAITING_MAX + 1):
        assert custody.order(JobStopped(JOB, "enough")) == []
    told = sent(custody.peer_back("owner"), Command)
    assert len(told) == ORDERS_WAITING_MAX and {peer for peer, _ in told} == {"owner"}
    assert {message.order for _, message in told} == {Order.STOP}
    assert custody.take_over(1000) == []


def test_an_owner_without_its_journal_is_replaced_though_it_is_heard() -> None:
    custody = keeping("first")
    custody.peer_lost("owner", 10, forgot=True)
    assert custody.peer_back("owner") == []
    assert [before for _, before, _ in custody.take_over(10)] == ["owner"]


def test_a_stranger_who_claims_a_job_is_asked_about_and_not_believed() -> None:
    custody = keeping("first")
    (keep,) = sync.keeps(of_owner(epoch=9), (), None, 0)
    assert {peer for peer, _ in sent(custody.keep("stranger", keep, None, 5), WhoOwns)} == {"owner", "second"}
    assert custody.owned("stranger", Owned(job=JOB, epoch=9, owner="stranger"), custody.copies[JOB], 5) == []
    assert custody.copies[JOB].owner == "owner"


def test_a_lower_claim_is_answered_with_who_the_owner_is() -> None:
    custody = keeping("first")
    custody.owned("owner", Owned(job=JOB, epoch=3, owner="second"), custody.copies[JOB], 5)
    (keep,) = sync.keeps(of_owner(), (), None, 0)
    ((peer, answer),) = sent(custody.keep("owner", keep, None, 5), Owned)
    assert (peer, answer.epoch, answer.owner) == ("owner", 3, "second")


def test_a_new_owner_is_asked_whether_a_copy_is_wanted_and_one_that_is_not_is_dropped() -> None:
    custody = keeping("first")
    actions = custody.owned("owner", Owned(job=JOB, epoch=3, owner="second"), custody.copies[JOB], 5)
    assert [peer for peer, _ in sent(actions, WhoOwns)] == ["second"]
    header = sync.header(of_owner(epoch=3, deputies=("other",)), 6)
    assert custody.keep("second", header, None, 6) == [DropJob(JOB)]
    assert not custody.copies


def test_what_was_missed_is_asked_for() -> None:
    custody = keeping("first")
    record = of_owner(epoch=4)
    later = replace(sync.header(record, 5), revision=7)
    actions = custody.keep("owner", later, None, 5)
    assert [(peer, message.epoch) for peer, message in sent(actions, WhoOwns)] == [("owner", 0)]
    assert custody.copies[JOB].epoch == 4


def test_a_copy_that_nobody_renews_is_asked_about_now_and_then() -> None:
    custody = keeping("first")
    assert custody.ask_owners(ASK_OWNER_S - 1) == []
    assert [peer for peer, _ in sent(custody.ask_owners(ASK_OWNER_S))] == ["owner"]
    custody.lost = {"owner"}
    assert [peer for peer, _ in sent(custody.ask_owners(2 * ASK_OWNER_S))] == ["second"]


def test_a_message_that_comes_twice_changes_nothing_and_one_owner_fills_no_deputy() -> None:
    custody = keeping("first")
    (keep,) = sync.keeps(of_owner(), (), None, 0)
    assert custody.keep("owner", keep, None, 1) == []
    kept = 1
    for number in range(1, COPIES_PER_PEER_MAX + 5):
        (one,) = sync.keeps(of_owner(id=f"j-{number:032x}"), (), None, 0)
        kept += any(isinstance(action, SaveJob) for action in custody.keep("owner", one, None, 1))
    assert kept == len(custody.copies) == COPIES_PER_PEER_MAX


def test_what_names_no_deputy_here_is_not_kept() -> None:
    custody = Custody("first", set())
    (keep,) = sync.keeps(of_owner(deputies=("other",)), (), None, 0)
    assert isinstance(keep, Keep) and custody.keep("owner", keep, None, 0) == []
    assert not custody.copies


def test_a_copy_that_has_ended_hears_of_a_later_owner_too() -> None:
    custody = Custody("first", set())
    record = of_owner()
    record.move(JobState.STOPPED, 5, "enough", Outcome.STOPPED)
    actions = custody.owned("second", Owned(job=JOB, epoch=3, owner="third"), record, 5)
    assert [(peer, message.epoch) for peer, message in sent(actions, WhoOwns)] == [("third", 0)]
    assert (record.owner, record.epoch) == ("third", 3)
    # What has ended goes on nowhere: who hands it over hears how it ended.
    told = sent(custody.owned("third", Owned(job=JOB, epoch=9, owner="first"), record, 6), Keep)
    assert [(peer, keep.state, keep.epoch) for peer, keep in told] == [("third", JobState.STOPPED, 9)]
    assert not custody.due and not custody.copies
