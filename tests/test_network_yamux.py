"""Data that a peer sends and nobody reads takes so much memory and no more; short messages are few frames."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from math import inf

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
from p2pnode.network.yamux import CREDIT_SIZE_BYTES_MAX, PIECE_SIZE_BYTES, BoundedYamux, Unread

from .network_support import LOOPBACK, WAIT_S, new_identity, until

PROTOCOL = "/test/unread/1"


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


@pytest.mark.parametrize(
    ("size_bytes", "messages"),
    [
        pytest.param(300, 100, id="short messages"),
        pytest.param(16 * 1024, 64, id="messages of which many fill a window"),
        pytest.param(2 * DEFAULT_WINDOW_SIZE, 4, id="messages larger than a window"),
    ],
)
async def test_a_peer_is_told_what_was_read_in_few_pieces_and_never_waits_for_it(
    size_bytes: int, messages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    write = Yamux._write_frame

    async def noted(self: Yamux, data: bytes) -> None:
        _, kind, flags, _, size = struct.unpack(YAMUX_HEADER_FORMAT, data[:HEADER_SIZE])
        if kind == TYPE_WINDOW_UPDATE and not flags:
            told.append(size)
        await write(self, data)

    monkeypatch.setattr(Yamux, "_write_frame", noted)
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:

        async def serve(stream: Stream) -> None:
            for _ in range(messages):
                await stream.read_exactly(size_bytes, WAIT_S)
                await stream.write(b"k", WAIT_S)

        b.handle(PROTOCOL, serve)
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        async with await a.open_stream(b.peer_id, [PROTOCOL], WAIT_S) as stream:
            for _ in range(messages):
                await stream.write(bytes(size_bytes), WAIT_S)
                assert await stream.read_exactly(1, WAIT_S) == b"k"
        # libp2p widens the windows of busy streams some times, which is not held back.
        assert min(told, default=inf) >= CREDIT_SIZE_BYTES_MAX
        assert len(told) <= 50


@pytest.mark.parametrize(
    "size_bytes_max",
    [
        pytest.param(3, id="frames of few bytes"),
        pytest.param(PIECE_SIZE_BYTES // 2, id="frames that share a piece"),
        pytest.param(3 * PIECE_SIZE_BYTES, id="frames longer than a piece"),
    ],
)
def test_what_is_unread_comes_out_as_it_came_in_and_as_a_bytearray_gives_it(size_bytes_max: int) -> None:
    chance = random.Random(size_bytes_max)
    unread, plain = Unread(), bytearray()
    for _ in range(300):
        data = chance.randbytes(chance.randint(0, size_bytes_max))
        unread.extend(data)
        plain.extend(data)
        first = chance.randint(0, chance.choice([1, size_bytes_max, 2 * len(plain)]) or 1)
        assert bytes(unread[:first]) == plain[:first]
        del unread[:first], plain[:first]
        assert len(unread) == len(plain)
    assert bytes(unread) == plain
    unread.clear()
    assert not unread and bytes(unread) == b""


def test_bytes_that_come_one_by_one_take_no_object_each() -> None:
    unread = Unread()
    for _ in range(2 * PIECE_SIZE_BYTES):
        unread.extend(b"x")
    assert len(unread._pieces) == 2
