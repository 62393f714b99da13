"""The shapes of what the API takes and gives: its JSON, its codes of errors, its names of files.

The dictionaries are the JSON that users and their programs see, so their fields are only ever added to.
Times are Unix seconds, sizes bytes, CPU thousandths of a core.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Required, TypedDict

from p2pnode.core.wire.states import ExecutionState, Fault, JobState, Outcome, Scheduling

from .finding_shapes import FindingJson

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
# The jobs in a page of a list: each is some 2 kB.
PAGE_ROWS_MAX = 1_000
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
    """An execution that was awarded to a peer; bids that lost are in the history only."""

    id: Annotated[str, "The execution's id, e-..."]
    peer: Annotated[str, "The id of the peer that runs it."]
    peer_name: Annotated[str, "'' where the peer's name is not known."]
    replica: Annotated[int, "Its number among the job's executions, from 0."]
    state: Annotated[ExecutionState, "Until it has ended, how far it is."]
    reason: Annotated[str, "Why it is in this state; '' where nothing is to be said."]
    exit_code: Annotated[int | None, "Null: no program came to an end."]
    fault: Annotated[Fault | None, "Whose fault it is that it failed."]
    result_cid: Annotated[str | None, "The address of its result; null: none."]
    receipt_cid: Annotated[str | None, "The address of the peer's signed receipt; null: none."]
    created: Annotated[float, "When its peer was asked."]
    modified: Annotated[float, "When its state changed last."]
    version: Annotated[int, "The version of the job's file that it is for."]
    run: Annotated[int, "The run of the job that it is for."]
    current: Annotated[bool, "The execution is of this run, and runs what the newest version says."]


class VersionJson(TypedDict):
    version: Annotated[int, "Its number, from 1."]
    submitted: Annotated[float, "When it was submitted."]
    spec_hash: Annotated[str, "The SHA-256 of the file as peers get it."]


class JobJson(TypedDict):
    """A job: what `submit --json` and `job describe --json` print."""

    id: Annotated[str, "The job's id, j-..."]
    name: Annotated[str, "Its Name."]
    type: Annotated[str, "batch, ops, service or daemon."]
    namespace: Annotated[str, "Its Namespace."]
    state: Annotated[JobState, "Until it has ended, how far it is."]
    reason: Annotated[str, "Why it is in this state; '' where nothing is to be said."]
    outcome: Annotated[Outcome | None, "How it ended; null while it goes on."]
    priority: Annotated[int, "Its Priority; more urgent jobs have a higher one."]
    count: Annotated[int, "How many executions it wants."]
    created: Annotated[float, "When it was submitted."]
    modified: Annotated[float, "When it changed last."]
    owner: Annotated[str, "The id of the peer that looks after it now."]
    spec: Annotated[Json, "The job in the form of a job file."]
    executions: Annotated[list[ExecutionJson], "In the order of their awards."]
    version: Annotated[int, "The version of its file."]
    versions: Annotated[list[VersionJson], "The versions of its file that are kept, the oldest first."]
    owner_name: Annotated[str, "'' where a name is not known."]
    members: Annotated[
        list[MemberJson],
        "The peers that may look after it, by rank: the requester, then its deputies. The owner does.",
    ]
    serial: Annotated[int, "The number of the requester's newest charter."]
    controllers: Annotated[
        list[ControllerJson], "The nodes whose users may command the job beside the requester's."
    ]
    deputies_wanted: Annotated[int, "How many deputies its file wants."]
    run: Annotated[int, "The number of times that the job was begun."]
    first_failure: Annotated[str, "The first thing that went wrong in this run; '' for nothing."]


class Change(enum.StrEnum):
    """The effect of submitting a file."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class ControllerJson(TypedDict):
    """A node whose users may stop, change and rerun the job, beside the requester's."""

    peer: Annotated[str, "Its id."]
    name: Annotated[str, "'' where its name is not known."]


class MemberJson(TypedDict):
    peer: Annotated[str, "Its id."]
    name: Annotated[str, "'' where its name is not known."]
    rank: Annotated[int, "0: the requester; from 1: its deputies."]


class SubmittedJson(TypedDict):
    id: str
    version: int
    change: Change


class SchedulingJson(TypedDict):
    """Whether a node is schedulable, cordoned or draining, and how many executions hold its resources."""

    scheduling: Scheduling
    held: int


