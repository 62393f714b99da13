"""One peer's end of a link, as it is kept in memory: its machine, streams, rate and failures."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

import trio

from p2pnode.core.link.frames import FRAME_SIZE_BYTES_MAX
from p2pnode.core.link.machine import Link
from p2pnode.core.link.redial import redial_s
from p2pnode.core.values.patience import Patience
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire.codec import BadMessage

from .streams import Stream

HEADER_SIZE_BYTES = 4
# Frames that wait together go in one write, which takes a step of the stream and a packet; a larger write
# would only be cut up again.
WRITE_SIZE_BYTES_MAX = 64 * 1024

# A frame costs some 2 ms, so a peer gets no more than half a core; a large frame counts as several.
FRAME_RATE_PER_S = 250.0
FRAME_BURST = 1_000.0
FRAME_COST_SIZE_BYTES = 64 * 1024


@dataclass(slots=True)
class OpenStream:
    """A stream of an end: where its frames to be written go, and what ends it."""

    frames: trio.MemorySendChannel[bytes]
    scope: trio.CancelScope
    reason: str = "dropped"

    def end(self, reason: str) -> None:
        self.reason = reason
        self.scope.cancel()


@dataclass(slots=True)
class LinkEnd:
    """This node's end of the link with one peer."""

    peer: str
    link: Link
    streams: dict[int, OpenStream] = field(default_factory=dict)
    bucket: TokenBucket = field(default_factory=lambda: TokenBucket(FRAME_RATE_PER_S, FRAME_BURST))
    # One frame at a time, whatever stream it comes from: see core.link.machine.
    one_frame: trio.Lock = field(default_factory=trio.Lock)
    wake: trio.Event = field(default_factory=trio.Event)
    patience: Patience = field(default_factory=Patience)
    kept: bool = False
    failed_here: bool = False
    dialling: bool = False
    failures: int = 0
    # How often the link has come up.
    ups: int = 0
    dial_at: float = -inf
    up_at: float = inf

    @property
    def wanted(self) -> bool:
        return self.kept or self.link.waiting > 0

    @property
    def rested_at(self) -> float:
        """The time from which the peer is as any other; before, a new connection must not make it one."""
        return max(self.bucket.full_at, self.patience.clear_at)

    def dial_anew(self, at: float) -> None:
        """Dial from then on as if no dial had failed."""
        self.failures, self.dial_at = 0, at
        self.wake.set()

    def failed(self) -> None:
        """Put off the next dial, the longer the more often it has failed."""
        self.failures += 1
        wait_until = trio.current_time() + redial_s(self.failures, random.random())
        self.dial_at = max(wait_until, self.patience.alone_until)


async def read_frame(stream: Stream, timeout_s: float, heard: Callable[[], None]) -> bytes:
    """The next frame, without the length before it; `heard` is called for each piece of it."""
    header = await stream.read_exactly(HEADER_SIZE_BYTES, timeout_s)
    missing = int.from_bytes(header, "big")
    if not 0 < missing <= FRAME_SIZE_BYTES_MAX:
        raise BadMessage(f"a frame of {missing} bytes; at most {FRAME_SIZE_BYTES_MAX} are read")
    pieces = []
    while missing:
        piece = await stream.read_some(missing, timeout_s)
        if not piece:
            raise BadMessage(f"the stream ended {missing} bytes before the end of a frame")
        heard()
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def together(data: bytes, waiting: trio.MemoryReceiveChannel[bytes]) -> bytes:
    """A frame and those that wait behind it, as they go over the wire."""
    parts, size = [], 0
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            parts += [len(data).to_bytes(HEADER_SIZE_BYTES, "big"), data]
            size += HEADER_SIZE_BYTES + len(data)
            if size >= WRITE_SIZE_BYTES_MAX:
                break
            data = waiting.receive_nowait()
    return b"".join(parts)
