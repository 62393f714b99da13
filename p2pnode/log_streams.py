"""What an execution writes, read live from the peer that runs it (`protocols/logs.md`).

The requester opens a stream and sends one request; the peer sends pieces and closes the stream when the
program has ended. Whole and for good the output is in the result; this is for those who watch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import BinaryIO, Literal

import trio

from p2pnode.core import extensions, protocols
from p2pnode.core.messages import LOGS_PIECE_SIZE_BYTES_MAX, LogsPiece, LogsRequest
from p2pnode.core.wire import BadMessage
from p2pnode.network.frames import read_frame_untrusted, write_frame
from p2pnode.network.host import Host
from p2pnode.network.streams import Stream

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
# Where an execution writes; None once it is not here any more.
Files = Callable[[], tuple[Path, Path] | None]


async def tail(
    files: Files, stdout_offset: int, stderr_offset: int, follow: bool
) -> AsyncGenerator[tuple[Name, bytes], None]:
    """What is in an execution's two files from the offsets on, and with `follow` what comes to be there.

    An empty piece comes now and then from a silent program.
    """
    found = files()
    if found is None:
        return
    wanted: tuple[tuple[Name, Path, int], ...] = (
        ("stdout", found[0], stdout_offset),
        ("stderr", found[1], stderr_offset),
    )
    opened: dict[Name, BinaryIO] = {}
    told_at = trio.current_time()
    with ExitStack() as stack:
        while True:
            # Asked before reading: what was written before the end is then read, too.
            runs = files() is not None
            some = False
            for name, path, offset in wanted:
                if name not in opened and path.exists():
                    opened[name] = stack.enter_context(path.open("rb"))
                    opened[name].seek(offset)
                if name in opened and (data := opened[name].read(LOGS_PIECE_SIZE_BYTES_MAX)):
                    some = True
                    yield name, data
            if some:
                told_at = trio.current_time()
                continue
            if not (runs and follow):
                return
            if trio.current_time() - told_at >= KEEP_ALIVE_INTERVAL_S:
                told_at = trio.current_time()
                yield "stdout", b""
            await trio.sleep(LOOK_INTERVAL_S)


async def serve(stream: Stream, files_for: Callable[[str, str], tuple[Path, Path] | None]) -> None:
    """Answers one request; `files_for(peer, execution)` gives files to the execution's owner only.

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
