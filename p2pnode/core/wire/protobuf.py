"""The little of protobuf that dag-pb, UnixFS, bitswap and circuits use: varints and length-prefixed bytes.

Written by hand because the messages are small and dag-pb needs its fields in an
order that generated code does not give. Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TypeVar

from .codec import BadMessage

# A view's fields are views of it: whoever keeps one makes bytes of it.
Octets = TypeVar("Octets", bytes, memoryview)

# 63 bits, as the multiformats varint: no size that we meet needs more.
VARINT_SIZE_BYTES_MAX = 9
# A negative int32 (a bitswap priority) is written as 64 bits all the same.
_SIGNED_SIZE_BYTES_MAX = 10


class _Wire(enum.IntEnum):
    """The low three bits of a field's key."""

    VARINT = 0
    FIXED_64 = 1
    BYTES = 2
    FIXED_32 = 5


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    return varint(number << 3 | _Wire.VARINT) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return bytes_key(number, len(value)) + value


def bytes_key(number: int, size_bytes: int) -> bytes:
    """The key and the length, which stand before a field of so many bytes."""
    return varint(number << 3 | _Wire.BYTES) + varint(size_bytes)


def varint_untrusted(
    data: bytes | memoryview, start: int, size_bytes_max: int = VARINT_SIZE_BYTES_MAX
) -> tuple[int, int]:
    """The number that starts at `start`, and the position after it; raises `BadMessage`."""
    value = 0
    for index, byte in enumerate(data[start : start + size_bytes_max]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise BadMessage("a number in more bytes than it needs")
            return value, start + index + 1
    raise BadMessage("a number that does not end")


def fields_untrusted(data: Octets) -> Iterator[tuple[int, int | Octets]]:
    """Each field's number and value, in the order of the bytes; raises `BadMessage`.

    Fields of fixed width, which none of our messages has, are passed over.
    """
    at = 0
    while at < len(data):
        key, at = varint_untrusted(data, at)
        number, kind = key >> 3, key & 7
        match kind:
            case _Wire.VARINT:
                value, at = varint_untrusted(data, at, _SIGNED_SIZE_BYTES_MAX)
                yield number, value
            case _Wire.BYTES:
                size_bytes, at = varint_untrusted(data, at)
                if size_bytes > len(data) - at:
                    raise BadMessage(f"field {number} runs past the end")
                yield number, data[at : at + size_bytes]
                at += size_bytes
            case _Wire.FIXED_64 | _Wire.FIXED_32:
                at += 8 if kind == _Wire.FIXED_64 else 4
                if at > len(data):
                    raise BadMessage(f"field {number} runs past the end")
            case _:
                raise BadMessage(f"field {number} has the wire type {kind}")


def number_untrusted(value: int | bytes | memoryview) -> int:
    """A field's value that must be a number; raises `BadMessage`."""
    if not isinstance(value, int):
        raise BadMessage("bytes where a number is expected")
    return value


def bytes_untrusted(value: int | Octets) -> Octets:
    """A field's value that must be bytes; raises `BadMessage`."""
    if isinstance(value, int):
        raise BadMessage("a number where bytes are expected")
    return value
