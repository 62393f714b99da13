"""The messages of dial-backs, the places for them, and dial-backs between real hosts."""

from __future__ import annotations

import secrets

import pytest
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.link.dial_back_places import DIAL_BACKS_MAX, PER_HOST_BURST, PER_HOST_PER_S, DialBackPlaces
from p2pnode.core.link.reach import DialBackAnswer
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.dial_backs import (
    DIAL_BACK,
    DialBackRequest,
    DialBackResponse,
    DialBackStatus,
    decode_request_untrusted,
    decode_response_untrusted,
    encode_request,
    encode_response,
)
from p2pnode.network.dial_backs import DialBackService, ask_to_dial
from p2pnode.network.host import Host, open_host
from p2pnode.network.prefixed import read_prefixed, write_prefixed

from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import TIMEOUT_S, open_behind, open_relay

# All interfaces: one's own loopback addresses are not asked for.
EVERYWHERE = "/ip4/0.0.0.0/tcp/0"


def test_messages_are_read_as_they_were_written() -> None:
    request = DialBackRequest(b"\0\1\2", (b"first", b"second"))
    assert decode_request_untrusted(encode_request(request)) == request
    for response in (DialBackResponse(DialBackStatus.OK, b"here"), DialBackResponse(100)):
        assert decode_response_untrusted(encode_response(response)) == response


def test_a_request_has_the_bytes_of_the_specification() -> None:
    assert encode_request(DialBackRequest(b"P", (b"A",))) == bytes.fromhex("080012080a060a0150120141")
    assert encode_response(DialBackResponse(100)) == bytes.fromhex("08011a020864")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x08\x01", b"\x08\x01\x12\x02\x0a\x00", b"\x12\x05", b"no message"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_request_untrusted(data)


def test_a_host_has_few_dial_backs_at_once_and_more_by_and_by() -> None:
    places = DialBackPlaces()
    assert places.open("peer", "8.8.8.8", 0) and not places.open("peer", "8.8.8.8", 0)
    places.close("peer")
    given = sum(places.open(str(number), "8.8.8.8", 0) for number in range(DIAL_BACKS_MAX - 1))
    assert given == PER_HOST_BURST - 1
    assert places.open("other", "9.9.9.9", 0)
    assert places.open("later", "8.8.8.8", 1 / PER_HOST_PER_S)


def test_all_together_have_few_at_once() -> None:
    places = DialBackPlaces()
    given = [number for number in range(50) if places.open(str(number), f"8.8.8.{number}", 0)]
    assert len(given) == DIAL_BACKS_MAX


@pytest.mark.parametrize("web", ["", "/ws"])
@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
async def test_a_peer_dials_whoever_asks_at_its_port_and_says_where(key: bytes | None, web: str) -> None:
    async with open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as server:
        DialBackService(server)
        async with open_host(new_identity(), [EVERYWHERE + web], network_keys=keys_of(key)) as asker:
            await asker.connect(server.peer_id, server.addresses(), TIMEOUT_S)
            before = len(asker.connected())
            port = asker.addresses()[0].split("/")[4]
            found = await ask_to_dial(asker, server.peer_id)
            assert found == (DialBackAnswer.REACHED, f"/ip4/127.0.0.1/tcp/{port}{web}")
            assert len(asker.connected()) == before and server.remote_host(asker.peer_id)


async def test_where_another_answers_the_peer_is_not_reached() -> None:
    async with (
        open_host(new_identity(), [LOOPBACK]) as server,
        open_host(new_identity(), [LOOPBACK]) as other,
        open_host(new_identity(), [LOOPBACK]) as asker,
    ):
        DialBackService(server)
        await asker.connect(server.peer_id, server.addresses(), TIMEOUT_S)
        here, port = Multiaddr("/ip4/8.8.8.8/tcp/1"), other.addresses()[0].split("/")[4]
        wrong = Multiaddr(f"/ip4/192.0.2.1/tcp/{port}")
        assert await _status(asker, server, here, wrong) == DialBackStatus.DIAL_ERROR
        own = Multiaddr(f"/ip4/192.0.2.1/tcp/{asker.addresses()[0].split('/')[4]}")
        assert await _status(asker, server, here, own) == DialBackStatus.OK


async def _status(asker: Host, server: Host, *addresses: Multiaddr, peer: str = "") -> int:
    who = ID.from_string(peer or asker.peer_id).to_bytes()
    request = DialBackRequest(who, tuple(one.to_bytes() for one in addresses))
    async with await asker.open_stream(server.peer_id, [DIAL_BACK], TIMEOUT_S) as stream:
        await write_prefixed(stream, encode_request(request), TIMEOUT_S)
        return decode_response_untrusted(await read_prefixed(stream, 4096, TIMEOUT_S)).status


async def test_a_request_for_another_peer_or_for_no_port_is_refused() -> None:
    async with (
        open_host(new_identity(), [LOOPBACK]) as server,
        open_host(new_identity(), [LOOPBACK]) as asker,
    ):
        DialBackService(server)
        await asker.connect(server.peer_id, server.addresses(), TIMEOUT_S)
        own = Multiaddr(asker.addresses()[0]).decapsulate(Multiaddr(f"/p2p/{asker.peer_id}"))
        assert await _status(asker, server, own, peer=server.peer_id) == DialBackStatus.BAD_REQUEST
        quic = Multiaddr("/ip4/8.8.8.8/udp/4001/quic-v1")
        assert await _status(asker, server, quic) == DialBackStatus.DIAL_REFUSED


async def test_whoever_comes_by_a_relay_is_not_dialled() -> None:
    async with open_relay() as (relay, _), open_behind() as behind:
        DialBackService(behind.host)
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.addresses)
        async with open_host(new_identity(), [EVERYWHERE]) as asker:
            await asker.connect(behind.host.peer_id, behind.addresses, TIMEOUT_S)
            assert await ask_to_dial(asker, behind.host.peer_id) == (DialBackAnswer.NOTHING, "")
