"""A client's connection to the API: questions and answers, streams of events, and what goes wrong there.

This stands on the standard library's `http.client`: nothing to import that a short command
would wait for. A connection whose answer was read to its end serves the next question.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast
from urllib.parse import urlsplit

from p2pnode.api.shapes import CALL_TIMEOUT_S, KEEP_ALIVE_INTERVAL_S, Json

from .errors import ClientError, WaitTimeout
from .errors import NodeUnreachable as NodeUnreachable
from .interrupts import Interrupt, current_interrupt
from .refusals import raise_refusal, refusal

# The node is on this machine: it accepts at once or is not there.
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = CALL_TIMEOUT_S + 5.0
EVENT_TIMEOUT_S = 3 * KEEP_ALIVE_INTERVAL_S
CHUNK_SIZE_BYTES = 256 * 1024
# The node closes a connection that has been idle for 5 s; one that it may be closing is not used.
IDLE_S_MAX = 2.0
# Listings are far smaller; what answers with more is no node.
ANSWER_SIZE_BYTES_MAX = 256 * 1024**2


class Channel:
    """Asks the API at `url` (http://127.0.0.1:PORT); `tls` says whom to trust where it begins with https.

    What asks raises `NodeUnreachable`, and `Refused` where the node refuses. Threads may share it, and an
    `Interrupt` ends what one of them asks.
    """

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NodeUnreachable(f"{url!r} is no API address; it looks like http://127.0.0.1:4701")
        self.url = url.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port or (443 if self._tls else 80)
        self._headers = {"Authorization": f"Bearer {token}"}
        # At most one, with the time it was last used; a list, as threads may share a client.
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []
        weakref.finalize(self, _close_all, self._idle)

    def close(self) -> None:
        """Close the connection that is kept for the next question; a later one opens another."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop()[0].close()

    def _call_json(self, method: str, path: str, body: Json) -> Json:
        return self._call(method, path, json.dumps(body).encode(), "application/json")

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        media_type: str = "application/octet-stream",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Json:
        with self._response(method, path, body, media_type, timeout_s) as (response, _):
            return cast(Json, json.loads(response.read(ANSWER_SIZE_BYTES_MAX)))

    def _events(
        self, path: str, deadline_s: float | None = None, asked: Json | None = None
    ) -> Generator[Any, None, None]:
        """The messages of a stream; at `deadline_s` of the monotonic clock `WaitTimeout` is raised.

        `asked` is the body of a stream that is no mere question.
        """
        method, body = ("GET", None) if asked is None else ("POST", json.dumps(asked).encode())
        with self._response(method, path, body, timeout_s=EVENT_TIMEOUT_S) as (response, sock):
            kind = ""
            for line in iter(lambda: _line(response, sock, deadline_s), b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "end":
                    # Nothing but the end of the answer, after which the connection is free.
                    with suppress(OSError, http.client.HTTPException):
                        response.read(CHUNK_SIZE_BYTES)
                    return
                elif name == "data" and kind == "error":
                    raise_refusal(json.loads(value))
                elif name == "data":
                    yield json.loads(value)
        reason = "it is shutting down or has died, or the token does not hold any more"
        raise NodeUnreachable(f"the node at {self.url} ended the stream: {reason}")

    @contextmanager
    def _response(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        media_type: str = "application/octet-stream",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        headers = self._headers | ({"Content-Type": media_type} if body is not None else {})
        interrupt = current_interrupt()
        # Only a question may be asked twice, should the node close the connection just now.
        connection = self._idle_connection() if method == "GET" else None
        response = None
        # Left before the connection is closed.
        watched = ExitStack()
        try:
            if connection is not None:
                sock = connection.sock
                watched.enter_context(interrupt.watching(sock))
                response = _asked_again(connection, path, headers, timeout_s)
            if connection is None or response is None:
                watched.close()
                connection, sock = self._connected(interrupt, watched)
                sock.settimeout(timeout_s)
                # A node that refuses before it has read all closes the connection: its answer says why.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body, headers)
                response = connection.getresponse()
            if response.status >= 400:
                raise_refusal(refusal(response))
            yield response, sock
            # From here on another thread may use the connection.
            watched.close()
            if response.isclosed() and not response.will_close and not self._idle and not interrupt.is_set:
                self._idle.append((connection, time.monotonic()))
                connection = None
        except ClientError:
            # `WaitTimeout` is an `OSError`, too.
            raise
        except (OSError, http.client.HTTPException, UnicodeDecodeError, json.JSONDecodeError) as error:
            interrupt.check()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NodeUnreachable(f"the node at {self.url} cannot be reached: {reason}") from error
        finally:
            watched.close()
            if response is not None and connection is not None:
                response.close()
            if connection is not None:
                connection.close()

    def _connected(
        self, interrupt: Interrupt, watched: ExitStack
    ) -> tuple[http.client.HTTPConnection, socket.socket]:
        """A new connection; from its first moment it is `watched`, but for the look-up of a name."""
        plain = _connected_socket(self._host, self._port, interrupt)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                connection = http.client.HTTPConnection(self._host, self._port)
                sock = plain
            else:
                connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
                # Takes the descriptor, so that closing the plain one does nothing.
                sock = self._tls.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        connection.sock = sock
        try:
            watched.enter_context(interrupt.watching(sock))
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
        except BaseException:
            watched.close()
            connection.close()
            raise
        return connection, sock

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        """A connection that the node has open still, as far as is known here; it is the caller's."""
        with suppress(IndexError):
            connection, used_s = self._idle.pop()
            if time.monotonic() - used_s < IDLE_S_MAX:
                return connection
            connection.close()
        return None


def _asked_again(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], timeout_s: float
) -> http.client.HTTPResponse | None:
    """The answer to one more question, or None if the node has closed the connection meanwhile."""
    connection.sock.settimeout(timeout_s)
    try:
        connection.request("GET", path, None, headers)
        return connection.getresponse()
    except ConnectionError:
        # `RemoteDisconnected` is one.
        connection.close()
        return None


def _connected_socket(host: str, port: int, interrupt: Interrupt) -> socket.socket:
    """A socket to the first of a host's addresses that accepts; raises `OSError` of the last."""
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(CONNECT_TIMEOUT_S)
            with interrupt.watching(one):
                one.connect(address)
            return one
        except OSError as error:
            one.close()
            interrupt.check()
            failure = error
        except BaseException:
            one.close()
            raise
    raise failure


def _line(response: http.client.HTTPResponse, sock: socket.socket, deadline_s: float | None) -> bytes:
    """The next line of a stream; raises `WaitTimeout` at the deadline."""
    if deadline_s is None:
        return response.readline()
    left_s = deadline_s - time.monotonic()
    try:
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(min(left_s, EVENT_TIMEOUT_S))
        return response.readline()
    except TimeoutError:
        if time.monotonic() < deadline_s:
            raise
        raise WaitTimeout("the time to wait is over, and what is waited for goes on") from None


def _close_all(idle: list[tuple[http.client.HTTPConnection, float]]) -> None:
    for connection, _ in idle:
        connection.close()
