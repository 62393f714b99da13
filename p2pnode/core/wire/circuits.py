"""The messages of libp2p's circuit relay v2, to and from bytes: of both protocols, hop and stop.

Hop is between a relay and who asks it, stop between a relay and whom it brings a circuit to.
(https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .codec import BadMessage
from .protobuf import (
    bytes_field,
    bytes_untrusted,
    fields_untrusted,
    number_untrusted,
    varint_field,
)

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"
# As go-libp2p has it; a signed voucher and some addresses are the most of it.
CIRCUIT_MESSAGE_SIZE_BYTES_MAX = 4096
# A relay has a few; each more would only be dialled in vain.
RELAY_ADDRESSES_MAX = 16


class CircuitKind(enum.IntEnum):
    """As hop numbers them; stop has no reservations, and begins with CONNECT at 0."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class CircuitStatus(enum.IntEnum):
    """The specification's codes."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@dataclass(frozen=True, slots=True)
class CircuitLimit:
    """How long a circuit may be, and what it may carry in each direction; 0: as much as it likes."""

    duration_s: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CircuitMessage:
    """One message of either protocol; what it does not say is empty."""

    kind: CircuitKind
    # As bytes of its multihash.
    peer: bytes = b""
    status: int = 0
    # A reservation's: seconds since 1970, and the relay's addresses as binary multiaddrs.
    expires_s: int = 0
    addresses: tuple[bytes, ...] = ()
    limit: CircuitLimit | None = None


def encode_hop(message: CircuitMessage) -> bytes:
    """The bytes, without their length."""
    reservation = b""
    if message.expires_s:
        addresses = b"".join(bytes_field(2, one) for one in message.addresses)
        reservation = bytes_field(3, varint_field(1, message.expires_s) + addresses)
    return (
        varint_field(1, message.kind)
        + _peer_field(message)
        + reservation
        + _limit_field(4, message)
        + (varint_field(5, message.status) if message.status else b"")
    )


def encode_stop(message: CircuitMessage) -> bytes:
    """The bytes, without their length."""
    return (
        varint_field(1, message.kind - CircuitKind.CONNECT)
        + _peer_field(message)
        + _limit_field(3, message)
        + (varint_field(4, message.status) if message.status else b"")
    )


def decode_hop_untrusted(data: bytes) -> CircuitMessage:
    """Raises `BadMessage` whatever the bytes are."""
    kind, expires_s, status = -1, 0, 0
    peer, addresses, limit = b"", list[bytes](), None
    for number, value in fields_untrusted(data):
        match number:
            case 1:
                kind = number_untrusted(value)
            case 2:
                peer = _peer_untrusted(bytes_untrusted(value))
            case 3:
                expires_s, addresses = _reservation_untrusted(bytes_untrusted(value))
            case 4:
                limit = _limit_untrusted(bytes_untrusted(value))
            case 5:
                status = number_untrusted(value)
    return CircuitMessage(_kind_untrusted(kind), peer, status, expires_s, tuple(addresses), limit)


def decode_stop_untrusted(data: bytes) -> CircuitMessage:
    """Raises `BadMessage` whatever the bytes are."""
    kind, status = -1, 0
    peer, limit = b"", None
    for number, value in fields_untrusted(data):
        match number:
            case 1:
                kind = number_untrusted(value) + CircuitKind.CONNECT
            case 2:
                peer = _peer_untrusted(bytes_untrusted(value))
            case 3:
                limit = _limit_untrusted(bytes_untrusted(value))
            case 4:
                status = number_untrusted(value)
    return CircuitMessage(_kind_untrusted(kind), peer, status, limit=limit)


def _peer_field(message: CircuitMessage) -> bytes:
    return bytes_field(2, bytes_field(1, message.peer)) if message.peer else b""


def _limit_field(number: int, message: CircuitMessage) -> bytes:
    if message.limit is None:
        return b""
    return bytes_field(
        number, varint_field(1, message.limit.duration_s) + varint_field(2, message.limit.size_bytes)
    )


def _kind_untrusted(number: int) -> CircuitKind:
    try:
        return CircuitKind(number)
    except ValueError as exc:
        raise BadMessage("a message of circuits that is of no kind") from exc


def _peer_untrusted(data: bytes) -> bytes:
    for number, value in fields_untrusted(data):
        if number == 1:
            return bytes_untrusted(value)
    raise BadMessage("a peer without an id")


def _reservation_untrusted(data: bytes) -> tuple[int, list[bytes]]:
    expires_s, addresses = 0, list[bytes]()
    for number, value in fields_untrusted(data):
        if number == 1:
            expires_s = number_untrusted(value)
        elif number == 2 and len(addresses) < RELAY_ADDRESSES_MAX:
            addresses.append(bytes_untrusted(value))
    return expires_s, addresses


def _limit_untrusted(data: bytes) -> CircuitLimit:
    found = {number: number_untrusted(value) for number, value in fields_untrusted(data) if number in (1, 2)}
    return CircuitLimit(found.get(1, 0), found.get(2, 0))
