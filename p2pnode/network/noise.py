"""Noise whose messages are written whole, however the writer is cancelled.

Noise numbers its messages. A write that is cancelled after its message was encrypted
leaves a gap in the numbers, or half a message, and the peer then drops the whole
connection with all its streams. So a message, once begun, is written to its end; and
where the peer takes none for `MESSAGE_WRITE_S_MAX`, the connection is closed.
"""

from __future__ import annotations

from libp2p.abc import IRawConnection, ISecureConn
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.noise.transport import Transport

from .scopes import shielded

# What is written at once is a Yamux frame, 64 KiB at most: a peer that cannot take that in this time
# is of no use.
MESSAGE_WRITE_S_MAX = 5.0


class WholeMessageNoise(Transport):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """libp2p's Noise, but that no cancellation tears its messages."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return _with_whole_messages(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        return _with_whole_messages(await super().secure_outbound(conn, peer_id))


def _with_whole_messages(session: ISecureConn) -> ISecureConn:
    old = session.conn
    session.conn = _WholeMessages(old.read_writer.read_write_closer, old.noise_state)
    return session


class _WholeMessages(NoiseTransportReadWriter):  # type: ignore[misc]  # libp2p is not followed by mypy.
    async def write_msg(self, msg: bytes, prefix_encoded: bool = False) -> None:
        with shielded(MESSAGE_WRITE_S_MAX) as scope:
            await super().write_msg(msg, prefix_encoded)
        if scope.cancelled_caught:
            with shielded(MESSAGE_WRITE_S_MAX):
                await self.close()
            raise ConnectionClosedError(f"the peer took no data for {MESSAGE_WRITE_S_MAX} s", transport="tcp")
