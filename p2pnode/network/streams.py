"""A stream of bytes to or from one peer, with a deadline on every wait.

libp2p's own streams wait for ever, and its `read_exactly` gives up after 100 reads.
This one reads in large pieces into a buffer of its own (each read of a Yamux stream
sends a frame back), and resets the stream whenever a wait ends early: a stream that is
left open holds one of the 256 places of its connection until the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamEOF

from .scopes import shielded

# One Yamux frame. More is asked for only where a message that is read lacks more.
READ_SIZE_BYTES = 64 * 1024
# Telling a peer that a stream is over may take this long. Longer means that the connection is dead.
FAREWELL_S_MAX = 2.0

_BROKEN = (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class NetworkError(Exception):
    """Something on the network did not work; the message says what, for a person."""


class StreamBroken(NetworkError):
    """The stream ended before what was asked of it was done; the message says how."""


class Stream:
    """One stream. Not for two readers, nor for two writers, at once.

    `async with stream` closes it in the end, and resets it on an exception.
    """

    def __init__(self, inner: INetStream, used: Callable[[str], None] = lambda peer: None) -> None:
        """`used` is told the peer whenever something comes or goes."""
        self._inner = inner
        self._used = used
        self._buffer = bytearray()
        self.peer = str(inner.muxed_conn.peer_id)
        self.protocol = str(inner.get_protocol() or "")

    async def read_some(self, size_bytes_max: int, timeout_s: float) -> bytes:
        """Between 1 and `size_bytes_max` bytes; b"" when the peer has closed its side.

        Raises `StreamBroken` if the stream breaks, or nothing comes in time. A stream that
        the peer has reset may also read as closed: only the protocol can tell a whole message.
        """
        if not self._buffer:
            self._buffer += await self._receive(READ_SIZE_BYTES, timeout_s)
        data = bytes(self._buffer[:size_bytes_max])
        del self._buffer[:size_bytes_max]
        return data

    async def read_exactly(self, size_bytes: int, timeout_s: float) -> bytes:
        """Just so many bytes; raises `StreamBroken` if they do not all come in time."""
        deadline = trio.current_time() + timeout_s
        while len(self._buffer) < size_bytes:
            missing = size_bytes - len(self._buffer)
            data = await self._receive(max(missing, READ_SIZE_BYTES), deadline - trio.current_time())
            if not data:
                raise StreamBroken(f"closed by the peer after {len(self._buffer)} of {size_bytes} bytes")
            self._buffer += data
        with memoryview(self._buffer) as view:
            data = bytes(view[:size_bytes])
        del self._buffer[:size_bytes]
        return data

    async def _receive(self, size_bytes_max: int, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(max(timeout_s, 0)):
                data = bytes(await self._inner.read(size_bytes_max))
            self._used(self.peer)
            return data
        except StreamEOF:
            return b""
        except trio.TooSlowError as exc:
            await self.reset()
            raise StreamBroken(f"nothing came from the peer for {timeout_s:.1f} s") from exc
        except _BROKEN as exc:
            raise StreamBroken(_reason(exc)) from exc

    async def write(self, data: bytes, timeout_s: float) -> None:
        """Sends all of `data`; raises `StreamBroken`, also if the peer does not take it in time."""
        try:
            with trio.fail_after(timeout_s):
                await self._inner.write(data)
            self._used(self.peer)
        except trio.TooSlowError as exc:
            await self.reset()
            raise StreamBroken(f"the peer took no data for {timeout_s:.1f} s") from exc
        except _BROKEN as exc:
            raise StreamBroken(_reason(exc)) from exc

    async def close_write(self) -> None:
        """Tells the peer that no more comes, and goes on reading; raises `StreamBroken`."""
        try:
            with trio.fail_after(FAREWELL_S_MAX):
                await self._inner.close_write()
        except trio.TooSlowError as exc:
            await self.reset()
            raise StreamBroken("the peer takes no data") from exc
        except _BROKEN as exc:
            raise StreamBroken(_reason(exc)) from exc

    async def close(self) -> None:
        """Ends the stream: what was written still arrives. Never raises, takes `FAREWELL_S_MAX` at most."""
        with shielded(FAREWELL_S_MAX) as scope:
            try:
                await self._inner.close()
            except _BROKEN:
                return
        if scope.cancelled_caught:
            await self.reset()

    async def reset(self) -> None:
        """Drops the stream. Never raises, takes `FAREWELL_S_MAX` at most, also in a cancelled scope."""
        with shielded(FAREWELL_S_MAX):
            try:
                await self._inner.reset()
            except _BROKEN:
                return

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.reset()


def _reason(exc: Exception) -> str:
    return f"the stream broke: {exc or type(exc).__name__}"
