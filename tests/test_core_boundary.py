"""Words of another node at the boundary of the core: a table of what is refused, and why."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.records import vetting
from p2pnode.core.records.lifecycle import ExecutionState, JobState, Outcome
from p2pnode.core.records.vetting import message_untrusted
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import COUNTER_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.mandates import job_id
from p2pnode.core.wire.messages import (
    Adopt,
    Award,
    ExecutionCopy,
    Message,
    Orphan,
    Owned,
    Replicate,
    VersionCopy,
)
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.states import Fault
from p2pnode.identity import Identity

from .core_support import JOB, NONCE, a_command, a_mandate, receipt, spec

PEER = Identity(bytes(range(32))).peer_id
OTHER = Identity(bytes(32)).peer_id
EXECUTION = "e-" + "0" * 32
JOB_OF_PEER = job_id(PEER, NONCE)


def a_copy(**changes: Any) -> ExecutionCopy:
    plain = ExecutionCopy(
        id=EXECUTION,
        peer=OTHER,
        round=1,
        version=1,
        run=1,
        state=ExecutionState.RUNNING,
        replica=0,
        owner=PEER,
        reason="",
        exit_code=None,
        fault=None,
        result_cid=None,
        receipt=None,
        created_ms=1,
        modified_ms=1,
        started_ms=None,
    )
    return codec.replace(plain, **changes)


def a_keep(**changes: Any) -> Replicate:
    version = VersionCopy(version=1, spec_hash=codec.digest(spec()), work="0" * 64, submitted_ms=1)
    plain = Replicate(
        job=JOB_OF_PEER,
        mandate=a_mandate(PEER, OTHER, job=JOB_OF_PEER),
        acts_since_ms=0,
        revision=1,
        full=True,
        past_members=(),
        commands=(),
        state=JobState.RUNNING,
        reason="",
        outcome=None,
        first_failure="",
        version=1,
        run=1,
        round=1,
        age_ms=0,
        created_ms=1,
        modified_ms=1,
        spec=spec(),
        versions=(version,),
        executions=(a_copy(),),
        history=(),
    )
    return codec.replace(plain, **changes)


def an_award(**changes: Any) -> Award:
    plain = Award(
        execution=EXECUTION,
        round=1,
        replica=0,
        mandate=a_mandate(PEER),
        spec=spec(),
        changed_by=None,
    )
    return codec.replace(plain, **changes)


def test_what_honest_nodes_say_is_taken_in() -> None:
    done = a_copy(state=ExecutionState.COMPLETED, exit_code=0, result_cid="bafy")
    ended = a_keep(state=JobState.COMPLETED, outcome=Outcome.COMPLETED, executions=(done,))
    for message in (
        a_keep(),
        ended,
        a_keep(full=False, spec=None, versions=()),
        an_award(mandate=a_mandate(PEER, OTHER)),
    ):
        assert message_untrusted(codec.encode(message)) == message


# A name in base58 that is no peer id; one of another kind of key; a CID; blanks; what is no base58.
NO_PEERS = ["0OIl", "abc", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKQYUD", " " + PEER, PEER + " ", "1" * 52]


@pytest.mark.parametrize("name", NO_PEERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda peer: a_keep(mandate=a_mandate(peer)),
        lambda peer: a_keep(mandate=a_mandate(PEER, peer)),
        lambda peer: a_keep(mandate=a_mandate(PEER, controllers=(peer,))),
        lambda peer: a_keep(past_members=(peer,)),
        lambda peer: a_keep(executions=(a_copy(peer=peer),)),
        lambda peer: a_keep(executions=(a_copy(owner=peer),)),
        lambda peer: an_award(mandate=a_mandate(PEER, peer)),
        lambda peer: Adopt(execution=EXECUTION, round=1, job=JOB, mandate=a_mandate(PEER, peer)),
        lambda peer: Owned(job=JOB, owner=peer, mandate=a_mandate(PEER)),
        lambda peer: Orphan(execution=EXECUTION, round=1, job=JOB, replica=0, owner=peer),
    ],
)
def test_what_is_named_as_a_peer_is_a_peer_id(make: Any, name: str) -> None:
    with pytest.raises(BadMessage, match="peer id"):
        message_untrusted(codec.encode(make(name)))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (a_keep(acts_since_ms=MOMENT_MS_MAX + 1), "acts_since_ms"),
        (a_keep(revision=2**63 - 1), "revision"),
        (a_keep(round=COUNTER_MAX + 1), "round"),
        (a_keep(version=COUNTER_MAX + 1), "version"),
        (a_keep(created_ms=MOMENT_MS_MAX + 1), "created_ms"),
        (a_keep(age_ms=2**63 - 1), "age_ms"),
        (a_keep(executions=(a_copy(state=ExecutionState.BID),)), "its owner's affair"),
        (a_keep(executions=(a_copy(state=ExecutionState.ASKED),)), "its owner's affair"),
        (a_keep(executions=(a_copy(state=ExecutionState.QUEUED),)), "its owner's affair"),
        (a_keep(executions=(a_copy(version=2),)), "version 2 of a job that is at 1"),
        (a_keep(executions=(a_copy(), a_copy())), "told twice"),
        (a_keep(executions=(a_copy(state=ExecutionState.COMPLETED, exit_code=1),)), "completed and failed"),
        (
            a_keep(executions=(a_copy(state=ExecutionState.COMPLETED, exit_code=0, fault=Fault.JOB),)),
            "completed and failed",
        ),
        (a_keep(executions=(a_copy(state=ExecutionState.FAILED, exit_code=1),)), "nobody's fault"),
        (a_keep(executions=(a_copy(result_cid="../../etc/passwd"),)), "characters"),
        (a_keep(outcome=Outcome.COMPLETED), "Running with the outcome completed"),
        (a_keep(state=JobState.COMPLETED), "Completed with the outcome None"),
        (a_keep(state=JobState.COMPLETED, outcome=Outcome.STOPPED), "Completed with the outcome stopped"),
        (a_keep(state=JobState.FAILED, outcome=Outcome.COMPLETED), "Failed with the outcome completed"),
        (a_keep(spec=None), "without its newest version"),
        (a_keep(versions=()), "without its newest version"),
        (a_keep(versions=a_keep().versions * 2), "named twice"),
        (codec.replace(a_command("update", "", spec()), spec=None), "the file that it names"),
        (codec.replace(a_command("stop"), spec=spec()), "the file that it names"),
    ],
)
def test_a_record_that_could_not_be_one_of_our_own_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        message_untrusted(codec.encode(message))


@pytest.mark.parametrize("changes", [{"exit_code": None}, {"exit_code": 1}, {"result_cid": "a b"}])
def test_a_receipt_that_contradicts_itself_is_refused(changes: Any) -> None:
    vetting.vet_receipt(receipt(EXECUTION))
    with pytest.raises(BadMessage):
        vetting.vet_receipt(receipt(EXECUTION, **changes))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n and\ttabs", "two lines and tabs"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\u202eb", "a\\u202eb"),
        ("surrogate \udcff", "surrogate \\udcff"),
        (b"bytes \xff", "bytes \\xff"),
        (KeyError("free"), "KeyError: 'free'"),
        (ValueError(), "ValueError"),
        (
            FileNotFoundError(2, "No such file or directory", "/x"),
            "[Errno 2] No such file or directory: '/x'",
        ),
        (
            ExceptionGroup("many", [ExceptionGroup("more", [BadMessage("the first")]), ValueError()]),
            "the first",
        ),
        (None, "None"),
        ("x" * 3_000, "x" * 2_000),
    ],
)
def test_one_function_makes_a_reason_of_anything(what: object, reason: str) -> None:
    assert reason_of(what) == reason
    assert reason_of(what).encode()
