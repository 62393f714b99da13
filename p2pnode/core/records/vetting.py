"""Which of another node's messages this node takes in: what must hold between the fields of one, and
between it and what is known here.

Shapes and bounds of single fields are the records' part (`core.wire.messages`). A record of another node
is taken only if it could be one of our own: with what our own machines never hold, they need not
cope. All of it raises `BadMessage`, before anything has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import COUNTER_MAX
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
from p2pnode.core.wire.spec import JobSpec

from .lifecycle import (
    ENDED,
    JOB_ENDED,
    LIVE,
    ExecutionState,
    JobState,
    Outcome,
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


def vet_receipt(receipt: Receipt) -> None:
    """Raises `BadMessage` for a receipt that tells of two ends, or of none."""
    if receipt.fault is None and receipt.exit_code != 0:
        raise BadMessage("a receipt without a fault whose program did not exit 0")
    _vet_cids(receipt.result_cid)


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
    yield from (*charter.members, *charter.controllers)
    for signed in mandate.extensions:
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


def _vet_execution(one: ExecutionCopy, newest: int) -> None:
    if one.state not in _TOLD:
        raise BadMessage(f"an execution that is {one.state}, which is its owner's affair")
    if one.version > newest:
        raise BadMessage(f"an execution of version {one.version} of a job that is at {newest}")
    if one.state is ExecutionState.COMPLETED and (one.exit_code != 0 or one.fault is not None):
        raise BadMessage("an execution that has completed and failed")
    if one.state is ExecutionState.FAILED and one.fault is None:
        raise BadMessage("an execution that has failed by nobody's fault")
    _vet_cids(one.result_cid, one.receipt_cid)


def _vet_cids(*cids: str | None) -> None:
    for cid in cids:
        if cid is not None and not _CID.fullmatch(cid):
            raise BadMessage("a CID of other characters than CIDs have")
