"""The end of an execution as another node tells it: a copy counts by its signed receipt."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records import vetting
from p2pnode.core.records.events import Received, SaveJob
from p2pnode.core.records.lifecycle import Execution, ExecutionState, JobRecord, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import MESSAGE_SIZE_BYTES_MAX, BadMessage
from p2pnode.core.wire.fields import REASON_LENGTH_MAX, RECEIPT_INPUTS_MAX, RECEIPT_SIZE_BYTES_MAX
from p2pnode.core.wire.messages import ExecutionCopy, Replicate, Signed
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.core.wire.states import Fault

from . import test_core_boundary as boundary
from .core_support import JOB, a_mandate, new_record, receipt, spec
from .fake_keys import FakeKeys
from .test_core_boundary import EXECUTION, a_copy

KEYS = FakeKeys("me")
OTHERS = "e-" + "1" * 32
LONGEST = "\U0001f600" * REASON_LENGTH_MAX


def a_keep(**changes: Any) -> Replicate:
    """The whole of a job of `me`, as it tells its deputy."""
    return boundary.a_keep(**{"job": JOB, "mandate": a_mandate("me", "deputy"), **changes})


def word(by: str = "a", domain: bytes = RECEIPT_DOMAIN, **changes: Any) -> Signed:
    """A receipt of the execution of `ended` with these changes, as `by` signs it."""
    body = codec.encode(codec.replace(receipt(EXECUTION, reason=""), **changes))
    return Signed(body=body, signature=FakeKeys(by).sign(domain, body))


def ended(**changes: Any) -> ExecutionCopy:
    """The copy of an execution that has completed on the peer a."""
    plain = a_copy(peer="a", state=ExecutionState.COMPLETED, exit_code=0, result_cid="bafy", receipt=word())
    return codec.replace(plain, **changes)


def failed(**changes: Any) -> ExecutionCopy:
    told = word(exit_code=3, fault=Fault.JOB, reason="exit status 3")
    plain = ended(
        state=ExecutionState.FAILED, exit_code=3, fault=Fault.JOB, reason="exit status 3", receipt=told
    )
    return codec.replace(plain, **changes)


def cancelled(**changes: Any) -> ExecutionCopy:
    told = word(exit_code=143, fault=Fault.CANCELLED, reason="told to stop")
    plain = ended(state=ExecutionState.CANCELLED, exit_code=143, reason="not needed", receipt=told)
    return codec.replace(plain, **changes)


def lost(**changes: Any) -> ExecutionCopy:
    plain = ended(state=ExecutionState.LOST, exit_code=None, fault=Fault.PEER, result_cid=None, receipt=None)
    return codec.replace(plain, **changes)


def known_here(**changes: Any) -> JobRecord:
    """The job as it is here, where the execution runs."""
    record = new_record(JOB, "me", spec(), 0)
    one = Execution(id=EXECUTION, peer="a", round=1, replica=0, created=0, modified=0)
    one.state = ExecutionState.RUNNING
    for name, value in changes.items():
        setattr(one, name, value)
    record.executions[EXECUTION] = one
    return record


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(ended(), id="completed"),
        pytest.param(failed(), id="failed"),
        pytest.param(
            failed(reason="no reason was given", receipt=word(exit_code=3, fault=Fault.JOB, reason="")),
            id="failed without a reason",
        ),
        pytest.param(
            failed(reason=LONGEST, receipt=word(exit_code=3, fault=Fault.JOB, reason=LONGEST)),
            id="failed for the longest reason",
        ),
        pytest.param(cancelled(), id="cancelled, and its output came later"),
        pytest.param(cancelled(exit_code=0, result_cid="bafy", receipt=word()), id="the second result"),
        pytest.param(cancelled(exit_code=None, result_cid=None, receipt=None), id="cancelled"),
        pytest.param(lost(), id="lost"),
        pytest.param(a_copy(peer="a"), id="running"),
    ],
)
@pytest.mark.parametrize("here", [None, known_here()], ids=["unknown here", "known here"])
def test_an_end_by_the_word_of_its_peer_is_taken_in(copy: ExecutionCopy, here: JobRecord | None) -> None:
    vetting.vet_copies(a_keep(executions=(copy,)), here, KEYS)


REFUSED = [
    (ended(receipt=None), "Completed without a receipt of a"),
    (failed(receipt=None), "Failed without a receipt of a"),
    (ended(receipt=word(by="enemy")), "not signed by a"),
    (ended(peer="enemy", receipt=word()), "not signed by enemy"),
    (ended(receipt=word(domain=b"p2pnode/advert/2\0")), "not signed by a"),
    (ended(receipt=codec.replace(word(), body=word(reason="x").body)), "not signed by a"),
    (ended(receipt=word(peer="b")), "of another execution"),
    (ended(receipt=word(job="j-" + "1" * 32)), "of another execution"),
    (ended(receipt=word(execution=OTHERS)), "of another execution"),
    (ended(id=OTHERS), "of another execution"),
    (ended(receipt=word(round=2)), "of another execution"),
    (ended(receipt=word(replica=1)), "of another execution"),
    (ended(receipt=word(spec_hash="0" * 64)), "another file than version 1"),
    (ended(receipt=word(exit_code=3, fault=Fault.JOB)), "another exit code"),
    (ended(result_cid="bafyforged"), "another exit code or result"),
    (ended(result_cid=None), "another exit code or result"),
    (ended(reason="forged"), "for another reason"),
    (ended(receipt=word(exit_code=0, fault=Fault.PEER)), "in another way"),
    (failed(fault=Fault.PEER), "in another way"),
    (failed(fault=None), "in another way"),
    (failed(reason="forged"), "for another reason"),
    (failed(exit_code=4), "another exit code"),
    (failed(receipt=word(exit_code=3)), "did not exit 0"),
    (cancelled(exit_code=0), "another exit code"),
    (cancelled(result_cid="bafyforged"), "another exit code or result"),
    (cancelled(receipt=word(by="enemy")), "not signed by a"),
    (cancelled(receipt=None), "without a receipt"),
    (lost(result_cid="bafyforged"), "without a receipt"),
    (lost(exit_code=0), "without a receipt"),
    (a_copy(peer="a", result_cid="bafyforged"), "without a receipt"),
    (a_copy(peer="a", receipt=word()), "has a receipt of its end"),
    (ended(receipt=word(result_cid="a b"), result_cid="a b"), "characters"),
    (ended(receipt=codec.replace(word(), body=b"\xa0")), "not signed by a"),
]


@pytest.mark.parametrize(("copy", "reason"), REFUSED)
def test_an_end_that_is_not_by_the_word_of_its_peer_is_refused(copy: ExecutionCopy, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        vetting.vet_copies(a_keep(executions=(a_copy(id="e-" + "2" * 32), copy)), None, KEYS)


@pytest.mark.parametrize(
    "changes",
    [{"peer": "b"}, {"round": 2}, {"replica": 1}, {"version": 2}],
    ids=["another peer", "another round", "another replica", "another version"],
)
def test_a_receipt_of_whom_the_execution_was_not_awarded_to_here_is_refused(changes: Any) -> None:
    with pytest.raises(BadMessage, match="than is known here"):
        vetting.vet_copies(a_keep(executions=(ended(),)), known_here(**changes), KEYS)


def test_which_file_a_version_is_the_message_says_or_else_what_is_known_here() -> None:
    adds = a_keep(full=False, spec=None, versions=(), executions=(ended(),))
    other = known_here()
    other.versions = {1: codec.replace(other.versions[1], spec_hash="1" * 64)}
    vetting.vet_copies(adds, known_here(), KEYS)
    vetting.vet_copies(codec.replace(a_keep(), executions=(ended(),)), other, KEYS)
    with pytest.raises(BadMessage, match="another file"):
        vetting.vet_copies(adds, other, KEYS)


def test_a_spec_is_its_own_version_whatever_the_message_calls_its_hash() -> None:
    (version,) = a_keep().versions
    told = word(spec_hash="1" * 64)
    lying = a_keep(versions=(codec.replace(version, spec_hash="1" * 64),), executions=(ended(receipt=told),))
    with pytest.raises(BadMessage, match="another file"):
        vetting.vet_copies(lying, None, KEYS)


def test_a_receipt_that_is_here_already_is_not_verified_again() -> None:
    class NoKeys(FakeKeys):
        def verify_untrusted(self, peer_id: str, domain: bytes, signed: Signed) -> bytes:
            raise AssertionError("a signature costs time")

    vetting.vet_copies(a_keep(executions=(ended(),)), known_here(receipt=word()), NoKeys("me"))


def core_with_copy() -> tuple[Core, Replicate]:
    """A deputy of a job that runs, and what its owner says next."""
    core = Core("deputy", lambda spec: None, FakeKeys("deputy"))
    told = a_keep(executions=(a_copy(peer="a", owner="me"),))
    core.handle(Received("me", told), 1)
    done = ended(owner="me")
    news = codec.replace(told, full=False, spec=None, versions=(), revision=2, executions=(done,))
    return core, codec.replace(news, state=JobState.COMPLETED, outcome=Outcome.COMPLETED)


def test_a_deputy_keeps_the_receipt_and_can_tell_it_on_after_a_restart() -> None:
    core, news = core_with_copy()
    (saved,) = [one for one in core.handle(Received("me", news), 2) if isinstance(one, SaveJob)]
    stored = codec.decode(codec.encode(saved.record), JobRecord)
    (told,) = sync.replicates(stored, (), None, 3)
    assert [one.receipt for one in told.executions] == [word()]


@pytest.mark.parametrize(("copy", "reason"), REFUSED)
def test_a_forged_end_changes_nothing_at_a_deputy(copy: ExecutionCopy, reason: str) -> None:
    core, news = core_with_copy()
    before = codec.encode(core.replication.copies[JOB])
    with pytest.raises(BadMessage):
        core.handle(Received("me", codec.replace(news, executions=(copy,))), 2)
    assert codec.encode(core.replication.copies[JOB]) == before


@pytest.mark.parametrize(
    ("reason", "count"), [("", 1_000), (LONGEST, 100)], ids=["many", "of the longest reasons and receipts"]
)
def test_a_record_with_its_receipts_goes_into_frames(reason: str, count: int) -> None:
    record = new_record(JOB, "me", spec(), 0)
    inputs = tuple("b" * 59 for _ in range(RECEIPT_INPUTS_MAX))
    told = receipt(EXECUTION, reason=reason, inputs=inputs if reason else (), fault=Fault.JOB)
    body = codec.encode(told)
    assert len(body) <= RECEIPT_SIZE_BYTES_MAX
    for number in range(count):
        id = f"e-{number:032x}"
        one = Execution(id=id, peer="a" * 52, round=1, replica=number, created=0, modified=0)
        one.state, one.reason, one.owner = ExecutionState.FAILED, reason, "b" * 52
        one.receipt = Signed(body=body, signature=bytes(64))
        record.executions[id] = one
    messages = sync.replicates(record, (), None, 1)
    sizes_bytes = [len(codec.encode(one)) for one in messages]
    assert max(sizes_bytes) < sync.COPIES_SIZE_BYTES_MAX + 10_000 < MESSAGE_SIZE_BYTES_MAX / 2
    assert [one.id for message in messages for one in message.executions] == list(record.executions)
