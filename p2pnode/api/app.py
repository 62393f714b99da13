"""The application of the API: its routes, the guard before them, and how errors are answered.

Whoever may read the token file may do what the node's owner may; named tokens and sessions (`access`)
may do what their kind says. A web page that the owner visits may not: it cannot know a token, the cookie
of a session works for the node's own page, and a name that resolves to 127.0.0.1 (DNS rebinding) is
refused by its Host header. What `requests.PUBLIC` names answers anybody.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Mapping

import trio
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2pnode import __version__
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.system.log_lines import concerning

from . import openapi, pages
from .access import VISITOR, Door, Visitor, check_access
from .audit import CALLER, Handler, audited
from .endpoints import ENDPOINTS, Caller, Endpoint
from .handlers import Handlers
from .login import Login
from .requests import (
    LOGIN_PATH,
    NUMBER_DIGITS_MAX,
    OwnHosts,
    check_plain,
    check_target,
    is_from_own_page,
    is_public,
)
from .services import AuditService, Services
from .shapes import Code, ServiceError

log = logging.getLogger(__name__)

# A job's id in a path.
_JOB = re.compile(r"/(j-[0-9a-f]+)(?:/|$)")

# A number by which a person finds what failed in the log.
REFERENCE_SIZE_BYTES = 4
_REFERENCE = "p2pnode.reference"

_STATUS = {
    Code.BAD_REQUEST: 400,
    Code.BAD_JOB: 422,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.NO_SUCH_PATH: 404,
    Code.AMBIGUOUS: 409,
    Code.CONFLICT: 409,
    Code.FORBIDDEN: 403,
    Code.TOO_LARGE: 413,
    Code.TIMEOUT: 504,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}


class _Number(IntegerConvertor):
    regex = f"[0-9]{{1,{NUMBER_DIGITS_MAX}}}"


register_url_convertor("number", _Number())


def make_app(services: Services, door: Door, hosts: OwnHosts) -> ASGIApp:
    """The ASGI application, for whom `door` lets in, at `hosts`."""
    handlers = Handlers(services, door)
    routes = [
        Route(path, _of_method(by_method), methods=list(by_method))
        for path, by_method in _paths(handlers, services.audit)
    ]
    document = JSONResponse(openapi.describe(__version__))
    routes.append(Route(openapi.PATH, document))
    routes.append(Route(LOGIN_PATH, Login(door).answer))
    routes += pages.routes()
    refusals = {
        ServiceError: _refuse,
        JobFileError: _refuse_job_file,
        HTTPException: _refuse_http,
        Exception: _refuse_failed,
    }
    # Starlette types its handlers by `Exception` alone.
    app = Starlette(routes=routes, exception_handlers=refusals)  # type: ignore[arg-type]
    return _Guard(app, door, hosts)


def _checked(endpoint: Endpoint, handler: Handler) -> Handler:
    """The handler, for those who may use its endpoint."""

    async def handle(request: Request) -> Response:
        own_page = is_from_own_page(request.scope)
        check_access(endpoint, request.scope[VISITOR], request.method, own_page)
        return await handler(request)

    return handle


def _paths(handlers: Handlers, audit_log: AuditService) -> Iterable[tuple[str, Mapping[str, Handler]]]:
    """Each path with its handlers by method: as one route, so that a refusal's `Allow` names them all."""
    found: dict[str, dict[str, Handler]] = {}
    for one in ENDPOINTS:
        handler: Handler = _checked(one, getattr(handlers, one.name))
        if one.caller is Caller.WRITE and one.is_audited:
            handler = audited(one.name, handler, audit_log)
        found.setdefault(one.path, {})[one.method] = handler
    return found.items()


def _of_method(by_method: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await by_method["GET" if request.method == "HEAD" else request.method](request)

    return handle


class _Guard:
    """Lets callers in at the node's hosts; what fails inside costs one request and one log line."""

    def __init__(self, app: ASGIApp, door: Door, hosts: OwnHosts) -> None:
        self._app = app
        self._door = door
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this API does not serve {scope['type']}")
        scope[_REFERENCE] = secrets.token_hex(REFERENCE_SIZE_BYTES)
        job = _JOB.search(scope["path"])
        with concerning(job=job[1] if job else ""):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            try:
                visitor = scope[VISITOR] = self._admitted(scope)
            except ServiceError as error:
                # A stranger's connection is not kept open for more.
                await _error(error.code, error.message, {"connection": "close"})(scope, receive, send)
            else:
                await self._serve(visitor, scope, receive, send)
        except* (ClientDisconnect, trio.BrokenResourceError, trio.TooSlowError):
            log.info("%s %s: the client went away", scope["method"], scope["path"])
        except* Exception:
            # The guard: one request's failure is not the node's.
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], scope[_REFERENCE])

    def _admitted(self, scope: Scope) -> Visitor | None:
        """The caller; None for what anybody may ask. Raises `ServiceError`."""
        check_target(scope, self._hosts)
        visitor = None if is_public(scope["path"]) else self._door.admit(Headers(scope=scope))
        check_plain(scope)
        if visitor:
            scope[CALLER] = visitor.name
        return visitor

    async def _serve(self, visitor: Visitor | None, scope: Scope, receive: Receive, send: Send) -> None:
        if visitor is None:
            await self._app(scope, receive, send)
            return
        begun = False

        async def note_begun(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        with self._door.inside(visitor):
            await self._app(scope, receive, note_begun)
        if visitor.stay.cancelled_caught and not begun:
            message = "the token was revoked or has expired, or the session has ended"
            await _error(Code.UNAUTHORIZED, message, {"connection": "close"})(scope, receive, send)


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
        headers=error.headers,
    )
