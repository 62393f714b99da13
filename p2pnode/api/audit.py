"""Has each request that may change something noted in the audit log, with what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from p2pnode.core.jobfile.problems import JobFileError

from .services import AuditService
from .shapes import Code, ServiceError

Handler = Callable[[Request], Awaitable[Response]]

# In a request's scope: the caller, by the token that it brought.
CALLER = "p2pnode.caller"
_ABOUT = "p2pnode.about"


def tell(request: Request, **about: object) -> None:
    """Have the audit log tell this of the request, besides what its path says."""
    request.scope.setdefault(_ABOUT, {}).update(about)


def audited(action: str, handler: Handler, log: AuditService) -> Handler:
    """The handler, of whose requests each is noted."""

    async def handle(request: Request) -> Response:
        # Stays so for a failure of this node, and for a client that went away.
        result: str = Code.INTERNAL
        try:
            response = await handler(request)
            result = "done"
            return response
        except ServiceError as error:
            result = error.code
            raise
        except JobFileError:
            result = Code.BAD_JOB
            raise
        finally:
            about = {**request.path_params, **request.scope.get(_ABOUT, {})}
            log.note(request.scope[CALLER], action, about, result)

    return handle
