"""The endpoints of the API, of which routes and OpenAPI are made: path, parameters, answers and access."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from . import content_shapes, exec_shapes, execution_shapes, file_shapes, queries, shapes, token_shapes
from .queries import JsonBody, NoQuery, Query
from .requests import ALIVE_PATH


class Caller(enum.StrEnum):
    """The least that a caller of an endpoint has to be."""

    ANYBODY = "anybody"
    READ = "read"
    WRITE = "write"


class Media(enum.StrEnum):
    """The form of a body or an answer."""

    JSON = "application/json"
    # Server-sent events: each message holds one JSON object; an event `end` or `error` comes last.
    EVENTS = "text/event-stream"
    CAR = shapes.CAR_MEDIA_TYPE
    OCTETS = "application/octet-stream"
    # Whatever its name says.
    BYTES = "*/*"
    # Prometheus' text format.
    METRICS = "text/plain; version=0.0.4; charset=utf-8"
    JOB_FILE = "application/yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. `name` is its handler's (`handlers.Handlers`) and its operation id."""

    method: str
    # A parameter may say its kind as Starlette does: `{version:number}`, `{path:path}`.
    path: str
    name: str
    tag: str
    summary: str
    caller: Caller
    # The type of the answer, of each message of a stream (a union of them); None for bytes and text.
    answer: Any = None
    media: Media = Media.JSON
    status: int = 200
    query: type[Query] = NoQuery
    # A type for JSON, a form for others.
    body: type[JsonBody] | Media | None = None
    # The session of a page does as well as its token.
    by_session: bool = True
    # False: another request's note tells of this one's, too.
    is_audited: bool = True


def _read(path: str, name: str, tag: str, summary: str, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        method="GET",
        path=path,
        name=name,
        tag=tag,
        summary=summary,
        answer=answer,
        **{"caller": Caller.READ} | more,
    )


def _write(method: str, path: str, name: str, tag: str, summary: str, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        name=name,
        tag=tag,
        summary=summary,
        answer=answer,
        caller=Caller.WRITE,
        **more,
    )


_JOBS, _NODES, _CONTENT, _PROBLEMS, _ACCESS = "jobs", "nodes", "content", "problems", "access"
_EVENTS = {"media": Media.EVENTS}
_JOB = "/api/v1/jobs/{job}"

