"""Yamux that keeps no more of what a peer has sent than is read of it, and seldom says what was read.

libp2p's takes what exceeds a stream's window with a warning, and keeps for a minute what came on a stream
that was reset: a peer that sends to streams nobody reads takes all memory. It answers each read with a
window update: for short messages these are half of all frames, each encrypted and written by itself.
It keeps what a stream has not read in one bytearray, which is copied whole by the frame after each read.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
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

from p2pnode.system.log_lines import concerning

log = logging.getLogger(__name__)

# One connection has twice the windows (256 KiB) of all streams that a peer may have for one protocol.
UNREAD_SIZE_BYTES_MAX = 16 * 2**20
# Credit that is held back, of the first window as of one widened since: the peer never waits for it.
CREDIT_OF_WINDOW = 4
CREDIT_SIZE_BYTES_MAX = DEFAULT_WINDOW_SIZE // CREDIT_OF_WINDOW
# Unread bytes are kept in pieces of about a frame: shorter frames share one, or each byte would cost fifty.
PIECE_SIZE_BYTES = 64 * 1024


class Unread:
    """The bytes of a stream that are not read yet, with what libp2p uses of a bytearray."""

    def __init__(self) -> None:
        self._pieces: deque[bytearray] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._size_bytes

    def extend(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._pieces and len(self._pieces[-1]) + len(data) <= PIECE_SIZE_BYTES:
            self._pieces[-1] += data
        elif data:
            self._pieces.append(bytearray(data))

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    def __getitem__(self, first: slice) -> bytes:
        """The first bytes, `[:n]`."""
        taken: list[memoryview] = []
        left_bytes = min(first.stop, self._size_bytes)
        for piece in self._pieces:
            if not left_bytes:
                break
            taken.append(memoryview(piece)[:left_bytes])
            left_bytes -= len(taken[-1])
        return b"".join(taken)

    def __delitem__(self, first: slice) -> None:
        left_bytes = min(first.stop, self._size_bytes)
        self._size_bytes -= left_bytes
        while left_bytes and left_bytes >= len(self._pieces[0]):
            left_bytes -= len(self._pieces.popleft())
        if left_bytes:
            del self._pieces[0][:left_bytes]

    def clear(self) -> None:
        self._pieces.clear()
        self._size_bytes = 0


class _UnreadByStream(dict[int, Unread]):
    """Has each stream that libp2p gives a bytearray begin with an `Unread`."""

    def __setitem__(self, stream_id: int, empty: object) -> None:
        super().__setitem__(stream_id, Unread())


class BoundedYamux(Yamux):  # type: ignore[misc]  # libp2p is not followed by mypy.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stream_buffers = _UnreadByStream()
        # Credit by stream: read, and not yet said.
        self._credits: WeakKeyDictionary[YamuxStream, int] = WeakKeyDictionary()

    async def _write_frame(self, data: bytes) -> None:
        if len(data) == HEADER_SIZE:
            version, kind, flags, stream_id, size_bytes = struct.unpack(YAMUX_HEADER_FORMAT, data)
            # A flag opens, accepts or closes a stream.
            if kind == TYPE_WINDOW_UPDATE and not flags:
                stream = self.streams.get(stream_id)
                credit = size_bytes + self._credits.pop(stream, 0) if stream else 0
                held_bytes = (
                    stream.target_recv_window // CREDIT_OF_WINDOW if stream else CREDIT_SIZE_BYTES_MAX
                )
                if stream and credit < held_bytes:
                    self._credits[stream] = credit
                if credit < held_bytes:
                    # A write is one, too.
                    await trio.lowlevel.checkpoint()
                    return
                data = struct.pack(YAMUX_HEADER_FORMAT, version, kind, flags, stream_id, credit)
        await super()._write_frame(data)

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(map(len, self.stream_buffers.values()))
        if unread + length > UNREAD_SIZE_BYTES_MAX:
            with concerning(peer=str(self.peer_id)):
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
