"""Yamux whose frames are written whole, however the writer is cancelled.

Noise numbers its messages. A write that is cancelled after its message was encrypted
leaves a gap in the numbers, or half a message, and the peer then drops the whole
connection with all its streams. So a frame, once begun, is written to its end; and where
the peer takes none for `FRAME_WRITE_S_MAX`, the connection is closed.
"""

from __future__ import annotations

from libp2p.io.exceptions import ConnectionClosedError
from libp2p.stream_muxer.yamux.yamux import Yamux

from .scopes import shielded

# A frame is 64 KiB at most: a peer that cannot take that in this time is of no use.
FRAME_WRITE_S_MAX = 5.0


class WholeFrameYamux(Yamux):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """Yamux in which no cancellation tears a frame."""

    async def _write_frame(self, data: bytes) -> None:
        with shielded(FRAME_WRITE_S_MAX) as scope:
            await super()._write_frame(data)
        if scope.cancelled_caught:
            with shielded(FRAME_WRITE_S_MAX):
                await self.secured_conn.close()
            raise ConnectionClosedError(f"the peer took no data for {FRAME_WRITE_S_MAX} s", transport="tcp")
