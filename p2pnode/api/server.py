"""The API on a socket: on loopback, or with TLS anywhere; its token and its address in the data directory.

`api.token` holds the owner's secret (mode 0600, made once); `node.json` says where the node that runs now
is: `{api, pid, peer, name}`, with TLS `certificate` as well. It is there while the API is open.
"""

from __future__ import annotations

import ipaddress
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

from . import certificates
from .access import Door
from .certificates import Certified
from .files import write_private
from .requests import OwnHosts
from .shapes import (
    NODE_FILE,
    TOKEN_FILE,
    token_of,
)
from .tokens import SECRET_SIZE_BYTES, TOKENS_FILE, TokenStore

log = logging.getLogger(__name__)

# Connections that wait to be accepted.
BACKLOG = 128
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """The IP address and port (0: a free one) to listen at; with a certificate and its key in TLS."""

    host: str = LOOPBACK
    port: int = 0
    # PEM files; "": none.
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Api:
    """The API while it is open. `shed` closes the connections that nobody uses."""

    url: str
    shed: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_api(
    services: Services, data_dir: Path, address: ApiAddress, has_room: Callable[[], bool] = lambda: True
) -> AsyncIterator[Api]:
    """The API, open while the block runs; without room no more come in.

    Raises `OSError` where the port is taken, or the certificate or the directory cannot be used.
    """
    config = hypercorn.config.Config()
    # A limit would end a long answer whose client has nothing more to say; `Connections` has the deadlines.
    config.read_timeout = None
    # Its own handler would write to the terminal; what matters is logged by the app's guard.
    config.errorlog = logging.getLogger("p2pnode.api.http")
    config.include_server_header = False
    tls = certificates.load(Path(address.cert), Path(address.key)) if address.cert else None
    door = Door(_token(data_dir / TOKEN_FILE), TokenStore(data_dir / TOKENS_FILE))
    app = make_app(services, door, _hosts(address.host, tls))
    wrapped = hypercorn.utils.wrap_app(app, 0, "asgi")  # type: ignore[arg-type]
    connections = Connections(wrapped, config, has_room, tls.context if tls else None)
    path = data_dir / NODE_FILE
    listener = _listen(address)
    port = listener.socket.getsockname()[1]
    url = f"{'https' if tls else 'http'}://{_bracketed(_reached_at(address.host))}:{port}"
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, connections.serve, [listener])
        identity = services.nodes.identity()
        node = {"api": url, "pid": os.getpid(), "peer": identity["peer"], "name": identity["name"]}
        write_private(path, json.dumps(node | ({"certificate": tls.pem} if tls else {})))
        try:
            yield Api(url, connections.shed)
        finally:
            path.unlink(missing_ok=True)
            # A client that keeps a connection open must not hold up the node's end.
            connections.close_all()
            nursery.cancel_scope.cancel()


def _hosts(host: str, tls: Certified | None) -> OwnHosts:
    own = [] if host == LOOPBACK or ipaddress.ip_address(host).is_unspecified else [_bracketed(host)]
    return OwnHosts(dict.fromkeys([*own, *(tls.names if tls else ())]))


def _reached_at(host: str) -> str:
    """The address at which programs on this machine reach a listener."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    return LOOPBACK if address.version == 4 else "::1"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(address: ApiAddress) -> trio.SocketListener:
    bound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        bound.bind((address.host, address.port))
        bound.listen(BACKLOG)
    except OSError as exc:
        bound.close()
        place = f"{_bracketed(address.host)}:{address.port}"
        raise OSError(f"cannot open the API at {place}: {exc.strerror}") from exc
    return trio.SocketListener(trio.socket.from_stdlib_socket(bound))


def _token(path: Path) -> str:
    """The file's token; a new one where there is no file, or no token in it."""
    token = token_of(path.read_text(errors="replace")) if path.exists() else None
    if token is None:
        if path.exists():
            log.warning("%s held no token, and has a new one", path)
        token = secrets.token_urlsafe(SECRET_SIZE_BYTES)
        write_private(path, token)
    return token
