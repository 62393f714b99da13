"""Connections and streams between simulated hosts: in memory, on trio's clock, delayed and cut by seed.

A `SimHost` is to the shell what `network.host.Host` is; on top are the real `network.streams.Stream`. A cut
holds back what is written, in each direction by itself, and brings it when it heals, as TCP does.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import trio
from libp2p.network.stream.exceptions import StreamEOF, StreamReset

from p2pnode.network.host import Connected, Disconnected, PeerSilent, Unreachable
from p2pnode.network.streams import Stream

DIAL_S = 1.0


class _Pipe:
    """One direction of a stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended: type[Exception] | None = None
        self.changed = trio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class _MuxedConnection:
    def __init__(self, peer: str) -> None:
        self.peer_id = peer


class SimStream:
    """One end of a stream, as libp2p's are used by `network.streams`."""

    def __init__(self, wires: Wires, me: str, peer: str, protocol: str) -> None:
        self._wires = wires
        self._me = me
        self._peer = peer
        self._protocol = protocol
        self.muxed_conn = _MuxedConnection(peer)
        self.incoming = _Pipe()
        self.other: SimStream | None = None

    def get_protocol(self) -> str:
        return self._protocol

    async def read(self, size_bytes_max: int) -> bytes:
        await trio.lowlevel.checkpoint()
        pipe = self.incoming
        while not pipe.data:
            if pipe.ended is not None:
                raise pipe.ended()
            await pipe.changed.wait()
        data = bytes(pipe.data[:size_bytes_max])
        del pipe.data[:size_bytes_max]
        return data

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.incoming.ended is StreamReset:
            raise StreamReset
        self._send(data, None)

    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint()
        self._send(b"", StreamEOF)

    async def close(self) -> None:
        await self.close_write()

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()
        self.break_off(StreamReset)
        self._send(b"", StreamReset)

    def break_off(self, why: type[Exception]) -> None:
        self.incoming.ended = self.incoming.ended or why
        self.incoming.wake()

    def _send(self, data: bytes, end: type[Exception] | None) -> None:
        assert self.other is not None
        self._wires.sent_bytes += len(data)
        self._wires.carry(self._me, self._peer, lambda: self._arrive(data, end))

    def _arrive(self, data: bytes, end: type[Exception] | None) -> None:
        assert self.other is not None
        pipe = self.other.incoming
        if pipe.ended is None:
            pipe.data += data
            pipe.ended = end
            pipe.wake()


