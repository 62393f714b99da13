"""When a deputy takes a job over, and whose word about a job it takes."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.records import mandate
from p2pnode.core.records.events import DropJob
from p2pnode.core.records.lifecycle import (
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
    job_version,
)
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import (
    ASK_OWNER_S,
    COMMANDS_WAITING_MAX,
    CUT_OFF_WAIT_S,
    RESUMED_PER_S,
    STAGGER_S,
    Replication,
)
from p2pnode.core.wire.codec import replace
from p2pnode.core.wire.messages import Command, Owned, Replicate, WhoOwns

from .core_support import JOB, a_command, sent, spec
from .replication_support import keeping, lose, of_owner, told


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
    assert "owner" in record.deputies and me not in record.deputies
    assert not replication.copies


def test_of_two_that_act_the_one_of_lower_rank_goes_on_whoever_hears_first() -> None:
    for me, other, yields in (("first", "second", False), ("second", "first", True)):
        replication = keeping(me)
        lose(replication, "owner")
        replication.replicate(other, told(of_owner(), other, 9), None, 11)
        assert replication.copies[JOB].owner == other
        assert (replication.take_over_due == 11) is not yields


def test_an_owner_that_is_back_in_time_keeps_its_job_and_hears_what_its_users_wanted() -> None:
    replication = keeping("second")
    lose(replication, "owner")
    command = a_command("stop")
    for _ in range(COMMANDS_WAITING_MAX + 1):
        assert replication.command_owner(a_command("stop")) == []
        assert replication.command_owner(command) == []
    heard = sent(replication.peer_back("owner"), Command)
    assert len(heard) == COMMANDS_WAITING_MAX and {peer for peer, _ in heard} == {"owner"}
    assert [message for _, message in heard].count(command) == 1
    assert replication.take_over(1000) == []


def test_an_owner_without_its_journal_is_replaced_though_it_is_heard() -> None:
    replication = keeping("first")
    replication.peer_lost("owner", 10, forgot=True)
    assert replication.peer_back("owner") == []
    assert [before for _, before, _ in replication.take_over(10)] == ["owner"]


# A member keeps a copy by the word of `owner`; the others are `first` and `second`, by rank.
@pytest.mark.parametrize(
    ("me", "lost", "peer", "taken"),
    [
        ("second", [], "first", False),
        ("second", ["owner"], "first", True),
        ("first", ["owner"], "second", True),
        ("first", [], "second", False),
        ("first", [], "stranger", False),
        ("first", ["owner"], "stranger", False),
    ],
)
def test_a_member_takes_the_word_of_who_acts_and_of_another_only_while_that_one_is_silent(
    me: str, lost: list[str], peer: str, taken: bool
) -> None:
    replication = keeping(me)
    lose(replication, *lost)
    actions = replication.replicate(peer, told(of_owner(), peer, 9), None, 11)
    assert replication.copies[JOB].owner == (peer if taken else "owner")
    assert [message.owner for _, message in sent(actions, Owned)] == ["owner"] * (not taken)


def test_a_member_of_lower_rank_than_who_acts_takes_over_at_once_unless_it_leaves() -> None:
    for leaving in (False, True):
        replication = keeping("first")
        replication.leaving = leaving
        replication.lost = {"owner"}
        replication.replicate("second", told(of_owner(), "second", 9), None, 11)
        assert [before for _, before, _ in replication.take_over(11)] == ["second"] * (not leaving)


def test_a_job_that_its_owner_hands_over_is_taken_at_once_and_by_nobody_elses_word() -> None:
    for peer in ("second", "owner"):
        replication = keeping("first")
        owned = Owned(job=JOB, owner="first", mandate=of_owner().mandate)
        replication.owned(peer, owned, replication.copies[JOB], 5)
        assert len(replication.take_over(5)) == (peer == "owner")


def test_an_owner_that_resigns_is_followed_to_its_heir_which_is_asked_for_all() -> None:
    replication = keeping("first")
    owned = Owned(job=JOB, owner="second", mandate=of_owner().mandate)
    assert sent(replication.owned("stranger", owned, replication.copies[JOB], 5)) == []
    actions = replication.owned("owner", owned, replication.copies[JOB], 5)
    assert [(peer, message.whole) for peer, message in sent(actions, WhoOwns)] == [("second", True)]
    assert replication.copies[JOB].owner == "second"


def test_who_is_no_member_by_a_newer_charter_drops_its_copy_and_takes_nothing_from_an_older_one() -> None:
    replication = keeping("first")
    header = replace(sync.header(of_owner(serial=2, deputies=("other",)), 6), revision=9)
    assert replication.replicate("owner", header, None, 6) == [DropJob(JOB)]
    assert not replication.copies
    replication = keeping("first")
    newer = of_owner(serial=2, deputies=("first", "other"))
    replication.replicate("owner", told(newer, since_ms=5), None, 6)
    lose(replication, "owner")
    ((_, answer),) = sent(replication.replicate("second", told(of_owner(), "second", 9), None, 11), Owned)
    assert mandate.read(answer.mandate).members == ("owner", "first", "other")


def test_what_was_missed_is_asked_for() -> None:
    replication = keeping("first")
    record = of_owner()
    record.acts_since_ms = 7
    later = replace(sync.header(record, 5), revision=7)
    actions = replication.replicate("owner", later, None, 5)
    assert [(peer, message.whole) for peer, message in sent(actions, WhoOwns)] == [("owner", True)]


def test_what_an_owner_said_before_it_acted_anew_comes_late_and_changes_nothing() -> None:
    replication = keeping("first")
    replication.replicate("owner", told(of_owner(), since_ms=9), None, 5)
    assert replication.replicate("owner", told(of_owner(), since_ms=8), None, 6) == []


def test_a_copy_that_nobody_renews_is_asked_about_now_and_then() -> None:
    replication = keeping("first")
    assert replication.ask_owners(ASK_OWNER_S - 1) == []
    assert [peer for peer, _ in sent(replication.ask_owners(ASK_OWNER_S))] == ["owner", "second"]
    replication.lost = {"owner"}
    assert [peer for peer, _ in sent(replication.ask_owners(2 * ASK_OWNER_S))] == ["second"]


def test_copies_from_before_a_restart_are_asked_about_soon_and_not_all_at_once() -> None:
    replication = Replication("first", set())
    for number in range(1_000):
        replication.resume(of_owner(id=f"j-{number:032}"), 10)
    asked = [len({one.job for _, one in sent(replication.ask_owners(at))}) for at in (10, 11, 15)]
    assert asked == [0, RESUMED_PER_S, 1_000 - RESUMED_PER_S]


def test_an_owner_that_is_back_is_asked_before_its_silence_counts() -> None:
    replication = keeping("second", lost=("owner",))
    replication.ask_owners(ASK_OWNER_S)
    replication.lost = set()
    replication.ask_owners(2 * ASK_OWNER_S)
    assert replication.take_over_due == inf
    replication.ask_owners(3 * ASK_OWNER_S)
    assert replication.take_over_due < inf


@pytest.mark.parametrize("answers", [True, False])
def test_an_owner_that_is_there_and_does_not_know_its_job_is_replaced(answers: bool) -> None:
    replication = keeping("first")
    record = replication.copies[JOB]
    replication.ask_owners(ASK_OWNER_S)
    if answers:
        owned = Owned(job=JOB, owner="owner", mandate=record.mandate)
        replication.owned("owner", owned, record, ASK_OWNER_S + 1)
    replication.owned(
        "second", Owned(job=JOB, owner="owner", mandate=record.mandate), record, ASK_OWNER_S + 2
    )
    replication.ask_owners(2 * ASK_OWNER_S)
    assert (replication.take_over_due <= 2 * ASK_OWNER_S + CUT_OFF_WAIT_S) is not answers


def test_a_message_that_comes_twice_changes_nothing() -> None:
    replication = keeping("first")
    (keep,) = sync.replicates(of_owner(), (), None, 0)
    assert replication.replicate("owner", keep, None, 1) == []


def test_a_whole_copy_leaves_the_files_of_before() -> None:
    replication = keeping("first")
    newer = of_owner()
    newer.version, newer.spec = 2, spec(cpu_millis=500)
    newer.versions[2] = job_version(newer.spec, 5)
    replication.replicate("owner", replace(told(newer), revision=9), None, 6)
    kept = {number: one.spec for number, one in replication.copies[JOB].versions.items()}
    assert kept == {1: spec(), 2: newer.spec}


def test_what_names_no_deputy_here_is_not_kept() -> None:
    replication = Replication("first", set())
    (keep,) = sync.replicates(of_owner(deputies=("other",)), (), None, 0)
    assert isinstance(keep, Replicate) and replication.replicate("owner", keep, None, 0) == []
    assert not replication.copies


def test_a_copy_that_has_ended_is_taken_over_too_if_it_is_handed_over() -> None:
    replication = Replication("first", set())
    record = of_owner()
    record.move(JobState.STOPPED, 5, "enough", Outcome.STOPPED)
    owned = Owned(job=JOB, owner="first", mandate=record.mandate)
    replication.owned("owner", owned, record, 6)
    ((taken, _, _),) = replication.take_over(6)
    assert (taken.owner, taken.state) == ("first", JobState.STOPPED)
    assert not replication.due and not replication.copies


def doubting() -> tuple[Replication, JobRecord]:
    """A deputy to which another one says at 10 that it looks after a job that has ended here."""
    replication, record = Replication("first", set()), of_owner()
    record.move(JobState.COMPLETED, 5, "", Outcome.COMPLETED)
    answer = replication.replicate("second", told(of_owner(), "second", 9), record, 10)
    assert [(peer, type(message)) for peer, message in sent(answer)] == [("second", Owned)]
    return replication, record


def test_the_owner_of_a_job_that_has_ended_is_asked_and_watched_when_another_goes_on_with_it() -> None:
    replication, _ = doubting()
    assert replication.owners == {"owner"}
    assert "owner" in [peer for peer, _ in sent(replication.ask_owners(10), WhoOwns)]
    lose(replication, "owner", now=12)
    replication.replicate("second", told(of_owner(), "second", 10), None, 13)
    assert replication.copies[JOB].owner == "second"


def test_a_doubt_about_a_job_that_has_ended_is_asked_once_and_forgotten() -> None:
    replication, record = doubting()
    replication.ask_owners(10)
    ended = told(record, since_ms=2)
    for now in (11, 12):
        replication.replicate("owner", replace(ended, revision=now), None, now)
        replication.replicate("second", told(of_owner(), "second", now), None, now)
        assert not replication.ask_owners(now)
    assert not replication.ask_owners(10 + ASK_OWNER_S) and not replication.copies


@pytest.mark.parametrize(("since", "is_told"), [(None, True), (4.9, True), (5.0, True), (5.1, False)])
def test_a_deputy_is_told_what_has_changed_since_and_in_the_moment_of_its_last_copy(
    since: float | None, is_told: bool
) -> None:
    record = of_owner()
    record.executions["e-1"] = Execution(
        id="e-1", peer="a", round=1, replica=0, state=ExecutionState.RUNNING, created=1, modified=5
    )
    (keep,) = sync.replicates(record, (), since, 6)
    assert [one.id for one in keep.executions] == ["e-1"] * is_told
