"""A receiver of webhooks on loopback, which answers as a test says and keeps what it was posted."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Posted:
    path: str
    # Names in lower case.
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass
class HookSite:
    port: int
    stop: Callable[[], None]
    # The status and the headers of each of the next answers, then always 204; a status of 0: none.
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    # The bodies of the next answers, then none.
    bodies: list[bytes] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def running_hooks(tls: tuple[Path, Path] | None = None) -> Iterator[HookSite]:
    """`tls`: the files of its key and its certificate."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, headers = site.answers.pop(0) if site.answers else (204, {})
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = {name.lower(): value for name, value in self.headers.items()}
            site.posted.append(Posted(self.path, found, body, status))
            if status == 0:
                over.wait()
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if site.bodies:
                self.wfile.write(site.bodies.pop(0))

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: pytest's output is for people."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls[1], tls[0])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def stop() -> None:
            over.set()
            server.shutdown()
            thread.join()
            server.server_close()

        site = HookSite(server.server_port, stop)
        try:
            yield site
        finally:
            stop()
