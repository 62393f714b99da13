"""The routes of the API: HTTP in, calls of `Services` out, JSON back.

Whoever may read the token file may do what the node's owner may. A web page that the owner
visits may not: it cannot know the token, and a name that resolves to 127.0.0.1 (DNS
rebinding) is refused by its Host header. `/api/v1/alive` alone answers anybody.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import TypeVar

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from p2pnode.api.requests import ALIVE_PATH, check_request, check_texts
from p2pnode.api.services import Services
from p2pnode.api.streaming import Followers, Streaming
from p2pnode.core import jobfile
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX
from p2pnode.core.values.units import DURATION_S_MAX
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import Scheduling

from .shapes import (
    CALL_TIMEOUT_S,
    CAR_MEDIA_TYPE,
    Change,
    Code,
    Json,
    ServiceError,
)

log = logging.getLogger(__name__)

# Requests other than a job file or a CAR hold an id, a reason or an address.
BODY_SIZE_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 30.0
# Between two pieces of a CAR on its way in: the client reads them from a disk.
CHUNK_TIMEOUT_S = 60.0
# More than a laptop's disk should take unasked; a larger tree can be added in parts.
CAR_SIZE_BYTES_MAX = 64 * 1024**3
# By it a person finds what failed in the log.
REFERENCE_SIZE_BYTES = 4
_REFERENCE = "p2pnode.reference"
T = TypeVar("T")

_STATUS = {
    Code.BAD_REQUEST: 400,
    Code.BAD_JOB: 422,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.NO_SUCH_PATH: 404,
    Code.AMBIGUOUS: 409,
    Code.CONFLICT: 409,
    Code.TOO_LARGE: 413,
    Code.TIMEOUT: 504,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}


def make_app(services: Services, token: str) -> ASGIApp:
    """The ASGI application. `token` is what each request has to bring."""
    handlers = _Handlers(services)
    routes = [
        Route(ALIVE_PATH, handlers.alive),
        Route("/api/v1/id", handlers.identity),
        Route("/api/v1/jobs", handlers.jobs),
        Route("/api/v1/jobs", handlers.submit, methods=["POST"]),
        Route("/api/v1/network/jobs", handlers.network_jobs),
        Route("/api/v1/jobs/{job}", handlers.job),
        Route("/api/v1/jobs/{job}/versions/{version:int}", handlers.job_version),
        Route("/api/v1/jobs/{job}/events", handlers.job_events),
        Route("/api/v1/jobs/{job}/logs", handlers.logs),
        Route("/api/v1/jobs/{job}/stop", handlers.stop, methods=["POST"]),
        Route("/api/v1/jobs/{job}/rerun", handlers.rerun, methods=["POST"]),
        Route("/api/v1/scheduling", handlers.scheduling),
        Route("/api/v1/scheduling", handlers.schedule, methods=["POST"]),
        Route("/api/v1/problems", handlers.problems),
        Route("/api/v1/problems/{number:int}/retry", handlers.retry_problem, methods=["POST"]),
        Route("/api/v1/problems/{number:int}", handlers.drop_problem, methods=["DELETE"]),
        Route("/api/v1/plan", handlers.plan, methods=["POST"]),
        Route("/api/v1/nodes", handlers.nodes),
        Route("/api/v1/peers", handlers.connect, methods=["POST"]),
        Route("/api/v1/metrics", handlers.metrics),
        Route("/api/v1/ipfs", handlers.import_car, methods=["POST"]),
        Route("/api/v1/ipfs/fetch/{cid}", handlers.fetch),
        Route("/api/v1/ipfs/ls/{path:path}", handlers.list_directory),
        Route("/api/v1/ipfs/resolve/{path:path}", handlers.resolve),
        Route("/api/v1/ipfs/pins", handlers.pins),
        Route("/api/v1/ipfs/pins/{cid}", handlers.pin, methods=["PUT"]),
        Route("/api/v1/ipfs/pins/{cid}", handlers.unpin, methods=["DELETE"]),
        Route("/ipfs/{cid}", handlers.export_car),
    ]
    refusals = {
        ServiceError: _refuse,
        JobFileError: _refuse_job_file,
        HTTPException: _refuse_http,
        Exception: _refuse_failed,
    }
    # Starlette types its handlers by `Exception` alone.
    app = Starlette(routes=routes, exception_handlers=refusals)  # type: ignore[arg-type]
    return _Guard(app, token)


class _Guard:
    """Lets in who brings the token to a local name; what fails inside costs one request and one log line."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._bearer = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this API does not serve {scope['type']}")
        scope[_REFERENCE] = secrets.token_hex(REFERENCE_SIZE_BYTES)
        try:
            try:
                check_request(scope, self._bearer)
            except ServiceError as error:
                # A stranger's connection is not kept open for more.
                await _error(error.code, error.message, {"connection": "close"})(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except* (ClientDisconnect, trio.BrokenResourceError, trio.TooSlowError):
            log.info("%s %s: the client went away", scope["method"], scope["path"])
        except* Exception:
            # The guard: one request's failure is not the node's.
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], scope[_REFERENCE])


