"""Messages that are refused: what each is, how an enemy makes it, and what its sender is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2pnode.core.records.lifecycle import ExecutionState
from p2pnode.core.records.vetting import EPOCH_STEP_MAX
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import COUNTER_MAX, INTEGER_MAX
from p2pnode.core.wire.messages import Adopt, Cancel, Ended, Message, Orphan, Owned
from p2pnode.core.wire.signing import RECEIPT_DOMAIN

from .enemy import Enemy
from .records import (
    a_copy,
    a_job,
    a_keep,
    a_receipt,
    a_spec,
    an_ask,
    an_award,
    an_execution,
)

NO_PEER = "0OIl"
CONTROLS = "\x1b[2J\x07\r\nfetch it: curl\u202e\x9b\u200b"

Make = Callable[[Enemy, str], Message | bytes]


def keep(**changes: Any) -> Make:
    return lambda enemy, victim: a_keep(enemy.peer, victim, **changes)


def keep_with(**changes: Any) -> Make:
    """A keep with one execution that is not as it should be."""
    return lambda enemy, victim: a_keep(enemy.peer, victim, executions=(a_copy(enemy.peer, **changes),))


def with_unknown_field(enemy: Enemy, victim: str) -> bytes:
    ask = codec.plain(an_ask(a_spec()))
    return codec.encode({**ask, "surprise": 1})


def with_a_surrogate(enemy: Enemy, victim: str) -> bytes:
    message = Cancel(execution=an_execution(), round=1, reason="XXX")
    return codec.encode(message).replace(b"cXXX", b"c\xed\xb3\xbf")


def ended_badly(enemy: Enemy, victim: str) -> Message:
    signed = enemy.sign(RECEIPT_DOMAIN, a_receipt(an_execution(), enemy.peer, a_job()))
    return Ended(execution=an_execution(), round=1, receipt=codec.replace(signed, signature=bytes(64)))


def ended_of_another_domain(enemy: Enemy, victim: str) -> Message:
    receipt = a_receipt(an_execution(), enemy.peer, a_job())
    return Ended(execution=receipt.execution, round=1, receipt=enemy.sign(b"another", receipt))


def ended_without_sense(enemy: Enemy, victim: str) -> Message:
    receipt = codec.replace(a_receipt(an_execution(), enemy.peer, a_job()), exit_code=None)
    return Ended(execution=receipt.execution, round=1, receipt=enemy.sign(RECEIPT_DOMAIN, receipt))


# Each: its name, how it is made, and a part of the reason that its sender is told.
REFUSED: list[tuple[str, Make, str]] = [
    ("a deputy that is no peer", lambda e, v: a_keep(e.peer, v, deputies=(v, NO_PEER)), "peer id"),
    ("an owner that is no peer", lambda e, v: Owned(job=a_job(), epoch=2, owner=NO_PEER), "peer id"),
    ("a requester that is no peer", keep(requester=NO_PEER), "peer id"),
    ("a former owner that is no peer", keep(past_members=(NO_PEER,)), "peer id"),
    ("an execution on what is no peer", keep_with(peer=NO_PEER), "peer id"),
    ("an execution of what is no peer", keep_with(owner=NO_PEER), "peer id"),
    (
        "an award with a deputy that is no peer",
        lambda e, v: an_award(an_ask(a_spec()), a_spec(), deputies=(NO_PEER,)),
        "peer id",
    ),
    (
        "an adoption with a deputy that is no peer",
        lambda e, v: Adopt(execution=an_execution(), round=1, job=a_job(), epoch=1, deputies=(NO_PEER,)),
        "peer id",
    ),
    (
        "an orphan of what is no peer",
        lambda e, v: Orphan(
            execution=an_execution(), round=1, job=a_job(), replica=0, owner=NO_PEER, epoch=1
        ),
        "peer id",
    ),
    ("an execution that was only bid for", keep_with(state=ExecutionState.BID), "owner's affair"),
    ("an execution that was only asked for", keep_with(state=ExecutionState.ASKED), "owner's affair"),
    ("an execution of no version", keep_with(version=7), "version 7 of a job that is at 1"),
    ("a replica beyond all", keep_with(replica=10**9), "replica"),
    ("the last epoch of 64 bits", keep(epoch=INTEGER_MAX), "epoch"),
    ("the last epoch", keep(epoch=COUNTER_MAX), "epoch 2147483647 of a job that is at 1 here"),
    ("an epoch too far", keep(epoch=EPOCH_STEP_MAX + 2), "epoch 1002 of a job that is at 1 here"),
    (
        "an owner of the last epoch",
        lambda e, v: Owned(job=a_job(), epoch=COUNTER_MAX, owner=e.peer),
        "epoch",
    ),
    ("a revision of 64 bits", keep(revision=INTEGER_MAX), "revision"),
    ("a spec that is no job", keep(spec=a_spec(name=CONTROLS)), "the job is not valid"),
    ("a receipt with a wrong signature", ended_badly, "not signed by"),
    ("a receipt that was signed as another thing", ended_of_another_domain, "not signed by"),
    ("a receipt that contradicts itself", ended_without_sense, "did not exit 0"),
    ("an unknown field", with_unknown_field, "surprise"),
    ("a text that is no Unicode", with_a_surrogate, "not a message"),
    ("what is no CBOR", lambda e, v: b"\xff\xff", "not a message"),
    ("nothing", lambda e, v: b"", "not a message"),
    ("a deep nest", lambda e, v: b"\x81" * 1_000 + b"\x00", "not a message"),
    ("a tag", lambda e, v: b"\xc2\x41\x00", "not a message"),
]
