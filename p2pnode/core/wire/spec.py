"""A job after its file was read: plain records, whole units, defaults filled in.

`core.jobfile` makes a `JobSpec` of a job file; `JobSpec`'s canonical bytes (`codec.encode`)
are what an award carries and what a job's id is derived from. Names follow the job
file's; units are part of the name.

The limits here hold for specs that peers send. They are wider than the job file's, so that
what is not valid but within them is refused with a reason (`core.jobfile.check`), and what
exceeds them is no spec at all. Making a record checks nothing; decoding one does.
"""

from __future__ import annotations

import enum
from typing import Annotated

from p2pnode.core.values.units import AMOUNT_MAX, DURATION_S_MAX, GPUS_MAX

from .codec import Meta, Record
from .extensions import Open

# No job file has more nodes (core.jobfile.yamltree), and so no list or map of a spec more members.
MEMBERS_MAX = 20_000
# How often a job that fails by itself is tried again, by this key of its Meta; else not at all.
RETRIES_META_KEY = "p2pnode/retries"
RETRIES_MAX = 100
# No job file is longer (core.jobfile.yamltree), and so no text in it.
TEXT_LENGTH_MAX = 256 * 1024
# Placing more replicas than the largest network has peers serves nobody.
REPLICAS_MAX = 10_000
# A message names no more of them.
DEPUTIES_NAMED_MAX = 16
# One may die while the other takes over.
DEPUTIES_DEFAULT = 2
# Each is told of every step: more cost more than they save.
DEPUTIES_WANTED_MAX = 3
# The loss where there are none, for people.
WITHOUT_DEPUTIES = (
    "while the node that looks after it is away, nobody does: nothing of it is placed, tried again or "
    "stopped; and if that node's disk is lost, so is the job"
)

Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
# As adverts name engines.
SomeName = Annotated[str, Meta(min_length=1, max_length=256)]
SomeText = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=MEMBERS_MAX)]
TextMap = Annotated[dict[Text, Text], Meta(max_length=MEMBERS_MAX)]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Priority = Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Seconds = Annotated[int, Meta(ge=0, le=DURATION_S_MAX)]
PortNumber = Annotated[int, Meta(ge=1, le=65_535)]
# Parameters of sources and publishers; only S3's Partition is a map.
Scalar = Text | bool | Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Scalars = Annotated[dict[SomeText, Scalar], Meta(max_length=MEMBERS_MAX)]
Params = Annotated[dict[SomeText, Scalar | Scalars], Meta(max_length=MEMBERS_MAX)]


class JobType(enum.StrEnum):
    BATCH = "batch"
    OPS = "ops"
    DAEMON = "daemon"
    SERVICE = "service"


class Operator(enum.StrEnum):
    """How a constraint compares a label, as in Kubernetes label selectors."""

    EQUALS = "="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    NOT_EXISTS = "!"
    GREATER = "gt"
    LESS = "lt"


class NetworkType(enum.StrEnum):
    NONE = "none"
    HOST = "host"
    BRIDGE = "bridge"
    HTTP = "http"


class Constraint(Record, frozen=True):
    key: SomeText
    operator: Operator
    values: Texts = ()


Constraints = Annotated[tuple[Constraint, ...], Meta(max_length=MEMBERS_MAX)]


class DockerTask(Record, frozen=True, tag_field="type", tag="docker"):
    image: SomeText
    # None: the image's own entrypoint.
    entrypoint: Texts | None = None
    parameters: Texts = ()
    environment: TextMap = {}
    working_directory: Text = ""
    meta: TextMap = {}


class WasmTask(Record, frozen=True, tag_field="type", tag="wasm"):
    # The Target (or a path below the Target) of the input source that is the module.
    entry_module: SomeText
    entrypoint: SomeText = "_start"
    parameters: Texts = ()
    import_modules: Texts = ()
    environment: TextMap = {}


class OtherTask(Record, frozen=True, tag_field="type", tag="other"):
    """Any engine that came later than the two above: opaque to all but the peers that have it."""

    name: SomeName
    params: TextMap = {}


SomeEngine = DockerTask | WasmTask | OtherTask


class Source(Record, frozen=True):
    """A publisher or an input source: its type, lower case, and its parameters under the job file's names."""

    type: SomeText
    params: Params = {}


class InputSource(Record, frozen=True):
    source: Source
    target: SomeText
    alias: Text = ""


class ResultPath(Record, frozen=True):
    name: SomeText
    path: SomeText


class Resources(Record, frozen=True):
    cpu_millis: Amount = 500
    memory_bytes: Amount = 512_000_000
    # 0: no more is asked than there happens to be.
    disk_bytes: Amount = 0
    gpus: Annotated[int, Meta(ge=0, le=GPUS_MAX)] = 0


class Port(Record, frozen=True):
    """A port that the task listens on, under a name; only where the network is Host or Bridge."""

    name: SomeText
    # On the peer; None: the peer chooses one.
    static: PortNumber | None = None
    # Inside the container (Bridge only); None: the same number as on the peer.
    target: PortNumber | None = None
    # The peer's address to listen on; "": all of them.
    host_network: Text = ""


class Network(Record, frozen=True):
    type: NetworkType = NetworkType.NONE
    # A leading dot means the domain and all below it.
    domains: Texts = ()
    ports: Annotated[tuple[Port, ...], Meta(max_length=MEMBERS_MAX)] = ()


# As Docker's own: servers finish their requests and write their state down in it.
STOP_GRACE_S = 10
# A peer gives no more unless its operator says so: whoever drains or updates it waits for every job.
STOP_GRACE_S_MAX = 60


class Timeouts(Record, frozen=True):
    """Seconds; None where the job file sets none. `stop_grace_s`: from the stop signal to the kill."""

    execution_s: Seconds | None = None
    queue_s: Seconds | None = None
    total_s: Seconds | None = None
    stop_grace_s: Seconds | None = None


class Task(Open, frozen=True):
    engine: SomeEngine
    name: SomeText = "main"
    publisher: Source | None = None
    environment: TextMap = {}
    meta: TextMap = {}
    inputs: Annotated[tuple[InputSource, ...], Meta(max_length=MEMBERS_MAX)] = ()
    results: Annotated[tuple[ResultPath, ...], Meta(max_length=MEMBERS_MAX)] = ()
    resources: Resources = Resources()
    network: Network = Network()
    timeouts: Timeouts = Timeouts()


# The namespace of a job that names none.
DEFAULT_NAMESPACE = "default"


class JobSpec(Open, frozen=True):
    type: JobType
    task: Task
    # "": the job's id stands in for it.
    name: Text = ""
    namespace: SomeText = DEFAULT_NAMESPACE
    priority: Priority = 0
    count: Annotated[int, Meta(ge=0, le=REPLICAS_MAX)] = 1
    # How many peers keep a copy of the job, to take it over.
    deputies: Annotated[int, Meta(ge=0, le=DEPUTIES_NAMED_MAX)] = DEPUTIES_DEFAULT
    constraints: Constraints = ()
    meta: TextMap = {}
    labels: TextMap = {}
