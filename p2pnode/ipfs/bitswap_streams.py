"""Bitswap's messages on streams: what the network has to give, and one message after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import bitswap_messages
from p2pnode.ipfs.bitswap_messages import MESSAGE_SIZE_BYTES_MAX, Message

PROTOCOLS = ("/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0")
LEGACY_PROTOCOL = "/ipfs/bitswap/1.0.0"
# From its first byte to its last; 4 MiB at 70 kB/s.
MESSAGE_TIMEOUT_S = 60.0
# Kubo keeps its stream open between messages. One that is reset too early is opened again.
READ_IDLE_S = 3600.0


class BitswapStream(Protocol):
    """The part of the network's stream that is used here."""

    peer: str
    protocol: str

    async def read_some(self, size_bytes_max: int, timeout_s: float) -> bytes: ...
    async def read_exactly(self, size_bytes: int, timeout_s: float) -> bytes: ...
    async def write(self, data: bytes, timeout_s: float) -> None: ...
    async def close(self) -> None: ...
    async def reset(self) -> None: ...


class BitswapHost(Protocol):
    """The part of the network's host that is used here."""

    def handle(
        self, protocol: str, handler: Callable[[BitswapStream], Awaitable[None]], *, time_limit_s: float
    ) -> None: ...
    async def open_stream(self, peer: str, protocols: Sequence[str], timeout_s: float) -> BitswapStream: ...


async def read_untrusted(stream: BitswapStream) -> Message | None:
    """The next message of a stream, None at its end; raises `BadMessage` and what the stream raises."""
    prefix = b""
    while not prefix or prefix[-1] & 0x80:
        byte = await stream.read_some(1, MESSAGE_TIMEOUT_S if prefix else READ_IDLE_S)
        if not byte and not prefix:
            return None
        prefix += byte
        if not byte or len(prefix) > protobuf.VARINT_SIZE_BYTES_MAX:
            raise BadMessage("a bitswap stream that ends in, or has too long, a length")
    size_bytes, _ = protobuf.varint_untrusted(prefix, 0)
    if size_bytes > MESSAGE_SIZE_BYTES_MAX:
        raise BadMessage(
            f"a bitswap message of {size_bytes} bytes, over the limit of {MESSAGE_SIZE_BYTES_MAX}"
        )
    return bitswap_messages.decode_untrusted(await stream.read_exactly(size_bytes, MESSAGE_TIMEOUT_S))


def encoded(message: Message, stream: BitswapStream) -> bytes:
    """The message as it goes over this stream."""
    return bitswap_messages.encode(message, legacy=stream.protocol == LEGACY_PROTOCOL)
