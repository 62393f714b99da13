"""Yamux that keeps no more of what a peer has sent than is read of it.

libp2p's takes what exceeds a stream's window with a warning, and keeps for a minute what came on a stream
that was reset: a peer that sends to streams nobody reads takes all memory.
"""

from __future__ import annotations

import logging

from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.exceptions import IncompleteReadError
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID, Yamux, YamuxStream

log = logging.getLogger(__name__)

# One connection has twice the windows (256 KiB) of all streams that a peer may have for one protocol.
UNREAD_SIZE_BYTES_MAX = 16 * 2**20


class BoundedYamux(Yamux):  # type: ignore[misc]  # libp2p is not followed by mypy.
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
