"""The API's needs of a node, by subject; `service` implements them, and in tests a fake does.

Each method may raise `ServiceError`. What gives a generator is an `async def` with `yield`: the API closes it
when the client goes away.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from p2pnode.api.content_shapes import EntryJson, FetchedJson, PinJson
from p2pnode.api.shapes import (
    EventJson,
    IdentityJson,
    JobJson,
    JobsJson,
    Json,
    LogChunk,
    NetworkJobsJson,
    NodeJson,
    PlanJson,
    ProblemJson,
    SchedulingJson,
    SettingJson,
    SubmittedJson,
    UnreachedJson,
)
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire.exec import StreamName, Terminal
from p2pnode.core.wire.spec import JobSpec

from .execution_shapes import HostedJson
from .exposition import Metric
from .queries import JobsQuery


class JobService(Protocol):
    """Jobs as they are, here and on other nodes."""

    async def jobs(self, asked: JobsQuery) -> JobsJson:
        """A page of the jobs here that are as is asked; BAD_REQUEST where `after` is none of ours."""

    async def network_jobs(self) -> NetworkJobsJson:
        """Return the jobs that all known nodes own, this one included."""

    def job_named(self, namespace: str, name: str) -> JobJson | None:
        """The newest job of this name."""

    def job(self, id_or_name: str) -> JobJson:
        """Raises `ServiceError` NOT_FOUND or AMBIGUOUS (its message lists the candidates)."""

    def job_version(self, id_or_name: str, version: int) -> Json:
        """A version of a job's file, in the form of one; NOT_FOUND if it is not kept here."""

    def receipts(self, job_id: str) -> dict[str, bytes]:
        """The signed receipts of a job's executions by their ids, each the block that `receipt_cid` names."""

    def job_events(self, job_id: str, since: int, follow: bool) -> AsyncGenerator[EventJson, None]:
        """The history after number `since`; with `follow` it goes on until the job has ended."""

    async def plan(self, spec: JobSpec) -> PlanJson:
        """Return the peers that the job would ask, and why not the others; nothing is asked or run."""


class CommandService(Protocol):
    """The commands that users give for jobs."""

    async def submit(self, spec: JobSpec, new: bool) -> SubmittedJson:
        """Accept a job, in the journal before this returns.

        A file with the name, namespace and type of a job here changes that job, unless `new`. The same
        file again is the same job where it runs until it is stopped, and a new one otherwise.
        """

    async def stop(self, job_id: str, reason: str) -> None:
        """Stop a job and wait until that is journalled; CONFLICT if it has ended."""

    async def rerun(self, job_id: str, reason: str) -> None:
        """Begin a job again, ended or not, and wait until its owner has done so."""


class ReachService(Protocol):
    """Jobs that other nodes hold, brought here before the services above look for them."""

    async def find(self, id_or_name: str) -> str:
        """The id of a job, as new here as it can be had, for which other nodes are asked if need be.

        FORBIDDEN where it is another's, of whose users those of this node are none; NOT_FOUND or AMBIGUOUS.
        """

    async def find_named(self, namespace: str, name: str) -> None:
        """Bring the newest job of this name here that an operator's other node has, unless there is one."""

    async def keep(self, job: str) -> None:
        """Have what changes in a job told here, until cancelled; returns at once if that is so anyway."""


