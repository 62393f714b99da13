"""Adverts among real hosts, and the four ways in which a stock gossip node is ended by a neighbour."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import NoReturn

import pytest
import trio
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.utils.varint import encode_varint_prefixed

from p2pnode.core.values.patience import REFUSALS_MAX
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.signing import Signed
from p2pnode.identity import Identity
from p2pnode.network.gossip import GOSSIP_SIZE_BYTES_MAX, HEARTBEAT_S, TOPIC, Gossip, open_gossip
from p2pnode.network.host import Host, open_host
from p2pnode.network.libp2p_tasks import RESTART_S
from p2pnode.network.protocols import adverts
from p2pnode.network.protocols.adverts import (
    PAGE_SIZE_BYTES_MAX,
    TableEntry,
    pull_table,
    serve_table,
)
from p2pnode.network.streams import NetworkError, Stream

from .network_support import LOOPBACK, WAIT_S, new_identity, until


@dataclass
class Member:
    host: Host
    gossip: Gossip
    heard: list[tuple[bytes, str]] = field(default_factory=list)


@asynccontextmanager
async def open_member(identity: Identity | None = None) -> AsyncIterator[Member]:
    heard: list[tuple[bytes, str]] = []

    def hear(data: bytes, forwarder: str) -> bool:
        if data == b"raise":
            raise RuntimeError("on purpose")
        if data == b"bad":
            raise BadMessage("on purpose")
        heard.append((data, forwarder))
        return not data.startswith(b"junk")

    async with open_host(identity or new_identity(), [LOOPBACK]) as host, open_gossip(host, hear) as gossip:
        yield Member(host, gossip, heard)


async def join(a: Member, b: Member) -> None:
    await a.host.connect(b.host.peer_id, b.host.addresses(), WAIT_S)
    await until(lambda: b.host.peer_id in a.gossip.neighbours() and a.host.peer_id in b.gossip.neighbours())


async def test_a_message_reaches_those_two_steps_away_once() -> None:
    async with open_member() as a, open_member() as b, open_member() as c:
        await join(a, b)
        await join(b, c)
        await a.gossip.publish(b"advert")
        await until(lambda: c.heard)
        assert b.heard == [(b"advert", a.host.peer_id)]
        assert c.heard == [(b"advert", b.host.peer_id)]
        assert a.heard == []


async def test_more_messages_than_libp2p_queues_arrive_all() -> None:
    async with open_member() as a, open_member() as b:
        await join(a, b)
        for number in range(50):
            await a.gossip.publish(str(number).encode())
            # libp2p's outbound queue holds 32 as well, and drops the rest.
            await until(lambda number=number: len(b.heard) > number - 5)
        await until(lambda: len(b.heard) == 50)


async def test_a_member_that_is_back_at_once_is_heard() -> None:
    identity = new_identity()
    async with open_member() as b:
        for run in range(2):
            async with open_member(identity) as a:
                await join(a, b)
                for number in range(5):
                    await a.gossip.publish(f"{run} {number}".encode())
                await until(lambda run=run: len(b.heard) == 5 * (run + 1))
            await until(lambda: not b.host.connected())


async def test_a_member_that_has_a_new_connection_before_the_end_of_the_old_one_is_heard_and_hears() -> None:
    async with open_member() as a, open_member() as b:
        await join(a, b)
        old = a.host.inner.get_network().get_connections()
        async with trio.open_nursery() as nursery:
            # libp2p tells of its end a while after it has begun.
            nursery.start_soon(old[0].close)
            await until(lambda: not a.host.connected())
            await a.host.connect(b.host.peer_id, b.host.addresses(), WAIT_S)
            await a.gossip.publish(b"from here")
        await b.gossip.publish(b"from there")
        await until(lambda: a.heard and b.heard)


async def test_what_an_owner_calls_junk_goes_no_further() -> None:
    async with open_member() as a, open_member() as b, open_member() as c:
        await join(a, b)
        await join(b, c)
        for data in (b"junk", b"raise", b"good"):
            await a.gossip.publish(data)
        await until(lambda: c.heard)
        assert [data for data, _ in b.heard] == [b"junk", b"good"]
        assert [data for data, _ in c.heard] == [b"good"]


async def test_a_message_that_is_too_large_is_neither_sent_nor_heard() -> None:
    async with open_member() as a, open_member() as b:
        await join(a, b)
        with pytest.raises(NetworkError, match="at most"):
            await a.gossip.publish(bytes(GOSSIP_SIZE_BYTES_MAX + 1))
        await a.gossip._pubsub.publish(TOPIC, bytes(GOSSIP_SIZE_BYTES_MAX + 1))
        await a.gossip.publish(bytes(GOSSIP_SIZE_BYTES_MAX))
        await until(lambda: b.heard)
        assert b.heard == [(bytes(GOSSIP_SIZE_BYTES_MAX), a.host.peer_id)]


def _message(**fields: bytes) -> bytes:
    values = {"data": b"x", "seqno": bytes(8), "from_id": b"\1\2", "key": b"junk", "signature": b"junk"}
    message = rpc_pb2.Message(topicIDs=[TOPIC], **(values | fields))
    return bytes(encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString()))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a" + b"\xff" * 10,
        b"\xff" * 12,
        _message(),
        _message(from_id=b""),
        # The protobuf of an RSA key that is none.
        _message(key=b"\x08\x00\x12\x03abc"),
        encode_varint_prefixed(
            rpc_pb2.RPC(
                control=rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[b"zz"])])
            ).SerializeToString()
        ),
        encode_varint_prefixed(rpc_pb2.RPC(senderRecord=b"junk").SerializeToString()),
    ],
    ids=[
        "bad protobuf",
        "bad length",
        "junk key",
        "no sender",
        "junk RSA key",
        "junk control",
        "junk record",
    ],
)
async def test_a_neighbours_bytes_do_not_end_the_gossip(data: bytes) -> None:
    async with open_member() as a, open_member() as b, open_host(new_identity(), [LOOPBACK]) as stranger:
        await join(a, b)

        async def ignore(stream: Stream) -> None:
            while await stream.read_some(65_536, WAIT_S):
                pass

        stranger.handle(PROTOCOL_ID_V11, ignore)
        await stranger.connect(b.host.peer_id, b.host.addresses(), WAIT_S)
        for junk in (data, os.urandom(50)):
            stream = await stranger.open_stream(b.host.peer_id, [PROTOCOL_ID_V11], WAIT_S)
            await stream.write(junk, WAIT_S)
            await stream.close()
        await a.gossip.publish(b"still here")
        await until(lambda: b.heard)
        await b.gossip.publish(b"and there")
        await until(lambda: a.heard)


async def test_who_gossips_what_is_refused_again_and_again_is_not_heard_for_a_while() -> None:
    async with open_member() as a, open_member() as b, open_member() as c:
        await join(a, b)
        await join(b, c)
        for _ in range(REFUSALS_MAX + 1):
            await a.gossip.publish(b"bad")
        await a.gossip.publish(b"good")
        await c.gossip.publish(b"another's")
        await until(lambda: b.heard)
        assert b.heard == [(b"another's", c.host.peer_id)]


def raises(*_: object) -> NoReturn:
    raise KeyError("on purpose")


async def raises_soon(*_: object) -> NoReturn:
    raises()


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (GossipSub, "mesh_heartbeat"),
        (GossipSub, "gossip_heartbeat"),
        (GossipSub, "remove_peer"),
        (Pubsub, "_handle_dead_peer"),
        (Pubsub, "_handle_new_peer_with_retry"),
        (Pubsub, "push_msg"),
        (Yamux, "start"),
    ],
)
async def test_what_libp2p_itself_fails_with_does_not_end_the_gossip(
    of: type, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_member() as a, open_member() as b, open_host(new_identity(), [LOOPBACK]) as visitor:
        await join(a, b)
        with monkeypatch.context() as broken:
            failing = raises_soon if iscoroutinefunction(getattr(of, name)) else raises
            broken.setattr(of, name, failing)
            with trio.move_on_after(2 * HEARTBEAT_S):
                await visitor.connect(b.host.peer_id, b.host.addresses(), WAIT_S)
                await a.gossip.publish(b"while it fails")
                await visitor.disconnect(b.host.peer_id)
                await until(lambda: "on purpose" in caplog.text)
        await trio.sleep(RESTART_S)
        await until(lambda: b.host.peer_id in a.gossip.neighbours())
        await a.gossip.publish(b"afterwards")
        await until(lambda: (b"afterwards", a.host.peer_id) in b.heard)


async def pulled(host: Host, peer: str) -> list[TableEntry]:
    entries: list[TableEntry] = []

    async def take(page: Sequence[TableEntry]) -> None:
        entries.extend(page)

    await pull_table(host, peer, take)
    return entries


async def test_a_late_joiner_pulls_the_whole_table() -> None:
    table = [(Signed(body=bytes([number % 256]) * 1500, signature=bytes(64)), number) for number in range(90)]
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        serve_table(a, lambda peer: table)
        serve_table(b, lambda peer: [])
        await b.connect(a.peer_id, a.addresses(), WAIT_S)
        assert [(entry.signed, entry.remaining_ms) for entry in await pulled(b, a.peer_id)] == table
        assert await pulled(a, b.peer_id) == []


async def test_who_asks_for_the_table_again_and_again_is_refused() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        serve_table(a, lambda peer: [])
        await b.connect(a.peer_id, a.addresses(), WAIT_S)
        for _ in range(int(adverts.ASKED_BURST)):
            await pulled(b, a.peer_id)
        with pytest.raises(NetworkError):
            await pulled(b, a.peer_id)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0\0\4junk",
        (PAGE_SIZE_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\xff" * 100,
        # An empty page that promises more, which could go on for ever.
        b"\0\0\0\x0f" + bytes.fromhex("a2646d6f7265f567656e747269657380"[:30]),
    ],
)
async def test_a_peer_that_sends_no_table_is_named(data: bytes) -> None:
    async def serve(stream: Stream) -> None:
        await stream.write(data, WAIT_S)

    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        a.handle(adverts.PROTOCOL, serve)
        await b.connect(a.peer_id, a.addresses(), WAIT_S)
        with pytest.raises(NetworkError):
            await pulled(b, a.peer_id)