ENDPOINTS = (
    _read(
        ALIVE_PATH,
        "alive",
        _NODES,
        "Say that the node is there.",
        shapes.AliveJson,
        caller=Caller.ANYBODY,
    ),
    _read("/api/v1/id", "identity", _NODES, "Who this node is.", shapes.IdentityJson),
    _read("/api/v1/settings", "settings", _NODES, "How this node is set up.", shapes.SettingsJson),
    _read("/api/v1/jobs", "jobs", _JOBS, "The jobs here.", shapes.JobsJson, query=queries.JobsQuery),
    _write(
        "POST",
        "/api/v1/jobs",
        "submit",
        _JOBS,
        "Submit a job file: a new job, or a new version of the one of its name (then the status is 200).",
        shapes.SubmittedJson,
        status=201,
        query=queries.SubmitQuery,
        body=Media.JOB_FILE,
    ),
    _read("/api/v1/network/jobs", "network_jobs", _JOBS, "Jobs of all known nodes.", shapes.NetworkJobsJson),
    _read(_JOB, "job", _JOBS, "A job, by its id, a unique prefix of it, or its name.", shapes.JobJson),
    _read(
        f"{_JOB}/versions/{{version:number}}",
        "job_version",
        _JOBS,
        "A version of a job's file.",
        file_shapes.SpecJson,
    ),
    _read(
        f"{_JOB}/executions",
        "executions",
        _JOBS,
        "The executions of a job.",
        execution_shapes.ExecutionsJson,
        query=queries.ExecutionsQuery,
    ),
    _read(f"{_JOB}/receipts", "receipts", _JOBS, "The signed receipts of a job.", shapes.ReceiptsJson),
    _read(
        f"{_JOB}/events",
        "job_events",
        _JOBS,
        "The history of a job.",
        shapes.EventJson,
        query=queries.EventsQuery,
        **_EVENTS,
    ),
    _read(
        f"{_JOB}/logs",
        "logs",
        _JOBS,
        "What a job's programs wrote; each byte of `data` is one character (Latin-1).",
        shapes.LogJson,
        query=queries.LogsQuery,
        **_EVENTS,
    ),
    _write(
        "POST",
        f"{_JOB}/exec",
        "exec",
        _JOBS,
        "Begin a program in a running execution; it ends with the stream. Begun, output, then ended.",
        exec_shapes.ExecMessageJson,
        body=exec_shapes.ProgramBody,
        **_EVENTS,
    ),
    _write(
        "POST",
        "/api/v1/exec/{session}",
        "exec_input",
        _JOBS,
        "Give a program that was begun its next input, at most 64 KiB; a refused piece was not taken.",
        shapes.EmptyJson,
        query=exec_shapes.InputQuery,
        body=Media.OCTETS,
        is_audited=False,
    ),
    _write(
        "POST",
        "/api/v1/exec/{session}/size",
        "exec_size",
        _JOBS,
        "Tell the size that its terminal has now.",
        shapes.EmptyJson,
        body=exec_shapes.SizeBody,
        is_audited=False,
    ),
    _write("POST", f"{_JOB}/stop", "stop", _JOBS, "Stop a job.", shapes.JobJson, body=queries.ReasonBody),
    _write(
        "POST",
        f"{_JOB}/rerun",
        "rerun",
        _JOBS,
        "Begin a job again, ended or not.",
        shapes.JobJson,
        body=queries.ReasonBody,
    ),
    # Nothing is changed by these two, yet they bring a file: whoever may read may ask.
    Endpoint(
        method="POST",
        path="/api/v1/plan",
        name="plan",
        tag=_JOBS,
        summary="Who would be asked to run a job, and why not the others.",
        caller=Caller.READ,
        answer=shapes.PlanJson,
        query=queries.JobFileQuery,
        body=Media.JOB_FILE,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/validate",
        name="validate",
        tag=_JOBS,
        summary="Check a job file.",
        caller=Caller.READ,
        answer=file_shapes.ValidatedJson,
        query=queries.JobFileQuery,
        body=Media.JOB_FILE,
    ),
    _read(
        "/api/v1/nodes",
        "nodes",
        _NODES,
        "The nodes known here.",
        shapes.NodesJson,
        query=queries.NodesQuery,
    ),
    _write(
        "POST",
        "/api/v1/peers",
        "connect",
        _NODES,
        "Connect to a peer.",
        shapes.PeerJson,
        body=queries.AddressBody,
    ),
    _read(
        "/api/v1/executions",
        "hosted_executions",
        _NODES,
        "What runs on this node, and for whom.",
        execution_shapes.HostedExecutionsJson,
        query=queries.HostedQuery,
    ),
    _read("/api/v1/metrics", "metrics", _NODES, "Figures about this node, by name.", shapes.Json),
    _read(
        "/metrics",
        "prometheus",
        _NODES,
        "Metrics of this node, for Prometheus to scrape.",
        None,
        media=Media.METRICS,
    ),
    _read("/api/v1/scheduling", "scheduling", _NODES, "What this node takes on.", shapes.SchedulingJson),
    _write(
        "POST",
        "/api/v1/scheduling",
        "schedule",
        _NODES,
        "Cordon this node, drain it, or have it take work again.",
        shapes.SchedulingJson,
        body=queries.ScheduleBody,
    ),
    _read("/api/v1/problems", "problems", _PROBLEMS, "What has failed on this node.", shapes.ProblemsJson),
    _write(
        "POST",
        "/api/v1/problems/{number:number}/retry",
        "retry_problem",
        _PROBLEMS,
        "Go on with what was set aside.",
        shapes.EmptyJson,
    ),
    _write(
        "DELETE",
        "/api/v1/problems/{number:number}",
        "drop_problem",
        _PROBLEMS,
        "Forget a problem, and what was set aside for it.",
        shapes.EmptyJson,
    ),
    _write(
        "POST",
        "/api/v1/ipfs",
        "import_car",
        _CONTENT,
        "Add the tree of a CAR, and pin it.",
        content_shapes.CidJson,
        status=201,
        body=Media.CAR,
    ),
    _read(
        "/api/v1/ipfs/fetch/{cid}",
        "fetch",
        _CONTENT,
        "Bring the tree below a CID here, telling how far it is.",
        content_shapes.FetchedJson,
        query=queries.ContentQuery,
        caller=Caller.WRITE,
        **_EVENTS,
    ),
    _read(
        "/api/v1/ipfs/ls/{path:path}",
        "list_directory",
        _CONTENT,
        "The entries of a folder: CID, or CID/name/...",
        content_shapes.EntriesJson,
        query=queries.ContentQuery,
    ),
    _read(
        "/api/v1/ipfs/resolve/{path:path}",
        "resolve",
        _CONTENT,
        "The CID that CID/name/... leads to.",
        content_shapes.CidJson,
        query=queries.ContentQuery,
    ),
    _read("/api/v1/ipfs/pins", "pins", _CONTENT, "What is kept here.", content_shapes.PinsJson),
    _write(
        "PUT",
        "/api/v1/ipfs/pins/{cid}",
        "pin",
        _CONTENT,
        "Fetch the tree below a CID, and keep it.",
        shapes.EmptyJson,
        query=queries.ContentQuery,
    ),
    _write(
        "DELETE",
        "/api/v1/ipfs/pins/{cid}",
        "unpin",
        _CONTENT,
        "Keep a tree no longer.",
        shapes.EmptyJson,
    ),
    _read(
        "/ipfs/{cid}/{path:path}",
        "file",
        _CONTENT,
        "A file below a CID; what a job wrote is no page of this node, so nothing in it is run.",
        None,
        query=queries.ContentQuery,
        media=Media.BYTES,
    ),
    _read(
        "/ipfs/{cid}",
        "export_car",
        _CONTENT,
        "The tree below a CID as a CAR.",
        None,
        query=queries.CarQuery,
        media=Media.CAR,
    ),
    _read(
        "/api/v1/tokens",
        "tokens",
        _ACCESS,
        "The named tokens of this node.",
        token_shapes.TokensJson,
        caller=Caller.WRITE,
    ),
    _write(
        "POST",
        "/api/v1/tokens",
        "create_token",
        _ACCESS,
        "Make a named token.",
        token_shapes.NewTokenJson,
        status=201,
        body=queries.TokenBody,
    ),
    _write(
        "DELETE",
        "/api/v1/tokens/{name}",
        "revoke_token",
        _ACCESS,
        "Revoke a token, which ends its sessions and what is asked by it.",
        shapes.EmptyJson,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/sessions",
        name="begin_session",
        tag=_ACCESS,
        summary="Make a path that gives a browser a session with this token's rights, for 12 hours.",
        caller=Caller.READ,
        answer=token_shapes.SessionJson,
        status=201,
        by_session=False,
    ),
    Endpoint(
        method="DELETE",
        path="/api/v1/sessions",
        name="end_session",
        tag=_ACCESS,
        summary="End the session that asks.",
        caller=Caller.READ,
        answer=shapes.EmptyJson,
    ),
)
