"""The shapes of what the API takes and gives: its JSON, its codes of errors, its names of files.

The dictionaries are the JSON that users and their programs see, so their fields are only ever added to.
Times are Unix seconds, sizes bytes, CPU thousandths of a core.
"""

from __future__ import annotations

import enum
from typing import Any, TypedDict

Json = dict[str, Any]

# In the data directory: the secret that each request brings, and where the running node is.
TOKEN_FILE = "api.token"
NODE_FILE = "node.json"
# The length of a token, which a header carries; an empty one would let everybody in.
TOKEN_LENGTH_MIN, TOKEN_LENGTH_MAX = 16, 512
# Streams of events carry a comment this often; a client takes three missing ones for a dead node.
KEEP_ALIVE_INTERVAL_S = 10.0
# The longest that a call other than a transfer may take.
CALL_TIMEOUT_S = 60.0
CAR_MEDIA_TYPE = "application/vnd.ipld.car"


def token_of(text: str) -> str | None:
    """The token in a file or a variable, or None where there is none, as in a damaged file."""
    token = text.strip()
    fits = TOKEN_LENGTH_MIN <= len(token) <= TOKEN_LENGTH_MAX
    return token if fits and token.isascii() and token.isprintable() and " " not in token else None


class Code(enum.StrEnum):
    """The kind of an error, for programs; the client and the CLI's exit status go by it."""

    BAD_REQUEST = "bad-request"
    BAD_JOB = "bad-job"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not-found"
    NO_SUCH_PATH = "no-such-path"
    AMBIGUOUS = "ambiguous"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    TOO_LARGE = "too-large"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class ServiceError(Exception):
    """A request that the node refuses or cannot serve: a code, and one sentence for a person."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ExecutionJson(TypedDict):
    """One execution that was awarded to a peer; bids that lost are in the history only."""

    id: str
    peer: str
    # "" where the peer's name is not known.
    peer_name: str
    replica: int
    state: str
    reason: str
    # None: no program came to an end.
    exit_code: int | None
    # "job", "peer" or "network" for one that failed.
    fault: str | None
    result_cid: str | None
    receipt_cid: str | None
    created: float
    modified: float
    # The version of the job's file, and the run of the job, that it is for.
    version: int
    run: int
    # The execution is of this run, and runs what the newest version says.
    current: bool


class VersionJson(TypedDict):
    version: int
    submitted: float
    spec_hash: str


class JobJson(TypedDict):
    """A job: what `submit --json` and `job describe --json` print."""

    id: str
    name: str
    type: str
    namespace: str
    state: str
    reason: str
    # How it ended (`core.wire.states.Outcome`); None while it goes on.
    outcome: str | None
    priority: int
    count: int
    created: float
    modified: float
    owner: str
    # The job in the form of a job file.
    spec: Json
    # In the order of their awards.
    executions: list[ExecutionJson]
    # The version of its file, and those still kept, the oldest first.
    version: int
    versions: list[VersionJson]
    # "" where a name is not known.
    owner_name: str
    # The peers that may look after it, by rank: the requester, then its deputies. The owner does.
    members: list[MemberJson]
    # The requester's charters so far, and the nodes whose users may command the job beside its own.
    serial: int
    controllers: list[ControllerJson]
    # How many deputies its file wants.
    deputies_wanted: int
    # The number of times that the job was begun.
    run: int
    # The first thing that went wrong in this run; "" for nothing.
    first_failure: str


class Change(enum.StrEnum):
    """The effect of submitting a file."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class ControllerJson(TypedDict):
    """A node whose users may stop, change and rerun the job, beside the requester's."""

    peer: str
    name: str


class MemberJson(TypedDict):
    peer: str
    # "" where its name is not known.
    name: str
    rank: int


class SubmittedJson(TypedDict):
    id: str
    version: int
    change: Change


class SchedulingJson(TypedDict):
    """Whether a node is schedulable, cordoned or draining, and how many executions hold its resources."""

    scheduling: str
    held: int


class JobLineJson(TypedDict):
    """A job as its owner tells it to anybody."""

    id: str
    name: str
    namespace: str
    type: str
    state: str
    reason: str
    count: int
    created: float
    owner: str
    # "" where the owner's name is not known.
    owner_name: str


class NetworkJobsJson(TypedDict):
    """The jobs of all known nodes, newest first, and the nodes that have not answered in time."""

    jobs: list[JobLineJson]
    silent: list[str]


class EventJson(TypedDict):
    """A line of a job's history. Numbers grow by one from 1 for each job."""

    number: int
    at: float
    topic: str
    # "" where it is about the whole job.
    execution: str
    message: str
    # The state of the execution, or of the job, after it.
    state: str


class LogChunk(TypedDict):
    """A piece of what an execution wrote; `data` need not end at a line or a character."""

    execution: str
    # "stdout" or "stderr".
    stream: str
    data: bytes


class ResourcesJson(TypedDict):
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    gpus: int


class NodeJson(TypedDict):
    """A node as this one knows it: from its advert, or itself."""

    peer: str
    name: str
    engines: list[str]
    labels: dict[str, str]
    total: ResourcesJson
    free: ResourcesJson
    addresses: list[str]
    connected: bool
    # True for the node that answers.
    self: bool
    # "all", "nothing" (cordoned) or "draining".
    scheduling: str
    # Protocols that the peer speaks, as "link/4".
    protocols: list[str]
    # Why this node can ask nothing of it, whatever it offers; None where it can.
    problem: str | None


class UnreachedJson(TypedDict):
    """A peer that the user gave to the node, and that is not connected."""

    peer: str
    addresses: list[str]
    # "" while the first dial goes on.
    reason: str


class AskedJson(TypedDict):
    peer: str
    name: str


class ReasonJson(TypedDict):
    reason: str
    # How many peers it keeps from bidding.
    peers: int


class PlanJson(TypedDict):
    """The fate of a job if it were submitted now, from what this node knows."""

    # How many executions it would begin with.
    needed: int
    # The best first.
    asked: list[AskedJson]
    would_bid: int
    known: int
    # Requirements that peers look up only when they are asked, and may refuse for then.
    looked_up: list[str]
    # The most frequent first: of peers that only lack room now, and of those that could never run it.
    busy: list[ReasonJson]
    unsuitable: list[ReasonJson]


class DockerJson(TypedDict):
    """The Docker engine that a node uses: where, by what it was chosen, and why it does not run jobs now."""

    address: str
    chosen_by: str
    # "": it does.
    problem: str


class IdentityJson(TypedDict):
    """The node that answers."""

    peer: str
    name: str
    version: str
    addresses: list[str]
    data_dir: str
    engines: list[str]
    labels: dict[str, str]
    # None: it runs nothing for others.
    docker: DockerJson | None


class FetchedJson(TypedDict):
    """How far a fetch is."""

    blocks: int
    size_bytes: int
    # As the maker of the content says; None while that is not known.
    total_bytes: int | None


class EntryJson(TypedDict):
    """An entry of a directory; `size_bytes` is that of all blocks below it, as the directory's maker says."""

    name: str
    cid: str
    size_bytes: int


class ProblemJson(TypedDict):
    """Something that has failed on the node."""

    number: int
    # "job", "execution", "message", "link" or "task", and which one.
    kind: str
    subject: str
    reason: str
    # Where in the program, for those who mend it.
    detail: str
    # The subject takes part in nothing until it is tried again or dropped by hand.
    aside: bool
    count: int
    first_at: float
    last_at: float


class PinJson(TypedDict):
    cid: str
    # "result", "receipt", "added", "pinned by hand".
    what: str
    # None: until it is removed.
    until: float | None
