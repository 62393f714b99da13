"""The handlers of the API's routes: each calls one of `Services`, within a time, and answers with JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2pnode.core.values.units import DURATION_S_MAX
from p2pnode.core.wire.states import Scheduling

from . import parameters
from .services import Services
from .shapes import CALL_TIMEOUT_S, CAR_MEDIA_TYPE, Change, Code, Json, ServiceError
from .streaming import Followers, Streaming

# More than a laptop's disk should take unasked; a larger tree can be added in parts.
CAR_SIZE_BYTES_MAX = 64 * 1024**3
T = TypeVar("T")


class Handlers:
    """The handlers, one for each route (`app`); what they raise, `ServiceError` above all, `app` answers."""

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
            return JSONResponse({"jobs": [self._services.jobs.job(await self._found(job))]})
        if name is None:
            return JSONResponse({"jobs": self._services.jobs.jobs()})
        namespace = request.query_params.get("namespace", "default")
        await _in_time(self._services.reach.find_named(namespace, name))
        found = self._services.jobs.job_named(namespace, name)
        return JSONResponse({"jobs": [found] if found else []})

    async def network_jobs(self, request: Request) -> Response:
        return JSONResponse(await _in_time(self._services.jobs.network_jobs()))

    async def submit(self, request: Request) -> Response:
        spec = await parameters.job_file(request)
        new = parameters.flag(request, "new")
        if spec.name and not new:
            await _in_time(self._services.reach.find_named(spec.namespace, spec.name))
        submitted = await _in_time(self._services.commands.submit(spec, new))
        return JSONResponse(submitted, status_code=201 if submitted["change"] is Change.NEW else 200)

    async def plan(self, request: Request) -> Response:
        spec = await parameters.job_file(request)
        return JSONResponse(await _in_time(self._services.jobs.plan(spec)))

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._services.jobs.job(await self._job_of(request)))

    async def _job_of(self, request: Request) -> str:
        """The id of the job that a path names, which is here now."""
        return await self._found(request.path_params["job"])

    async def _found(self, id_or_name: str) -> str:
        return await _in_time(self._services.reach.find(id_or_name))

    async def job_version(self, request: Request) -> Response:
        job, version = await self._job_of(request), request.path_params["version"]
        return JSONResponse({"spec": self._services.jobs.job_version(job, version)})

    async def receipts(self, request: Request) -> Response:
        found = self._services.jobs.receipts(await self._job_of(request))
        return JSONResponse({"receipts": {execution: block.hex() for execution, block in found.items()}})

    async def job_events(self, request: Request) -> Response:
        job = await self._job_of(request)
        since = parameters.number(request, "since", 0)
        return self._followers.stream(
            self._services.jobs.job_events(job, since, parameters.flag(request, "follow")),
            beside=partial(self._services.reach.keep, job),
        )

    async def logs(self, request: Request) -> Response:
        job = await self._job_of(request)
        stream = request.query_params.get("stream", "both")
        if stream not in ("stdout", "stderr", "both"):
            raise ServiceError(Code.BAD_REQUEST, f"stream is {stream!r}; it is stdout, stderr or both")
        execution = request.query_params.get("execution")
        return self._followers.stream(
            self._log_text(job, execution, stream, parameters.flag(request, "follow")),
            beside=partial(self._services.reach.keep, job),
        )

    async def _log_text(
        self, job: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[Json, None]:
        """The chunks with their bytes as Latin-1 text, which JSON holds and which gives every byte back."""
        async with aclosing(self._services.logs.logs(job, execution, stream, follow)) as chunks:
            async for chunk in chunks:
                yield {**chunk, "data": chunk["data"].decode("latin-1")}

    async def stop(self, request: Request) -> Response:
        job = await self._job_of(request)
        reason = await parameters.reason(request) or "stopped by its owner"
        await _in_time(self._services.commands.stop(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def rerun(self, request: Request) -> Response:
        job = await self._job_of(request)
        reason = await parameters.reason(request)
        await _in_time(self._services.commands.rerun(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def scheduling(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.scheduling())

    async def schedule(self, request: Request) -> Response:
        body = await parameters.json_object(request)
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
        address = (await parameters.json_object(request)).get("address")
        if not isinstance(address, str):
            raise ServiceError(Code.BAD_REQUEST, "the field address has to be a multiaddr")
        return JSONResponse({"peer": await _in_time(self._services.nodes.connect(address))})

    async def metrics(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.metrics())

    async def import_car(self, request: Request) -> Response:
        chunks = parameters.chunks(request, CAR_SIZE_BYTES_MAX)
        return JSONResponse({"cid": await self._services.content.import_car(chunks)}, status_code=201)

    async def export_car(self, request: Request) -> Response:
        """Answers as a trustless gateway does, with CAR only: the client verifies the blocks."""
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
    """Await a call of the node; raises `ServiceError` if it takes too long."""
    try:
        with trio.fail_after(CALL_TIMEOUT_S):
            return await call
    except trio.TooSlowError:
        raise ServiceError(Code.TIMEOUT, f"the node did not finish within {CALL_TIMEOUT_S:.0f} s") from None
