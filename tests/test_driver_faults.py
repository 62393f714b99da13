"""Failures of the core over the real journal: what they cost, and what a restart finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.job.machine import Job
from p2pnode.core.node import Core
from p2pnode.core.records.events import (
    AdvertHeard,
    CapacityChanged,
    Finished,
    JobRerun,
    JobStopped,
    JobSubmitted,
    Kill,
    PeerLost,
    Progressed,
    Received,
    Start,
    Tick,
)
from p2pnode.core.records.lifecycle import LIVE, ExecutionState, JobState
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire.codec import BadMessage, Unreadable
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.mandates import job_id
from p2pnode.core.wire.messages import Cancel, Message
from p2pnode.core.wire.states import Stage
from p2pnode.core.worker import executions
from p2pnode.core.worker.state import WorkerState
from p2pnode.node.driver import Driver, EventRefused
from p2pnode.node.journal import Journal
from p2pnode.node.message_needs import MessageNeeds
from p2pnode.notices.probe import Probe

from .core_support import NONCE, a_mandate, advert, ask, award, bid, capacity, receipt, signed, spec
from .fake_keys import FakeKeys

ME = "me"
# A job of another node.
OWNERS = job_id("owner", NONCE)
BAD, GOOD = "j-" + "b" * 32, "j-" + "a" * 32


class Shell:
    """A node's shell without its tasks: a clock that is set, and lists of what was asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.time = 1_000.0
        self.started: list[str] = []
        self.killed: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.sent: list[tuple[str, Message]] = []
        self.unsent: list[set[str]] = []
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.directory)
        self.core = Core(ME, lambda spec: None, FakeKeys(ME))
        probe = Probe((), "", lambda name, reason: None)
        needs = MessageNeeds(self.core, self.journal, None, probe, lambda peer, signed: None)  # type: ignore[arg-type]
        self.driver = Driver(self.core, self.journal, self, self, self._send, needs.of_own_end)  # type: ignore[arg-type]

    def crash(self) -> None:
        self.journal.close()
        self.open()
        self.driver.resume()

    def now(self) -> float:
        return self.time

    def monotonic(self, at: float) -> float:
        return at

    def _send(self, peer: str, message: Message) -> None:
        self.sent.append((peer, message))

    def start(self, action: Start) -> None:
        self.started.append(action.reservation.execution)

    def kill(self, action: Kill) -> None:
        self.killed.append(action.execution)

    def advertise(self, action: Any) -> None: ...

    def ask_here(self, asked: Any) -> None: ...

    def handled(self) -> None: ...

    def job_changed(self, job: str) -> None: ...

    def tell_set_aside(self, reservation: Any, reason: str) -> None:
        self.told.append((reservation.owner, reason))

    def unsend(self, peers: set[str]) -> None:
        self.unsent.append(set(peers))

    def problems(self) -> list[tuple[str, str, bool]]:
        return [(one.compartment, one.subject, one.aside) for one in self.journal.problems.all()]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.driver.resume()
    for peer in "ab":
        one = advert(peer, issued_ms=int(shell.time * 1000))
        shell.driver.apply(AdvertHeard(signed(one), one, 3_600_000))
    shell.driver.apply(CapacityChanged(capacity()))
    yield shell
    shell.journal.close()


@pytest.fixture
def jobs(shell: Shell) -> Shell:
    for id in (BAD, GOOD):
        shell.driver.apply(JobSubmitted(id, spec(), NONCE))
    return shell