class LogService(Protocol):
    """The output of jobs."""

    def logs(
        self, job_id: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[LogChunk, None]:
        """Yield executions' output; `stream` is "stdout", "stderr" or "both"; a prefix names an execution."""


class Session(Protocol):
    """A program begun in an execution. `exit_code` and `reason` are known once the output has ended.

    What is sent to one that has ended is dropped. One task may read while another sends.
    """

    execution: str
    exit_code: int | None
    reason: str

    async def send(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    def __aiter__(self) -> AsyncGenerator[tuple[StreamName, bytes], None]: ...


class ExecService(Protocol):
    """Programs that users begin in running executions."""

    def open(
        self,
        job: str,
        execution: str | None,
        command: Sequence[str],
        terminal: Terminal | None,
        *,
        stdin: bool,
    ) -> AbstractAsyncContextManager[Session]:
        """A program that has begun, and ends with the block; a prefix names an execution."""


class NodeService(Protocol):
    """This node and those that it knows."""

    def identity(self) -> IdentityJson: ...

    def settings(self) -> list[SettingJson]:
        """The node's settings, and where each is from."""

    def nodes(self) -> list[NodeJson]:
        """The nodes known, this one first."""

    def unreached(self) -> list[UnreachedJson]:
        """The peers among the node's settings that are not connected."""

    def hosted(self, states: Sequence[ReservationState]) -> list[HostedJson]:
        """The executions on this node in these states, or else all that have not ended; the newest first."""

    async def connect(self, address: str) -> str:
        """Connect to a peer by its multiaddr (with /p2p/PEER) and give its id."""

    def scheduling(self) -> SchedulingJson:
        """Whether this node takes work."""

    def schedule(self, scheduling: str, timeout_s: float | None, leave: bool) -> None:
        """Set whether this node takes work, also for later starts; draining ends what runs after the timeout.

        With `leave` the node ends once it drains and nothing runs here any more.
        """

    def metrics(self) -> Json:
        """Figures about the node, by name."""

    def prometheus(self) -> list[Metric]:
        """Metrics of the node, of a number of samples that does not grow."""


class ContentService(Protocol):
    """Files by their CIDs."""

    async def import_car(self, chunks: AsyncIterator[bytes]) -> str:
        """Verify, store and pin the blocks of a CAR; gives its root. BAD_REQUEST names the bad block."""

    def export_car(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        """The whole tree below a CID as a CAR, fetched from peers first where it is not here.

        `peers_hint` are peers likely to hold it. NOT_FOUND, with the reason, comes before the first chunk.
        """

    def read_file(self, path: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        """The bytes of the file at `CID/name/...`; NOT_FOUND, NO_SUCH_PATH come before the first chunk."""

    def fetch(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[FetchedJson, None]:
        """Bring the whole tree below a CID here, telling how far it is; NOT_FOUND with the reason."""

    async def list_directory(self, path: str, peers_hint: list[str]) -> list[EntryJson]:
        """The entries of `CID` or `CID/name/...`, by name; their content is not fetched."""

    async def resolve(self, path: str, peers_hint: list[str]) -> str:
        """The CID that `CID/name/...` leads to; of peers only the folders on the way are fetched.

        NO_SUCH_PATH with the part that is missing, and what is there instead.
        """

    def pins(self) -> list[PinJson]:
        """Return the content that is kept here, by CID."""

    async def pin(self, cid: str, peers_hint: list[str]) -> None:
        """Fetch the tree below a CID where it is not here, and keep it until `unpin`."""

    def unpin(self, cid: str) -> None:
        """Keep it no longer; NOT_FOUND if it is not pinned."""


class ProblemService(Protocol):
    """The failures of this node, for people to look at and settle."""

    def problems(self) -> list[ProblemJson]:
        """Return the failures, the newest first."""

    async def retry_problem(self, number: int) -> None:
        """Go on with what was set aside; CONFLICT, with the reason, if it fails again."""

    async def drop_problem(self, number: int) -> None:
        """Forget a problem, and what was set aside for it."""


class AuditService(Protocol):
    """The log of what was asked of this node."""

    def note(self, caller: str, action: str, about: Mapping[str, object], result: str) -> None:
        """Keep that `caller` asked for this, and what came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that the API is answered with."""

    jobs: JobService
    commands: CommandService
    reach: ReachService
    logs: LogService
    exec: ExecService
    nodes: NodeService
    content: ContentService
    problems: ProblemService
    audit: AuditService
