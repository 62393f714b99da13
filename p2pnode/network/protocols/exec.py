"""Programs begun in running executions, between a controller's node and the peer (`protocols/exec.md`).

The controller opens a stream and sends one request; then both send pieces of input and output, and a sign of
life where there are none. Either side holds the other back by not reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import trio

from p2pnode.core.wire import extensions, protocols
from p2pnode.core.wire.codec import BadMessage, Record
from p2pnode.core.wire.exec import (
    EXEC_DATA_SIZE_BYTES_MAX,
    ExecEnd,
    ExecInput,
    ExecOutput,
    ExecRequest,
    ExecResize,
    FromController,
    FromPeer,
    StreamName,
)
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.signing import Signed
from p2pnode.core.worker.entering import CannotEnter, Entered
from p2pnode.network.host import Host
from p2pnode.network.scopes import unwrapped
from p2pnode.network.streams import NetworkError, Stream, StreamBroken

from .frames import read_frame_untrusted, write_frame

PROTOCOL = protocols.EXEC
FRAME_SIZE_BYTES_MAX = EXEC_DATA_SIZE_BYTES_MAX + 1024
OPEN_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 5.0
# The first and the last frame: they wait for no program and no person.
WRITE_TIMEOUT_S = 30.0
# A program may be busy, and a person may stop the terminal to read, or be called away.
TAKE_TIMEOUT_S = 600.0
# A silent program is normal: an empty piece goes this often, and three missing ones mean a dead node.
KEEP_ALIVE_INTERVAL_S = 10.0
READ_TIMEOUT_S = 3 * KEEP_ALIVE_INTERVAL_S
# A shell that is forgotten in some window is gone the next day.
SERVE_TIME_S_MAX = 24 * 3600.0

Enter = Callable[[str, Signed], AbstractAsyncContextManager[Entered]]


class _Sender:
    """Sends frames of several tasks, one after the other."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.lock = trio.Lock()
        self._sent_at = trio.current_time()

    async def send(self, record: Record) -> None:
        async with self.lock:
            await write_frame(self._stream, record, TAKE_TIMEOUT_S)
            self._sent_at = trio.current_time()

    async def keep_alive(self, sign: Record) -> None:
        """Send a sign of life where nothing else was sent; until cancelled."""
        while True:
            await trio.sleep_until(self._sent_at + KEEP_ALIVE_INTERVAL_S)
            if self.lock.locked():
                # A frame that is held back, and may be for long.
                async with self.lock:
                    continue
            if trio.current_time() >= self._sent_at + KEEP_ALIVE_INTERVAL_S:
                await self.send(sign)


async def serve(stream: Stream, enter: Enter) -> None:
    """Answers one request; `enter(peer, signed)` begins the program, and ends it in the end.

    Raises `StreamBroken` and `BadMessage`, which end the stream.
    """
    request = await read_frame_untrusted(stream, ExecRequest, FRAME_SIZE_BYTES_MAX, REQUEST_TIMEOUT_S)
    if request is None:
        raise BadMessage("the stream ended before a request")
    extensions.vet(request, "this request")
    try:
        with unwrapped():
            async with enter(stream.peer, request.signed) as program:
                end = await _attend(stream, program)
    except CannotEnter as exc:
        end = ExecEnd(exit_code=None, reason=reason_of(exc))
    await write_frame(stream, end, WRITE_TIMEOUT_S)
    await stream.close()


async def _attend(stream: Stream, program: Entered) -> ExecEnd:
    """Pass on what a program writes and gets, to its end."""
    sender = _Sender(stream)
    sign = ExecOutput(stream="stdout", data=b"")
    async with trio.open_nursery() as nursery:
        await sender.send(sign)
        nursery.start_soon(sender.keep_alive, sign)
        nursery.start_soon(_pass_input, stream, program)
        while piece := await program.read():
            await sender.send(ExecOutput(stream=piece[0], data=piece[1]))
        # Not within a frame of the other tasks: one more is to follow.
        async with sender.lock:
            nursery.cancel_scope.cancel()
    return await program.ended()


async def _pass_input(stream: Stream, program: Entered) -> None:
    while True:
        frame: FromController | None = await read_frame_untrusted(
            stream,
            FromController,  # type: ignore[arg-type]  # A union is no type for mypy.
            FRAME_SIZE_BYTES_MAX,
            READ_TIMEOUT_S,
        )
        match frame:
            case None:
                raise StreamBroken("the controller has left")
            case ExecResize(columns=columns, rows=rows):
                await program.resize(columns, rows)
            case ExecInput(data=data, end=end):
                if data:
                    await program.write(data)
                if end:
                    await program.end_input()


class _RemoteProgram:
    """The program at its peer."""

    def __init__(self, stream: Stream, sender: _Sender) -> None:
        self._stream = stream
        self._sender = sender
        self._end: ExecEnd | None = None

    async def begun(self) -> None:
        """Wait until it has begun; raises `CannotEnter` if the peer refuses."""
        if isinstance(frame := await self._next(), ExecEnd):
            raise CannotEnter(frame.reason or "the peer did not begin it, and does not say why")

    async def read(self) -> tuple[StreamName, bytes] | None:
        while self._end is None:
            frame = await self._next()
            if isinstance(frame, ExecEnd):
                self._end = frame
            elif frame.data:
                return frame.stream, frame.data
        return None

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), EXEC_DATA_SIZE_BYTES_MAX):
            await self._send(ExecInput(data=data[at : at + EXEC_DATA_SIZE_BYTES_MAX], end=False))

    async def end_input(self) -> None:
        await self._send(ExecInput(data=b"", end=True))

    async def resize(self, columns: int, rows: int) -> None:
        await self._send(ExecResize(columns=columns, rows=rows))

    async def ended(self) -> ExecEnd:
        assert self._end is not None
        return self._end

    async def _next(self) -> FromPeer:
        try:
            frame: FromPeer | None = await read_frame_untrusted(
                self._stream,
                FromPeer,  # type: ignore[arg-type]  # A union is no type for mypy.
                FRAME_SIZE_BYTES_MAX,
                READ_TIMEOUT_S,
            )
        except (NetworkError, BadMessage) as exc:
            raise CannotEnter(f"the peer that runs it was lost: {exc}") from exc
        if frame is None:
            raise CannotEnter("the peer that runs it was lost: it closed the stream")
        return frame

    async def _send(self, record: Record) -> None:
        # Input that the peer does not take came too late: the reader learns how it ended.
        with suppress(StreamBroken):
            await self._sender.send(record)


@asynccontextmanager
async def entered(host: Host, peer: str, signed: Signed) -> AsyncIterator[Entered]:
    """A program that a peer has begun, and ends when the block is left.

    Raises `NetworkError`, and `CannotEnter` with the peer's reason.
    """
    stream = await host.open_stream(peer, [PROTOCOL], OPEN_TIMEOUT_S)
    try:
        await write_frame(stream, ExecRequest(signed=signed), WRITE_TIMEOUT_S)
        sender = _Sender(stream)
        program = _RemoteProgram(stream, sender)
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_show_life, sender)
                await program.begun()
                yield program
                nursery.cancel_scope.cancel()
    finally:
        await stream.reset()


async def _show_life(sender: _Sender) -> None:
    # Whoever reads learns that the stream is broken.
    with suppress(StreamBroken):
        await sender.keep_alive(ExecInput(data=b"", end=False))
