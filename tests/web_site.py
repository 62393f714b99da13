"""A small web site on loopback for the tests of URL inputs: ranges, ETags, redirects, and broken answers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Page:
    data: bytes = b""
    status: int = 200
    etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    # After how many bytes each of the next answers breaks off.
    breaks: list[int] = field(default_factory=list)


@dataclass
class Site:
    port: int
    pages: dict[str, Page] = field(default_factory=dict)
    # The requests: path, and the Range.
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def running_site(tls: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """`tls`: the files of its key and its certificate."""
    site = Site(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            site.asked.append((self.path, wanted))
            page = site.pages.get(self.path.partition("?")[0], Page(b"no such page", status=404))
            data, status = page.data, page.status
            extra = {**page.headers, **({"ETag": page.etag} if page.etag else {})}
            if wanted and page.etag and self.headers.get("If-Range") == page.etag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                data, status = data[start:], 206
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            if page.breaks:
                data = data[: page.breaks.pop(0)]
                self.close_connection = True
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            """A client that goes away is what some of the tests do."""

    with Server(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_address[1]
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls[1], tls[0])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
