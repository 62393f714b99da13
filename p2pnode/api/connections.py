"""The connections of the API: HTTP/1 alone, so many at once, each with deadlines.

Hypercorn serves them. Left to itself it takes as many as come, speaks HTTP/2 and WebSocket to whoever asks
before any token is seen, and waits for ever on a client that does not read.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from p2pnode.api.streaming import WRITE_TIMEOUT_S

from .shapes import Code

log = logging.getLogger(__name__)

# Commands and pages of one user; each costs a descriptor and some 40 KiB.
CONNECTIONS_MAX = 128
# This many are let in even where descriptors are tight: the owner wants to know why.
CONNECTIONS_RESERVED = 8
# From the first byte, and from the last answer, to a whole head; a client on this machine takes none.
HEAD_TIMEOUT_S = 5.0
HEAD_SIZE_BYTES_MAX = 16 * 1024
# For a client that is told that there is no place: its request is read before, or it would not see why.
REFUSAL_TIMEOUT_S = 0.5
REFUSALS_MAX = 16
# For the farewell of TLS, which a client that does not read would hold up.
CLOSE_TIMEOUT_S = 1.0
READ_SIZE_BYTES = 64 * 1024


class Connections:
    """All connections there are, with `tls` in TLS. `has_room` says whether the machine can hold more."""

    def __init__(
        self, app: AppWrapper, config: Config, has_room: Callable[[], bool], tls: ssl.SSLContext | None
    ) -> None:
        config.keep_alive_timeout = HEAD_TIMEOUT_S
        config.h11_max_incomplete_size = HEAD_SIZE_BYTES_MAX
        self._app = app
        self._config = config
        self._has_room = has_room
        self._tls = tls
        # The oldest first.
        self._open: dict[_Connection, None] = {}
        self._refusals = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serves one connection to its end; a new one takes the place of the oldest idle one."""
        full = len(self._open) >= CONNECTIONS_MAX
        tight = len(self._open) >= CONNECTIONS_RESERVED and not self._has_room()
        if (full or tight) and not self._close_oldest_idle():
            await self._refuse(stream)
            return
        connection = _Connection(self._app, self._config, stream, self._tls)
        self._open[connection] = None
        try:
            await connection.run()
        except* Exception:
            # The guard: a connection's failure is not the node's.
            log.exception("a connection of the API failed")
        finally:
            self._open.pop(connection, None)
            await trio.aclose_forcefully(stream)

    async def shed(self) -> None:
        """Closes the idle ones."""
        while self._close_oldest_idle():
            await trio.lowlevel.checkpoint()

    def close_all(self) -> None:
        for connection in list(self._open):
            connection.abort()

    def _close_oldest_idle(self) -> bool:
        oldest = next((one for one in self._open if one.idle), None)
        if oldest is None:
            return False
        del self._open[oldest]
        oldest.abort()
        return True

    async def _refuse(self, stream: trio.SocketStream) -> None:
        self._refusals += 1
        try:
            # Words in plain text mean nothing to a client that speaks TLS.
            if self._refusals <= REFUSALS_MAX and self._tls is None:
                with trio.move_on_after(REFUSAL_TIMEOUT_S):
                    await stream.receive_some(READ_SIZE_BYTES)
                    await stream.send_all(_NO_PLACE)
        except trio.BrokenResourceError:
            log.debug("a client that was to be refused went away")
        finally:
            self._refusals -= 1
            await trio.aclose_forcefully(stream)


class _Connection(TCPServer):
    """Hypercorn's connection without HTTP/2, and with a deadline for each piece that it sends."""

    def __init__(
        self, app: AppWrapper, config: Config, transport: trio.SocketStream, tls: ssl.SSLContext | None
    ) -> None:
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = transport
        if tls is not None:
            stream = trio.SSLStream(transport, tls, server_side=True, https_compatible=True)
        super().__init__(app, config, WorkerContext(None), ConnectionState({}), stream)  # type: ignore[arg-type]
        self._transport = transport
        self._in_tls = tls is not None
        # No whole head of a request is there.
        self.idle = True

    async def run(self) -> None:
        socket = self._transport.socket
        try:
            if self._in_tls and not await self._greeted():
                return
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with TaskGroup() as self._task_group:
                self.protocol = _Http1(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    self._task_group,
                    self.state,
                    self._in_tls,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            log.debug("a connection of the API broke", exc_info=True)
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await self._close()

    async def _greeted(self) -> bool:
        """Whether the client speaks TLS, and has done so in time."""
        try:
            with trio.fail_after(HEAD_TIMEOUT_S):
                await self.stream.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            log.debug("a client of the API did not come to speak TLS", exc_info=True)
            return False
        return True

    async def _initiate_server_close(self) -> None:
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await super()._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self.idle = event.idle
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.fail_after(WRITE_TIMEOUT_S):
                    await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                self.abort()
                await self.protocol.handle(Closed())

    def abort(self) -> None:
        """Closes it at once, whatever it waits for."""
        self._transport.socket.close()


class _Http1(H11Protocol):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.connection = _NoUpgrade(h11.SERVER, max_incomplete_event_size=HEAD_SIZE_BYTES_MAX)


class _NoUpgrade(h11.Connection):
    """Refuses the requests that hypercorn would answer in HTTP/2 or WebSocket."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("HTTP/1 only", error_status_hint=505)
            if any(name == b"upgrade" for name, _ in event.headers):
                raise h11.RemoteProtocolError("no upgrades", error_status_hint=501)
        return event


def _no_place() -> bytes:
    message = f"{CONNECTIONS_MAX} connections to this node's API are open, or it is short of file descriptors"
    body = json.dumps({"error": Code.UNAVAILABLE, "message": f"{message}; end some, or try again"}).encode()
    head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


_NO_PLACE = _no_place()
