"""A job changes hands: its deputies, an owner that was away, what a former owner knows, and orphans."""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import pytest

from p2pnode.core.job import deputies
from p2pnode.core.job.handover import ADOPT_CONFIRM_S, END_TOLD_AGAIN_S
from p2pnode.core.job.machine import HOLD_S, Job
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, PeerBack, PeerLost, Received, Rejected, Tick
from p2pnode.core.records.lifecycle import LIVE, OPEN, ExecutionState, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.messages import Adopt, Ask, Cancel, Orphan, Owned, Release, Replicate, WhoOwns
from p2pnode.core.wire.states import RefusalKind, Scheduling, Stage

from .core_support import (
    JOB,
    a_command,
    a_mandate,
    advert,
    end,
    known,
    new_job,
    new_record,
    receipt,
    refusal,
    running,
    sent,
    signed,
    spec,
    update,
)
from .fake_keys import FakeKeys

SPEC_HASH = codec.digest(spec())


def test_a_lost_deputy_is_replaced_and_is_told_when_it_may_hear_of_it() -> None:
    lost: set[str] = set()
    job = Job(new_record(JOB, "me", spec(), 0), "me", FakeKeys("me"), known(*map(advert, "abcd")), lost)
    job.begin(0)
    stays, goes = job.record.deputies
    lost.add(goes)
    actions = job.handle(PeerLost(goes, "is silent"), 1)
    first, second = job.record.deputies
    assert first == stays and second not in {stays, goes, "me"}
    assert goes in job.record.past_members
    told = [message.mandate for peer, message in sent(actions, Replicate) if peer == goes]
    assert [mandate.read(one).members for one in told] == [("me", first, second)]


def test_a_deputy_is_lost_and_stays_one_where_nobody_can_replace_it() -> None:
    lost: set[str] = set()
    job = Job(new_record(JOB, "me", spec(), 0), "me", FakeKeys("me"), known(*map(advert, "ab")), lost)
    job.begin(0)
    before = job.record.deputies
    lost.add(before[0])
    job.handle(PeerLost(before[0], "is silent"), 1)
    assert set(job.record.deputies) == set(before)


def test_a_member_that_names_another_owner_of_a_job_that_has_ended_is_told_of_the_end_again() -> None:
    job, execution = running("ab")
    deputy = job.record.deputies[0]
    job.handle(end(job, execution), 1)
    assert job.record.ended and job.deadline == inf
    job.handle(Received(deputy, Owned(job=JOB, owner="other", mandate=job.record.mandate)), 2)
    assert job.deadline == 2 + END_TOLD_AGAIN_S
    told = sent(job.handle(Tick(), job.deadline), Replicate)
    assert (deputy, True) in [(peer, message.full) for peer, message in told] and job.deadline == inf
    assert not job.handle(Received(deputy, Owned(job=JOB, owner="me", mandate=job.record.mandate)), 20)[1:]


def test_a_job_with_a_lost_deputy_lacks_one() -> None:
    record = new_record(JOB, "me", spec(), 0, ("a", "b"))
    assert not deputies.lacks_deputies(record, set())
    assert deputies.lacks_deputies(record, {"b"})


def test_a_silent_deputy_is_written_to_when_it_is_back_and_then_gets_the_whole() -> None:
    lost: set[str] = set()
    job = Job(new_record(JOB, "me", spec(), 0), "me", FakeKeys("me"), known(*map(advert, "ab")), lost)
    job.begin(0)
    silent = job.record.deputies[0]
    lost.add(silent)
    actions = job.handle(PeerLost(silent, "is silent"), 1)
    actions += job.command(a_command("update", "", spec(cpu_millis=500)), 2)
    assert silent not in [peer for peer, _ in sent(actions, Replicate)]
    lost.clear()
    told = [message for peer, message in sent(job.handle(PeerBack(silent), 3), Replicate) if peer == silent]
    assert [message.full for message in told] == [True]


def restarted() -> tuple[Job, list[Action]]:
    """A job of a node that comes back at 100, with the deputies x and y."""
    record = new_record(JOB, "me", spec(), 0, ("x", "y"))
    job = Job(record, "me", FakeKeys("me"), known(*map(advert, "abxy")))
    return job, job.resume(100)


def test_an_owner_that_was_away_asks_its_deputies_and_begins_nothing_until_one_has_answered() -> None:
    job, actions = restarted()
    assert [peer for peer, _ in sent(actions, WhoOwns)] == ["x", "y"]
    assert not sent(actions, Ask) and job.deadline == 100 + HOLD_S
    assert not sent(job.handle(Tick(), 101), Ask)
    answer = Owned(job=JOB, owner="me", mandate=job.record.mandate)
    assert sent(job.handle(Received("x", answer), 102), Ask)


