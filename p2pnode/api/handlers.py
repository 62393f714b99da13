"""The handlers of the API's routes: each calls one of `Services`, within a time, and answers with JSON."""

from __future__ import annotations

import mimetypes
import shlex
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2pnode.core import jobfile
from p2pnode.core.jobfile import yamltree
from p2pnode.core.wire.exec import EXEC_DATA_SIZE_BYTES_MAX
from p2pnode.core.wire.spec import DEFAULT_NAMESPACE

from . import audit, exec_shapes, exposition, login, node_pages, parameters, queries
from .access import Door, visitor_of
from .endpoints import Media
from .exec_sessions import ExecSessions
from .services import Services
from .shapes import CALL_TIMEOUT_S, CAR_MEDIA_TYPE, Change, Code, JobJson, Json, ServiceError
from .streaming import Followers, Streaming

# More than a laptop's disk should take unasked; a larger tree can be added in parts.
CAR_SIZE_BYTES_MAX = 64 * 1024**3
UNKNOWN_MEDIA_TYPE = "application/octet-stream"
# Content that a job wrote: a browser gives it its own origin, runs no script of it, takes no other type.
FOREIGN = {
    "content-security-policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
# For answers with a secret in them.
UNKEPT = {"cache-control": "no-store"}
T = TypeVar("T")


class Handlers:
    """The handlers, one for each route (`app`); what they raise, `ServiceError` above all, `app` answers."""

    def __init__(self, services: Services, door: Door) -> None:
        self._services = services
        self._door = door
        self._followers = Followers()
        self._exec_sessions = ExecSessions()

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def identity(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.identity())

    async def settings(self, request: Request) -> Response:
        return JSONResponse({"settings": self._services.nodes.settings()})

    async def jobs(self, request: Request) -> Response:
        asked = parameters.query(request, queries.JobsQuery)
        if asked.job:
            # As below /jobs/, where a name with a slash has no place.
            return _page([self._services.jobs.job(await self._found(asked.job))])
        if asked.name:
            namespace = asked.namespace or DEFAULT_NAMESPACE
            await _in_time(self._services.reach.find_named(namespace, asked.name))
            found = self._services.jobs.job_named(namespace, asked.name)
            return _page([found] if found else [])
        return JSONResponse(await _in_time(self._services.jobs.jobs(asked)))

    async def network_jobs(self, request: Request) -> Response:
        return JSONResponse(await _in_time(self._services.jobs.network_jobs()))

    async def submit(self, request: Request) -> Response:
        asked = parameters.query(request, queries.SubmitQuery)
        spec = (await parameters.job_file(request, asked.name)).spec
        if spec.name and not asked.new:
            await _in_time(self._services.reach.find_named(spec.namespace, spec.name))
        audit.tell(request, name=spec.name, namespace=spec.namespace)
        submitted = await _in_time(self._services.commands.submit(spec, asked.new))
        audit.tell(request, job=submitted["id"], version=submitted["version"], change=submitted["change"])
        return JSONResponse(submitted, status_code=201 if submitted["change"] is Change.NEW else 200)

    async def plan(self, request: Request) -> Response:
        asked = parameters.query(request, queries.JobFileQuery)
        spec = (await parameters.job_file(request, asked.name)).spec
        return JSONResponse(await _in_time(self._services.jobs.plan(spec)))

    async def validate(self, request: Request) -> Response:
        asked = parameters.query(request, queries.JobFileQuery)
        parsed = await parameters.job_file(request, asked.name)
        warnings = [str(one) for one in parsed.warnings]
        return JSONResponse({"spec": jobfile.render(parsed.spec), "warnings": warnings})

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._services.jobs.job(await self._job_of(request)))

    async def _job_of(self, request: Request) -> str:
        """The id of the job that a path names, which is here now."""
        return await self._found(request.path_params["job"])

    async def _found(self, id_or_name: str) -> str:
        return await _in_time(self._services.reach.find(id_or_name))

    async def job_version(self, request: Request) -> Response:
        job, version = await self._job_of(request), request.path_params["version"]
        spec = self._services.jobs.job_version(job, version)
        return JSONResponse({"spec": spec, "text": yamltree.dump(spec)})

    async def executions(self, request: Request) -> Response:
        wanted = parameters.query(request, queries.ExecutionsQuery).state
        found = self._services.jobs.job(await self._job_of(request))["executions"]
        return JSONResponse({"executions": [one for one in found if not wanted or one["state"] in wanted]})

    async def hosted_executions(self, request: Request) -> Response:
        wanted = parameters.query(request, queries.HostedQuery).state
        return JSONResponse({"executions": self._services.nodes.hosted(wanted)})

    async def receipts(self, request: Request) -> Response:
        found = self._services.jobs.receipts(await self._job_of(request))
        return JSONResponse({"receipts": {execution: block.hex() for execution, block in found.items()}})

    async def job_events(self, request: Request) -> Response:
        asked = parameters.query(request, queries.EventsQuery)
        job = await self._job_of(request)
        return self._followers.stream(
            self._services.jobs.job_events(job, asked.since, asked.follow),
            beside=partial(self._services.reach.keep, job),
        )

    async def logs(self, request: Request) -> Response:
        asked = parameters.query(request, queries.LogsQuery)
        job = await self._job_of(request)
        return self._followers.stream(
            self._log_text(job, asked.execution or None, asked.stream, asked.follow),
            beside=partial(self._services.reach.keep, job),
        )

    async def _log_text(
        self, job: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[Json, None]:
        """The chunks with their bytes as Latin-1 text, which JSON holds and which gives every byte back."""
        async with aclosing(self._services.logs.logs(job, execution, stream, follow)) as chunks:
            async for chunk in chunks:
                yield {**chunk, "data": chunk["data"].decode("latin-1")}

    async def exec(self, request: Request) -> Response:
        asked = await parameters.body(request, exec_shapes.ProgramBody)
        command = shlex.join(asked.command)
        audit.tell(request, execution=asked.execution, command=command, terminal=asked.terminal is not None)
        job = await self._job_of(request)
        audit.tell(request, job=job)
        opening = self._services.exec.open(
            job, asked.execution or None, asked.command, exec_shapes.terminal(asked), stdin=asked.stdin
        )
        return self._exec_sessions.response(request, opening, stdin=asked.stdin)

    async def exec_input(self, request: Request) -> Response:
        asked = parameters.query(request, exec_shapes.InputQuery)
        data = await parameters.octets(request, EXEC_DATA_SIZE_BYTES_MAX)
        await self._exec_sessions.give(request, data, end=asked.end)
        return JSONResponse({})

    async def exec_size(self, request: Request) -> Response:
        asked = await parameters.body(request, exec_shapes.SizeBody)
        await _in_time(self._exec_sessions.resize(request, asked.columns, asked.rows))
        return JSONResponse({})

    async def stop(self, request: Request) -> Response:
        job = await self._job_of(request)
        reason = parameters.one_line((await parameters.body(request, queries.ReasonBody)).reason)
        audit.tell(request, job=job, reason=reason)
        await _in_time(self._services.commands.stop(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def rerun(self, request: Request) -> Response:
        job = await self._job_of(request)
        reason = parameters.one_line((await parameters.body(request, queries.ReasonBody)).reason)
        audit.tell(request, job=job, reason=reason)
        await _in_time(self._services.commands.rerun(job, reason))
        return JSONResponse(self._services.jobs.job(job))

    async def scheduling(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.scheduling())

    async def schedule(self, request: Request) -> Response:
        asked = await parameters.body(request, queries.ScheduleBody)
        audit.tell(request, scheduling=asked.scheduling, timeout_s=asked.timeout_s, leave=asked.leave)
        self._services.nodes.schedule(asked.scheduling, asked.timeout_s, asked.leave)
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
        asked, nodes = parameters.query(request, queries.NodesQuery), self._services.nodes
        found, following = node_pages.page(nodes.nodes(), asked)
        return JSONResponse({"nodes": found, "next": following, "unreached": nodes.unreached()})

    async def connect(self, request: Request) -> Response:
        address = (await parameters.body(request, queries.AddressBody)).address
        audit.tell(request, address=address)
        return JSONResponse({"peer": await _in_time(self._services.nodes.connect(address))})

    async def metrics(self, request: Request) -> Response:
        return JSONResponse(self._services.nodes.metrics())

    async def prometheus(self, request: Request) -> Response:
        text = exposition.render(self._services.nodes.prometheus())
        return Response(text, media_type=Media.METRICS)

    async def import_car(self, request: Request) -> Response:
        chunks = parameters.chunks(request, CAR_SIZE_BYTES_MAX)
        cid = await self._services.content.import_car(chunks)
        audit.tell(request, cid=cid)
        return JSONResponse({"cid": cid}, status_code=201)

    async def export_car(self, request: Request) -> Response:
        """Answers as a trustless gateway does, with CAR only: the client verifies the blocks."""
        hints = parameters.query(request, queries.CarQuery).peer
        generator = self._services.content.export_car(request.path_params["cid"], hints)
        # Before the head is sent, a CID that cannot be had is still an error status.
        first = await anext(generator, b"")
        return Streaming(_prepend(first, generator), CAR_MEDIA_TYPE)

    async def file(self, request: Request) -> Response:
        path = f"{request.path_params['cid']}/{request.path_params['path']}"
        hints = parameters.query(request, queries.ContentQuery).peer
        generator = self._services.content.read_file(path, hints)
        first = await anext(generator, b"")
        media_type, packed = mimetypes.guess_type(path)
        if media_type is None or packed:
            media_type = UNKNOWN_MEDIA_TYPE
        response = Streaming(_prepend(first, generator), media_type)
        response.headers.update(FOREIGN)
        return response

    async def fetch(self, request: Request) -> Response:
        hints = parameters.query(request, queries.ContentQuery).peer
        return self._followers.stream(self._services.content.fetch(request.path_params["cid"], hints))

    async def list_directory(self, request: Request) -> Response:
        hints = parameters.query(request, queries.ContentQuery).peer
        entries = await _in_time(self._services.content.list_directory(request.path_params["path"], hints))
        return JSONResponse({"entries": entries})

    async def resolve(self, request: Request) -> Response:
        hints = parameters.query(request, queries.ContentQuery).peer
        cid = await _in_time(self._services.content.resolve(request.path_params["path"], hints))
        return JSONResponse({"cid": cid})

    async def pins(self, request: Request) -> Response:
        return JSONResponse({"pins": self._services.content.pins()})

    async def pin(self, request: Request) -> Response:
        hints = parameters.query(request, queries.ContentQuery).peer
        await _in_time(self._services.content.pin(request.path_params["cid"], hints))
        return JSONResponse({})

    async def unpin(self, request: Request) -> Response:
        self._services.content.unpin(request.path_params["cid"])
        return JSONResponse({})

    async def tokens(self, request: Request) -> Response:
        return JSONResponse({"tokens": self._door.tokens.listed()})

    async def create_token(self, request: Request) -> Response:
        asked = await parameters.body(request, queries.TokenBody)
        audit.tell(request, name=asked.name, kind=asked.kind)
        secret = self._door.create_token(asked.name, asked.kind, asked.lifetime_s)
        return JSONResponse({"token": secret}, status_code=201, headers=UNKEPT)

    async def revoke_token(self, request: Request) -> Response:
        self._door.revoke_token(request.path_params["name"], visitor_of(request.scope))
        return JSONResponse({})

    async def begin_session(self, request: Request) -> Response:
        code = self._door.code_for(visitor_of(request.scope))
        return JSONResponse({"path": login.path_for(code)}, status_code=201, headers=UNKEPT)

    async def end_session(self, request: Request) -> Response:
        self._door.log_out(visitor_of(request.scope))
        return JSONResponse({}, headers=login.forgotten(request))


def _page(jobs: list[JobJson]) -> Response:
    """A page that holds all there is."""
    return JSONResponse({"jobs": jobs, "next": None})


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
