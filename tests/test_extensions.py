"""Words of later versions in today's records (protocols/versions.md): skipped, kept, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pnode.core import jobfile
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.node import Core
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import mandate, vetting
from p2pnode.core.records.events import Received, Send
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.extensions import not_understood
from p2pnode.core.wire.messages import Award, Bid, Refusal, Release, Replicate
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    OtherTask,
    Task,
)
from p2pnode.core.wire.states import RefusalKind
from p2pnode.core.worker.machine import Worker

from .core_support import a_mandate, ask, capacity
from .protocol_support import PEER, REQUESTER, good

HINT = {"example.org/mood": b"\xf5"}
MUST = {"must-sandbox": b"\xf5"}


def later(**of_task: Any) -> JobSpec:
    """A job of a later version's engine."""
    return JobSpec(
        type=JobType.BATCH, task=Task(engine=OtherTask(name="echo", params={"Text": "hello"}), **of_task)
    )


def lender(**changes: Any) -> Worker:
    return Worker(lambda spec: None, capacity=capacity(**changes))


def answer(worker: Worker, spec: JobSpec) -> Any:
    actions = worker.handle(Received("me", ask(spec)), 0.0)
    return next(one.message for one in actions if isinstance(one, Send))


def test_what_is_not_known_stays_in_a_record_and_so_in_its_hash() -> None:
    plain, said = later(), later(extensions=HINT)
    assert codec.digest(plain) != codec.digest(said)
    data = codec.encode(codec.decode_untrusted(codec.encode(said), JobSpec))
    assert data == codec.encode(said)
    assert codec.decode(data, JobSpec) == said


def test_a_spec_without_any_has_the_bytes_that_it_always_had() -> None:
    assert b"extensions" not in codec.encode(later())


def test_a_deputys_copy_of_a_later_versions_job_is_passed_on_whole() -> None:
    keep = next(
        one
        for one in good("ownership", "message")
        if isinstance(one, Replicate) and one.spec and one.spec.task.extensions
    )
    assert isinstance(keep.spec, JobSpec)
    core = Core(PEER.peer_id, lambda spec: None, PEER)
    core.handle(Received(REQUESTER.peer_id, keep), 0.0)
    copy = core.replication.copies[keep.job]
    assert codec.encode(copy.spec) == codec.encode(keep.spec)
    assert isinstance(core.replication, Replication)


def test_a_deputy_declines_a_job_that_needs_what_it_does_not_know() -> None:
    keep = next(one for one in good("ownership", "message") if isinstance(one, Replicate) and one.full)
    assert keep.spec is not None
    spec = codec.replace(keep.spec, extensions={"must-gang": b"\xf5"})
    charter = codec.replace(mandate.read(keep.mandate).charter, spec_hash=codec.digest(spec))
    needs = codec.replace(keep, spec=spec, mandate=mandate.chartered(REQUESTER, charter))
    core = Core(PEER.peer_id, lambda spec: None, PEER)
    with pytest.raises(BadMessage, match="the job needs must-gang, which this version does not know"):
        core.handle(Received(REQUESTER.peer_id, needs), 0.0)
    assert not core.replication.copies


@pytest.mark.parametrize(
    ("spec", "engines", "reason"),
    [
        (later(), ("wasm",), "no echo engine"),
        (later(extensions=MUST), ("echo",), "the job needs must-sandbox, which this version does not know"),
        (later(extensions=HINT), ("echo",), None),
    ],
)
def test_a_peer_bids_for_what_it_understands(
    spec: JobSpec, engines: tuple[str, ...], reason: str | None
) -> None:
    said = answer(lender(engines=engines), spec)
    if reason is None:
        assert isinstance(said, Bid)
    else:
        assert (
            isinstance(said, Refusal)
            and said.refusal_kind is RefusalKind.UNSUITABLE
            and said.reason == reason
        )


def test_an_ask_names_what_its_award_will_need() -> None:
    spec = codec.replace(later(extensions={**MUST, **HINT}), extensions={"must-gang": b""})
    assert requirements_of(spec).must == ("must-gang", "must-sandbox")
    assert not requirements_of(later(extensions=HINT)).must
    hidden = codec.replace(ask(spec), requirements=requirements_of(later()))
    worker = lender(engines=("echo",))
    worker.handle(Received("me", hidden), 0.0)
    award = Award(
        execution=hidden.execution,
        round=1,
        replica=0,
        mandate=a_mandate("me", wanted=spec),
        spec=spec,
        changed_by=None,
    )
    [refused] = [one for one in worker.handle(Received("me", award), 1.0) if isinstance(one, Send)]
    assert isinstance(refused.message, Refusal)


@pytest.mark.parametrize("name", ["hint", "example.org/mood", "a" * 64])
def test_a_message_may_say_more(name: str) -> None:
    release = Release(execution="e-" + "0" * 32, round=1, extensions={name: b"\x01"})
    assert vetting.message_untrusted(codec.encode(release)) == release


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ({"must-pay": b""}, "this release needs must-pay, which this version does not know"),
        ({"a" * 65: b""}, "matching regex"),
        ({"Upper": b""}, "matching regex"),
        ({"": b""}, "matching regex"),
        ({"line\n": b""}, "matching regex"),
        ({}, "length >= 1"),
        ({f"e{index}": b"" for index in range(17)}, "length <= 16"),
        ({"large": bytes(4097)}, "length <= 4096"),
        ({"number": 1}, "Expected `bytes`"),
        ({"nested": {"a": {}}}, "Expected `bytes`"),
    ],
)
def test_a_message_that_says_more_in_another_way_is_refused(extensions: dict[str, Any], reason: str) -> None:
    data = codec.encode(
        {"kind": "release", "execution": "e-" + "0" * 32, "round": 1, "extensions": extensions}
    )
    with pytest.raises(BadMessage, match=reason):
        vetting.message_untrusted(data)


def test_a_job_of_another_engine_is_valid_and_its_file_leads_to_it() -> None:
    jobfile.check(later(extensions=MUST))
    assert jobfile.parse(json.dumps(jobfile.render(later())), "job").spec == later()


@pytest.mark.parametrize("name", ["docker", "wasm", "other", "", "a\nb"])
def test_another_engine_is_none_of_those_with_fields(name: str) -> None:
    with pytest.raises(JobFileError):
        jobfile.check(JobSpec(type=JobType.BATCH, task=Task(engine=OtherTask(name=name))))


def test_what_is_understood_is_not_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pnode.core.wire.extensions.UNDERSTOOD", frozenset({"must-sandbox"}))
    assert not_understood(["must-sandbox"], "the job") is None
