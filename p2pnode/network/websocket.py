"""WebSocket below libp2p: a stream of bytes in binary messages, over TCP, for where nothing but HTTP passes.

Whoever listens upgrades when the first bytes are asked for: so the admission of connections, its deadline
included, counts a visitor from its first packet on. TLS is dialled alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError, IOException
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    Request,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from .scopes import shielded

# Two round trips on the slowest lines.
UPGRADE_S_MAX = 5.0
# A request of a browser with its cookies has 2 KiB.
UPGRADE_SIZE_BYTES_MAX = 16 * 1024
# Others send what they are given to write as one message: some of Noise's, 64 KiB each.
MESSAGE_SIZE_BYTES_MAX = 1024 * 1024
# As Noise reads at once.
RECEIVE_SIZE_BYTES = 256 * 1024
# An answer to a Ping: a peer that does not take so little is gone.
CONTROL_S_MAX = 5.0
# A goodbye is waited for by nobody.
GOODBYE_S_MAX = 0.2
# Kubo's, and that of js-libp2p.
PATH = "/"


class NoWebSocket(IOException):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """The other side does not speak WebSocket as a node does; the message says what it did.

    `answer` is the response of HTTP to it.
    """

    def __init__(self, message: str, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


class Framing:
    """One side of a WebSocket connection: what to say, and what was said; without any I/O.

    With `host` it is the side that dials, as which the request names the host that it wants.
    """

    def __init__(self, host: str = "") -> None:
        self._socket = WSConnection(ConnectionType.CLIENT if host else ConnectionType.SERVER)
        self._upgrade_size_bytes = 0
        self._message_size_bytes = 0
        self.is_open = False
        # The other side has said that it goes.
        self.is_ended = False
        self._first = self._socket.send(Request(host=host, target=PATH)) if host else b""

    def begin(self) -> bytes:
        """The bytes to be sent before any come."""
        return self._first

    def framed(self, data: bytes) -> bytes:
        """The data as a message; raises `NoWebSocket` once the connection is ended."""
        try:
            return self._socket.send(Message(data=data))
        except LocalProtocolError as exc:
            raise NoWebSocket("the WebSocket connection has ended") from exc

    def goodbye(self) -> bytes:
        """The bytes to be sent last."""
        try:
            return self._socket.send(CloseConnection(code=1000)) if self.is_open else b""
        except LocalProtocolError:
            return b""

    def take_untrusted(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what came in messages, and what to answer; raises `NoWebSocket`, which ends the connection."""
        if not self.is_open:
            self._upgrade_size_bytes += len(data)
            if self._upgrade_size_bytes > UPGRADE_SIZE_BYTES_MAX:
                raise NoWebSocket(f"an upgrade to WebSocket of over {UPGRADE_SIZE_BYTES_MAX:,} bytes")
        came, answers = bytearray(), bytearray()
        try:
            self._socket.receive_data(data)
            for more, answer in self._take_events():
                came += more
                answers += answer
        except RemoteProtocolError as exc:
            raise self._refused(f"what is there speaks no WebSocket: {exc}", exc.event_hint) from exc
        except (LocalProtocolError, UnicodeError) as exc:
            raise NoWebSocket(f"what is there speaks no WebSocket: {exc}") from exc
        return bytes(came), bytes(answers)

    def _refused(self, reason: str, response: Event | None) -> NoWebSocket:
        # The side that dials gives no responses.
        answers = isinstance(response, RejectConnection) and not self._first
        return NoWebSocket(reason, self._socket.send(response) if answers and response else b"")

    def _take_events(self) -> Iterator[tuple[bytes, bytes]]:
        for event in self._socket.events():
            match event:
                case Request():
                    if event.target != PATH:
                        reason = f"a WebSocket is asked for at another path than {PATH}"
                        raise self._refused(reason, RejectConnection(status_code=404))
                    yield b"", self._socket.send(AcceptConnection())
                    self.is_open = True
                case AcceptConnection():
                    self.is_open = True
                case RejectConnection():
                    raise NoWebSocket(
                        f"a web server that gives no WebSocket answers there: {event.status_code}"
                    )
                case BytesMessage():
                    self._message_size_bytes += len(event.data)
                    if self._message_size_bytes > MESSAGE_SIZE_BYTES_MAX:
                        raise NoWebSocket(f"a WebSocket message of over {MESSAGE_SIZE_BYTES_MAX:,} bytes")
                    if event.message_finished:
                        self._message_size_bytes = 0
                    yield bytes(event.data), b""
                case Ping():
                    yield b"", self._socket.send(event.response())
                case CloseConnection():
                    self.is_ended = True
                    return
                case Message():
                    raise NoWebSocket("a WebSocket message of text, where bytes are spoken")


class WebSocketStream(ReadWriteCloser):  # type: ignore[misc]
    """The bytes of a connection in messages of WebSocket.

    With `host` this side has dialled, and is to `open` it; else whoever reads or writes first does.
    """

    def __init__(self, stream: ReadWriteCloser, host: str = "") -> None:
        self.stream = stream
        self._framing = Framing(host)
        self._received = b""
        self._opening = trio.Lock()
        self._reading = trio.Lock()
        self._writing = trio.Lock()

    async def open(self) -> None:
        """Upgrade the connection; raises `NoWebSocket`."""
        async with self._opening:
            if self._framing.is_open:
                return
            try:
                with trio.fail_after(UPGRADE_S_MAX):
                    await self.stream.write(self._framing.begin())
                    while not self._framing.is_open:
                        await self._receive()
                        if self._framing.is_ended:
                            raise NoWebSocket(
                                "what is there ended the connection before it was one of WebSocket"
                            )
            except trio.TooSlowError as exc:
                raise NoWebSocket(f"no WebSocket within {UPGRADE_S_MAX:.0f} s") from exc

    async def read(self, n: int | None = None) -> bytes:
        await self.open()
        async with self._reading:
            while not self._received and not self._framing.is_ended:
                await self._receive()
            size_bytes = len(self._received) if n is None else n
            data, self._received = self._received[:size_bytes], self._received[size_bytes:]
            return data

    async def _receive(self) -> None:
        """Take in what comes next, and answer it; the end of the stream ends the connection."""
        data = await self.stream.read(RECEIVE_SIZE_BYTES)
        if not data:
            self._framing.is_ended = True
            return
        try:
            came, answer = self._framing.take_untrusted(data)
        except NoWebSocket as exc:
            self._framing.is_ended = True
            if exc.answer:
                await self._say(exc.answer)
            await self.stream.close()
            raise
        self._received += came
        if answer:
            await self._say(answer)

    async def _say(self, data: bytes) -> None:
        """Send what is no message, to its end however this is cancelled; raises `ConnectionClosedError`."""
        with shielded(CONTROL_S_MAX) as scope:
            async with self._writing:
                await self.stream.write(data)
        if scope.cancelled_caught:
            await self.stream.close()
            raise ConnectionClosedError(f"the peer took no data for {CONTROL_S_MAX} s", transport="ws")

    async def write(self, data: bytes) -> None:
        await self.open()
        async with self._writing:
            await self.stream.write(self._framing.framed(data))

    async def close(self) -> None:
        try:
            # A write that waits for the peer is not waited for.
            if not self._writing.locked() and (goodbye := self._framing.goodbye()):
                with suppress(IOException), trio.move_on_after(GOODBYE_S_MAX):
                    await self.stream.write(goodbye)
        finally:
            await self.stream.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        found = self.stream.get_remote_address()
        return (str(found[0]), int(found[1])) if found else None
