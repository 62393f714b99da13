"""The records that say who may look after a job and who may change it: charter, extension, command.

`core.records.mandate` makes, reads and orders them; protocols/ownership.md says what each means.
"""

from __future__ import annotations

import enum
from typing import Annotated

from . import codec
from .codec import Meta, Record
from .extensions import Open
from .fields import (
    CONTROLLERS_MAX,
    MEMBERS_NAMED_MAX,
    TRUSTED_MAX,
    Counter,
    Digest,
    JobId,
    Moment,
    PeerId,
    Reason,
    Version,
)
from .signing import Signed
from .spec import JobType

NONCE_SIZE_BYTES = 16


class Charter(Open, frozen=True):
    """The requester's word on a job. Its first member is the requester itself, which signs it."""

    job: JobId
    # The job's id is made of this and the requester, so nobody else can sign a charter for it.
    nonce: Annotated[bytes, Meta(min_length=NONCE_SIZE_BYTES, max_length=NONCE_SIZE_BYTES)]
    # Grows with each charter of the job.
    serial: Counter
    type: JobType
    version: Version
    spec_hash: Digest
    # The peers that may look after the job, by rank: the lowest that lives does.
    members: Annotated[tuple[PeerId, ...], Meta(min_length=1, max_length=MEMBERS_NAMED_MAX)]
    # The peers whose users may stop, change and rerun it, beside the requester.
    controllers: Annotated[tuple[PeerId, ...], Meta(max_length=CONTROLLERS_MAX)]
    # The peers that may be named as members by an extension; none: any that say so in their adverts.
    trusted: Annotated[tuple[PeerId, ...], Meta(max_length=TRUSTED_MAX)]


class Extension(Open, frozen=True):
    """More members behind those of a charter, named by a member that acts while the requester is gone."""

    job: JobId
    # The digest of the signed record that it goes on from: the charter, or the extension before.
    after: Digest
    signer: PeerId
    members: Annotated[tuple[PeerId, ...], Meta(min_length=1, max_length=MEMBERS_NAMED_MAX)]


class Mandate(Record, frozen=True):
    """A charter and the chain of extensions that go on from it."""

    charter: Signed
    chain: Annotated[tuple[Signed, ...], Meta(max_length=MEMBERS_NAMED_MAX)] = ()


class CommandAction(enum.StrEnum):
    STOP = "stop"
    RERUN = "rerun"
    UPDATE = "update"


class CommandBody(Open, frozen=True):
    """A controller's will on a job, which it signs."""

    job: JobId
    controller: PeerId
    # Grows with each command of the controller on the job: one that comes again changes nothing.
    number: Moment
    action: CommandAction
    reason: Reason
    # The digest of the new file, of an update.
    spec_hash: Digest | None


def job_id(requester: str, nonce: bytes) -> str:
    """The id of a job: who submitted it, and a nonce that makes each submission its own."""
    return "j-" + codec.digest([requester, nonce])[:32]
