"""The application of the API: its routes, the guard before them, and how errors are answered.

Whoever may read the token file may do what the node's owner may. A web page that the owner
visits may not: it cannot know the token, and a name that resolves to 127.0.0.1 (DNS
rebinding) is refused by its Host header. `/api/v1/alive` alone answers anybody.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping

import trio
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from p2pnode import __version__
from p2pnode.core.jobfile.problems import JobFileError

from . import openapi
from .audit import Handler, audited
from .endpoints import ENDPOINTS, Caller
from .handlers import Handlers
from .requests import NUMBER_DIGITS_MAX, check_request
from .services import AuditService, Services
from .shapes import Code, ServiceError

log = logging.getLogger(__name__)

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


def make_app(services: Services, token: str) -> ASGIApp:
    """The ASGI application. `token` is what each request has to bring."""
    handlers = Handlers(services)
    routes = [
        Route(path, _of_method(by_method), methods=list(by_method))
        for path, by_method in _paths(handlers, services.audit)
    ]
    document = JSONResponse(openapi.describe(__version__))
    routes.append(Route(openapi.PATH, document))
    refusals = {
        ServiceError: _refuse,
        JobFileError: _refuse_job_file,
        HTTPException: _refuse_http,
        Exception: _refuse_failed,
    }
    # Starlette types its handlers by `Exception` alone.
    app = Starlette(routes=routes, exception_handlers=refusals)  # type: ignore[arg-type]
    return _Guard(app, token)


def _paths(handlers: Handlers, audit_log: AuditService) -> Iterable[tuple[str, Mapping[str, Handler]]]:
    """Each path with its handlers by method: as one route, so that a refusal's `Allow` names them all."""
    found: dict[str, dict[str, Handler]] = {}
    for one in ENDPOINTS:
        handler: Handler = getattr(handlers, one.name)
        if one.caller is Caller.WRITE:
            handler = audited(one.name, handler, audit_log)
        found.setdefault(one.path, {})[one.method] = handler
    return found.items()


def _of_method(by_method: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await by_method["GET" if request.method == "HEAD" else request.method](request)

    return handle


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
