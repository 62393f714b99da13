"""Has each request that may change something noted in the audit log, with what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

from starlette.requests import Request
from starlette.responses import Response

from p2pnode.core.jobfile.problems import JobFileError

from .services import AuditService
from .shapes import Code, ServiceError

Handler = Callable[[Request], Awaitable[Response]]

# In a request's scope: the caller, by the token that it brought.
CALLER = "p2pnode.caller"
_ABOUT = "p2pnode.about"
_NOTING = "p2pnode.noting"


def tell(request: Request, **about: object) -> None:
    """Have the audit log tell this of the request, besides what its path says."""
    request.scope.setdefault(_ABOUT, {}).update(about)


class Noting:
    """Notes what comes of its block; of a later block instead, where that was put off."""

    def __init__(self, request: Request, action: str, log: AuditService) -> None:
        self._request = request
        self._action = action
        self._log = log
        self.is_put_off = False

    def __enter__(self) -> None:
        self.is_put_off = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.is_put_off:
            return
        about = {**self._request.path_params, **self._request.scope.get(_ABOUT, {})}
        self._log.note(self._request.scope[CALLER], self._action, about, _result(error))


def put_off(request: Request) -> Noting:
    """Have noted what comes of a block of the response's, in place of what comes of the handler."""
    noting = request.scope[_NOTING]
    assert isinstance(noting, Noting)
    noting.is_put_off = True
    return noting


def audited(action: str, handler: Handler, log: AuditService) -> Handler:
    """The handler, of whose requests each is noted."""

    async def handle(request: Request) -> Response:
        request.scope[_NOTING] = noting = Noting(request, action, log)
        with noting:
            return await handler(request)

    return handle


def _result(error: BaseException | None) -> str:
    match error:
        case None:
            return "done"
        case ServiceError(code=code):
            return code
        case JobFileError():
            return Code.BAD_JOB
    # A failure of this node, or a client that went away.
    return Code.INTERNAL
