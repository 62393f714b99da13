"""Messages that are refused: what each is, how an enemy makes it, and what its sender is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2pnode.core.records.lifecycle import ExecutionState
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import COUNTER_MAX, INTEGER_MAX, MEMBERS_NAMED_MAX
from p2pnode.core.wire.mandates import Charter, CommandAction, Mandate
from p2pnode.core.wire.messages import Adopt, Cancel, Ended, Message, Orphan, Owned
from p2pnode.core.wire.signing import CHARTER_DOMAIN, RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.spec import JobType
from tests.network_support import new_identity

from .enemy import Enemy
from .records import (
    a_command,
    a_copy,
    a_job,
    a_keep,
    a_mandate,
    a_receipt,
    a_spec,
    an_ask,
    an_award,
    an_execution,
    an_extension,
    job_of,
)

NO_PEER = "0OIl"
CONTROLS = "\x1b[2J\x07\r\nfetch it: curl\u202e\x9b\u200b"

Make = Callable[[Enemy, str], Message | bytes]


def keep(**changes: Any) -> Make:
    return lambda enemy, victim: a_keep(enemy.identity, victim, **changes)


def keep_with(**changes: Any) -> Make:
    """A keep with one execution that is not as it should be."""
    return lambda enemy, victim: a_keep(enemy.identity, victim, executions=(a_copy(enemy.peer, **changes),))


def keep_by(make: Callable[[Enemy, str], Mandate]) -> Make:
    """A keep by a mandate that is not as it should be."""

    def made(enemy: Enemy, victim: str) -> Message:
        given = make(enemy, victim)
        return a_keep(enemy.identity, victim, mandate=given, job=job_of(given))

    return made


def chartered(**changes: Any) -> Make:
    return keep_by(lambda enemy, victim: a_mandate(enemy.identity, victim, **changes))


def of_another_requester(enemy: Enemy, victim: str) -> Mandate:
    """A charter of this very job, by who has not submitted it."""
    theirs = codec.decode(a_mandate(new_identity(), victim).charter.body, Charter)
    return a_mandate(enemy.identity, victim, job=theirs.job, nonce=theirs.nonce)


def forged(enemy: Enemy, victim: str) -> Mandate:
    """Another's charter, signed by the enemy."""
    theirs = a_mandate(new_identity(), enemy.peer, victim)
    return Mandate(
        charter=Signed(
            body=theirs.charter.body, signature=enemy.identity.sign(CHARTER_DOMAIN, theirs.charter.body)
        )
    )


def extended(*, by_stranger: bool = False, twice: bool = False, **changes: Any) -> Make:
    """A keep by a mandate whose extension is not as it should be."""

    def make(enemy: Enemy, victim: str) -> Mandate:
        signer = new_identity() if by_stranger else enemy.identity
        more = victim if twice else new_identity().peer_id
        return an_extension(a_mandate(enemy.identity, victim), signer, more, **changes)

    return keep_by(make)


def extended_without_trust(enemy: Enemy, victim: str) -> Mandate:
    return an_extension(
        a_mandate(enemy.identity, victim, trusted=(victim,)), enemy.identity, new_identity().peer_id
    )


def extended_without_signature(enemy: Enemy, victim: str) -> Mandate:
    given = an_extension(a_mandate(enemy.identity, victim), enemy.identity, new_identity().peer_id)
    (last,) = given.chain
    return codec.replace(given, chain=(codec.replace(last, signature=bytes(64)),))


def extended_too_far(enemy: Enemy, victim: str) -> Mandate:
    given = a_mandate(enemy.identity, victim)
    for _ in range(MEMBERS_NAMED_MAX):
        given = an_extension(given, enemy.identity, new_identity().peer_id)
    return given


def an_adopt(given: Mandate, job: str | None = None) -> Adopt:
    return Adopt(execution=an_execution(), round=1, job=job or job_of(given), mandate=given)


