"""Requests to a node's API byte for byte as a test wants them, and the routes that take words of a user."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
# Each route that reads a path or a query.
PATHS = [
    "GET /api/v1/jobs?name={}", "GET /api/v1/jobs?namespace={}&name=a", "GET /api/v1/jobs/{}",
    "GET /api/v1/jobs/{}/versions/1", "GET /api/v1/jobs/{}/events", "GET /api/v1/jobs/j/events?since={}",
    "POST /api/v1/jobs/{}/exec", "POST /api/v1/exec/{}", "POST /api/v1/exec/{}/size",
    "POST /api/v1/exec/s?end={}",
    "GET /api/v1/jobs/{}/logs", "GET /api/v1/jobs/j/logs?execution={}", "GET /api/v1/jobs/j/logs?stream={}",
    "POST /api/v1/jobs/{}/stop", "POST /api/v1/jobs/{}/rerun", "POST /api/v1/jobs?name={}",
    "POST /api/v1/plan?name={}", "GET /api/v1/ipfs/fetch/{}", "GET /api/v1/ipfs/fetch/bafy?peer={}",
    "GET /api/v1/ipfs/ls/{}", "GET /api/v1/ipfs/resolve/{}", "GET /api/v1/ipfs/ls/bafy?peer={}",
    "PUT /api/v1/ipfs/pins/{}",
    "PUT /api/v1/ipfs/pins/bafy?peer={}", "DELETE /api/v1/ipfs/pins/{}", "GET /ipfs/{}",
    "GET /ipfs/bafy?peer={}", "GET /ipfs/bafy?format={}",
]  # fmt: skip
# Texts that mean nothing, in the form that URLs have them.
STRANGE = ("%1b%5b0m", "%ef%bf%bd", "%F0%9F%98%80", "..%2f..", "%0a", "%25ff", "%", "12D3KooWx")


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=TIMEOUT_S)


def to_end(connection: socket.socket) -> bytes:
    """All that comes until the node closes the connection."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


def answer(url: str, token: str, start: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the body of the one answer to a request with this first line and these headers."""
    own = [f"Authorization: Bearer {token}"]
    own += [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([start, *headers, *own, "Connection: close", "", ""])
    with connected(url) as connection:
        connection.sendall(head.encode("latin-1") + body)
        received = to_end(connection)
    head_received, _, rest = received.partition(b"\r\n\r\n")
    return int(head_received.split()[1]) if received else 0, rest