class SimHost:
    """One node's host while its process lives."""

    is_private = False

    def __init__(self, wires: Wires, peer_id: str, nursery: trio.Nursery) -> None:
        self._wires = wires
        self.peer_id = peer_id
        self._nursery = nursery
        self._handlers: dict[str, Callable[[Stream], Awaitable[None]]] = {}
        self._watchers: list[Callable[[Connected | Disconnected], None]] = []
        self._connected: dict[str, None] = {}
        self.streams: list[SimStream] = []
        self.alive = True
        self.reached_at: Sequence[str] = ()
        self.relayed_addresses: Sequence[str] = ()
        self.dialled_by: Collection[str] = ()
        # In place of libp2p's host: no connection is by a relay.
        network = SimpleNamespace(get_connections=lambda peer: [])
        self.inner = SimpleNamespace(get_network=lambda: network)

    def addresses(self) -> list[str]:
        return []

    def tellable_addresses(self) -> list[str]:
        return []

    def take_relays(self, relays: Callable[[], Collection[str]]) -> None:
        """Nobody comes by a relay: all reach all."""

    def connected(self) -> list[str]:
        return list(self._connected)

    def processes(self, peer: str) -> set[bytes]:
        return {peer.encode()} if peer in self._connected else set()

    def watch(self, watcher: Callable[[Connected | Disconnected], None]) -> None:
        self._watchers.append(watcher)

    def handle(self, protocol: str, handler: Callable[[Stream], Awaitable[None]], **limits: Any) -> None:
        self._handlers[protocol] = handler

    async def connect(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        if peer in self._connected:
            return
        await trio.sleep(self._wires.delay())
        other = self._wires.hosts.get(peer)
        if other is None or not other.alive or self._wires.is_cut(self.peer_id, peer):
            await trio.sleep(min(DIAL_S, timeout_s) if other else 0.0)
            raise Unreachable(f"no connection to {peer}", "no answer")
        self.joined(peer)
        other.joined(self.peer_id)

    def joined(self, peer: str) -> None:
        if peer not in self._connected:
            self._connected[peer] = None
            self._tell(Connected(peer, "127.0.0.1"))

    async def disconnect(self, peer: str) -> None:
        await trio.lowlevel.checkpoint()
        self.parted(peer)
        self._wires.carry(self.peer_id, peer, lambda: self._wires.part(peer, self.peer_id))

    def parted(self, peer: str) -> None:
        if peer in self._connected:
            del self._connected[peer]
            for stream in [one for one in self.streams if one.muxed_conn.peer_id == peer]:
                self.streams.remove(stream)
                stream.break_off(StreamReset)
            if self.alive:
                self._tell(Disconnected(peer))

    async def open_stream(
        self, peer: str, protocols: Sequence[str], timeout_s: float, process: bytes | None = None
    ) -> Stream:
        (protocol,) = protocols
        if peer not in self._connected:
            raise Unreachable(f"{peer} is not connected")
        accepted = trio.Event()

        def arrive() -> None:
            if self._wires.accept(peer, self, mine):
                self._wires.carry(peer, self.peer_id, accepted.set)

        mine = SimStream(self._wires, self.peer_id, peer, protocol)
        self.streams.append(mine)
        self._wires.carry(self.peer_id, peer, arrive)
        with trio.move_on_after(timeout_s):
            await accepted.wait()
            return Stream(mine)  # type: ignore[arg-type]
        raise PeerSilent(f"{peer} opened no stream within {timeout_s:.1f} s")

    def serve(self, theirs: SimStream) -> bool:
        handler = self._handlers.get(theirs.get_protocol())
        if not self.alive or handler is None or theirs.muxed_conn.peer_id not in self._connected:
            return False
        self.streams.append(theirs)
        self._nursery.start_soon(self._serve, handler, Stream(theirs))  # type: ignore[arg-type]
        return True

    async def _serve(self, handler: Callable[[Stream], Awaitable[None]], stream: Stream) -> None:
        try:
            async with stream:
                await handler(stream)
        except Exception:  # noqa: BLE001 - as the real host: it costs this stream and nothing else
            await stream.reset()

    def _tell(self, event: Connected | Disconnected) -> None:
        for watcher in self._watchers:
            watcher(event)


class Wires:
    """All hosts, and what is between them."""

    def __init__(self, rng: random.Random, delay_s: tuple[float, float], nursery: trio.Nursery) -> None:
        self._random = rng
        self._delay_s = delay_s
        self._nursery = nursery
        self.hosts: dict[str, SimHost] = {}
        # Directions in which nothing gets through.
        self.cuts: set[tuple[str, str]] = set()
        # Nodes whose lines take so much longer, in seconds.
        self.slow: dict[str, float] = {}
        self._lines: dict[tuple[str, str], trio.MemorySendChannel[tuple[float, Callable[[], None]]]] = {}
        self._healed = trio.Event()
        # On all streams, since the beginning.
        self.sent_bytes = 0

    def delay(self) -> float:
        return self._random.uniform(*self._delay_s)

    def is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self.cuts or (other, one) in self.cuts

    def heal(self, cuts: set[tuple[str, str]]) -> None:
        self.cuts -= cuts
        self._healed.set()
        self._healed = trio.Event()

    def carry(self, sender: str, to: str, arrive: Callable[[], None]) -> None:
        """Have something arrive after the line's delay, and after all that was sent before on it."""
        line = self._lines.get((sender, to))
        if line is None:
            line, receiving = trio.open_memory_channel[tuple[float, Callable[[], None]]](float("inf"))
            self._lines[sender, to] = line
            self._nursery.start_soon(self._work, sender, to, receiving)
        slowness_s = self.slow.get(sender, 0.0) + self.slow.get(to, 0.0)
        line.send_nowait((trio.current_time() + self.delay() + slowness_s, arrive))

    async def _work(
        self, sender: str, to: str, things: trio.MemoryReceiveChannel[tuple[float, Callable[[], None]]]
    ) -> None:
        async for at, arrive in things:
            await trio.sleep_until(at)
            while (sender, to) in self.cuts:
                await self._healed.wait()
            arrive()

    def accept(self, peer: str, opener: SimHost, mine: SimStream) -> bool:
        host = self.hosts.get(peer)
        theirs = SimStream(self, peer, opener.peer_id, mine.get_protocol())
        mine.other, theirs.other = theirs, mine
        return host is not None and host.serve(theirs)

    def part(self, peer: str, other: str) -> None:
        """The connection that `peer` has with `other` is gone, as it sees it."""
        if peer in self.hosts:
            self.hosts[peer].parted(other)

    def end(self, host: SimHost, *, silent: bool) -> None:
        """A process ends; unless its machine went with it, its peers are told by their own kernels."""
        host.alive = False
        for stream in host.streams:
            stream.break_off(StreamReset)
        if not silent:
            for peer in host.connected():
                self.carry(host.peer_id, peer, lambda peer=peer: self.part(peer, host.peer_id))  # type: ignore[misc]
