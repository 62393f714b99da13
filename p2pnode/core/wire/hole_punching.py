"""The messages of libp2p's DCUtR, to and from bytes: two peers behind routers agree when to dial each other.

(https://github.com/libp2p/specs/blob/master/relay/DCUtR.md)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .codec import BadMessage
from .protobuf import bytes_field, bytes_untrusted, fields_untrusted, number_untrusted, varint_field

DCUTR = "/libp2p/dcutr"
# As go-libp2p has it.
PUNCH_MESSAGE_SIZE_BYTES_MAX = 4096
# Each is dialled; a router has one, and one for each kind of address.
PUNCH_ADDRESSES_MAX = 4


class PunchKind(enum.IntEnum):
    """The specification's numbers."""

    CONNECT = 100
    SYNC = 300


@dataclass(frozen=True, slots=True)
class PunchMessage:
    """One message; `addresses` are where others see its sender, as binary multiaddrs."""

    kind: PunchKind
    addresses: tuple[bytes, ...] = ()


def encode_punch(message: PunchMessage) -> bytes:
    """The bytes, without their length."""
    return varint_field(1, message.kind) + b"".join(bytes_field(2, one) for one in message.addresses)


def decode_punch_untrusted(data: bytes) -> PunchMessage:
    """Raises `BadMessage` whatever the bytes are."""
    kind, addresses = -1, list[bytes]()
    for number, value in fields_untrusted(data):
        if number == 1:
            kind = number_untrusted(value)
        elif number == 2 and len(addresses) < PUNCH_ADDRESSES_MAX:
            addresses.append(bytes_untrusted(value))
    try:
        return PunchMessage(PunchKind(kind), tuple(addresses))
    except ValueError as exc:
        raise BadMessage("a message of hole punching that is of no kind") from exc