def test_an_ask_that_waits_is_made_again_after_a_restart_and_by_another_after_a_merge() -> None:
    job = new_job("ab")
    job.begin(0)
    (waits, other) = job.record.of(*OPEN)
    job.handle(Received(waits.peer, refusal(waits.id, RefusalKind.QUEUED)), 1)
    again = Job(job.record, "me", FakeKeys("me"), known(*map(advert, "ab")))
    asks = sent(again.resume(100), Ask)
    assert [(peer, ask.execution) for peer, ask in asks] == [(waits.peer, waits.id)]
    again.handle(PeerLost("former", "is silent"), 100)
    actions = again.merge("former", former_owners_word(again), 101)
    assert {peer for peer, _ in sent(actions, Release)} == {waits.peer, other.peer}


def test_an_owner_whose_deputies_do_not_answer_goes_on_after_a_moment() -> None:
    job, _ = restarted()
    assert sent(job.handle(Tick(), 100 + HOLD_S), Ask)


def former_owners_word(
    job: Job,
    state: ExecutionState | None = None,
    spec_hash: str = SPEC_HASH,
    **changes: object,
) -> Replicate:
    """A former owner's copy of the job, in which the executions are in this state."""
    theirs = copy.deepcopy(job.record)
    theirs.owner = "former"
    for one in theirs.of(*LIVE) if state else ():
        one.move(state, 2)
        one.exit_code, one.result_cid = 0, "bafytheirs"
        one.receipt = signed(receipt(one.id, round=one.round, result_cid="bafytheirs", spec_hash=spec_hash))
    (told,) = sync.replicates(theirs, (), None, 2)
    return codec.replace(told, **changes)


def test_what_ended_at_a_former_owner_counts() -> None:
    job, execution = running()
    job.merge("former", former_owners_word(job, ExecutionState.COMPLETED), 3)
    assert job.record.executions[execution].result_cid == "bafytheirs"
    assert job.record.state is JobState.COMPLETED


def test_a_result_of_another_file_than_the_owner_knows_as_that_version_does_not_count() -> None:
    job, execution = running()
    job.merge("former", former_owners_word(job, ExecutionState.COMPLETED, spec_hash="0" * 64), 3)
    one = job.record.executions[execution]
    assert one.state in LIVE and one.receipt is None, "its peer is asked itself"
    assert job.record.state is not JobState.COMPLETED


@pytest.mark.parametrize("version", [1, 2], ids=["numbered alike", "that has no number here yet"])
@pytest.mark.parametrize("state", [None, ExecutionState.COMPLETED, ExecutionState.CANCELLED])
def test_what_ran_under_a_change_of_another_owner_is_none_of_this_job(
    state: ExecutionState | None, version: int
) -> None:
    job, execution = running()
    job.handle(PeerLost("former", "is silent"), 1)
    other = "0" * 64
    word = former_owners_word(job, state, spec_hash=other)
    theirs = codec.replace(word.executions[0], id="e-" + "9" * 32, version=version)
    if theirs.receipt is not None:
        body = receipt(theirs.id, round=theirs.round, result_cid="bafytheirs", spec_hash=other)
        theirs = codec.replace(theirs, receipt=signed(body))
    files = tuple(codec.replace(one, version=version, spec_hash=other) for one in word.versions)
    job.record.executions.pop(execution)
    word = codec.replace(word, version=version, executions=(theirs,), versions=files, spec=None)
    actions = job.merge("former", word, 3)
    assert theirs.id not in job.record.executions
    asked = [message.execution for _, message in sent(actions, Adopt)]
    assert asked == ([theirs.id] if state is None else [])


def test_of_two_results_of_a_replica_the_one_that_came_first_to_the_owner_counts() -> None:
    job, execution = running()
    job.handle(PeerLost("former", "is silent"), 1)
    word = former_owners_word(job, ExecutionState.COMPLETED)
    other = codec.replace(word.executions[0], id="e-" + "9" * 32)
    job.handle(end(job, execution), 2)
    job.merge("former", codec.replace(word, executions=(other,)), 3)
    states = {one.id: one.state for one in job.record.executions.values()}
    assert states == {execution: ExecutionState.COMPLETED, other.id: ExecutionState.CANCELLED}


@pytest.mark.parametrize("acted", [False, True])
def test_what_a_former_owner_has_placed_meanwhile_is_ended_where_its_replica_runs_here(acted: bool) -> None:
    job, execution = running()
    stray = codec.replace(former_owners_word(job).executions[0], id="e-" + "9" * 32, peer="b")
    if acted:
        job.handle(PeerLost("former", "is silent"), 2)
    actions = job.merge("former", former_owners_word(job, executions=(stray,)), 3)
    told = [type(message).__name__ for peer, message in sent(actions) if peer == "b"]
    assert told == ["Adopt"], "who runs it answers, and is told to end what is nobody's"
    assert list(job.record.executions) == [execution]


