"""Data that a peer sends and nobody reads takes so much memory and no more."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    FLAG_SYN,
    HEADER_SIZE,
    TYPE_DATA,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    Yamux,
)

from p2pnode.network import yamux
from p2pnode.network.host import Host, open_host
from p2pnode.network.streams import Stream
from p2pnode.network.yamux import BoundedYamux

from .network_support import LOOPBACK, WAIT_S, new_identity, until

PROTOCOL = "/test/unread/1"
SENT_SIZE_BYTES = 40 * DEFAULT_WINDOW_SIZE
SMALL_MESSAGES = 50


def muxer(of: Host, other: Host) -> Yamux:
    (connections,) = (
        found for peer, found in of.inner.get_network().connections.items() if str(peer) == other.peer_id
    )
    (connection,) = connections
    assert isinstance(connection.muxed_conn, BoundedYamux)
    return connection.muxed_conn


def unread(of: Yamux) -> int:
    return sum(map(len, of.stream_buffers.values()))


async def test_what_came_on_a_stream_that_was_reset_is_let_go_at_once() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        resets = trio.Event()

        async def serve(stream: Stream) -> None:
            await resets.wait()
            await stream.reset()

        b.handle(PROTOCOL, serve)
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        stream = await a.open_stream(b.peer_id, [PROTOCOL], WAIT_S)
        await stream.write(bytes(DEFAULT_WINDOW_SIZE // 2), WAIT_S)
        await until(lambda: unread(muxer(b, a)) >= DEFAULT_WINDOW_SIZE // 2)
        resets.set()
        await until(lambda: unread(muxer(b, a)) == 0)


async def test_small_messages_are_read_without_a_word_to_their_sender_and_large_ones_never_stop() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:

        async def serve(stream: Stream) -> None:
            total = 0
            while total < SENT_SIZE_BYTES:
                total += len(await stream.read_some(100, WAIT_S))
            await stream.write(b"all", WAIT_S)

        b.handle(PROTOCOL, serve)
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        stream = await a.open_stream(b.peer_id, [PROTOCOL], WAIT_S)
        said = muxer(b, a)
        updates: list[int] = []
        write = said.secured_conn.write

        async def noted(data: bytes) -> None:
            _, kind, flags, _, increment = struct.unpack(YAMUX_HEADER_FORMAT, data[:HEADER_SIZE])
            if kind == TYPE_WINDOW_UPDATE and not flags:
                updates.append(increment)
            await write(data)

        said.secured_conn.write = noted
        for _ in range(SMALL_MESSAGES):
            await stream.write(bytes(100), WAIT_S)
            await until(lambda: not unread(said))
        # libp2p makes the window larger, once or twice.
        assert len(updates) * 10 < SMALL_MESSAGES
        await stream.write(bytes(SENT_SIZE_BYTES - SMALL_MESSAGES * 100), 10 * WAIT_S)
        assert await stream.read_exactly(3, 10 * WAIT_S) == b"all"
        assert updates
        assert min(updates) >= yamux.UNTOLD_SIZE_BYTES_MAX


async def test_a_connection_on_which_more_comes_than_is_read_is_closed_whatever_its_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yamux, "UNREAD_SIZE_BYTES_MAX", 2 * DEFAULT_WINDOW_SIZE)
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        await until(lambda: a.peer_id in b.connected())
        sender, receiver = muxer(a, b), muxer(b, a)
        # By hand: streams with as much on each as there may be, and nobody reads them.
        for number in range(1001, 1007, 2):
            header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, FLAG_SYN, number, DEFAULT_WINDOW_SIZE)
            with trio.move_on_after(WAIT_S), suppress(ConnectionClosedError):
                await sender._write_frame(header + b"\x01" * DEFAULT_WINDOW_SIZE)
        await until(lambda: receiver.is_closed)
        assert unread(receiver) <= 2 * DEFAULT_WINDOW_SIZE
        async with open_host(new_identity(), [LOOPBACK]) as c:
            await c.connect(b.peer_id, b.addresses(), WAIT_S)
            assert b.peer_id in c.connected()
