"""What a job is, after its file was read: plain records, whole units, defaults filled in.

`core.jobfile` makes a `JobSpec` of a job file; `JobSpec`'s canonical bytes (`wire.encode`)
are what an award carries and what a job's id is derived from. Names follow the job
file's; units are part of the name.
"""

from __future__ import annotations

import enum
from typing import Any

from .wire import Record


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
    key: str
    operator: Operator
    values: tuple[str, ...] = ()


class DockerEngine(Record, frozen=True, tag_field="type", tag="docker"):
    image: str
    # None: the image's own entrypoint.
    entrypoint: tuple[str, ...] | None = None
    parameters: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    working_directory: str = ""
    meta: dict[str, str] = {}


class WasmEngine(Record, frozen=True, tag_field="type", tag="wasm"):
    # The Target (or a path below the Target) of the input source that is the module.
    entry_module: str
    entrypoint: str = "_start"
    parameters: tuple[str, ...] = ()
    import_modules: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class Source(Record, frozen=True):
    """A publisher or an input source: its type, lower case, and its parameters under the job file's names."""

    type: str
    params: dict[str, Any] = {}


class InputSource(Record, frozen=True):
    source: Source
    target: str
    alias: str = ""


class ResultPath(Record, frozen=True):
    name: str
    path: str


class Resources(Record, frozen=True):
    cpu_millis: int = 500
    memory_bytes: int = 512_000_000
    # 0: no more is asked than there happens to be.
    disk_bytes: int = 0
    gpus: int = 0


class Port(Record, frozen=True):
    """A port that the task listens on, under a name; only where the network is Host or Bridge."""

    name: str
    # On the peer; None: the peer chooses one.
    static: int | None = None
    # Inside the container (Bridge only); None: the same number as on the peer.
    target: int | None = None
    # The peer's address to listen on; "": all of them.
    host_network: str = ""


class Network(Record, frozen=True):
    type: NetworkType = NetworkType.NONE
    # A leading dot means the domain and all below it.
    domains: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()


class Timeouts(Record, frozen=True):
    """Seconds; None where the job file sets none."""

    execution_s: int | None = None
    queue_s: int | None = None
    total_s: int | None = None


class Task(Record, frozen=True):
    engine: DockerEngine | WasmEngine
    name: str = "main"
    publisher: Source | None = None
    environment: dict[str, str] = {}
    meta: dict[str, str] = {}
    inputs: tuple[InputSource, ...] = ()
    results: tuple[ResultPath, ...] = ()
    resources: Resources = Resources()
    network: Network = Network()
    timeouts: Timeouts = Timeouts()


class JobSpec(Record, frozen=True):
    type: JobType
    task: Task
    # "": the job's id stands in for it.
    name: str = ""
    namespace: str = "default"
    priority: int = 0
    count: int = 1
    constraints: tuple[Constraint, ...] = ()
    meta: dict[str, str] = {}
    labels: dict[str, str] = {}
