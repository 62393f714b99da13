"""Real hosts on loopback in a DHT of their own: who finds what, and what strangers cannot do to it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.kad import KAD, LAN_KAD, KadKind, KadMessage, KadPeer, encode_kad
from p2pnode.core.wire.protobuf import varint
from p2pnode.network import kademlia
from p2pnode.network.dht import Dht
from p2pnode.network.host import Host, open_host
from p2pnode.network.kademlia import DhtPorts, Kademlia, key_of
from p2pnode.network.streams import NetworkError

from .network_support import LOOPBACK, keys_of, new_identity, open_node, until

KEY = b"\x12\x20" + bytes(32)
TIMEOUT_S = 15.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kademlia, "IDENTIFIED_S", 0.1)


class DhtNode:
    """A host with its part in the DHT."""

    def __init__(self, host: Host, *, serves: bool) -> None:
        self.host = host
        self.first: dict[str, Sequence[str]] = {}
        self.kept: set[str] = set()
        ports = DhtPorts(lambda peer: (), self.kept.__contains__, lambda: self.first)
        self.dht = Dht(host, ports, serves=serves)

    def begins_at(self, other: DhtNode) -> None:
        self.first = {other.host.peer_id: [addressing.parse(one).transport for one in other.host.addresses()]}


@asynccontextmanager
async def open_dht(key: bytes | None = None, *, serves: bool = True) -> AsyncIterator[DhtNode]:
    async with open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as host:
        yield DhtNode(host, serves=serves)


@asynccontextmanager
async def open_chain(count: int, key: bytes | None = None) -> AsyncIterator[list[DhtNode]]:
    """Servers, each of which knows the one before; the first is known to all by their searches."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_dht(key)) for _ in range(count)]
        for node, before in zip(nodes[1:], nodes, strict=False):
            node.begins_at(before)
            await _refreshed(node, before)
        yield nodes


async def _refreshed(node: DhtNode, known_to: DhtNode) -> None:
    """Wait until the other has learnt, by libp2p's identify, that this one serves."""
    with trio.fail_after(TIMEOUT_S):
        while not await known_to.dht.find_peer(node.host.peer_id):
            await node.dht.refresh()


@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
async def test_a_client_finds_a_peer_and_a_provider_that_it_has_never_met(key: bytes | None) -> None:
    async with open_chain(4, key) as servers, open_dht(key, serves=False) as client:
        client.begins_at(servers[0])
        wanted = servers[-1].host
        with trio.fail_after(TIMEOUT_S):
            found = await client.dht.find_peer(wanted.peer_id)
            assert f"{found[0]}/p2p/{wanted.peer_id}" in wanted.addresses()
            assert await servers[-1].dht.provide(KEY) > 0
            assert list(await client.dht.find_providers(KEY)) == [wanted.peer_id]
            assert await client.dht.find_providers(KEY[:-1] + b"x") == {}
        await until(lambda: not client.host.connected())


async def test_connections_that_somebody_needs_outlive_a_search() -> None:
    async with open_dht() as server, open_dht(serves=False) as client:
        client.begins_at(server)
        client.kept.add(server.host.peer_id)
        await client.dht.find_providers(KEY)
        assert client.host.connected() == [server.host.peer_id]


async def test_a_client_serves_nobody() -> None:
    async with open_dht(serves=False) as client, open_dht(serves=False) as other:
        await other.host.connect(client.host.peer_id, client.host.addresses(), TIMEOUT_S)
        for protocol in (KAD, LAN_KAD):
            with pytest.raises(NetworkError):
                await other.host.open_stream(client.host.peer_id, [protocol], TIMEOUT_S)
        assert await other.dht.find_providers(KEY) == {}
        assert other.dht.peers == 0


async def test_a_search_without_anybody_to_ask_ends_at_once() -> None:
    async with open_dht() as alone:
        with trio.fail_after(1):
            assert await alone.dht.find_providers(KEY) == {}
            assert await alone.dht.find_peer(new_identity().peer_id) == []
            assert await alone.dht.provide(KEY) == 0


