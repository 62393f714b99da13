"""First contact: names from the system's resolver, and why a given peer is not reached, each its sentence."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pnode.core.wire.addresses import (
    Address,
    BadAddress,
    parse,
    parse_peer,
)
from p2pnode.network.discovery import Discovery
from p2pnode.network.host import Host, Unreachable, open_host
from p2pnode.network.names import NameUnknown, resolve

from .network_support import LOOPBACK, new_identity, until
from .test_network_discovery import port_free

PEER = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"


def port_of(host: Host) -> int:
    return parse(host.addresses()[0]).port


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A port where each visitor gets this answer and is sent away, or, with None, no answer at all."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.receive_some(1)
                await stream.send_all(answer)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("family", ["dns", "dns4"])
async def test_a_name_of_the_hosts_file_is_dialled(family: str) -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        await b.connect(a.peer_id, [f"/{family}/localhost/tcp/{port_of(a)}"], 5)
        assert b.connected() == [a.peer_id]


async def test_a_name_is_asked_of_the_systems_resolver_by_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(host: str, port: int, family: int, kind: int) -> list[object]:
        asked.append((host, port, family))
        return [(0, 0, 0, "", (one, port)) for one in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    found = await resolve(Address("dns6", "here.example", 4001))
    assert found == [Address("ip4", "192.0.2.1", 4001), Address("ip6", "2001:db8::1", 4001)]
    assert asked == [("here.example", 4001, socket.AF_INET6)]
    assert await resolve(Address("ip4", "192.0.2.9", 1)) == [Address("ip4", "192.0.2.9", 1)]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the name 'x.example' is not known here: Name or"),
        (UnicodeError("label too long"), "'x.example' is no name of a host"),
    ],
)
async def test_a_name_without_an_address_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NameUnknown, match=said):
        await resolve(Address("dns4", "x.example", 1))


async def test_what_answers_instead_of_the_peer_is_told() -> None:
    async with (
        open_host(new_identity(), [LOOPBACK]) as a,
        open_host(new_identity(), [LOOPBACK]) as b,
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web,
        answering(None) as silent,
    ):
        for address, said in [
            (f"/ip4/127.0.0.1/tcp/{port_of(a)}", f"another peer answers there: {a.peer_id}"),
            (f"/dns4/localhost/tcp/{port_of(a)}", f"another peer answers there: {a.peer_id}"),
            (f"/ip4/127.0.0.1/tcp/{port_free()}", "refused: nothing listens there"),
            (f"/ip4/127.0.0.1/tcp/{web}", "what answers there is no node"),
            (f"/ip4/127.0.0.1/tcp/{silent}", "no answer within 1 s"),
            ("/ip4/255.255.255.255/tcp/9", "no way leads to that network"),
        ]:
            with pytest.raises(Unreachable) as caught:
                await b.connect(PEER, [address], 1)
            assert f"{address}: {said}" in caught.value.why
        with pytest.raises(Unreachable, match="no address of it is known"):
            await b.connect(PEER, [], 1)


async def test_a_given_peer_that_is_not_reached_is_told_once_per_reason_until_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    identity, listen = new_identity(), f"/ip4/127.0.0.1/tcp/{port_free()}"
    given = f"{listen}/p2p/{identity.peer_id}"
    told = []
    caplog.set_level(logging.WARNING, "p2pnode.network.discovery")
    async with open_host(new_identity(), [LOOPBACK]) as host, trio.open_nursery() as nursery:
        discovery = Discovery(host, given=[given], mdns=False)
        nursery.start_soon(discovery.run)
        await until(lambda: caplog.records)
        # Two more dials at least.
        await trio.sleep(2.5)
        told = [record.getMessage() for record in caplog.records]
        (one,) = discovery.unreached()
        assert (one.peer, one.addresses) == (identity.peer_id, (listen,))
        assert one.reason == f"{listen}: refused: nothing listens there"
        async with open_host(new_identity(), [listen]) as wrong:
            await until(lambda: len(caplog.records) == 2)
            assert wrong.peer_id in caplog.records[1].getMessage()
        async with open_host(identity, [listen]):
            await until(lambda: not discovery.unreached())
        nursery.cancel_scope.cancel()
    assert told == [
        f"the given peer {identity.peer_id} is not reached: {one.addresses[0]}: "
        "refused: nothing listens there"
    ]


async def test_an_own_address_that_was_given_as_a_peer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    identity, listen = new_identity(), f"/ip4/127.0.0.1/tcp/{port_free()}"
    async with open_host(identity, [listen]) as host, trio.open_nursery() as nursery:
        discovery = Discovery(host, given=[f"{listen}/p2p/{identity.peer_id}"], mdns=False)
        nursery.start_soon(discovery.run)
        await until(lambda: caplog.records)
        assert "this node's own id" in caplog.text
        assert "this node's own id" in discovery.unreached()[0].reason
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1:4001",
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWnobody000000000000",
        "/ip4/192.0.2.1/udp/4001/quic-v1",
    ],
)
def test_what_is_no_address_of_a_peer_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_peer(text)
