"""Lies of a dishonest deputy: the worst that it can sign with its own key, by what it has been told."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import LIVE, ExecutionState, JobRecord, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import CommandAction, CommandBody, Mandate
from p2pnode.core.wire.messages import (
    Adopt,
    Award,
    Cancel,
    Command,
    Ended,
    ExecutionCopy,
    Message,
    Orphan,
    Owned,
    Receipt,
    Release,
    Replicate,
    Update,
    WhoOwns,
)
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.states import Stage
from tests.core_support import receipt
from tests.fake_keys import FakeKeys

from .nodes import REQUESTER, SECOND, WORKER, Node

# An execution that nobody has awarded.
INVENTED = "e-" + "9" * 32
ACCOMPLICE = "accomplice"
# The reason of all that it says.
LIE = "a lie"


def said_by(node: Node, now: int) -> Iterator[tuple[str, bytes]]:
    """Lies that the node may say now, and to whom; nothing before it has a copy of the job."""
    record = node.record
    if record is None:
        return
    for to, message in _lies(record, node.peer, now):
        yield to, codec.encode(message)


def _lies(record: JobRecord, me: str, now: int) -> Iterator[tuple[str, Message]]:
    keys = FakeKeys(me)
    mine = mandate.extended(keys, record.mandate, me, [ACCOMPLICE])
    yield from _to_the_worker(record, mine, me)
    for to in (REQUESTER, SECOND):
        for given in (record.mandate, mine):
            yield to, Owned(job=record.id, owner=me, mandate=given)
            yield from ((to, told) for told in _records(record, given, me, now))
        yield to, WhoOwns(job=record.id, owner=me, whole=True)
        yield to, _command(record, me, CommandAction.STOP)
        yield to, _command(record, me, CommandAction.RERUN)
        for one in record.of(*LIVE):
            yield (
                to,
                Orphan(job=record.id, execution=one.id, round=one.round, replica=one.replica or 0, owner=me),
            )
            yield (
                to,
                Ended(execution=one.id, round=one.round, receipt=_receipt(record, one.id, one.round, me)),
            )
            yield (
                to,
                Update(
                    execution=one.id,
                    round=one.round,
                    sequence=99,
                    stage=Stage.PUBLISHING,
                    detail="as good as done",
                ),
            )


def _to_the_worker(record: JobRecord, mine: Mandate, me: str) -> Iterator[tuple[str, Message]]:
    for one in record.of(*LIVE):
        for given in (record.mandate, mine):
            yield WORKER, Adopt(execution=one.id, round=one.round, job=record.id, mandate=given)
        yield WORKER, Cancel(execution=one.id, round=one.round, reason=LIE)
        yield WORKER, Release(execution=one.id, round=one.round)
        award = Award(
            execution=one.id, round=one.round, replica=0, mandate=mine, spec=record.spec, changed_by=None
        )
        yield WORKER, award
    yield WORKER, Owned(job=record.id, owner=me, mandate=record.mandate)
    yield WORKER, Owned(job=record.id, owner=me, mandate=mine)


def _records(record: JobRecord, given: Mandate, me: str, now: int) -> Iterator[Replicate]:
    """The job as it is not: looked after by the liar, stopped, or completed by an accomplice."""
    theirs = copy.deepcopy(record)
    theirs.mandate, theirs.owner = given, me
    theirs.acts_since_ms, theirs.revision = now * 1000, 99
    (plain,) = sync.replicates(theirs, (), None, now)
    yield plain
    yield codec.replace(
        plain,
        state=JobState.STOPPED,
        outcome=Outcome.STOPPED,
        reason=LIE,
        executions=tuple(one for one in plain.executions if one.state not in LIVE),
    )
    for peer in (ACCOMPLICE, me):
        yield codec.replace(plain, executions=(*plain.executions, _invented(record, peer, me)))


def _invented(record: JobRecord, peer: str, me: str) -> ExecutionCopy:
    return ExecutionCopy(
        id=INVENTED,
        peer=peer,
        round=record.round,
        version=record.version,
        run=record.run,
        state=ExecutionState.COMPLETED,
        replica=0,
        owner=me,
        reason="",
        exit_code=0,
        fault=None,
        result_cid="bafylie",
        receipt=_receipt(record, INVENTED, record.round, peer, me),
        created_ms=0,
        modified_ms=0,
        started_ms=None,
    )


def _receipt(record: JobRecord, execution: str, round: int, peer: str, requester: str = REQUESTER) -> Signed:
    plain: Receipt = receipt(
        execution,
        job=record.id,
        round=round,
        peer=peer,
        requester=requester,
        spec_hash=record.spec_hash,
        result_cid="bafylie",
        reason="",
    )
    body = codec.encode(plain)
    return Signed(body=body, signature=FakeKeys(peer).sign(RECEIPT_DOMAIN, body))


def _command(record: JobRecord, me: str, action: CommandAction) -> Command:
    body = CommandBody(job=record.id, controller=me, number=99, action=action, reason=LIE, spec_hash=None)
    return Command(job=record.id, signed=mandate.commanded(FakeKeys(me), body), spec=None)
