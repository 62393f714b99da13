"""The way of a browser to a session: an address with a code, answered with a cookie."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .access import Door, session_cookie
from .requests import LOGIN_PATH
from .sessions import SESSION_LIFETIME_S

LOGGED_IN_PATH = "/"
FAILED_PATH = "/?login=failed"
# The address holds a code: no cache keeps it, and no other page is told of it.
_HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


def path_for(code: str) -> str:
    return f"{LOGIN_PATH}?code={code}"


class Login:
    """Answers at the path of logins; whatever is wrong leads to the page, which says so."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def answer(self, request: Request) -> Response:
        codes = request.query_params.getlist("code")
        # HEAD is of programs that look at an address before a person does, and must not use up its code.
        secret = self._door.log_in(codes[0]) if request.method == "GET" and len(codes) == 1 else None
        if secret is None:
            return RedirectResponse(FAILED_PATH, 303, _HEADERS)
        response = RedirectResponse(LOGGED_IN_PATH, 303, _HEADERS)
        response.headers.update(_cookie(request, secret, int(SESSION_LIFETIME_S)))
        return response


def forgotten(request: Request) -> Mapping[str, str]:
    """The header by which a browser forgets its session."""
    return _cookie(request, "", 0)


def _cookie(request: Request, value: str, age_s: int) -> Mapping[str, str]:
    secure = "; Secure" if request.url.scheme == "https" else ""
    flags = f"Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
    return {"set-cookie": f"{session_cookie(request.headers)}={value}; {flags}"}
