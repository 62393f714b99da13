"""Noise whose messages are written whole, however the writer is cancelled; and for whom there is none.

Noise numbers its messages. A write that is cancelled after its message was encrypted
leaves a gap in the numbers, or half a message, and the peer then drops the whole
connection with all its streams. So a message, once begun, is written to its end; and
where the peer takes none for `MESSAGE_WRITE_S_MAX`, the connection is closed.

A handshake shows who the visitor is, and is the last that is cheap: what makes a neighbour of it
takes ten times as long. Who comes again and again is turned away here.
"""

from __future__ import annotations

from typing import Any

import trio
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.peer.id import ID
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, SIZE_NOISE_MESSAGE_LEN, NoiseTransportReadWriter
from libp2p.security.noise.transport import Transport
from libp2p.transport.exceptions import SecurityUpgradeFailure

from p2pnode.core.values.rate import TokenBucket

from .dial_failures import WrongPeer
from .scopes import shielded

# One write is a Yamux frame, 64 KiB at most: a peer that cannot take that in this time
# is of no use.
MESSAGE_WRITE_S_MAX = 5.0
# Four messages: to ask the socket for each one's length and body by itself takes longer than to decrypt it.
RECEIVE_SIZE_BYTES = 256 * 1024
# A peer connects once; one on a bad line, or whose operator tries its settings, some times more.
VISITS_PER_S = 0.1
VISITS_BURST = 20.0
# The visitors that are remembered, longest unseen forgotten first: ids cost nothing.
VISITORS_MAX = 10_000


class WholeMessageNoise(Transport):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """libp2p's Noise, but that no cancellation tears its messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._visits: dict[str, TokenBucket] = {}

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        session = await super().secure_inbound(conn)
        peer = str(session.remote_peer)
        if not self._may_visit(peer):
            await session.close()
            raise SecurityUpgradeFailure(f"{peer} connects too often")
        return _with_whole_messages(session)

    def _may_visit(self, peer: str) -> bool:
        bucket = self._visits.pop(peer, None) or TokenBucket(VISITS_PER_S, VISITS_BURST)
        self._visits[peer] = bucket
        if len(self._visits) > VISITORS_MAX:
            del self._visits[next(iter(self._visits))]
        return bucket.allows(1, trio.current_time())

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        # Nobody is expected as yet, so that whoever answers can be named.
        session = await super().secure_outbound(conn, None)
        if session.remote_peer != peer_id:
            await session.close()
            raise WrongPeer(session.remote_peer)
        return _with_whole_messages(session)


def _with_whole_messages(session: ISecureConn) -> ISecureConn:
    old = session.conn
    session.conn = _WholeMessages(old.read_writer.read_write_closer, old.noise_state)
    return session


class _WholeMessages(NoiseTransportReadWriter):  # type: ignore[misc]  # libp2p is not followed by mypy.
    def __init__(self, conn: IRawConnection, noise_state: Any) -> None:
        super().__init__(conn, noise_state)
        self._received = bytearray()

    async def read_msg(self, prefix_encoded: bool = False) -> bytes:
        size_bytes = int.from_bytes(await self._take(SIZE_NOISE_MESSAGE_LEN), "big")
        return bytes(self.decrypt(await self._take(size_bytes)))

    async def _take(self, size_bytes: int) -> bytes:
        while len(self._received) < size_bytes:
            data = await self.read_writer.read_write_closer.read(RECEIVE_SIZE_BYTES)
            if not data:
                raise IncompleteReadError(
                    "the peer closed the connection",
                    expected_bytes=size_bytes,
                    received_bytes=len(self._received),
                )
            self._received += data
        with memoryview(self._received) as view:
            taken = bytes(view[:size_bytes])
        del self._received[:size_bytes]
        return taken

    async def write_msg(self, msg: bytes, prefix_encoded: bool = False) -> None:
        # Several messages are sent at once: a Yamux frame is a little longer than one.
        sent = b"".join(
            self.read_writer.encode_msg(self.encrypt(msg[start : start + MAX_PLAINTEXT_LENGTH]))
            for start in range(0, len(msg), MAX_PLAINTEXT_LENGTH)
        )
        with shielded(MESSAGE_WRITE_S_MAX) as scope:
            await self.read_writer.read_write_closer.write(sent)
        if scope.cancelled_caught:
            with shielded(MESSAGE_WRITE_S_MAX):
                await self.close()
            raise ConnectionClosedError(f"the peer took no data for {MESSAGE_WRITE_S_MAX} s", transport="tcp")
