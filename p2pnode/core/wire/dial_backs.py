"""The messages of libp2p's AutoNAT v1, to and from bytes: a peer is asked to dial, and says how that went.

(https://github.com/libp2p/specs/blob/master/autonat/autonat-v1.md)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .codec import BadMessage
from .protobuf import bytes_field, bytes_untrusted, fields_untrusted, number_untrusted, varint_field

DIAL_BACK = "/libp2p/autonat/1.0.0"
# As go-libp2p has it.
DIAL_BACK_MESSAGE_SIZE_BYTES_MAX = 4096
# A machine with many interfaces has so many; the ports are what counts.
ADDRESSES_ASKED_MAX = 32


class DialBackStatus(enum.IntEnum):
    """The specification's codes."""

    OK = 0
    DIAL_ERROR = 100
    DIAL_REFUSED = 101
    BAD_REQUEST = 200
    INTERNAL_ERROR = 300


class _Kind(enum.IntEnum):
    DIAL = 0
    RESPONSE = 1


@dataclass(frozen=True, slots=True)
class DialBackRequest:
    """The peer that asks, as bytes of its multihash, and its addresses as binary multiaddrs."""

    peer: bytes
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DialBackResponse:
    """How the dial went; with OK, where the peer answered, as a binary multiaddr."""

    status: int
    address: bytes = b""


def encode_request(request: DialBackRequest) -> bytes:
    """The bytes, without their length."""
    addresses = b"".join(bytes_field(2, one) for one in request.addresses)
    return varint_field(1, _Kind.DIAL) + bytes_field(
        2, bytes_field(1, bytes_field(1, request.peer) + addresses)
    )


def encode_response(response: DialBackResponse) -> bytes:
    """The bytes, without their length."""
    address = bytes_field(3, response.address) if response.address else b""
    return varint_field(1, _Kind.RESPONSE) + bytes_field(3, varint_field(1, response.status) + address)


def decode_request_untrusted(data: bytes) -> DialBackRequest:
    """Raises `BadMessage` whatever the bytes are."""
    peer, addresses = b"", list[bytes]()
    for number, value in fields_untrusted(_part_untrusted(_part_untrusted(data, 2, _Kind.DIAL), 1)):
        if number == 1:
            peer = bytes_untrusted(value)
        elif number == 2 and len(addresses) < ADDRESSES_ASKED_MAX:
            addresses.append(bytes_untrusted(value))
    return DialBackRequest(peer, tuple(addresses))


def decode_response_untrusted(data: bytes) -> DialBackResponse:
    """Raises `BadMessage` whatever the bytes are."""
    # A status that is left out is its default.
    status, address = int(DialBackStatus.OK), b""
    for number, value in fields_untrusted(_part_untrusted(data, 3, _Kind.RESPONSE)):
        if number == 1:
            status = number_untrusted(value)
        elif number == 3:
            address = bytes_untrusted(value)
    return DialBackResponse(status, address)


def _part_untrusted(data: bytes, wanted: int, kind: _Kind | None = None) -> bytes:
    """A field that must be there, of a message of that kind."""
    part, said = None, int(_Kind.DIAL)
    for number, value in fields_untrusted(data):
        if number == wanted:
            part = bytes_untrusted(value)
        elif kind is not None and number == 1:
            said = number_untrusted(value)
    if part is None or (kind is not None and said != kind):
        raise BadMessage("a message of dial-backs without what it is for")
    return part
