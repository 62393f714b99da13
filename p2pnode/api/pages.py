"""The web page's files, for anybody: no secret is in them, and all that they show is asked with a session."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .shapes import Code, ServiceError

_FOLDER = Path(__file__).parent / "page"
# Nothing from outside, no script or style but the page's own, in no frame; pictures of results are blobs.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Another version of the node has other files at the same paths.
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """The page at `/`, and its parts below `/page/`."""
    return [Route("/", _page, name="page"), Route("/page/{name:path}", _page, name="page-file")]


async def _page(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    path = _FILES.get(name)
    if path is None:
        raise ServiceError(Code.NOT_FOUND, f"the page has no file {name!a}")
    media_type = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(path.read_bytes(), media_type=media_type, headers=_HEADERS)


def _files() -> dict[str, Path]:
    return {path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*") if path.is_file()}


# Only what is there at the start is served: no path of a request is looked up on the disk.
_FILES = _files()
