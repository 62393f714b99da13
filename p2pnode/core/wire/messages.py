"""Every message that nodes send each other, as records; `protocols/` says what each means.

An ask, and so everything that follows from it, is named by its execution id. The id is
derived from the job, the round of asking, the peer and the slot (`execution_id`), so an
answer of an earlier round can never be taken for this round's, and a message that
arrives twice names the same thing twice.

Durations on the wire are relative and in milliseconds: peers' clocks differ.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType

from . import codec, protocols
from .codec import Meta, Record
from .extensions import Musts, Open
from .fields import (
    BID_VALID_MS_MAX,
    CACHE_KEYS_MAX,
    COMMANDS_TOLD_MAX,
    COPIES_PER_MESSAGE_MAX,
    LINE_LENGTH_MAX,
    LINES_PER_MESSAGE_MAX,
    NAMES_MAX,
    PATH_LENGTH_MAX,
    RECEIPT_INPUTS_MAX,
    CacheKey,
    Cid,
    Counter,
    Digest,
    ExecutionId,
    JobId,
    Moment,
    Name,
    Names,
    Natural,
    PeerId,
    Peers,
    Reason,
    Replica,
    SizeClass,
    SomeName,
    Version,
)
from .mandates import Mandate
from .signing import Signed
from .spec import (
    MEMBERS_MAX,
    Constraints,
    JobSpec,
    NetworkType,
    Priority,
    Resources,
)
from .states import ExecutionState, Fault, JobState, Outcome, RefusalKind, Scheduling, Stage


class Capacity(Record, frozen=True):
    """The most that a peer could give to one job, were it idle, and what of it is free now."""

    engines: Names
    publishers: Names
    sources: Names
    # Also such as only later versions know.
    networks: Names
    labels: Annotated[dict[SomeName, Name], Meta(max_length=NAMES_MAX)]
    total: Resources
    free: Resources
    price_micros: Natural = 0
    scheduling: Scheduling = Scheduling.SCHEDULABLE
    # Cache keys of what it need not fetch (`core.placement.locality`), each with its size.
    cached: Annotated[tuple[tuple[CacheKey, SizeClass], ...], Meta(max_length=CACHE_KEYS_MAX)] = ()
    # The class of what its fetches of late brought in a second; 0: it has seen none.
    fetch_rate: SizeClass = 0


class Advert(Open, frozen=True):
    """The offer of a peer in general; gossiped. `number` only ever grows, over restarts too."""

    peer: PeerId
    number: Natural
    issued_ms: Moment
    ttl_ms: Moment
    name: Name
    version: Name
    capacity: Capacity
    addresses: Names
    # The peer's protocols, as `link/4`, order without meaning: who shares no link with it asks nothing of it.
    protocols: Names = protocols.SPOKEN
    leaving: bool = False


class Directory(Record, frozen=True):
    """A path of the peer's own that a job is to get."""

    path: Annotated[str, Meta(min_length=1, max_length=PATH_LENGTH_MAX)]
    writable: bool
    # Whether the path may be made where it is missing.
    made: bool


class Requirements(Record, frozen=True):
    """All that a peer needs to know of a job to say whether it would run it."""

    engine: SomeName
    resources: Resources
    constraints: Constraints = ()
    network: NetworkType = NetworkType.NONE
    publisher: Name = ""
    sources: Names = ()
    # Cache keys of the image and the inputs: who has them already is preferred.
    cache_keys: Annotated[tuple[CacheKey, ...], Meta(max_length=MEMBERS_MAX + 1)] = ()
    directories: Annotated[tuple[Directory, ...], Meta(max_length=MEMBERS_MAX)] = ()
    # The spec's extensions that its peer has to understand.
    must: Musts | UnsetType = UNSET


class Ask(Open, frozen=True, tag_field="kind", tag="ask"):
    """Requester to peer: would you run this?"""

    execution: ExecutionId
    job: JobId
    round: Counter
    spec_hash: Digest
    priority: Priority
    requirements: Requirements
    # The sizes of what its cache keys name, in their order.
    sizes: Annotated[tuple[SizeClass, ...], Meta(max_length=MEMBERS_MAX + 1)] = ()


class Bid(Open, frozen=True, tag_field="kind", tag="bid"):
    """Peer to requester: yes; the resources are held for `valid_ms`."""

    execution: ExecutionId
    round: Counter
    valid_ms: Annotated[int, Meta(ge=0, le=BID_VALID_MS_MAX)]
    price_micros: Natural
    start_ms: Moment


class Refusal(Open, frozen=True, tag_field="kind", tag="refusal"):
    """Peer to requester: no, and why."""

    execution: ExecutionId
    round: Counter
    refusal_kind: RefusalKind
    reason: Reason


class Award(Open, frozen=True, tag_field="kind", tag="award"):
    """Requester to peer: your bid is taken; here is the job."""

    execution: ExecutionId
    round: Counter
    replica: Replica
    # The peers that may look after the execution, by rank.
    mandate: Mandate
    spec: JobSpec
    # The command by which the spec came to be another than that of the charter.
    changed_by: Signed | None


class Release(Open, frozen=True, tag_field="kind", tag="release"):
    """Requester to peer: your bid is not needed; free what it holds."""

    execution: ExecutionId
    round: Counter


class Update(Open, frozen=True, tag_field="kind", tag="update"):
    """Peer to requester: how far the execution is. The first one confirms the award."""

    execution: ExecutionId
    round: Counter
    sequence: Counter
    stage: Stage
    detail: Reason


