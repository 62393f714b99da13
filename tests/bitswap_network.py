"""A libp2p network in memory for tests of bitswap, and peers of which a test decides what they send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
import trio.testing

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import bitswap_messages, bitswap_streams
from p2pnode.ipfs.bitswap_messages import Message, Want
from p2pnode.network.streams import NetworkError


class Broken(NetworkError):
    """An error of the network in memory."""


class Stream:
    """One end of a stream in memory, with the methods of the network's stream."""

    def __init__(self, peer: str, protocol: str, inner: trio.StapledStream) -> None:
        self.peer = peer
        self.protocol = protocol
        self._inner = inner
        self._buffer = bytearray()

    async def read_some(self, size_bytes_max: int, timeout_s: float) -> bytes:
        if not self._buffer:
            self._buffer += await self._receive(timeout_s)
        data = bytes(self._buffer[:size_bytes_max])
        del self._buffer[:size_bytes_max]
        return data

    async def read_exactly(self, size_bytes: int, timeout_s: float) -> bytes:
        while len(self._buffer) < size_bytes:
            data = await self._receive(timeout_s)
            if not data:
                raise Broken("closed")
            self._buffer += data
        data = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return data

    async def _receive(self, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                return bytes(await self._inner.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            raise Broken("no data") from exc

    async def write(self, data: bytes, timeout_s: float) -> None:
        try:
            with trio.fail_after(timeout_s):
                await self._inner.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            raise Broken("no peer") from exc

    async def close(self) -> None:
        await trio.aclose_forcefully(self._inner)

    async def reset(self) -> None:
        await trio.aclose_forcefully(self._inner)


Handler = Callable[[Stream], Awaitable[None]]


class Network:
    """Hosts in memory, all connected. `break_off` takes one away, with all its streams."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.hosts: dict[str, Host] = {}

    def host(self, name: str, protocols: Sequence[str] = bitswap_streams.PROTOCOLS) -> Host:
        self.hosts[name] = Host(self, name, protocols)
        return self.hosts[name]

    async def break_off(self, name: str) -> None:
        for stream in self.hosts.pop(name).streams:
            await stream.reset()


class Host:
    def __init__(self, network: Network, name: str, protocols: Sequence[str]) -> None:
        self.network = network
        self.name = name
        self.protocols = protocols
        self.handlers: dict[str, Handler] = {}
        self.streams: list[Stream] = []
        self.reset_by: list[Exception] = []

    def handle(self, protocol: str, handler: Handler, *, time_limit_s: float) -> None:
        self.handlers[protocol] = handler

    async def open_stream(self, peer: str, protocols: Sequence[str], timeout_s: float) -> Stream:
        await trio.lowlevel.checkpoint()
        other = self.network.hosts.get(peer)
        if other is None or self.network.hosts.get(self.name) is not self:
            raise Broken(f"{peer} is not connected")
        protocol = next(name for name in protocols if name in other.protocols)
        here, there = trio.testing.memory_stream_pair()
        ours, theirs = Stream(peer, protocol, here), Stream(self.name, protocol, there)
        self.streams.append(ours)
        other.streams.append(theirs)
        self.network.nursery.start_soon(other.serve, theirs)
        return ours

    async def serve(self, stream: Stream) -> None:
        try:
            await self.handlers[stream.protocol](stream)
        except (Broken, BadMessage) as exc:
            self.reset_by.append(exc)
        await stream.reset()


class Scripted:
    """A peer of which a test decides what it sends; what it is sent is kept."""

    def __init__(self, host: Host, answer: Callable[[Want], Message | None] = lambda want: None) -> None:
        self.host = host
        self.messages: list[Message] = []
        self.answer = answer
        for protocol in host.protocols:
            host.handle(protocol, self.serve, time_limit_s=1)

    async def serve(self, stream: Stream) -> None:
        back = await self.host.open_stream(stream.peer, self.host.protocols, 1)
        while (data := await read_message(stream)) is not None:
            message = bitswap_messages.decode_untrusted(data)
            self.messages.append(message)
            for want in message.wants:
                reply = None if want.cancel else self.answer(want)
                if reply is not None:
                    await back.write(bitswap_messages.encode(reply), 1)

    @property
    def wants(self) -> list[Want]:
        return [want for message in self.messages for want in message.wants]


async def read_message(stream: Stream) -> bytes | None:
    prefix = b""
    while not prefix or prefix[-1] & 0x80:
        byte = await stream.read_some(1, 1000)
        if not byte:
            return None
        prefix += byte
    return await stream.read_exactly(protobuf.varint_untrusted(prefix, 0)[0], 1000)


async def run_at_once(function: Callable[..., object], *arguments: object, limiter: object = None) -> object:
    """Stands in for a thread: the jumping clock knows of none, and would jump while one works."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)