class _Handlers:
    """The handlers, one for each route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._followers = Followers()

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def identity(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.identity())

    async def jobs(self, request: Request) -> Response:
        name, job = request.query_params.get("name"), request.query_params.get("job")
        if job is not None:
            # As below /jobs/, where a name with a slash has no place.
            return JSONResponse({"jobs": [self._services.jobs.job(job)]})
        if name is None:
            return JSONResponse({"jobs": self._services.jobs.jobs()})
        found = self._services.jobs.job_named(request.query_params.get("namespace", "default"), name)
        return JSONResponse({"jobs": [found] if found else []})

    async def network_jobs(self, request: Request) -> Response:
        return JSONResponse(await _in_time(self._services.jobs.network_jobs()))

    async def submit(self, request: Request) -> Response:
        spec = await _job_file(request)
        submitted = await _in_time(self._services.commands.submit(spec, _flag(request, "new")))
        return JSONResponse(submitted, status_code=201 if submitted["change"] is Change.NEW else 200)

    async def plan(self, request: Request) -> Response:
        spec = await _job_file(request)
        return JSONResponse(await _in_time(self._services.jobs.plan(spec)))

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._services.jobs.job(request.path_params["job"]))

    async def job_version(self, request: Request) -> Response:
        params = request.path_params
        return JSONResponse({"spec": self._services.jobs.job_version(params["job"], params["version"])})

    async def job_events(self, request: Request) -> Response:
        job = self._services.jobs.job(request.path_params["job"])["id"]
        since = _number(request, "since", 0)
        return self._followers.stream(self._services.jobs.job_events(job, since, _flag(request, "follow")))

    async def logs(self, request: Request) -> Response:
        job = self._services.jobs.job(request.path_params["job"])["id"]
        stream = request.query_params.get("stream", "both")
        if stream not in ("stdout", "stderr", "both"):
            raise ServiceError(Code.BAD_REQUEST, f"stream is {stream!r}; it is stdout, stderr or both")
        execution = request.query_params.get("execution")
        return self._followers.stream(self._log_text(job, execution, stream, _flag(request, "follow")))

    async def _log_text(
        self, job: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[Json, None]:
        """The chunks with their bytes as Latin-1 text, which JSON holds and which gives every byte back."""
        async with aclosing(self._services.logs.logs(job, execution, stream, follow)) as chunks:
            async for chunk in chunks:
                yield {**chunk, "data": chunk["data"].decode("latin-1")}

    async def stop(self, request: Request) -> Response:
        job = self._services.jobs.job(request.path_params["job"])["id"]
        reason = await _reason(request) or "stopped by its owner"
        await _in_time(self._services.commands.stop(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def rerun(self, request: Request) -> Response:
        job = self._services.jobs.job(request.path_params["job"])["id"]
        reason = await _reason(request)
        await _in_time(self._services.commands.rerun(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def scheduling(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.scheduling())

    async def schedule(self, request: Request) -> Response:
        body = await _json(request)
        scheduling, timeout_s = body.get("scheduling"), body.get("timeout_s")
        if scheduling not in list(Scheduling):
            raise ServiceError(
                Code.BAD_REQUEST, f"the field scheduling has to be one of {', '.join(Scheduling)}"
            )
        if timeout_s is not None and (
            isinstance(timeout_s, bool)
            or not isinstance(timeout_s, int | float)
            or not 0 <= timeout_s <= DURATION_S_MAX
        ):
            raise ServiceError(Code.BAD_REQUEST, "the field timeout_s has to be a number of seconds from 0")
        leave = body.get("leave", False)
        if not isinstance(leave, bool):
            raise ServiceError(Code.BAD_REQUEST, "the field leave has to be true or false")
        self._services.nodes.schedule(scheduling, timeout_s, leave)
        return JSONResponse(self._services.nodes.scheduling())

    async def problems(self, request: Request) -> Response:
        return JSONResponse({"problems": self._services.problems.problems()})

    async def retry_problem(self, request: Request) -> Response:
        await _in_time(self._services.problems.retry_problem(request.path_params["number"]))
        return JSONResponse({})

    async def drop_problem(self, request: Request) -> Response:
        await _in_time(self._services.problems.drop_problem(request.path_params["number"]))
        return JSONResponse({})

    async def nodes(self, request: Request) -> Response:
        nodes = self._services.nodes
        return JSONResponse({"nodes": nodes.nodes(), "unreached": nodes.unreached()})

    async def connect(self, request: Request) -> Response:
        address = (await _json(request)).get("address")
        if not isinstance(address, str):
            raise ServiceError(Code.BAD_REQUEST, "the field address has to be a multiaddr")
        return JSONResponse({"peer": await _in_time(self._services.nodes.connect(address))})

    async def metrics(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.metrics())

    async def import_car(self, request: Request) -> Response:
        chunks = _chunks(request, CAR_SIZE_BYTES_MAX)
        return JSONResponse({"cid": await self._services.content.import_car(chunks)}, status_code=201)

    async def export_car(self, request: Request) -> Response:
        """As a trustless gateway answers, CAR only: the client verifies the blocks."""
        if request.query_params.get("format", "car") != "car":
            raise ServiceError(Code.BAD_REQUEST, "only format=car is served")
        hints = request.query_params.getlist("peer")
        generator = self._services.content.export_car(request.path_params["cid"], hints)
        # Before the head is sent, a CID that cannot be had is still an error status.
        first = await anext(generator, b"")
        return Streaming(_prepend(first, generator), CAR_MEDIA_TYPE)

    async def fetch(self, request: Request) -> Response:
        hints = request.query_params.getlist("peer")
        return self._followers.stream(self._services.content.fetch(request.path_params["cid"], hints))

    async def list_directory(self, request: Request) -> Response:
        hints = request.query_params.getlist("peer")
        entries = await _in_time(self._services.content.list_directory(request.path_params["path"], hints))
        return JSONResponse({"entries": entries})

    async def resolve(self, request: Request) -> Response:
        hints = request.query_params.getlist("peer")
        cid = await _in_time(self._services.content.resolve(request.path_params["path"], hints))
        return JSONResponse({"cid": cid})

    async def pins(self, request: Request) -> Response:
        return JSONResponse({"pins": self._services.content.pins()})

    async def pin(self, request: Request) -> Response:
        hints = request.query_params.getlist("peer")
        await _in_time(self._services.content.pin(request.path_params["cid"], hints))
        return JSONResponse({})

    async def unpin(self, request: Request) -> Response:
        self._services.content.unpin(request.path_params["cid"])
        return JSONResponse({})


async def _prepend(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


async def _in_time(call: Awaitable[T]) -> T:
    try:
        with trio.fail_after(CALL_TIMEOUT_S):
            return await call
    except trio.TooSlowError:
        raise ServiceError(Code.TIMEOUT, f"the node did not finish within {CALL_TIMEOUT_S:.0f} s") from None


async def _chunks(request: Request, size_bytes_max: int) -> AsyncIterator[bytes]:
    received_bytes = 0
    stream = request.stream()
    while True:
        try:
            with trio.fail_after(CHUNK_TIMEOUT_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except trio.TooSlowError:
            raise ServiceError(Code.TIMEOUT, f"no data for {CHUNK_TIMEOUT_S:.0f} s") from None
        received_bytes += len(chunk)
        if received_bytes > size_bytes_max:
            raise ServiceError(Code.TOO_LARGE, f"the body is over the limit of {size_bytes_max:,} bytes")
        yield chunk


async def _body(request: Request, size_bytes_max: int) -> bytes:
    try:
        with trio.fail_after(BODY_TIMEOUT_S):
            return b"".join([chunk async for chunk in _chunks(request, size_bytes_max)])
    except trio.TooSlowError:
        raise ServiceError(Code.TIMEOUT, f"the body took over {BODY_TIMEOUT_S:.0f} s") from None


async def _job_file(request: Request) -> JobSpec:
    """The body as a job; the query's `name` is how its problems name it."""
    body = await _body(request, TEXT_SIZE_BYTES_MAX)
    return jobfile.parse(body, request.query_params.get("name", "job")).spec