async def _said(host: Host, server: Host, data: bytes) -> bytes:
    """The answer to raw bytes; b"" where the stream was reset or closed."""
    async with await host.open_stream(server.peer_id, [LAN_KAD], TIMEOUT_S) as stream:
        await stream.write(data, TIMEOUT_S)
        await stream.close_write()
        try:
            return await stream.read_some(1 << 16, TIMEOUT_S)
        except NetworkError:
            return b""


def _framed(message: KadMessage) -> bytes:
    data = encode_kad(message)
    return varint(len(data)) + data


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 40,
        varint(1 << 30),
        varint(5) + b"\xff" * 5,
        _framed(KadMessage(KadKind.PUT_VALUE, b"key")),
        _framed(KadMessage(KadKind.FIND_NODE)),
    ],
    ids=["no length", "a gigabyte", "no message", "a value", "no key"],
)
async def test_what_is_no_question_costs_its_stream_alone(data: bytes) -> None:
    async with open_dht() as server, open_host(new_identity(), [LOOPBACK]) as host:
        await host.connect(server.host.peer_id, server.host.addresses(), TIMEOUT_S)
        assert await _said(host, server.host, data) == b""
        ping = _framed(KadMessage(KadKind.PING))
        assert await _said(host, server.host, ping) == ping


async def test_nobody_provides_in_the_name_of_another() -> None:
    async with open_dht() as server, open_host(new_identity(), [LOOPBACK]) as host:
        await host.connect(server.host.peer_id, server.host.addresses(), TIMEOUT_S)
        address = bytes.fromhex("047f000001060fa1")
        other = KadPeer(key_of(new_identity().peer_id), (address,))
        record = KadMessage(KadKind.ADD_PROVIDER, KEY, providers=(other,))
        await _said(host, server.host, _framed(record))
        own = KadPeer(key_of(host.peer_id), (address,))
        await _said(host, server.host, _framed(KadMessage(KadKind.ADD_PROVIDER, KEY, providers=(own,))))
        assert list(await server.dht.find_providers(KEY)) == [host.peer_id]


async def test_an_answer_has_nobody_dial_addresses_of_another_kind() -> None:
    """On the internet's DHT a stranger names peers on this node's own network."""
    async with open_host(new_identity(), [LOOPBACK]) as liar, open_host(new_identity(), [LOOPBACK]) as host:
        victim = new_identity().peer_id

        async def lie(stream: object) -> None:
            private = KadPeer(key_of(victim), (bytes.fromhex("040a000001060fa1"),))
            await stream.write(_framed(KadMessage(KadKind.FIND_NODE, closer=(private,))), TIMEOUT_S)  # type: ignore[attr-defined]

        liar.handle(KAD, lie)
        await host.connect(liar.peer_id, liar.addresses(), TIMEOUT_S)
        first: Mapping[str, Sequence[str]] = {}
        ports = DhtPorts(lambda peer: (), lambda peer: True, lambda: first)

        def is_public(address: addressing.Address) -> bool:
            return addressing.scope_of(address.host) is addressing.Scope.PUBLIC

        assert await Kademlia(host, KAD, is_public, ports, serves=False).find_peer(victim) == []
        anywhere = Kademlia(host, KAD, lambda address: True, ports, serves=False)
        assert await anywhere.find_peer(victim) == ["/ip4/10.0.0.1/tcp/4001"]


async def test_a_link_with_a_peer_whose_address_nobody_told_comes_up_by_the_dht() -> None:
    async with open_chain(2) as servers, open_node() as sender, open_node() as receiver:
        there, here = DhtNode(receiver.host, serves=True), DhtNode(sender.host, serves=False)
        there.begins_at(servers[1])
        here.begins_at(servers[0])
        await _refreshed(there, servers[1])
        sender.finds = here.dht.find_peer
        sender.links.send(receiver.id, b"hello")
        await until(lambda: receiver.got)
        assert receiver.got == [(sender.id, b"hello")]
