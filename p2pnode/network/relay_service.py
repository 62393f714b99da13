"""This node as a relay of others: reservations and circuits as circuit relay v2 has them, within limits.

It reads nothing of what it carries. In a private network only those who have the key get so far.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.link.relay_places import (
    CIRCUIT_BURST_BYTES,
    CIRCUIT_LIMIT,
    CIRCUIT_RATE_BYTES_PER_S,
    CIRCUITS_PER_PEER_MAX,
    RESERVATION_S,
    RelayPlaces,
)
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire.circuits import (
    HOP,
    RELAY_ADDRESSES_MAX,
    STOP,
    CircuitKind,
    CircuitMessage,
    CircuitStatus,
)
from p2pnode.core.wire.codec import BadMessage

from .circuits import ANSWER_S_MAX, ask, read_circuit_message, write_circuit_message
from .host import Connected, Disconnected, Host
from .streams import READ_SIZE_BYTES, NetworkError, Stream, StreamBroken

log = logging.getLogger(__name__)

OPEN_S_MAX = 4.0
WRITE_S_MAX = 30.0
# Circuits, and somebody who renews.
STREAMS_PER_PEER_MAX = CIRCUITS_PER_PEER_MAX + 4


class RelayService:
    """`is_open` tells whether this node is a relay now: one that lives by a relay itself is none."""

    def __init__(self, host: Host, is_open: Callable[[], bool]) -> None:
        self._host = host
        self._is_open = is_open
        self.places = RelayPlaces()
        host.watch(self._on_connection)
        host.handle(
            HOP,
            self._serve,
            time_limit_s=CIRCUIT_LIMIT.duration_s,
            streams_per_peer_max=STREAMS_PER_PEER_MAX,
        )

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Disconnected):
            self.places.release(event.peer)

    async def _serve(self, stream: Stream) -> None:
        try:
            message = await read_circuit_message(stream, ANSWER_S_MAX, hop=True)
        except BadMessage:
            await _answer(stream, CircuitStatus.MALFORMED_MESSAGE)
            return
        if message.kind == CircuitKind.RESERVE:
            await self._reserve(stream)
        elif message.kind == CircuitKind.CONNECT:
            await self._connect(stream, message)
        else:
            await _answer(stream, CircuitStatus.UNEXPECTED_MESSAGE)

    async def _reserve(self, stream: Stream) -> None:
        host = self._host.remote_host(stream.peer)
        if not host:
            # By a relay itself.
            status = CircuitStatus.PERMISSION_DENIED
        elif not self._is_open():
            status = CircuitStatus.RESERVATION_REFUSED
        else:
            status = self.places.reserve(stream.peer, host, trio.current_time())
        if status != CircuitStatus.OK:
            await _answer(stream, status)
            return
        log.info("%s is reached by this node as its relay", stream.peer)
        own = [Multiaddr(one).to_bytes() for one in self._host.addresses()[:RELAY_ADDRESSES_MAX]]
        made = CircuitMessage(
            CircuitKind.STATUS,
            status=status,
            # Asked of the clock on the wall: the specification has it so.
            expires_s=int(time.time()) + RESERVATION_S,
            addresses=tuple(own),
            limit=CIRCUIT_LIMIT,
        )
        await write_circuit_message(stream, made, hop=True)

    async def _connect(self, stream: Stream, message: CircuitMessage) -> None:
        peer = str(ID(message.peer))
        if peer == stream.peer or not self._host.remote_host(stream.peer):
            await _answer(stream, CircuitStatus.PERMISSION_DENIED)
            return
        status = self.places.open(stream.peer, peer, trio.current_time())
        if status != CircuitStatus.OK:
            await _answer(stream, status)
            return
        try:
            await self._carry(stream, peer)
        finally:
            self.places.close(stream.peer, peer)

    async def _carry(self, stream: Stream, peer: str) -> None:
        """Bring somebody to a peer, and carry what they say until one of them ends it or a limit does."""
        try:
            other = await self._host.open_stream(peer, [STOP], OPEN_S_MAX)
        except NetworkError:
            await _answer(stream, CircuitStatus.CONNECTION_FAILED)
            return
        async with other:
            who = CircuitMessage(
                CircuitKind.CONNECT, ID.from_string(stream.peer).to_bytes(), limit=CIRCUIT_LIMIT
            )
            try:
                await ask(other, who, hop=False)
            except NetworkError as exc:
                log.debug("%s does not take %s: %s", peer, stream.peer, exc)
                await _answer(stream, CircuitStatus.CONNECTION_FAILED)
                return
            made = CircuitMessage(CircuitKind.STATUS, status=CircuitStatus.OK, limit=CIRCUIT_LIMIT)
            await write_circuit_message(stream, made, hop=True)
            with trio.move_on_after(CIRCUIT_LIMIT.duration_s):
                async with trio.open_nursery() as nursery:
                    for source, target in ((stream, other), (other, stream)):
                        nursery.start_soon(_pass_on, source, target, nursery.cancel_scope)


async def _pass_on(source: Stream, target: Stream, circuit: trio.CancelScope) -> None:
    """Carry one direction to its end; one that breaks, or is used up, ends the circuit."""
    left_bytes = CIRCUIT_LIMIT.size_bytes
    bucket = TokenBucket(CIRCUIT_RATE_BYTES_PER_S, CIRCUIT_BURST_BYTES)
    try:
        while data := await source.read_some(READ_SIZE_BYTES, CIRCUIT_LIMIT.duration_s):
            left_bytes -= len(data)
            if left_bytes < 0:
                log.info("a circuit with %s is used up", source.peer)
                break
            await trio.sleep(bucket.take(len(data), trio.current_time()))
            await target.write(data, WRITE_S_MAX)
        else:
            await target.close_write()
            return
    except StreamBroken as exc:
        log.debug("a circuit with %s has ended: %s", source.peer, exc)
    circuit.cancel()


async def _answer(stream: Stream, status: CircuitStatus) -> None:
    await write_circuit_message(stream, CircuitMessage(CircuitKind.STATUS, status=status), hop=True)
