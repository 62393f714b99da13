"""Connections by a relay: made and taken by this node, and upgraded as any other, the network's key first.

py-libp2p's own circuits are thousands of lines that its host does not wire in; here are the two ends alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from math import inf

from libp2p.abc import ConnectionType
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IOException
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.wire.circuits import (
    CIRCUIT_MESSAGE_SIZE_BYTES_MAX,
    HOP,
    CircuitKind,
    CircuitMessage,
    CircuitStatus,
    decode_hop_untrusted,
    decode_stop_untrusted,
    encode_hop,
    encode_stop,
)
from p2pnode.core.wire.codec import BadMessage

from .prefixed import read_prefixed, write_prefixed
from .streams import READ_SIZE_BYTES, NetworkError, Stream, StreamBroken

log = logging.getLogger(__name__)

# A round trip to the relay, and for CONNECT one from there to the peer.
ANSWER_S_MAX = 5.0
WRITE_S_MAX = 5.0
# A write is one message of Noise or a few, which give up after 5 s by themselves.
CIRCUIT_WRITE_S_MAX = 10.0
_ENDS = {
    CircuitStatus.RESERVATION_REFUSED: "the relay has no place",
    CircuitStatus.RESOURCE_LIMIT_EXCEEDED: "the relay has no place for more circuits",
    CircuitStatus.PERMISSION_DENIED: "the relay does not let this node",
    CircuitStatus.CONNECTION_FAILED: "the relay does not reach the peer",
    CircuitStatus.NO_RESERVATION: "the peer is not at that relay",
}


class CircuitRefused(NetworkError):
    """A relay or a peer said no, or nothing that can be understood; the message says what."""


async def read_circuit_message(stream: Stream, timeout_s: float, *, hop: bool) -> CircuitMessage:
    """One message; raises `StreamBroken` and `BadMessage`."""
    data = await read_prefixed(stream, CIRCUIT_MESSAGE_SIZE_BYTES_MAX, timeout_s)
    return decode_hop_untrusted(data) if hop else decode_stop_untrusted(data)


async def write_circuit_message(stream: Stream, message: CircuitMessage, *, hop: bool) -> None:
    data = encode_hop(message) if hop else encode_stop(message)
    await write_prefixed(stream, data, WRITE_S_MAX)


async def ask(stream: Stream, message: CircuitMessage, *, hop: bool) -> CircuitMessage:
    """The answer to a message, whose status is OK; raises `CircuitRefused` and `StreamBroken`."""
    await write_circuit_message(stream, message, hop=hop)
    try:
        answer = await read_circuit_message(stream, ANSWER_S_MAX, hop=hop)
    except BadMessage as exc:
        raise CircuitRefused(f"no answer that makes sense: {exc}") from exc
    if answer.kind != CircuitKind.STATUS:
        raise CircuitRefused("an answer that is none")
    if answer.status != CircuitStatus.OK:
        raise CircuitRefused(_why(answer.status))
    return answer


def _why(status: int) -> str:
    try:
        return _ENDS[CircuitStatus(status)]
    except (ValueError, KeyError):
        return f"refused with the status {status}"


class CircuitConnection(RawConnection):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """The bytes of a connection by a relay, which has no address of its peer's."""

    def __init__(self, stream: Stream, initiator: bool) -> None:
        super().__init__(stream, initiator, ConnectionType.RELAYED, [])

    async def read(self, n: int | None = None) -> bytes:
        try:
            # Whoever speaks over it says how long silence may last.
            return bytes(await self.stream.read_some(READ_SIZE_BYTES if n is None else n, inf))
        except StreamBroken as exc:
            raise IOException(str(exc)) from exc

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.write(data, CIRCUIT_WRITE_S_MAX)
        except StreamBroken as exc:
            raise IOException(str(exc)) from exc

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


OpenStream = Callable[[str, str], Awaitable[Stream]]


class Circuits:
    """Both ends of the connections by relays. `open_stream` gives a stream to a connected relay."""

    def __init__(self, swarm: Swarm, open_stream: OpenStream, is_relay: Callable[[str], bool]) -> None:
        """`is_relay`: whether this node has a reservation with the peer."""
        self._swarm = swarm
        self._open_stream = open_stream
        self._is_relay = is_relay

    async def dial(self, relay: str, peer: str) -> None:
        """Connect with a peer by a connected relay; raises `NetworkError` and what libp2p raises."""
        stream = await self._open_stream(relay, HOP)
        try:
            wanted = CircuitMessage(CircuitKind.CONNECT, ID.from_string(peer).to_bytes())
            await ask(stream, wanted, hop=True)
            await self._swarm.upgrade_outbound_raw_conn(
                CircuitConnection(stream, initiator=True), ID.from_string(peer)
            )
        except BaseException:
            await stream.reset()
            raise

    async def serve_stop(self, stream: Stream) -> None:
        """Take the connection of somebody whom a relay brings, until it is closed."""
        message = await read_circuit_message(stream, ANSWER_S_MAX, hop=False)
        status = CircuitStatus.OK
        if message.kind != CircuitKind.CONNECT:
            status = CircuitStatus.UNEXPECTED_MESSAGE
        elif not self._is_relay(stream.peer):
            status = CircuitStatus.PERMISSION_DENIED
        await write_circuit_message(stream, CircuitMessage(CircuitKind.STATUS, status=status), hop=False)
        if status != CircuitStatus.OK:
            return
        here = Multiaddr(f"/p2p/{stream.peer}/p2p-circuit")
        try:
            await self._swarm.upgrade_inbound_raw_conn(CircuitConnection(stream, initiator=False), here)
        except BaseLibp2pError as exc:
            # So it ends when the connection is closed, too (admission).
            log.debug("a circuit by %s has ended: %s", stream.peer, exc)
