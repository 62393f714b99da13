"""Programs begun in running executions, between a controller's node and the peer (`protocols/exec.md`).

The controller opens a stream and sends one request; then both send pieces of input and output, and a sign of
life where there are none. Neither sends more than the other takes: a stream of this host's that nobody reads
would break in a few seconds, and with some more its connection.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import trio

from p2pnode.core.wire import extensions, protocols
from p2pnode.core.wire.codec import BadMessage, Record
from p2pnode.core.wire.exec import (
    EXEC_DATA_SIZE_BYTES_MAX,
    EXEC_WINDOW_BYTES,
    ExecEnd,
    ExecInput,
    ExecOutput,
    ExecRequest,
    ExecResize,
    ExecTaken,
    FromController,
    FromPeer,
    StreamName,
    cost_bytes,
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
# A frame waits for no program and no person, as who gets it always reads.
WRITE_TIMEOUT_S = 30.0
# Taken data is told of in a few pieces; the rest of the window is in use meanwhile.
TOLD_BYTES_MIN = EXEC_WINDOW_BYTES // 4
# A silent program is normal: an empty piece goes this often, and three missing ones mean a dead node.
KEEP_ALIVE_INTERVAL_S = 10.0
READ_TIMEOUT_S = 3 * KEEP_ALIVE_INTERVAL_S
# A shell that is forgotten in some window is gone the next day.
SERVE_TIME_S_MAX = 24 * 3600.0

Enter = Callable[[str, Signed], AbstractAsyncContextManager[Entered]]


class _Flow:
    """Frames of several tasks on one stream, and data only as far as the other side takes it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.lock = trio.Lock()
        self._sent_at = trio.current_time()
        # May still be sent; came and waits here; was taken of that and not told.
        self._credit_bytes = EXEC_WINDOW_BYTES
        self._waiting_bytes = 0
        self._owed_bytes = 0
        self._has_credit = trio.Event()
        self._is_over = False

    async def send(self, record: Record) -> None:
        """Send a frame; raises `StreamBroken`."""
        async with self.lock:
            await write_frame(self._stream, record, WRITE_TIMEOUT_S)
            self._sent_at = trio.current_time()

    async def send_piece(self, piece: ExecInput | ExecOutput) -> None:
        """Send a piece when there is room for it; raises `StreamBroken`."""
        cost = cost_bytes(piece)
        while self._credit_bytes < cost and not self._is_over:
            await self._has_credit.wait()
        if self._is_over:
            raise StreamBroken("the other side takes no more")
        self._credit_bytes -= cost
        await self.send(piece)

    def is_taken(self, taken: ExecTaken) -> None:
        """The other side tells; raises `BadMessage` if it tells of more than it was sent."""
        self._credit_bytes += taken.size_bytes
        if self._credit_bytes > EXEC_WINDOW_BYTES:
            raise BadMessage("more is taken than was sent")
        self._wake()

    def came(self, piece: ExecInput | ExecOutput) -> bool:
        """Count a piece that waits here; whether it is more than a sign of life. Raises `BadMessage`."""
        cost = cost_bytes(piece)
        self._waiting_bytes += cost
        if self._waiting_bytes + self._owed_bytes > EXEC_WINDOW_BYTES:
            raise BadMessage("more data than was asked for")
        return cost > 0

    async def took(self, piece: ExecInput | ExecOutput) -> None:
        """A piece waits no more; raises `StreamBroken`."""
        cost = cost_bytes(piece)
        self._waiting_bytes -= cost
        self._owed_bytes += cost
        if self._owed_bytes >= TOLD_BYTES_MIN:
            told, self._owed_bytes = self._owed_bytes, 0
            await self.send(ExecTaken(size_bytes=told))

    def end(self) -> None:
        """Let nobody wait for room any more."""
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        self._has_credit.set()
        self._has_credit = trio.Event()

    async def keep_alive(self, sign: Record) -> None:
        """Send a sign of life where nothing else was sent, until cancelled; raises `StreamBroken`."""
        while True:
            await trio.sleep_until(self._sent_at + KEEP_ALIVE_INTERVAL_S)
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
    flow = _Flow(stream)
    sign = ExecOutput(stream="stdout", data=b"")
    # Holds no more than the window: `_Flow.came`.
    sending, pieces = trio.open_memory_channel[ExecInput](math.inf)
    async with trio.open_nursery() as nursery:
        await flow.send(sign)
        nursery.start_soon(flow.keep_alive, sign)
        nursery.start_soon(_receive, stream, flow, program, sending)
        nursery.start_soon(_give_input, pieces, flow, program)
        while piece := await program.read():
            await flow.send_piece(ExecOutput(stream=piece[0], data=piece[1]))
        # Not within a frame of the other tasks: one more is to follow.
        async with flow.lock:
            nursery.cancel_scope.cancel()
    return await program.ended()


