"""How nodes find each other, and find each other again."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from p2pnode.core.link import neighbours
from p2pnode.core.link.redial import casual_redial_s, redial_s
from p2pnode.core.wire.addresses import BadAddress
from p2pnode.identity import Identity
from p2pnode.network.discovery import Discovery
from p2pnode.network.host import Host, open_host
from p2pnode.network.mdns import ADDRESSES_MAX, decode_txt_untrusted, encode_txt
from p2pnode.network.streams import Stream

from .network_support import LOOPBACK, keys_of, new_identity, until

PEER = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"


@asynccontextmanager
async def open_finder(
    identity: Identity | None = None,
    listen: str = LOOPBACK,
    *,
    given: Sequence[str] = (),
    known: Mapping[str, Sequence[str]] | None = None,
    mdns: bool = False,
    operator: str | None = None,
) -> AsyncIterator[Host]:
    async with (
        open_host(identity or new_identity(), [listen], network_keys=keys_of(operator and bytes(32))) as host,
        trio.open_nursery() as nursery,
    ):
        discovery = Discovery(host, given=given, known=lambda: known or {}, mdns=mdns, operator=operator)
        nursery.start_soon(discovery.run)
        yield host
        nursery.cancel_scope.cancel()


def port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_given_peer_is_joined_also_when_it_starts_later() -> None:
    identity, listen = new_identity(), f"/ip4/127.0.0.1/tcp/{port_free()}"
    async with open_finder(given=[f"{listen}/p2p/{identity.peer_id}"]) as a:
        await trio.sleep(1)  # The time for which the peer is not there.
        async with open_finder(identity, listen):
            assert await until(a.connected) < 5


async def test_a_remembered_peer_is_joined() -> None:
    async with open_finder() as a:
        async with open_finder(known={a.peer_id: a.addresses()}):
            await until(a.connected)


async def test_a_peer_that_has_left_the_lan_is_dialled_where_its_advert_says() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        finder = Discovery(b, known=lambda: {a.peer_id: a.addresses()}, mdns=False)
        finder._on_found(a.peer_id, [f"/ip4/127.0.0.1/tcp/{port_free()}/p2p/{a.peer_id}"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finder.run)
            await until(b.connected)
            nursery.cancel_scope.cancel()


async def test_a_given_peer_must_say_who_it_is() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as host:
        with pytest.raises(BadAddress, match="does not end in /p2p/"):
            Discovery(host, given=["/ip4/127.0.0.1/tcp/4001"])


async def test_a_node_does_not_join_itself() -> None:
    identity, listen = new_identity(), f"/ip4/127.0.0.1/tcp/{port_free()}"
    async with open_finder(identity, listen, given=[f"{listen}/p2p/{identity.peer_id}"]) as a:
        await trio.sleep(0.3)  # Nothing is to happen.
        assert a.connected() == []


async def test_a_peer_that_restarts_on_its_port_is_found_again() -> None:
    identity, listen = new_identity(), f"/ip4/127.0.0.1/tcp/{port_free()}"
    async with open_finder(known={identity.peer_id: [listen]}) as a:
        async with open_finder(identity, listen):
            await until(a.connected)
        await until(lambda: not a.connected())
        async with open_finder(identity, listen):
            assert await until(a.connected) < 5


async def test_a_lost_connection_to_a_living_peer_is_made_again() -> None:
    async with open_finder() as a, open_finder(given=a.addresses()) as b:
        await until(a.connected)
        await a.disconnect(b.peer_id)
        await until(lambda: not b.connected())
        assert await until(b.connected) < 5


async def test_a_peer_that_restarts_on_another_port_comes_back_by_what_it_remembers() -> None:
    identity = new_identity()
    async with open_finder() as a:
        async with open_finder(identity, given=a.addresses()) as b:
            await until(a.connected)
            remembered = {a.peer_id: a.addresses()}
            old = b.addresses()
        await until(lambda: not a.connected())
        async with open_finder(identity, known=remembered) as b:
            assert b.addresses() != old
            assert await until(a.connected) < 5


async def test_in_a_large_network_idle_connections_go_and_those_that_are_used_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "HIGH", 2)
    monkeypatch.setattr(neighbours, "LOW", 0)
    monkeypatch.setattr(neighbours, "OWN", 0)
    monkeypatch.setattr(neighbours, "IDLE_S", 0.5)
    monkeypatch.setattr(neighbours, "CLOSE_AGAIN_S", 0.1)
    heard = [new_identity() for _ in range(5)]

    async def echo(stream: Stream) -> None:
        while data := await stream.read_some(1, 5):
            await stream.write(data, 5)

    async with open_host(new_identity(), [LOOPBACK]) as hub, AsyncExitStack() as stack:
        hub.handle("/echo", echo)
        hosts = [await stack.enter_async_context(open_host(one, [LOOPBACK])) for one in heard]
        discovery = Discovery(
            hub,
            given=hosts[1].addresses()[:1],
            mdns=False,
            heard=lambda: [one.peer_id for one in heard],
            needed=lambda: {hosts[0].peer_id},
        )
        for host in hosts:
            await host.connect(hub.peer_id, hub.addresses(), 5)
        user = await hosts[-1].open_stream(hub.peer_id, ["/echo"], 5)

        async def use() -> None:
            while True:
                await user.write(b"x", 5)
                await user.read_exactly(1, 5)
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            nursery.start_soon(discovery.run)
            await until(lambda: len(hub.connected()) == 2)
            await trio.sleep(0.7)  # Nothing more is to happen.
            assert set(hub.connected()) == {hosts[0].peer_id, hosts[-1].peer_id}
            # The given peer was let go, and is in the network.
            assert discovery.unreached() == []
            nursery.cancel_scope.cancel()


async def test_nodes_on_one_machine_find_each_other_by_mdns_and_only_then() -> None:
    async with open_finder(mdns=True) as a, open_finder() as deaf:
        async with open_finder(mdns=True) as b:
            try:
                await until(lambda: b.peer_id in a.connected())
            except trio.TooSlowError:
                pytest.skip("this machine passes no multicast on loopback")
            assert deaf.connected() == []


async def test_nodes_of_a_private_network_find_their_own_by_mdns_and_do_not_hear_of_others() -> None:
    operator = PEER
    dialled: list[str] = []
    async with open_finder(mdns=True) as stranger, open_finder(mdns=True, operator=operator) as a:
        connect = stranger.connect

        async def noted(peer: str, addresses: Sequence[str], timeout_s: float) -> None:
            dialled.append(peer)
            await connect(peer, addresses, timeout_s)

        stranger.connect = noted  # type: ignore[method-assign]
        async with open_finder(mdns=True, operator=operator) as b, open_finder(mdns=True) as other:
            try:
                await until(lambda: b.peer_id in a.connected() and other.peer_id in stranger.connected())
            except trio.TooSlowError:
                pytest.skip("this machine passes no multicast on loopback")
            assert not {a.peer_id, b.peer_id} & set(dialled)
            assert a.connected() == [b.peer_id]


def test_a_txt_record_is_read_as_it_was_written() -> None:
    addresses = [f"/ip4/192.0.2.{number}/tcp/4001/p2p/{PEER}" for number in range(3)]
    assert decode_txt_untrusted(encode_txt(addresses)) == {PEER: [a.split("/p2p")[0] for a in addresses]}


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff", b"\xffabc", b"\x03abc", b"\x08dnsaddr=", b"\x0bdnsaddr=\xff\xfe\xfd"]
)
def test_junk_in_a_txt_record_is_left_out(data: bytes) -> None:
    assert decode_txt_untrusted(data) == {}


def test_a_txt_record_gives_so_many_addresses_and_no_more() -> None:
    address = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"
    data = encode_txt([address]) * 50
    assert len(decode_txt_untrusted(data)[PEER]) == ADDRESSES_MAX


def test_a_needed_peer_is_dialled_often_for_a_minute_and_then_rarely() -> None:
    waits_s = [redial_s(failures, 1.0) for failures in range(60)]
    assert waits_s == sorted(waits_s)
    assert max(waits_s[:40]) <= 2
    assert waits_s[-1] == 30
    assert redial_s(5, 0.0) == redial_s(5, 1.0) / 2
    assert [casual_redial_s(failures, 1.0) for failures in (0, 1, 99)] == [2, 4, 60]