async def _json(request: Request) -> Json:
    body = await _body(request, BODY_SIZE_BYTES_MAX)
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServiceError(Code.BAD_REQUEST, "the body has to be a JSON object")
    check_texts(value)
    return value


async def _reason(request: Request) -> str:
    """On one line, as histories have it."""
    reason = (await _json(request)).get("reason")
    if not isinstance(reason, str | None):
        raise ServiceError(Code.BAD_REQUEST, "the field reason has to be a text")
    return " ".join((reason or "").split())


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "0") not in ("0", "false", "")


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ServiceError(Code.BAD_REQUEST, f"{name} is {text!r}; it has to be a whole number from 0")
    return int(text)


def _error(code: Code, message: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    content = {"error": code, "message": message, **more}
    return JSONResponse(content, status_code=_STATUS[code], headers=headers)


async def _refuse(request: Request, error: ServiceError) -> Response:
    return _error(error.code, error.message)


async def _refuse_failed(request: Request, error: Exception) -> Response:
    return _error(Code.INTERNAL, f"the node failed at this; its log says why at {request.scope[_REFERENCE]}")


async def _refuse_job_file(request: Request, error: JobFileError) -> Response:
    return _error(Code.BAD_JOB, "the job file has errors", problems=[str(one) for one in error.problems])


async def _refuse_http(request: Request, error: HTTPException) -> Response:
    code = Code.NOT_FOUND if error.status_code == 404 else Code.BAD_REQUEST
    return JSONResponse(
        {"error": code, "message": f"{request.method} {request.url.path}: {error.detail}"},
        status_code=error.status_code,
    )
