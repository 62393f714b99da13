"""Records on a stream, one after the other: 4 bytes of length, big-endian, and canonical CBOR."""

from __future__ import annotations

from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Record, T
from p2pnode.network.streams import Stream, StreamBroken

HEADER_SIZE_BYTES = 4


async def write_frame(stream: Stream, record: Record, timeout_s: float) -> None:
    """Send a record; raises `StreamBroken`."""
    data = codec.encode(record)
    await stream.write(len(data).to_bytes(HEADER_SIZE_BYTES, "big") + data, timeout_s)


async def read_frame_untrusted(
    stream: Stream, kind: type[T], size_bytes_max: int, timeout_s: float
) -> T | None:
    """The next record, or None at the stream's end; raises `StreamBroken` and `BadMessage`."""
    first = await stream.read_some(1, timeout_s)
    if not first:
        return None
    header = first + await stream.read_exactly(HEADER_SIZE_BYTES - 1, timeout_s)
    size_bytes = int.from_bytes(header, "big")
    if not 0 < size_bytes <= size_bytes_max:
        raise BadMessage(f"a frame of {size_bytes} bytes; at most {size_bytes_max} are read")
    try:
        data = await stream.read_exactly(size_bytes, timeout_s)
    except StreamBroken as exc:
        raise BadMessage(f"the stream ended within a frame: {exc}") from exc
    return codec.decode_untrusted(data, kind, size_bytes_max)
