"""The API on a socket: loopback only, its token and its address in the data directory.

`api.token` holds the secret that each request brings (mode 0600, made once); `node.json` says
where the node that runs now is: `{api, pid, peer, name}`. It is there while the API is open.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import hypercorn.config
import hypercorn.utils
import trio

from p2pnode.api.app import make_app
from p2pnode.api.connections import Connections
from p2pnode.api.services import Services

from .shapes import (
    NODE_FILE,
    TOKEN_FILE,
    token_of,
)

log = logging.getLogger(__name__)

# Connections that wait to be accepted.
BACKLOG = 128
TOKEN_SIZE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Api:
    """The API while it is open. `shed` closes the connections that nobody uses."""

    url: str
    shed: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_api(
    services: Services, data_dir: Path, port: int, has_room: Callable[[], bool] = lambda: True
) -> AsyncIterator[Api]:
    """The API, open while the block runs. Port 0 takes a free one; without room no more come in.

    Raises `OSError` where the port is taken or the directory cannot be written.
    """
    config = hypercorn.config.Config()
    # A limit would end a long answer whose client has nothing more to say; `Connections` has the deadlines.
    config.read_timeout = None
    # Its own handler would write to the terminal; what matters is logged by the app's guard.
    config.errorlog = logging.getLogger("p2pnode.api.http")
    config.include_server_header = False
    app = make_app(services, _token(data_dir / TOKEN_FILE))
    connections = Connections(hypercorn.utils.wrap_app(app, 0, "asgi"), config, has_room)  # type: ignore[arg-type]
    path = data_dir / NODE_FILE
    listener = _listen(port)
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, connections.serve, [listener])
        identity = services.nodes.identity()
        node = {"api": url, "pid": os.getpid(), "peer": identity["peer"], "name": identity["name"]}
        _write_private(path, json.dumps(node))
        try:
            yield Api(url, connections.shed)
        finally:
            path.unlink(missing_ok=True)
            # A client that keeps a connection open must not hold up the node's end.
            connections.close_all()
            nursery.cancel_scope.cancel()


def _listen(port: int) -> trio.SocketListener:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(BACKLOG)
    except OSError as exc:
        bound.close()
        raise OSError(f"cannot open the API at 127.0.0.1:{port}: {exc.strerror}") from exc
    return trio.SocketListener(trio.socket.from_stdlib_socket(bound))


def _token(path: Path) -> str:
    """The file's token; a new one where there is no file, or no token in it."""
    token = token_of(path.read_text(errors="replace")) if path.exists() else None
    if token is None:
        if path.exists():
            log.warning("%s held no token, and has a new one", path)
        token = secrets.token_urlsafe(TOKEN_SIZE_BYTES)
        _write_private(path, token)
    return token


def _write_private(path: Path, text: str) -> None:
    """Write it whole or not at all, for the owner's eyes."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    part.replace(path)
