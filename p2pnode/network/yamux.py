"""Yamux that keeps no more of what a peer has sent than is read of it, and seldom says what was read.

libp2p's takes what exceeds a stream's window with a warning, and keeps for a minute what came on a stream
that was reset: a peer that sends to streams nobody reads takes all memory. It answers each read with a
window update: for short messages these are half of all frames, each encrypted and written by itself.
"""

from __future__ import annotations

import logging
import struct
from typing import Any
from weakref import WeakKeyDictionary

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.exceptions import IncompleteReadError
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    HEADER_SIZE,
    PROTOCOL_ID,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

log = logging.getLogger(__name__)

# One connection has twice the windows (256 KiB) of all streams that a peer may have for one protocol.
UNREAD_SIZE_BYTES_MAX = 16 * 2**20
# Credit of a stream that is held back: the peer keeps three quarters of its window, so it never waits for it.
CREDIT_SIZE_BYTES_MAX = DEFAULT_WINDOW_SIZE // 4


class BoundedYamux(Yamux):  # type: ignore[misc]  # libp2p is not followed by mypy.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Credit by stream: read, and not yet said.
        self._credits: WeakKeyDictionary[YamuxStream, int] = WeakKeyDictionary()

    async def _write_frame(self, data: bytes) -> None:
        if len(data) == HEADER_SIZE:
            version, kind, flags, stream_id, size_bytes = struct.unpack(YAMUX_HEADER_FORMAT, data)
            # A flag opens, accepts or closes a stream.
            if kind == TYPE_WINDOW_UPDATE and not flags:
                stream = self.streams.get(stream_id)
                credit = size_bytes + self._credits.pop(stream, 0) if stream else 0
                if stream and credit < CREDIT_SIZE_BYTES_MAX:
                    self._credits[stream] = credit
                if credit < CREDIT_SIZE_BYTES_MAX:
                    # A write is one, too.
                    await trio.lowlevel.checkpoint()
                    return
                data = struct.pack(YAMUX_HEADER_FORMAT, version, kind, flags, stream_id, credit)
        await super()._write_frame(data)

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(map(len, self.stream_buffers.values()))
        if unread + length > UNREAD_SIZE_BYTES_MAX:
            log.info("%s sends more than is read: its connection is closed", self.peer_id)
            self.event_shutting_down.set()
            await self._cleanup_on_error()
            raise IncompleteReadError(f"{unread} bytes wait to be read")
        return bytes(await super()._read_data_body(length))

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        if stream.reset_received and stream.stream_id in self.stream_buffers:
            self.stream_buffers[stream.stream_id].clear()
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)


def use_bounded(muxers: MuxerMultistream) -> None:
    """Has connections muxed by the class that the host was given: libp2p takes its own for Yamux."""

    async def new_conn(secured: ISecureConn, peer: ID) -> IMuxedConn:
        muxer = await muxers.select_transport(secured)
        return muxers._annotate_connection(muxer(secured, peer), secured, PROTOCOL_ID)

    muxers.new_conn = new_conn
