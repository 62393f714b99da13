"""The ends of jobs on their way to those who are told: what is tried when, what is kept, what is posted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records.events import SaveJob
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire.states import JobState, Outcome
from p2pnode.node.journal import Journal
from p2pnode.node.step import Step
from p2pnode.notices.plan import (
    AT_ONCE_MAX,
    REPORTED_AT_TRIES,
    WAITING_MAX,
    WAITS_S,
    Answer,
    Answered,
    Delivery,
    Forget,
    NoticeOutcome,
    NoticePlan,
    Postpone,
    TellPeople,
    Try,
    Woken,
)
from p2pnode.notices.table import NoticeTable
from p2pnode.notices.target import GoneAway, Notice, NotTaken
from p2pnode.notices.teller import command_environment
from p2pnode.notices.webhook import SecretError, Webhook, load_or_make_secret, signature

from .core_support import new_record, spec
from .fake_keys import FakeKeys
from .hook_site import HookSite, running_hooks

ME, OTHER = "me", "other"


# The plan


def plan(*targets: str) -> tuple[NoticePlan, dict[NoticeOutcome, int]]:
    counts = dict.fromkeys(NoticeOutcome, 0)
    return NoticePlan(targets, counts), counts


def failed(notice: int, target: str = "a") -> Answered:
    return Answered(notice, target, Answer.FAILED, "no")


def test_an_end_is_tried_at_once_and_forgotten_when_it_is_taken() -> None:
    machine, counts = plan("a")
    assert machine.handle(Delivery(1, "a", due=5.0), 5.0) == [Try(1, "a")]
    assert machine.handle(Answered(1, "a", Answer.TAKEN), 6.0) == [Forget(1, "a")]
    assert counts[NoticeOutcome.TOLD] == 1


def test_a_failed_try_is_repeated_after_growing_waits_reported_and_given_up_after_a_day() -> None:
    machine, counts = plan("a")
    now, reported = 0.0, list[int]()
    actions = machine.handle(Delivery(1, "a", due=0.0), now)
    for tries, wait_s in enumerate(WAITS_S, start=1):
        assert actions == [Try(1, "a")]
        actions = machine.handle(failed(1), now)
        assert actions[0] == Postpone(Delivery(1, "a", now + wait_s, tries))
        reported += [tries for one in actions if one == TellPeople("a", "no")]
        assert machine.deadline == now + wait_s
        assert machine.handle(Woken(), machine.deadline - 0.1) == []
        now = machine.deadline
        actions = machine.handle(Woken(), now)
    assert 20 * 3600 < now < 25 * 3600
    assert machine.handle(failed(1), now) == [
        Forget(1, "a"),
        TellPeople("a", f"given up after {len(WAITS_S) + 1} tries: no"),
    ]
    assert reported == [REPORTED_AT_TRIES]
    assert (counts[NoticeOutcome.FAILED], counts[NoticeOutcome.DROPPED]) == (len(WAITS_S) + 1, 1)


def test_what_was_tried_before_a_restart_goes_on_where_it_was() -> None:
    machine, _ = plan("a")
    assert machine.handle(Delivery(1, "a", due=100.0, tries=4), 50.0) == []
    assert machine.deadline == 100.0
    machine.handle(Woken(), 100.0)
    assert machine.handle(failed(1), 100.0) == [Postpone(Delivery(1, "a", 100.0 + WAITS_S[4], 5))]


def test_a_clock_that_was_set_back_over_a_restart_delays_no_end_for_years() -> None:
    machine, _ = plan("a")
    machine.handle(Delivery(1, "a", due=1e9, tries=1), 50.0)
    assert machine.deadline == 50.0 + WAITS_S[-1]


def test_few_are_tried_at_once_and_a_slow_target_holds_up_no_other() -> None:
    machine, _ = plan("a", "b")
    begun = [one for n in range(AT_ONCE_MAX + 2) for one in machine.handle(Delivery(n, "a", 0.0), 0.0)]
    assert begun == [Try(n, "a") for n in range(AT_ONCE_MAX)]
    assert machine.deadline == float("inf")
    assert machine.handle(Delivery(0, "b", 0.0), 0.0) == [Try(0, "b")]
    assert machine.handle(Answered(0, "a", Answer.TAKEN), 1.0) == [Forget(0, "a"), Try(AT_ONCE_MAX, "a")]


def test_a_receiver_that_is_gone_is_told_nothing_more() -> None:
    machine, counts = plan("a", "b")
    machine.handle(Delivery(1, "a", 0.0), 0.0)
    machine.handle(Delivery(2, "a", 9.0), 0.0)
    actions = machine.handle(Answered(1, "a", Answer.GONE, "it answers 410 Gone"), 1.0)
    said = "it answers 410 Gone; nothing more is sent until the next start"
    assert actions == [Forget(1, "a"), Forget(2, "a"), TellPeople("a", said)]
    assert machine.handle(Delivery(3, "a", 1.0), 1.0) == [Forget(3, "a")]
    assert machine.handle(Delivery(3, "b", 1.0), 1.0) == [Try(3, "b")]
    assert counts[NoticeOutcome.DROPPED] == 2


def test_beyond_the_limit_the_oldest_is_dropped_and_people_are_told() -> None:
    machine, counts = plan("a")
    for number in range(WAITING_MAX):
        assert machine.handle(Delivery(number, "a", due=9.0), 0.0) == []
    dropped, told = machine.handle(Delivery(WAITING_MAX, "a", due=9.0), 0.0)
    assert dropped == Forget(0, "a")
    assert isinstance(told, TellPeople) and "the oldest is dropped" in told.reason
    assert machine.handle(Woken(), 9.0)[0] == Try(1, "a")
    assert counts[NoticeOutcome.DROPPED] == 1


def test_a_target_that_the_settings_no_longer_name_is_forgotten() -> None:
    machine, _ = plan("a")
    assert machine.handle(Delivery(1, "gone", due=0.0), 0.0) == [Forget(1, "gone")]


# The journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    journal.notices.serve(["a", "b"], lambda: None)
    yield journal
    journal.close()


def record(requester: str = ME, owner: str = ME, run: int = 1, *, ended: bool = True) -> JobRecord:
    one = new_record("j-1", requester, spec(), 1.0)
    one.owner, one.run = owner, run
    if ended:
        one.move(JobState.COMPLETED, 2.0, outcome=Outcome.COMPLETED)
    return one


class FixedClock:
    def now(self) -> float:
        return 7.0


def save(journal: Journal, *records: JobRecord) -> None:
    core: Any = Core(ME, lambda spec: None, FakeKeys(ME))
    for one in records:
        step = Step(core, journal, FixedClock(), lambda peer, message: None, None)  # type: ignore[arg-type]
        step.take(lambda one=one: [SaveJob(one)])


def ids(table: NoticeTable) -> list[str]:
    kept = [table.get(number) for number in sorted({one.notice for one in table.after(0)})]
    return [one.id for one in kept if one is not None]


def test_an_end_is_kept_for_each_target_in_the_step_that_saves_it(journal: Journal) -> None:
    save(journal, record(ended=False))
    assert journal.notices.after(0) == []
    save(journal, record())
    assert journal.notices.after(0) == [Delivery(1, "a", 7.0), Delivery(1, "b", 7.0)]
    kept = journal.notices.get(1)
    assert kept is not None
    assert (kept.id, kept.record.state, kept.ended_at) == ("j-1-1", JobState.COMPLETED, 7.0)


def test_an_end_that_a_deputy_saw_is_told_by_the_requester_alone(journal: Journal) -> None:
    save(journal, record(requester=OTHER, owner=ME))
    assert journal.notices.after(0) == []
    save(journal, record(ended=False), record(owner=OTHER))
    assert ids(journal.notices) == ["j-1-1"]


def test_an_ended_job_that_is_saved_again_is_told_once_and_a_rerun_once_more(journal: Journal) -> None:
    again = record()
    again.reason = "a late word"
    save(journal, record(), again)
    assert ids(journal.notices) == ["j-1-1"]
    # Its second run was begun and ended by a deputy while this node was away.
    save(journal, record(run=2))
    assert ids(journal.notices) == ["j-1-1", "j-1-2"]


def test_a_step_that_fails_leaves_nothing_to_tell(journal: Journal) -> None:
    def fail() -> None:
        with journal.step():
            save(journal, record())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert journal.notices.after(0) == []


def test_what_is_left_to_tell_is_there_after_a_restart(tmp_path: Path, journal: Journal) -> None:
    save(journal, record())
    journal.notices.postpone(Delivery(1, "a", 50.0, 3))
    journal.notices.forget(1, "b")
    journal.close()
    again = Journal(tmp_path)
    assert again.notices.after(0) == [Delivery(1, "a", 50.0, 3)]
    again.notices.forget(1, "a")
    assert again.notices.get(1) is None
    again.close()


def test_nothing_is_kept_where_nobody_is_to_be_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    save(journal, record())
    assert journal.notices.after(0) == []
    journal.close()


def test_the_settings_of_the_node_and_their_secrets_are_not_in_the_command_s_environment() -> None:
    environ = {"PATH": "/bin", "P2PNODE_JOB_END_WEBHOOKS": "https://secret", "P2PNODE_PROFILE": "x"}
    given = command_environment(environ, Path("/data"), "http://127.0.0.1:1")
    assert given == {"PATH": "/bin", "P2PNODE_DATA_DIR": "/data", "P2PNODE_API": "http://127.0.0.1:1"}


# Webhooks


def notice(name: str = "train", reason: str = "") -> Notice:
    job: Any = {"id": "j-1", "name": name, "state": "Completed", "outcome": "completed", "run": 1}
    job["reason"] = reason
    return Notice("j-1-1", job, "2026-01-02T03:04:05.678Z")


SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


@pytest.fixture
def site() -> Iterator[HookSite]:
    with running_hooks() as running:
        yield running


def test_the_signature_is_that_of_the_specification_s_example() -> None:
    body = b'{"test": 2432232314}'
    made = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_webhook_is_posted_a_job_that_its_receiver_can_verify(site: HookSite) -> None:
    url = site.url("/jobs?token=abc").replace("//", "//me:pass%20word@")
    await Webhook(url, SECRET).tell(notice("ünïcode"))
    (one,) = site.posted
    assert one.path == "/jobs?token=abc"
    signed = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert one.headers["webhook-signature"] == f"v1,{expected}"
    assert one.headers["webhook-id"] == "j-1-1"
    assert one.headers["authorization"] == f"Basic {base64.b64encode(b'me:pass word').decode()}"
    assert json.loads(one.body) == {
        "type": "job.ended",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "data": notice("ünïcode").job,
    }


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500])
async def test_all_but_success_is_a_failed_try_and_no_redirect_is_followed(
    site: HookSite, status: int
) -> None:
    site.answers = [(status, {"Location": "/elsewhere"})]
    with pytest.raises(NotTaken, match=str(status)):
        await Webhook(site.url("/jobs"), SECRET).tell(notice())
    assert [one.path for one in site.posted] == ["/jobs"]


async def test_a_receiver_says_that_it_is_gone(site: HookSite) -> None:
    site.answers = [(410, {})]
    with pytest.raises(GoneAway, match="410 Gone"):
        await Webhook(site.url("/jobs"), SECRET).tell(notice())


async def test_a_receiver_that_does_not_answer_is_a_failed_try_without_the_url_s_secrets(
    site: HookSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pnode.notices.webhook.TRY_S_MAX", 0.2)
    site.answers = [(0, {})]
    with pytest.raises(NotTaken, match="no answer within"):
        await Webhook(site.url("/s3cret"), SECRET).tell(notice())
    site.stop()
    refused = Webhook(site.url("/s3cret").replace("//", "//s3cret@"), SECRET)
    with pytest.raises(NotTaken) as caught:
        await refused.tell(notice())
    assert "127.0.0.1" in str(caught.value)
    assert "s3cret" not in f"{caught.value} {refused.name} {refused.shown}"


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    secret = load_or_make_secret(tmp_path)
    file = tmp_path / "webhook.secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("whsec_") and base64.b64decode(file.read_text()[6:]) == secret
    assert load_or_make_secret(tmp_path) == secret
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    assert load_or_make_secret(tmp_path) == SECRET


@pytest.mark.parametrize(
    "text", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_ü" * 9]
)
def test_a_file_without_a_secret_is_refused_and_its_words_are_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "webhook.secret").write_text(text)
    with pytest.raises(SecretError, match=r"webhook\.secret does not hold") as caught:
        load_or_make_secret(tmp_path)
    assert "AAAA" not in str(caught.value) and "MfKQ" not in str(caught.value)