async def _receive(
    stream: Stream, flow: _Flow, program: Entered, sending: trio.MemorySendChannel[ExecInput]
) -> None:
    """Read what the controller sends; raises `StreamBroken` once it has left, and `BadMessage`."""
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
            case ExecTaken():
                flow.is_taken(frame)
            case ExecInput() if flow.came(frame):
                sending.send_nowait(frame)


async def _give_input(pieces: trio.MemoryReceiveChannel[ExecInput], flow: _Flow, program: Entered) -> None:
    has_ended = False
    async for piece in pieces:
        if piece.data and not has_ended:
            await program.write(piece.data)
        if piece.end and not has_ended:
            has_ended = True
            await program.end_input()
        await flow.took(piece)


class _RemoteProgram:
    """The program at its peer."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.flow = _Flow(stream)
        # Holds no more than the window: `_Flow.came`.
        self._sending, self._pieces = trio.open_memory_channel[ExecOutput](math.inf)
        self._end: ExecEnd | None = None
        self._lost: CannotEnter | None = None

    async def begun(self) -> None:
        """Wait until it has begun; raises `CannotEnter` if the peer refuses."""
        match await self._next():
            case ExecEnd(reason=reason):
                raise CannotEnter(reason or "the peer did not begin it, and does not say why")
            case ExecOutput(data=b""):
                return
        raise CannotEnter("the peer that runs it was lost: it does not say that the program began")

    async def receive(self) -> None:
        """Read what the peer sends, to the end."""
        try:
            while self._end is None:
                match await self._next():
                    case ExecEnd() as end:
                        self._end = end
                    case ExecTaken() as taken:
                        self.flow.is_taken(taken)
                    case ExecOutput() as piece if self.flow.came(piece):
                        self._sending.send_nowait(piece)
        except BadMessage as exc:
            self._lost = _lost(exc)
        except CannotEnter as exc:
            self._lost = exc
        finally:
            self.flow.end()
            self._sending.close()

    async def read(self) -> tuple[StreamName, bytes] | None:
        async for piece in self._pieces:
            # The reader learns how it ended; who is told of it may be gone.
            with suppress(StreamBroken):
                await self.flow.took(piece)
            return piece.stream, piece.data
        if self._lost is not None:
            raise self._lost
        return None

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), EXEC_DATA_SIZE_BYTES_MAX):
            await self._send(ExecInput(data=data[at : at + EXEC_DATA_SIZE_BYTES_MAX], end=False))

    async def end_input(self) -> None:
        await self._send(ExecInput(data=b"", end=True))

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(StreamBroken):
            await self.flow.send(ExecResize(columns=columns, rows=rows))

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
            raise _lost(exc) from exc
        if frame is None:
            raise CannotEnter("the peer that runs it was lost: it closed the stream")
        return frame

    async def _send(self, piece: ExecInput) -> None:
        # Input that the peer does not take came too late: the reader learns how it ended.
        with suppress(StreamBroken):
            await self.flow.send_piece(piece)


def _lost(exc: Exception) -> CannotEnter:
    return CannotEnter(f"the peer that runs it was lost: {exc}")


@asynccontextmanager
async def entered(host: Host, peer: str, signed: Signed) -> AsyncIterator[Entered]:
    """A program that a peer has begun, and ends when the block is left.

    Raises `NetworkError`, and `CannotEnter` with the peer's reason.
    """
    stream = await host.open_stream(peer, [PROTOCOL], OPEN_TIMEOUT_S)
    try:
        await write_frame(stream, ExecRequest(signed=signed), WRITE_TIMEOUT_S)
        program = _RemoteProgram(stream)
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_show_life, program.flow)
                await program.begun()
                nursery.start_soon(program.receive)
                yield program
                nursery.cancel_scope.cancel()
    finally:
        await stream.reset()


async def _show_life(flow: _Flow) -> None:
    # Whoever reads learns that the stream is broken.
    with suppress(StreamBroken):
        await flow.keep_alive(ExecInput(data=b"", end=False))
