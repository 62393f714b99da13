"""The parameters and bodies of requests, as types: each endpoint reads its own, and OpenAPI tells of them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.values.units import DURATION_S_MAX
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import ExecutionState, JobState, Scheduling

from .shapes import (
    PAGE_ROWS_MAX,
)
from .token_shapes import TOKEN_NAME_FORM, TOKEN_NAME_PATTERN, TokenKind

PAGE_ROWS = 100
# Whole numbers that a float, and so JavaScript, tells apart.
NUMBER_MAX = 2**53 - 1
TEXT_LENGTH_MAX = 256

Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Peers = Annotated[list[str], Meta(description="Peers that are likely to hold it.", max_length=64)]
Follow = Annotated[bool, Meta(description="Go on until the job has ended.")]


class Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a request, of which none may be missing here or strange to us."""


class NoQuery(Query):
    """No parameters."""


class JobsQuery(Query):
    """The jobs that are wanted, and a page of them."""

    job: Annotated[Text, Meta(description="Just this one: an id, a unique prefix of one, or a name.")] = ""
    name: Annotated[Text, Meta(description="Just the newest of this name, in its namespace.")] = ""
    namespace: Annotated[Text, Meta(description="Of this namespace; with `name`, default without.")] = ""
    state: Annotated[list[JobState], Meta(description="In one of these states.")] = []
    type: Annotated[list[JobType], Meta(description="Of one of these types.")] = []
    label: Annotated[
        list[Text], Meta(description="With all of these labels: KEY=VALUE or KEY.", max_length=16)
    ] = []
    text: Annotated[Text, Meta(description="With this text in id, name or reason, in any case.")] = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX, description="Jobs in a page.")] = PAGE_ROWS
    after: Annotated[Text, Meta(description="`next` of the page before; may hold fewer, even none.")] = ""


class JobFileQuery(Query):
    """The name of a job file, for its problems."""

    name: Annotated[Text, Meta(description="What its problems call the file.")] = "job"


class SubmitQuery(JobFileQuery):
    """A job file's name, and how it is submitted."""

    new: Annotated[bool, Meta(description="Another job, also where one of its name is here.")] = False


class EventsQuery(Query):
    """A part of a history."""

    since: Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="After the event of this number.")] = 0
    follow: Follow = False


class ExecutionsQuery(Query):
    """The executions of a job that are wanted."""

    state: Annotated[list[ExecutionState], Meta(description="In one of these states.")] = []


class NodesQuery(Query):
    """The nodes that are wanted, and a page of them."""

    label: Annotated[
        list[Text], Meta(description="With all of these labels: KEY=VALUE or KEY.", max_length=16)
    ] = []
    text: Annotated[Text, Meta(description="With this text in name or peer id, in any case.")] = ""
    connected: Annotated[bool | None, Meta(description="Only those that are, or are not.")] = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX, description="Nodes in a page.")] = PAGE_ROWS_MAX
    after: Annotated[Text, Meta(description="`next` of the page before.")] = ""


class HostedQuery(Query):
    """The executions here that are wanted."""

    state: Annotated[
        list[ReservationState], Meta(description="In one of these states; without: all that have not ended.")
    ] = []


class LogsQuery(Query):
    """A part of a job's output."""

    execution: Annotated[Text, Meta(description="An execution, or a unique prefix; all without.")] = ""
    stream: Literal["stdout", "stderr", "both"] = "both"
    follow: Follow = False


class ContentQuery(Query):
    """The peers where content may be found."""

    peer: Peers = []


class CarQuery(ContentQuery):
    """The form of content: CAR only, as of a trustless gateway, so that the client verifies it."""

    format: Literal["car"] = "car"


class JsonBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The JSON object that a request brings."""


class ReasonBody(JsonBody):
    """A user's reason."""

    reason: Annotated[str, Meta(description="Kept with the job.")] | None = None


class ScheduleBody(JsonBody):
    """The work that a node takes on from now on."""

    scheduling: Scheduling
    timeout_s: (
        Annotated[float, Meta(ge=0, le=DURATION_S_MAX, description="What runs ends after it, in seconds.")]
        | None
    ) = None
    leave: Annotated[bool, Meta(description="The node ends once nothing runs there.")] = False


class TokenBody(JsonBody):
    """A token to make."""

    name: Annotated[str, Meta(pattern=TOKEN_NAME_PATTERN, description=TOKEN_NAME_FORM)]
    kind: TokenKind
    lifetime_s: (
        Annotated[float, Meta(ge=1, le=DURATION_S_MAX, description="In seconds; null: without end.")] | None
    ) = None


class AddressBody(JsonBody):
    """A peer to connect to."""

    address: Annotated[
        str,
        Meta(description="Its multiaddr, with /p2p/PEER, or /dnsaddr/NAME for one of them.", max_length=1024),
    ]
