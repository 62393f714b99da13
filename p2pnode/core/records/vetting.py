"""Which of another node's messages this node takes in: what must hold between the fields of one, and
between it and what is known here.

Shapes and bounds of single fields are the records' part (`core.wire.messages`). A record of another node
is taken only if it could be one of our own: with what our own machines never hold, they need not
cope. All of it raises `BadMessage`, before anything has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from p2pnode.core.wire import codec, extensions, places
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import COUNTER_MAX, RECEIPT_SIZE_BYTES_MAX
from p2pnode.core.wire.mandates import Charter, CommandBody, Extension, Mandate
from p2pnode.core.wire.messages import (
    Adopt,
    Award,
    Command,
    ExecutionCopy,
    Message,
    Orphan,
    Owned,
    Receipt,
    Replicate,
    WhoOwns,
    decode_message_untrusted,
)
from p2pnode.core.wire.peer_ids import public_key_untrusted
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Keys
from p2pnode.core.wire.spec import JobSpec

from .lifecycle import (
    ENDED,
    GIVEN_UP,
    JOB_ENDED,
    LIVE,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
    reason_for,
)

# An owner raises them one by one, and could not tell anybody of what is above the wire's limit.
COUNTER_TAKEN_MAX = COUNTER_MAX // 2
# Told of an execution: what was asked or bid is nobody's but its owner's.
_TOLD = frozenset({*LIVE, *ENDED, ExecutionState.CANCELLED, ExecutionState.LOST})
_OUTCOMES = {
    JobState.COMPLETED: frozenset({Outcome.COMPLETED}),
    JobState.STOPPED: frozenset({Outcome.STOPPED}),
    JobState.FAILED: frozenset(Outcome) - {Outcome.COMPLETED, Outcome.STOPPED},
}
# The text of a CID in any base that is used: letters and digits, in base64url also - and _.
_CID = re.compile(r"[A-Za-z0-9_-]{1,256}")


def message_untrusted(data: bytes, vet_peer: Callable[[str], object] = public_key_untrusted) -> Message:
    """The message in a link's frame, consistent in itself; raises `BadMessage`.

    `vet_peer` raises it for what is no peer id.
    """
    message = decode_message_untrusted(data)
    extensions.vet(message, f"this {type(message).__name__.lower()}")
    for peer in _peers(message):
        vet_peer(peer)
    match message:
        case Replicate():
            _vet_replicate(message)
        case Command(signed=signed, spec=spec):
            _vet_command(codec.decode_untrusted(signed.body, CommandBody), spec)
    return message


def receipt_untrusted(body: bytes) -> Receipt:
    """Return the receipt that is signed as `body`; raises `BadMessage`, also where it contradicts itself."""
    receipt = codec.decode_untrusted(body, Receipt, RECEIPT_SIZE_BYTES_MAX)
    vet_receipt(receipt)
    return receipt


def vet_receipt(receipt: Receipt) -> None:
    """Raises `BadMessage` for a receipt that tells of two ends, or of none."""
    if receipt.fault is None and receipt.exit_code != 0:
        raise BadMessage("a receipt without a fault whose program did not exit 0")
    _vet_cids(receipt.result_cid)


def vet_copies(message: Replicate, known: JobRecord | None, keys: Keys) -> None:
    """Raises `BadMessage` where an execution's end is not by the word of the peer that it was awarded to.

    `known` is the job as it is here. Which file a version is, the message says itself, or else `known`.
    """
    files = {number: one.spec_hash for number, one in known.versions.items()} if known else {}
    files |= {one.version: one.spec_hash for one in message.versions}
    if message.spec is not None:
        files[message.version] = codec.digest(message.spec)
    for one in message.executions:
        here = known.executions.get(one.id) if known else None
        if here is not None and _differs(one, here):
            raise BadMessage(f"{one.id} is of another peer, replica or version than is known here")
        if one.receipt is None:
            _vet_without_receipt(one)
            continue
        if one.state in LIVE:
            raise BadMessage(f"{one.id} is {one.state} and has a receipt of its end")
        if here is None or here.receipt != one.receipt:
            keys.verify_untrusted(one.peer, RECEIPT_DOMAIN, one.receipt)
        _vet_copy(message.job, one, receipt_untrusted(one.receipt.body), files.get(one.version))


def _differs(one: ExecutionCopy, here: Execution) -> bool:
    """Is it another than is known here by its id? Replica and version are settled by the award."""
    if (one.peer, one.round) != (here.peer, here.round):
        return True
    return here.state not in OPEN and (one.replica, one.version) != (here.replica, here.version)


def _vet_without_receipt(one: ExecutionCopy) -> None:
    if one.state in ENDED:
        raise BadMessage(f"{one.id} is {one.state} without a receipt of {one.peer}")
    if one.exit_code is not None or one.result_cid is not None:
        raise BadMessage(f"{one.id} has an exit code or a result without a receipt of {one.peer}")


def _vet_copy(job: str, one: ExecutionCopy, receipt: Receipt, spec_hash: str | None) -> None:
    """Does the receipt tell of this very execution, and the same as the copy?"""
    named = (receipt.job, receipt.execution, receipt.round, receipt.replica, receipt.peer)
    if named != (job, one.id, one.round, one.replica, one.peer):
        raise BadMessage(f"the receipt with {one.id} is of another execution")
    if spec_hash is not None and receipt.spec_hash != spec_hash:
        raise BadMessage(f"the receipt with {one.id} is of another file than version {one.version}")
    if (one.exit_code, one.result_cid) != (receipt.exit_code, receipt.result_cid):
        raise BadMessage(f"{one.id} has another exit code or result than its receipt")
    # Fault and reason of what was given up are its owner's word.
    if one.state not in GIVEN_UP:
        failed = one.state is ExecutionState.FAILED
        told = reason_for(one.state, receipt.reason if failed else "")
        if (one.fault, reason_for(one.state, one.reason)) != (receipt.fault, told):
            raise BadMessage(f"{one.id} ended in another way, or for another reason, than its receipt says")


def vet_type(told: JobSpec, known: JobSpec) -> None:
    """Raises `Untimely` where a job would become one of another type, whose replicas mean other things.

    An honest node may have heard the other type first, of a job that a stranger made up under its id.
    """
    if told.type is not known.type:
        raise Untimely(f"a {told.type} job in place of a {known.type} job")


def _peers(message: Message) -> Iterator[str]:
    match message:
        case Replicate():
            yield from (*_members(message.mandate), *message.past_members)
            for copy in message.executions:
                yield from (copy.peer, copy.owner)
        case Award(mandate=mandate) | Adopt(mandate=mandate):
            yield from _members(mandate)
        case Owned(owner=owner, mandate=mandate):
            yield from (owner, *_members(mandate))
        case Orphan(owner=owner) | WhoOwns(owner=owner):
            yield owner


def _members(mandate: Mandate) -> Iterator[str]:
    charter = codec.decode_untrusted(mandate.charter.body, Charter)
    yield from (*charter.members, *charter.controllers, *charter.trusted)
    for signed in mandate.chain:
        yield from codec.decode_untrusted(signed.body, Extension).members


def _vet_command(body: CommandBody, spec: JobSpec | None) -> None:
    if body.spec_hash != (None if spec is None else codec.digest(spec)):
        raise BadMessage("a command brings the file that it names, and no other")


def _vet_replicate(message: Replicate) -> None:
    if (message.outcome is not None) != (message.state in JOB_ENDED):
        raise BadMessage(f"a job that is {message.state} with the outcome {message.outcome}")
    if message.outcome is not None and message.outcome not in _OUTCOMES[message.state]:
        raise BadMessage(f"a job that is {message.state} with the outcome {message.outcome}")
    if max(message.version, message.run, message.revision, message.round) > COUNTER_TAKEN_MAX:
        raise BadMessage("a counter so high that its job's next owner could not count on")
    versions = [one.version for one in message.versions]
    if len(set(versions)) != len(versions) or any(one > message.version for one in versions):
        raise BadMessage("versions that are named twice or newer than the newest")
    if message.full and (message.spec is None or message.version not in versions):
        raise BadMessage("a whole record without its newest version")
    if len({one.id for one in message.executions}) != len(message.executions):
        raise BadMessage("an execution that is told twice")
    for one in message.executions:
        _vet_execution(one, message.version)
    places.heard_untrusted(message)


def _vet_execution(one: ExecutionCopy, newest: int) -> None:
    if one.state not in _TOLD:
        raise BadMessage(f"an execution that is {one.state}, which is its owner's affair")
    if one.version > newest:
        raise BadMessage(f"an execution of version {one.version} of a job that is at {newest}")
    if one.state is ExecutionState.COMPLETED and (one.exit_code != 0 or one.fault is not None):
        raise BadMessage("an execution that has completed and failed")
    if one.state is ExecutionState.FAILED and one.fault is None:
        raise BadMessage("an execution that has failed by nobody's fault")
    _vet_cids(one.result_cid)


def _vet_cids(*cids: str | None) -> None:
    for cid in cids:
        if cid is not None and not _CID.fullmatch(cid):
            raise BadMessage("a CID of other characters than CIDs have")