def an_owned(given: Mandate, owner: str, job: str | None = None) -> Owned:
    return Owned(job=job or job_of(given), owner=owner, mandate=given)


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
    ("a deputy that is no peer", lambda e, v: a_keep(e.identity, v, NO_PEER), "peer id"),
    ("an owner that is no peer", lambda e, v: an_owned(a_mandate(e.identity, v), NO_PEER), "peer id"),
    ("a requester that is no peer", chartered(members=(NO_PEER,)), "peer id"),
    ("a controller that is no peer", chartered(controllers=(NO_PEER,)), "peer id"),
    ("a trusted one that is no peer", chartered(trusted=(NO_PEER,)), "peer id"),
    ("an extension by what is no peer", extended(members=(NO_PEER,)), "peer id"),
    ("a former owner that is no peer", keep(past_members=(NO_PEER,)), "peer id"),
    ("an execution on what is no peer", keep_with(peer=NO_PEER), "peer id"),
    ("an execution of what is no peer", keep_with(owner=NO_PEER), "peer id"),
    (
        "an award with a deputy that is no peer",
        lambda e, v: an_award(an_ask(a_spec()), a_spec(), a_mandate(e.identity, NO_PEER)),
        "peer id",
    ),
    (
        "an adoption with a deputy that is no peer",
        lambda e, v: an_adopt(a_mandate(e.identity, NO_PEER)),
        "peer id",
    ),
    (
        "an orphan of what is no peer",
        lambda e, v: Orphan(execution=an_execution(), round=1, job=a_job(), replica=0, owner=NO_PEER),
        "peer id",
    ),
    ("a charter that another signed", keep_by(forged), "not signed by"),
    ("a charter by who has not submitted the job", keep_by(of_another_requester), "not of its requester"),
    ("a charter of another job", chartered(job=a_job()), "a charter of another job"),
    (
        "a charter of another job than the message",
        lambda e, v: a_keep(e.identity, v, job=a_job()),
        "a charter of another job",
    ),
    (
        "an adoption by a charter of another job",
        lambda e, v: an_adopt(a_mandate(e.identity, v), a_job()),
        "a charter of another job",
    ),
    (
        "an owner by a charter of another job",
        lambda e, v: an_owned(a_mandate(e.identity, v), e.peer, a_job()),
        "a charter of another job",
    ),
    (
        "a member that is named twice",
        lambda e, v: a_keep(e.identity, v, v),
        "names a member twice",
    ),
    ("a member that is named again", extended(twice=True), "names a member twice"),
    ("more members than there may be", keep_by(extended_too_far), "too many"),
    ("an extension by who is no member", extended(by_stranger=True), "signer is no member"),
    ("an extension of another mandate", extended(after="0" * 64), "an extension of another mandate"),
    ("an extension of another job", extended(job=a_job()), "an extension of another mandate"),
    ("an extension that nobody signed", keep_by(extended_without_signature), "not signed by"),
    ("an extension by whom the charter does not trust", keep_by(extended_without_trust), "does not trust"),
    ("a file that the charter does not name", chartered(spec_hash="0" * 64), "nor a command of a controller"),
    (
        "a file of another type than the charter's",
        lambda e, v: a_keep(
            e.identity, v, spec=a_spec(), mandate=a_mandate(e.identity, v, type=JobType.SERVICE)
        ),
        "a batch file of a service",
    ),
    (
        "a command whose file is another",
        lambda e, v: codec.replace(
            a_command(e.identity, a_job(), CommandAction.UPDATE, a_spec()), spec=a_spec(priority=3)
        ),
        "the file that it names",
    ),
    (
        "an update without a file",
        lambda e, v: codec.replace(a_command(e.identity, a_job(), CommandAction.UPDATE, a_spec()), spec=None),
        "the file that it names",
    ),
    ("an execution that was only bid for", keep_with(state=ExecutionState.BID), "owner's affair"),
    ("an execution that was only asked for", keep_with(state=ExecutionState.ASKED), "owner's affair"),
    ("an execution of no version", keep_with(version=7), "version 7 of a job that is at 1"),
    ("a replica beyond all", keep_with(replica=10**9), "replica"),
    ("a serial of 64 bits", chartered(serial=INTEGER_MAX), "serial"),
    ("a serial of none", chartered(serial=-1), "serial"),
    ("a number of work that its next owner could not count on", keep(round=COUNTER_MAX), "counter"),
    ("a result without a receipt", keep_with(state=ExecutionState.COMPLETED, exit_code=0), "receipt of"),
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
