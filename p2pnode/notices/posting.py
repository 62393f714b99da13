"""Posts JSON to a URL that the operator names, which may be on a private network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from p2pnode.core.values.domains import parse_domain
from p2pnode.core.values.internet import AllowedHost
from p2pnode.data.web import PORTS, Response, checked_url, open_web


class PostTarget:
    """One URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        login, _, netloc = parts.netloc.rpartition("@")
        self._url = checked_url(urlunsplit(parts._replace(netloc=netloc)))
        self._host = AllowedHost(parse_domain(parts.hostname or ""), parts.port or PORTS[parts.scheme])
        self._login = base64.b64encode(unquote(login).encode()).decode() if login else ""

    async def post(
        self, body: bytes, headers: Mapping[str, str], answer_size_bytes_max: int
    ) -> tuple[int, str, bytes]:
        """The status, that in words, and the start of the answer; raises `Retryable` and `DataFailed`."""
        sent = {
            "content-type": "application/json",
            **headers,
            **({"authorization": f"Basic {self._login}"} if self._login else {}),
        }
        async with (
            open_web((self._host,)) as web,
            web.request("POST", self._url, sent, body) as response,
        ):
            return response.status, response.said, await _start_of(response, answer_size_bytes_max)


async def _start_of(response: Response, size_bytes_max: int) -> bytes:
    data = b""
    if size_bytes_max:
        async for chunk in response.chunks():
            data += chunk
            if len(data) >= size_bytes_max:
                break
    return data[:size_bytes_max]