class Cancel(Open, frozen=True, tag_field="kind", tag="cancel"):
    """Requester to peer: end this execution."""

    execution: ExecutionId
    round: Counter
    reason: Reason


class Receipt(Open, frozen=True):
    """How an execution ended, as its peer signs it."""

    job: JobId
    execution: ExecutionId
    round: Counter
    replica: Replica
    peer: PeerId
    requester: PeerId
    spec_hash: Digest
    # The Docker image's id, or the CID of the WASM module: what really ran. "" if nothing did.
    program: Name
    # The first of its inputs.
    inputs: Annotated[tuple[Cid, ...], Meta(max_length=RECEIPT_INPUTS_MAX)]
    # None: no program came to an end.
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None
    # None: the program ran and exited 0.
    fault: Fault | None
    reason: Reason
    # None: nothing could be kept.
    result_cid: Cid | None
    started_ms: Moment
    ended_ms: Moment
    cpu_ms: Natural
    memory_bytes: Natural


class Ended(Open, frozen=True, tag_field="kind", tag="ended"):
    """Peer to requester: the execution is over. `receipt` is a `Signed` receipt."""

    execution: ExecutionId
    round: Counter
    receipt: Signed


class Adopt(Open, frozen=True, tag_field="kind", tag="adopt"):
    """Acting owner to compute peer: I look after this execution, by this mandate."""

    execution: ExecutionId
    round: Counter
    job: JobId
    mandate: Mandate


class Orphan(Open, frozen=True, tag_field="kind", tag="orphan"):
    """Compute peer to the job's members: I have this execution, and its owner is silent."""

    execution: ExecutionId
    round: Counter
    job: JobId
    replica: Replica
    owner: PeerId


class WhoOwns(Open, frozen=True, tag_field="kind", tag="who-owns"):
    """Asks who looks after a job: from an owner that was away, or from who has not heard of it for long."""

    job: JobId
    # The owner that its sender knows of, and whether it wants the whole record in any case.
    owner: PeerId
    whole: bool


class Owned(Open, frozen=True, tag_field="kind", tag="owned"):
    """Says who looks after a job, as its sender knows. From its owner: that one does from now on."""

    job: JobId
    owner: PeerId
    mandate: Mandate


class VersionCopy(Record, frozen=True):
    """A version of a job's file, other than the newest."""

    version: Version
    spec_hash: Digest
    work: Digest
    submitted_ms: Moment


class ExecutionCopy(Record, frozen=True):
    """An execution as the owner has it. Times are Unix times of the owner's clock, for people."""

    id: ExecutionId
    peer: PeerId
    round: Counter
    version: Version
    run: Version
    state: ExecutionState
    replica: Replica
    owner: PeerId
    reason: Reason
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None
    fault: Fault | None
    result_cid: Cid | None
    # Its peer's word, which comes with all that is said to have ended.
    receipt: Signed | None
    created_ms: Moment
    modified_ms: Moment
    started_ms: Moment | None


class Line(Record, frozen=True):
    """A line of a job's history. `execution` and `peer` are "" where it is about the whole job."""

    at_ms: Moment
    topic: Name
    text: Annotated[str, Meta(max_length=LINE_LENGTH_MAX)]
    execution: Name
    peer: Name
    state: Name


class Replicate(Open, frozen=True, tag_field="kind", tag="replicate"):
    """Acting owner to the other members: keep this of the job. Those without `full` add to the one before."""

    job: JobId
    mandate: Mandate
    # When the sender began to act for the job, by its own clock; and the number of the message since then.
    acts_since_ms: Moment
    revision: Counter
    full: bool
    past_members: Peers
    # The last commands of controllers that were carried out.
    commands: Annotated[tuple[Signed, ...], Meta(max_length=COMMANDS_TOLD_MAX)]
    state: JobState
    reason: Reason
    outcome: Outcome | None
    first_failure: Reason
    version: Version
    run: Version
    round: Counter
    # How long ago this run began, and the job was submitted (Unix time).
    age_ms: Moment
    created_ms: Moment
    modified_ms: Moment
    # None where it is the same as in the message before.
    spec: JobSpec | None
    versions: Annotated[tuple[VersionCopy, ...], Meta(max_length=NAMES_MAX)]
    executions: Annotated[tuple[ExecutionCopy, ...], Meta(max_length=COPIES_PER_MESSAGE_MAX)]
    history: Annotated[tuple[Line, ...], Meta(max_length=LINES_PER_MESSAGE_MAX)]


class Command(Open, frozen=True, tag_field="kind", tag="command"):
    """Controller to acting owner, passed on by whoever holds a copy: its user wants this of the job."""

    job: JobId
    # A `CommandBody`.
    signed: Signed
    # The new file, of an update.
    spec: JobSpec | None


Message = (
    Ask
    | Bid
    | Refusal
    | Award
    | Release
    | Update
    | Cancel
    | Ended
    | Adopt
    | Orphan
    | WhoOwns
    | Owned
    | Replicate
    | Command
)


def decode_message_untrusted(data: bytes) -> Message:
    """The message in a link's frame; raises `BadMessage`."""
    message: Message = codec.decode_untrusted(data, Message)  # type: ignore[arg-type]
    return message


def execution_id(job: str, since_ms: int, owner: str, round: int, peer: str, slot: int) -> str:
    """The id of the `slot`th ask to a peer in a round of asking, of an owner that acts since then."""
    return "e-" + codec.digest([job, since_ms, owner, round, peer, slot])[:32]
