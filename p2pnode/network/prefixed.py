"""Messages of libp2p's own protocols on a stream: each behind its length, as a varint."""

from __future__ import annotations

from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.protobuf import VARINT_SIZE_BYTES_MAX, varint, varint_untrusted

from .streams import Stream


async def read_prefixed(stream: Stream, size_bytes_max: int, timeout_s: float) -> bytes:
    """The bytes of one message; raises `StreamBroken`, and `BadMessage` for one that is too large."""
    head = b""
    while not head or head[-1] & 0x80:
        if len(head) == VARINT_SIZE_BYTES_MAX:
            raise BadMessage("a length that does not end")
        head += await stream.read_exactly(1, timeout_s)
    size_bytes, _ = varint_untrusted(head, 0)
    if size_bytes > size_bytes_max:
        raise BadMessage(f"a message of {size_bytes} bytes, {size_bytes_max} at most")
    return await stream.read_exactly(size_bytes, timeout_s)


async def write_prefixed(stream: Stream, data: bytes, timeout_s: float) -> None:
    """Raises `StreamBroken`."""
    await stream.write(varint(len(data)) + data, timeout_s)