def test_what_a_former_owner_has_placed_meanwhile_runs_on_where_its_replica_runs_nowhere_else() -> None:
    job, _ = running()
    other = codec.replace(former_owners_word(job).executions[0], id="e-" + "9" * 32, peer="b")
    for peer in ("former", "a"):
        job.handle(PeerLost(peer, "is silent"), 2)
    actions = job.merge("former", former_owners_word(job, executions=(other,)), 2)
    assert [type(message) for peer, message in sent(actions) if peer == "b"] == [Adopt]
    assert [one.id for one in job.record.of(*LIVE)] == [other.id]
    told = [one.id for _, message in sent(actions, Replicate) for one in message.executions]
    assert other.id in told, "a deputy that was there all the time has it to learn, too"


@pytest.mark.parametrize("state", [ExecutionState.COMPLETED, ExecutionState.RUNNING])
def test_of_a_member_that_had_no_need_to_act_nothing_new_counts(state: ExecutionState) -> None:
    job, execution = running()
    word = former_owners_word(job, state if state is ExecutionState.COMPLETED else None)
    theirs = codec.replace(word.executions[0], id="e-" + "9" * 32, peer="b")
    longer = mandate.extended(FakeKeys("former"), word.mandate, job.record.deputies[0], ["b"])
    actions = job.merge("former", codec.replace(word, mandate=longer, executions=(theirs,)), 3)
    assert list(job.record.executions) == [execution] and not job.record.ended
    told = [type(message) for peer, message in sent(actions) if peer == "b"]
    assert (Adopt in told) == (state is ExecutionState.RUNNING)
    assert job.record.authority.charter.serial == mandate.read(word.mandate).charter.serial + 1
    assert "b" not in job.record.authority.members


@pytest.mark.parametrize("away", [False, True])
def test_past_members_are_told_of_by_who_may_have_acted_only(away: bool) -> None:
    job, _ = running()
    if away:
        job.handle(PeerLost("former", "is silent"), 1)
    invented = tuple(f"x{number}" for number in range(PEERS_NAMED_MAX))
    actions = job.merge("former", former_owners_word(job, past_members=invented), 2)
    assert bool({peer for peer, _ in sent(actions)} & set(invented)) is away
    assert bool(set(job.record.past_members) & set(invented)) is away


@pytest.mark.parametrize("away", [False, True])
def test_an_extension_counts_of_whom_the_requester_did_not_hear(away: bool) -> None:
    job, _ = running("ab")
    deputy = job.record.deputies[0]
    longer = mandate.extended(FakeKeys(deputy), job.record.mandate, deputy, ["new"])
    if away:
        job.handle(PeerLost(deputy, "is silent"), 1)
    job.handle(Received(deputy, Owned(job=JOB, owner="me", mandate=longer)), 2)
    assert ("new" in job.record.authority.members) == away


@pytest.mark.parametrize(
    ("by", "state"), [("me", JobState.STOPPED), ("former", JobState.RUNNING), ("a", JobState.RUNNING)]
)
def test_a_job_that_a_controller_has_stopped_at_its_former_owner_is_stopped(by: str, state: JobState) -> None:
    job, execution = running()
    word = former_owners_word(job, state=None)
    ended = {"state": JobState.STOPPED, "outcome": Outcome.STOPPED, "reason": "enough", "executions": ()}
    job.merge("former", codec.replace(word, commands=(a_command("stop", by=by).signed,), **ended), 3)
    assert job.record.state is state
    assert (job.record.executions[execution].state is ExecutionState.CANCELLED) == job.record.ended


def test_what_a_controller_wanted_is_done_once_whoever_brings_it_again() -> None:
    job, _ = running()
    rerun = a_command("rerun")
    for _ in range(3):
        job.command(rerun, 3)
        job.merge("former", former_owners_word(job, commands=(rerun.signed,)), 4)
    assert job.record.run == 2


def test_a_file_that_was_not_told_along_is_taken_when_it_is() -> None:
    job, _ = running()
    other = spec(cpu_millis=500)
    changed = a_command("update", "", other).signed
    job.merge("former", former_owners_word(job, spec=None, commands=(changed,)), 3)
    assert job.record.version == 1
    job.merge("former", former_owners_word(job, spec=other, commands=(changed,)), 4)
    assert job.record.version == 2