def breaks(monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    """A fault in the machine of one job, half way through its work."""
    whole = Job._settle

    def settle(self: Job, now: float) -> Any:
        if self.record.id == job:
            self.record.round += 1_000
            raise KeyError("no such thing")
        return whole(self, now)

    monkeypatch.setattr(Job, "_settle", settle)


def answer(shell: Shell, job: str) -> tuple[str, Received]:
    """A bid for what the job has asked of a peer."""
    one = next(one for one in shell.core.jobs[job].record.executions.values() if one.peer != ME)
    return one.peer, Received(one.peer, bid(one.id, round=one.round))


def test_a_message_whose_job_fails_is_refused_and_has_changed_nothing(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = jobs.journal.job(BAD)
    _, event = answer(jobs, BAD)
    breaks(monkeypatch, BAD)
    with pytest.raises(EventRefused, match="KeyError: 'no such thing'"):
        jobs.driver.apply(event)
    assert jobs.journal.job(BAD) == before
    # All but what the deputies have been told, which they are told again.
    restored = jobs.core.jobs[BAD].record
    restored.synced = before.synced
    assert restored == before
    assert jobs.problems() == []
    monkeypatch.undo()
    jobs.driver.apply(event)
    assert jobs.journal.job(BAD) != before


@pytest.mark.parametrize(
    "order", [JobStopped(BAD, "enough"), JobRerun(BAD, "")], ids=lambda order: type(order).__name__
)
def test_what_a_user_asks_of_a_job_that_fails_is_refused(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch, order: Any
) -> None:
    before = jobs.journal.job(BAD)
    breaks(monkeypatch, BAD)
    with pytest.raises(EventRefused):
        jobs.driver.apply(order)
    assert jobs.journal.job(BAD) == before


def test_a_job_that_fails_as_it_is_submitted_is_not_there(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, BAD)
    with pytest.raises(EventRefused), shell.journal.transaction():
        shell.driver.apply(JobSubmitted(BAD, spec(), NONCE))
    assert shell.journal.job(BAD) is None
    assert shell.core.jobs == {}


@pytest.mark.parametrize("event", [PeerLost("a", "gone"), Tick()], ids=lambda event: type(event).__name__)
def test_a_job_that_fails_by_itself_is_set_aside_and_all_others_go_on(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch, event: Any
) -> None:
    breaks(monkeypatch, BAD)
    jobs.time += 60
    jobs.driver.apply(event)
    assert jobs.problems() == [("job", BAD, True)]
    assert set(jobs.core.jobs) == {GOOD}
    assert any(line.topic == "Problem" for _, line in jobs.journal.history(BAD, 0))
    assert jobs.journal.job(BAD).round < 1_000
    assert jobs.core.deadline > jobs.time
    jobs.crash()
    assert set(jobs.core.jobs) == {GOOD}
    assert jobs.core.aside.keys() == {BAD}


def test_a_job_whose_node_would_talk_to_itself_of_it_for_ever_is_set_aside(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = advert(ME, issued_ms=int(shell.time * 1000))
    shell.driver.apply(AdvertHeard(signed(itself), itself, 3_600_000))
    endless = job_id(ME, NONCE)
    shell.driver.apply(JobSubmitted(endless, spec(), NONCE))
    for one in shell.core.jobs[endless].record.of(ExecutionState.ASKED):
        shell.driver.apply(Received(one.peer, bid(one.id, price=9, round=one.round)))
    (own,) = (one.id for one in shell.core.jobs[endless].record.of(*LIVE) if one.peer == ME)
    whole = Job._settle

    def settle(self: Job, now: float) -> Any:
        if self.record.id == endless:
            # Its worker, this node, answers.
            self._steps.send_adopt(ME, own, 1)
        return whole(self, now)

    monkeypatch.setattr(Job, "_settle", settle)
    shell.driver.apply(PeerLost("a", "gone"))
    assert shell.problems() == [("job", endless, True)]
    assert not shell.core.jobs
    assert "to itself in one step" in shell.journal.problems.all()[0].reason


def test_a_job_that_fails_at_the_start_is_set_aside_and_not_tried_at_the_next(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, BAD)
    jobs.crash()
    assert set(jobs.core.jobs) == {GOOD}
    monkeypatch.undo()
    jobs.crash()
    assert set(jobs.core.jobs) == {GOOD}
    assert [problem.count for problem in jobs.journal.problems.all()] == [1]


def test_a_record_that_cannot_be_read_is_set_aside_and_the_node_starts(jobs: Shell) -> None:
    jobs.journal._db.execute("UPDATE jobs SET record=? WHERE id=?", (b"\xff junk", BAD))
    jobs.journal._db.execute("INSERT INTO reservations VALUES ('e-1', ?)", (b"",))
    jobs.crash()
    assert set(jobs.core.jobs) == {GOOD}
    assert sorted(jobs.problems()) == [("execution", "e-1", True), ("job", BAD, True)]
    assert [record.id for record in jobs.journal.jobs(10)] == [GOOD]
    assert jobs.core.aside == {BAD: frozenset()}
    with pytest.raises(Unreadable):
        jobs.driver.take_back(Compartment.JOB, BAD)
    assert jobs.core.aside == {BAD: frozenset()}
    jobs.driver.drop(Compartment.JOB, BAD)
    assert jobs.core.aside == {}


def test_messages_about_a_job_that_is_set_aside_have_no_answer(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, event = answer(jobs, BAD)
    breaks(monkeypatch, BAD)
    jobs.driver.apply(PeerLost("b" if peer == "a" else "a", "gone"))
    jobs.sent.clear()
    assert isinstance(event.message, type(bid("e")))
    before = jobs.journal.job(BAD)
    jobs.driver.apply(event)
    assert jobs.journal.job(BAD) == before


def test_a_job_that_was_set_aside_goes_on_when_it_is_tried_again(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, BAD)
    jobs.driver.apply(PeerLost("a", "gone"))
    with pytest.raises(EventRefused):
        jobs.driver.take_back(Compartment.JOB, BAD)
    assert jobs.problems() == [("job", BAD, True)]
    monkeypatch.undo()
    jobs.journal.problems.remove(jobs.journal.problems.all()[0].number)
    jobs.driver.take_back(Compartment.JOB, BAD)
    assert set(jobs.core.jobs) == {GOOD, BAD}
    jobs.driver.apply(JobStopped(BAD, "enough"))
    assert jobs.journal.job(BAD).state is JobState.STOPPED


def test_a_job_that_was_set_aside_is_forgotten_when_it_is_dropped(
    jobs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, BAD)
    jobs.driver.apply(PeerLost("a", "gone"))
    jobs.driver.drop(Compartment.JOB, BAD)
    assert jobs.journal.job(BAD) is None
    assert jobs.core.aside == {}


def test_an_execution_whose_news_fail_is_set_aside_and_its_owner_is_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(job=OWNERS)
    shell.driver.apply(Received("owner", asked))
    shell.driver.apply(Received("owner", award(asked, mandate=a_mandate("owner", job=OWNERS))))
    assert shell.started == [asked.execution]

    whole = executions.progressed

    def fails(worker: WorkerState, execution: str, *rest: Any) -> Any:
        if execution in worker.reservations:
            raise ZeroDivisionError
        return whole(worker, execution, *rest)

    monkeypatch.setattr(executions, "progressed", fails)
    shell.driver.apply(Progressed(asked.execution, Stage.RUNNING, ""))
    assert shell.problems() == [("execution", asked.execution, True)]
    assert shell.killed == [asked.execution]
    assert shell.told == [("owner", "its node set it aside: ZeroDivisionError")]
    assert shell.core.worker.held == []
    # Later news of the execution concern nobody any more.
    found = receipt(asked.execution)
    shell.driver.apply(Finished(asked.execution, signed(found)))
    shell.crash()
    assert shell.core.worker.reservations == {}
    assert shell.started == [asked.execution]


def test_what_a_failed_step_has_put_into_outboxes_is_taken_back(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(slot=1)

    def written(*_: Any) -> Any:
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    monkeypatch.setattr(Journal, "save_reservation", written)
    with pytest.raises(EventRefused, match="surrogates"):
        shell.driver.apply(Received("owner", first))
    assert shell.core.worker.reservations == {}
    monkeypatch.undo()
    shell.driver.apply(Received("owner", first))
    assert [reservation.state for reservation in shell.core.worker.held] == [ReservationState.BID]


def test_a_tick_that_fails_for_no_jobs_sake_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(type(shell.core.replication), "ask_owners", fails)
    with pytest.raises(EventRefused):
        shell.driver.apply(Tick())
    assert shell.problems() == []


def test_what_no_honest_peer_says_is_refused_before_anything_changes(shell: Shell) -> None:
    wrong: Callable[[Any], str] = lambda spec: "the job is not valid"  # noqa: E731
    shell.core.check_spec = wrong
    from .test_core_boundary import a_keep

    with pytest.raises(BadMessage, match="not valid"):
        shell.driver.apply(Received("owner", a_keep()))
    shell.driver.apply(Received("owner", Cancel(execution="e-" + "0" * 32, round=1, reason="")))
    assert shell.core.replication.copies == {}


def test_an_effect_that_fails_costs_its_execution_and_what_was_decided_stays(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(job=OWNERS)
    shell.driver.apply(Received("owner", asked))

    def fails(*_: Any) -> Any:
        raise AssertionError("no such engine")

    monkeypatch.setattr(Shell, "start", fails)
    shell.driver.apply(Received("owner", award(asked, mandate=a_mandate("owner", job=OWNERS))))
    assert shell.problems() == [("execution", asked.execution, True)]
    assert shell.told == [("owner", "its node set it aside: AssertionError: no such engine")]
