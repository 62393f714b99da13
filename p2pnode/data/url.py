"""The source `urldownload`: one file from an http or https URL, into the directory that is the input.

Redirects are followed here, each to a URL that is checked like the first, over connections that
are (`data.web`). The file has the name that the server gives it, or the URL's last part.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import Message
from urllib.parse import unquote, urljoin, urlsplit

from p2pnode.core.wire.states import Fault

from .download import Destination, Download
from .failures import DataFailed
from .web import Response, Web, checked_url

# As curl's and the browsers' limits, which are between 5 and 50; more is a loop.
REDIRECTS_MAX = 10
FILE_NAME_SIZE_BYTES_MAX = 255
NAME_UNKNOWN = "download"
_REDIRECTS = (301, 302, 303, 307, 308)


async def fetch_url(web: Web, url: str, place: Destination) -> None:
    """Write the file; raises `DataFailed`."""
    name = _name_in(url)

    @asynccontextmanager
    async def ask(offset: int, etag: str) -> AsyncIterator[Response]:
        nonlocal name
        headers = {"range": f"bytes={offset}-", "if-range": etag} if offset else {}
        async with _follow(web, url, headers) as response:
            name = _name_given(response) or name
            yield response

    # Its name comes with the answer.
    unnamed = place.directory / f".{NAME_UNKNOWN}"
    await Download(f"url {url}", ask, place, place.progress).fetch(unnamed)
    unnamed.rename(place.directory / name)


@asynccontextmanager
async def _follow(web: Web, url: str, headers: dict[str, str]) -> AsyncIterator[Response]:
    for _ in range(REDIRECTS_MAX):
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(web.request("GET", checked_url(url), headers))
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                yield response
                return
        url = urljoin(url, location)
    raise DataFailed(Fault.JOB, f"more than {REDIRECTS_MAX} redirects")


def _name_in(url: str) -> str:
    return _file_name(unquote(urlsplit(url).path)) or NAME_UNKNOWN


def _name_given(response: Response) -> str:
    message = Message()
    message["content-disposition"] = response.headers.get("content-disposition", "")
    return _file_name(message.get_filename() or "")


def _file_name(path: str) -> str:
    """The last part of a path, if it can be a file's name and is not hidden; else ""."""
    name = path.replace("\\", "/").rpartition("/")[2]
    short = len(os.fsencode(name)) <= FILE_NAME_SIZE_BYTES_MAX
    return name if short and name.isprintable() and not name.startswith(".") else ""