class JobLineJson(TypedDict):
    """A job as its owner tells it to anybody."""

    id: Annotated[str, "The job's id, j-..."]
    name: Annotated[str, "Its Name."]
    namespace: Annotated[str, "Its Namespace."]
    type: Annotated[str, "batch, ops, service or daemon."]
    state: Annotated[str, "As its owner says."]
    reason: Annotated[str, "Why it is in this state; '' where nothing is to be said."]
    count: Annotated[int, "How many executions it wants."]
    created: Annotated[float, "When it was submitted."]
    owner: Annotated[str, "The id of the peer that looks after it."]
    owner_name: Annotated[str, "'' where the owner's name is not known."]


class NetworkJobsJson(TypedDict):
    """The jobs of all known nodes, newest first, and the nodes that have not answered in time."""

    jobs: Annotated[list[JobLineJson], "Newest first."]
    silent: Annotated[list[str], "The names, or ids, of nodes that have not answered."]


class EventJson(TypedDict):
    """A line of a job's history. Numbers grow by one from 1 for each job."""

    number: Annotated[int, "Its number in the job's history."]
    at: Annotated[float, "When it happened."]
    topic: Annotated[str, "The kind of what happened."]
    execution: Annotated[str, "'' where it is about the whole job."]
    message: Annotated[str, "A sentence for a person."]
    state: Annotated[str, "The state of the execution, or of the job, after it."]


class LogJson(TypedDict):
    """A piece of what an execution wrote, as the API sends it."""

    execution: str
    stream: Annotated[str, "'stdout' or 'stderr'."]
    data: Annotated[str, "Each character is one byte; it need not end at a line or a character."]


class LogChunk(TypedDict):
    """A piece of what an execution wrote; `data` need not end at a line or a character."""

    execution: str
    stream: Annotated[str, "'stdout' or 'stderr'."]
    data: bytes


class ResourcesJson(TypedDict):
    cpu_millis: Annotated[int, "Thousandths of a core."]
    memory_bytes: Annotated[int, "Memory in bytes."]
    disk_bytes: Annotated[int, "Disk in bytes."]
    gpus: Annotated[int, "Cards."]


class NodeJson(TypedDict):
    """A node as this one knows it: from its advert, or itself."""

    peer: Annotated[str, "The node's id."]
    name: Annotated[str, "Its name, which others may have too."]
    engines: Annotated[list[str], "What can run jobs there, such as wasm and docker."]
    labels: Annotated[dict[str, str], "What Constraints of jobs select it by."]
    total: Annotated[ResourcesJson, "All that it lends."]
    free: Annotated[ResourcesJson, "The part that is free now."]
    addresses: Annotated[list[str], "Where it can be reached, as multiaddrs."]
    connected: Annotated[bool, "This node is connected to it."]
    connection: Annotated[str, "'direct', 'relay' or, of one that is not connected or itself, ''."]
    reach: Annotated[
        str, "How it says that it is reached: 'direct', 'relay' or 'none'; the worse in reach_by."
    ]
    reach_by: Annotated[dict[str, str], "The same by family, 'ip4' and 'ip6'."]
    issued: Annotated[float, "When its advert was made, by its own clock."]
    self: Annotated[bool, "True for the node that answers."]
    scheduling: Annotated[str, "'schedulable', 'cordoned' or 'draining'."]
    price: Annotated[float, "What an execution costs there, in the unit that the network's members agree on."]
    protocols: Annotated[list[str], "Protocols that the peer speaks, as 'link/4'."]
    problem: Annotated[str | None, "Why this node can ask nothing of it, whatever it offers; null if it can."]
    role: Annotated[str | None, "'guest', 'member' or 'operator'; null: the open network."]
    invitation: Annotated[str | None, "The number of the invitation that it joined by; null as `role`."]


class UnreachedJson(TypedDict):
    """A peer that the user gave to the node, and that is not connected."""

    peer: Annotated[str, "The peer's id; of a name in DNS or a file that gives none the name."]
    addresses: Annotated[list[str], "The addresses that were given."]
    reason: Annotated[str, "'' while the first dial goes on."]


class AskedJson(TypedDict):
    peer: Annotated[str, "The peer's id."]
    name: Annotated[str, "Its name."]


class ReasonJson(TypedDict):
    reason: Annotated[str, "A sentence for a person."]
    peers: Annotated[int, "How many peers it keeps from bidding."]


