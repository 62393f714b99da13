"""An execution's output, read live from the peer that runs it (`protocols/logs.md`).

The requester opens a stream and sends one request; the peer sends pieces and closes the stream when the
program has ended. Whole and for good the output is in the result; this is for those who watch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import BinaryIO, Literal

import trio

from p2pnode.core.wire import extensions, protocols
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import LOGS_PIECE_SIZE_BYTES_MAX
from p2pnode.core.wire.inquiries import LogsPiece, LogsRequest
from p2pnode.core.wire.log_order import STDERR, STDOUT, LogReading
from p2pnode.network.host import Host
from p2pnode.network.streams import Stream

from .frames import read_frame_untrusted, write_frame

PROTOCOL = protocols.LOGS
FRAME_SIZE_BYTES_MAX = LOGS_PIECE_SIZE_BYTES_MAX + 1024
OPEN_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 30.0
# New output is looked for this often; people read, so a tenth of a second is live.
LOOK_INTERVAL_S = 0.1
# A silent program is normal: an empty piece goes this often, and three missing ones mean a dead peer.
KEEP_ALIVE_INTERVAL_S = 10.0
READ_TIMEOUT_S = 3 * KEEP_ALIVE_INTERVAL_S
# As long as a program may run and be watched; the watcher asks again from where it was.
SERVE_TIME_S_MAX = 24 * 3600.0

Name = Literal["stdout", "stderr"]
NAMES: tuple[Name, Name] = ("stdout", "stderr")
# Where an execution writes, and in which order (`core.wire.log_order`).
Files = tuple[Path, Path, Sequence[int]]


async def tail(
    files: Callable[[], Files | None], stdout_offset: int, stderr_offset: int, follow: bool
) -> AsyncGenerator[tuple[Name, bytes], None]:
    """Yield what is in an execution's two files from the offsets on, and with `follow` what is added.

    `files` gives None once it is not here any more. In the order that it was written in, as far as that is
    known; else stdout, then stderr. An empty piece comes now and then from a silent program.
    """
    found = files()
    if found is None:
        return
    wanted = (found[0], stdout_offset), (found[1], stderr_offset)
    opened: dict[int, BinaryIO] = {}
    reading = LogReading(found[2], stdout_offset, stderr_offset)
    told_at = trio.current_time()
    with ExitStack() as stack:
        while True:
            # Asked before reading: what was written before the end is then read, too.
            runs = files() is not None
            for number, (path, offset) in enumerate(wanted):
                if number not in opened and path.exists():
                    opened[number] = stack.enter_context(path.open("rb"))
                    opened[number].seek(offset)
            if piece := _next_piece(opened, reading):
                told_at = trio.current_time()
                yield piece
                continue
            if not (runs and follow):
                return
            if trio.current_time() - told_at >= KEEP_ALIVE_INTERVAL_S:
                told_at = trio.current_time()
                yield "stdout", b""
            await trio.sleep(LOOK_INTERVAL_S)


def _next_piece(opened: Mapping[int, BinaryIO], reading: LogReading) -> tuple[Name, bytes] | None:
    told = reading.next()
    # Bytes that the order does not tell of are read, too.
    wanted = [*([told] if told else []), *((one, LOGS_PIECE_SIZE_BYTES_MAX) for one in (STDOUT, STDERR))]
    for number, length in wanted:
        if number in opened and (data := opened[number].read(min(length, LOGS_PIECE_SIZE_BYTES_MAX))):
            reading.took(number, len(data))
            return NAMES[number], data
    return None


async def serve(stream: Stream, files_for: Callable[[str, str], Files | None]) -> None:
    """Answers one request; `files_for(peer, execution)` gives files to those of `owner_tracking.may_read`.

    Raises `StreamBroken` and `BadMessage`, which end the stream.
    """
    request = await read_frame_untrusted(stream, LogsRequest, FRAME_SIZE_BYTES_MAX, REQUEST_TIMEOUT_S)
    if request is None:
        raise BadMessage("the stream ended before a request")
    extensions.vet(request, "this request")
    execution = request.execution
    pieces = tail(
        lambda: files_for(stream.peer, execution),
        request.stdout_offset,
        request.stderr_offset,
        request.follow,
    )
    async with aclosing(pieces):
        async for name, data in pieces:
            await write_frame(stream, LogsPiece(stream=name, data=data), WRITE_TIMEOUT_S)
    await stream.close()


async def read(host: Host, peer: str, request: LogsRequest) -> AsyncGenerator[LogsPiece, None]:
    """The pieces that a peer sends, until it has no more; raises `NetworkError` and `BadMessage`."""
    stream = await host.open_stream(peer, [PROTOCOL], OPEN_TIMEOUT_S)
    try:
        await write_frame(stream, request, WRITE_TIMEOUT_S)
        while piece := await read_frame_untrusted(stream, LogsPiece, FRAME_SIZE_BYTES_MAX, READ_TIMEOUT_S):
            yield piece
    finally:
        await stream.reset()