def test_a_file_that_a_controller_has_changed_at_a_former_owner_is_taken_and_chartered() -> None:
    job, _ = running()
    other = spec(cpu_millis=500)
    changed = a_command("update", "", other)
    job.merge("former", former_owners_word(job, spec=other, commands=(changed.signed,)), 3)
    assert (job.record.version, job.record.spec) == (2, other)
    charter = job.record.authority.charter
    assert (charter.version, charter.spec_hash) == (2, codec.digest(other)) and job.record.changed_by is None


@pytest.mark.parametrize(
    ("first", "changes"),
    [
        ("runs it", {}),
        ("is being drained", {"scheduling": Scheduling.DRAINING}),
        ("lends nothing", {"engines": ()}),
    ],
)
def test_a_deputy_is_rather_one_of_two_others_than_a_peer_that(first: str, changes: dict[str, Any]) -> None:
    job, _ = running("a")
    record, table = job.record, known(advert("a", **changes), advert("b"), advert("c"))
    if first != "runs it":
        record.executions.clear()
    record.mandate = a_mandate("me")
    Job(record, "me", FakeKeys("me"), table).handle(Tick(), 1)
    assert set(record.deputies) == {"b", "c"}


def test_a_peer_that_is_about_to_leave_is_no_deputy_even_if_there_is_no_other() -> None:
    job = new_job(table=known(advert("a", scheduling=Scheduling.DRAINING), advert("b")))
    job.begin(0)
    assert job.record.deputies == ("b",)


def test_a_deputy_that_throws_its_copy_away_is_replaced_and_not_made_one_again() -> None:
    job = new_job("abc")
    (_, told), *_ = sent(job.begin(0), Replicate)
    refuses, stays = job.record.deputies
    job.handle(Rejected(refuses, told, "no room for copies"), 1)
    assert refuses not in job.record.deputies and stays in job.record.deputies
    assert len(job.record.deputies) == 2 and job.record.declined == (refuses,)


def adopted(lost: set[str]) -> tuple[Job, str, list[Action]]:
    """A job that this node takes over at 10, with one execution that runs on a."""
    before, execution = running("a")
    record = before.record
    record.mandate = a_mandate("former", "me")
    job = Job(record, "me", FakeKeys("me"), known(*map(advert, "abc")), lost)
    return job, execution, job.take_over("former", 10)


def test_a_new_owner_adopts_what_runs_and_gives_up_what_does_not_answer() -> None:
    job, execution, actions = adopted({"former"})
    peer, message = sent(actions, Adopt)[0]
    assert (peer, mandate.read(message.mandate).members[:2]) == ("a", ("former", "me"))
    job.handle(Tick(), 10 + ADOPT_CONFIRM_S)
    assert job.record.executions[execution].state is ExecutionState.LOST


def test_what_answers_its_new_owner_runs_on() -> None:
    job, execution, _ = adopted({"former"})
    job.handle(Received("a", update(execution, 3, Stage.RUNNING)), 11)
    job.handle(Tick(), 10 + ADOPT_CONFIRM_S)
    assert job.record.executions[execution].state is ExecutionState.RUNNING


def test_a_new_owner_replaces_at_once_what_ran_on_a_peer_that_was_lost_before() -> None:
    job, execution, actions = adopted({"former", "a"})
    assert job.record.executions[execution].state is ExecutionState.LOST
    assert {peer for peer, _ in sent(actions, Ask)} >= {"b", "c"}


@pytest.mark.parametrize(
    ("peer", "known_here"), [("a", True), ("b", False)], ids=["what runs", "what is nothing of it"]
)
def test_an_orphan_is_adopted_and_ended_where_its_job_has_no_place_for_it(
    peer: str, known_here: bool
) -> None:
    job, execution = running("a")
    id = execution if known_here else "e-" + "9" * 32
    orphan = Orphan(execution=id, round=1, job=JOB, replica=0, owner="former")
    told = [type(message) for to, message in sent(job.handle(Received(peer, orphan), 1)) if to == peer]
    assert told[: 1 if known_here else 2] == ([Adopt] if known_here else [Adopt, Cancel])
    assert (Cancel in told) is not known_here


def test_two_results_that_come_before_a_deputy_has_answered_count_once() -> None:
    before, execution = running("a")
    record = before.record
    second = copy.copy(record.executions[execution])
    second.id, second.peer = "e-" + "9" * 32, "b"
    record.executions[second.id] = second
    record.mandate = a_mandate("me", "x", "y")
    job = Job(record, "me", FakeKeys("me"), known(*map(advert, "abxy")))
    job.resume(100)
    for id in (execution, second.id):
        job.handle(end(job, id), 101)
    found = [record.executions[id].state for id in (execution, second.id)]
    assert found == [ExecutionState.COMPLETED, ExecutionState.CANCELLED]