class PlanJson(TypedDict):
    """The fate of a job if it were submitted now, from what this node knows."""

    needed: Annotated[int, "How many executions it would begin with."]
    asked: Annotated[list[AskedJson], "The best first."]
    would_bid: Annotated[int, "How many peers would bid for it."]
    known: Annotated[int, "How many peers this node knows."]
    looked_up: Annotated[
        list[str],
        "Requirements that peers look up only when they are asked, and may refuse for then.",
    ]
    busy: Annotated[list[ReasonJson], "Reasons of peers that only lack room now, the most frequent first."]
    unsuitable: Annotated[list[ReasonJson], "Reasons of peers that could never run it, likewise."]


class DockerJson(TypedDict):
    """The Docker engine that a node uses: where, by what it was chosen, and why it does not run jobs now."""

    address: Annotated[str, "Where the engine listens."]
    chosen_by: Annotated[str, "The flag, variable, context or socket that led to it."]
    problem: Annotated[str, "'': it does."]


class NetworkJson(TypedDict):
    """The private network of a node, and its place there."""

    name: Annotated[str, "The network's name."]
    operator: Annotated[str, "The id of its operator, by which the network is known."]
    role: Annotated[str, "'guest', 'member' or 'operator'."]
    expires: Annotated[float | None, "When the membership ends; null: never."]


class IdentityJson(TypedDict):
    """The node that answers."""

    peer: Annotated[str, "The node's id."]
    name: Annotated[str, "Its name."]
    version: Annotated[str, "Its program's version."]
    addresses: Annotated[list[str], "Where it listens, then where its relays do, as multiaddrs."]
    reach: Annotated[str, "How others reach it: 'direct', 'relay', 'none', 'unknown'; the worse in reach_by."]
    reach_by: Annotated[dict[str, str], "The same by family, 'ip4' and 'ip6', where it is known."]
    finding: Annotated[FindingJson, "How it looks beyond its own network, and is found there."]
    data_dir: Annotated[str, "Its data directory."]
    engines: Annotated[list[str], "What can run jobs here, such as wasm and docker."]
    labels: Annotated[dict[str, str], "What Constraints of jobs select it by."]
    docker: Annotated[DockerJson | None, "Null: it runs nothing for others."]
    network: Annotated[NetworkJson | None, "Null: the open network."]


class SettingJson(TypedDict):
    """A setting of a node; of URLs that may hold a secret the host alone."""

    name: Annotated[str, "As in config.toml."]
    value: Annotated[Any, "As config.toml has it; null: the node finds it by itself."]
    origin: Annotated[str, "'flag', 'env', 'file', 'profile' or 'default'."]
    where: Annotated[str, "The flag, the variable, PATH:LINE or the profile's name."]


class ProblemJson(TypedDict):
    """Something that has failed on the node."""

    number: Annotated[int, "What '--show', '--retry' and '--drop' take."]
    kind: Annotated[str, "'job', 'execution', 'message', 'link' or 'task'."]
    subject: Annotated[str, "Which one of that kind."]
    reason: Annotated[str, "What went wrong."]
    detail: Annotated[str, "Where in the program, for those who mend it."]
    aside: Annotated[bool, "The subject takes part in nothing until it is tried again or dropped by hand."]
    count: Annotated[int, "How often it has happened."]
    first_at: Annotated[float, "When it happened first."]
    last_at: Annotated[float, "When it happened last."]


# The answers that hold several of the above.


class ErrorJson(TypedDict, total=False):
    """The answer to a request that the node refuses or cannot serve."""

    error: Required[Code]
    message: Required[Annotated[str, "One sentence for a person, with what to do."]]
    problems: Annotated[list[str], "Of a job file with errors: each with its line and field."]


class AliveJson(TypedDict):
    alive: bool


class EmptyJson(TypedDict):
    """Nothing more to say than that it was done."""


class JobsJson(TypedDict):
    """A page of jobs, newest first."""

    jobs: list[JobJson]
    next: Annotated[str | None, "The parameter `after` of the next page; null: there are no more."]


class ReceiptsJson(TypedDict):
    receipts: Annotated[dict[str, str], "Of each execution the signed block in hexadecimal."]


class ProblemsJson(TypedDict):
    problems: Annotated[list[ProblemJson], "The newest first."]


class NodesJson(TypedDict):
    nodes: Annotated[list[NodeJson], "The node that answers first, the others by name."]
    next: Annotated[str | None, "The parameter `after` of the next page; null: there are no more."]
    unreached: Annotated[list[UnreachedJson], "Peers among the node's settings that are not connected."]


class SettingsJson(TypedDict):
    settings: Annotated[list[SettingJson], "One for each, by declaration."]


class PeerJson(TypedDict):
    peer: str
