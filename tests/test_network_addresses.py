"""Addresses: their grammar, and who is told which."""

from __future__ import annotations

import pytest

from p2pnode.core.wire.addresses import (
    Address,
    BadAddress,
    Scope,
    WebLayer,
    by_peer,
    is_listened_at,
    parse,
    reach_of,
    scope_of,
    tellable,
)

PEER = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
RELAY = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
LOOPBACK, PRIVATE, PUBLIC = "/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/9.9.9.9/tcp/1"


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/tcp/4001",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}",
        "/ip6/::1/tcp/0",
        "/dns/node.example.org/tcp/65535",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{RELAY}/p2p-circuit",
        f"/ip4/192.0.2.1/tcp/4001/ws/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        "/ip6/::1/tcp/0/ws",
        f"/dns4/node.example.org/tcp/443/wss/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/443/tls/sni/node.example.org/ws/p2p/{PEER}",
        f"/dns4/relay.example.org/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ],
)
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse(text)) == text


def test_an_address_has_parts() -> None:
    assert parse(f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}") == Address("ip4", "192.0.2.1", 4001, PEER)


def test_tls_below_websocket_is_written_in_one_way_and_dialled_alone() -> None:
    both = [parse(f"/dns4/a.example/tcp/443/{web}") for web in ("wss", "tls/ws")]
    assert both[0] == both[1] == Address("dns4", "a.example", 443, web=WebLayer.TLS)
    listened = [is_listened_at(parse(f"/ip4/0.0.0.0/tcp/1{web}")) for web in ("", "/ws", "/wss")]
    assert listened == [True, True, False]


def test_an_address_by_a_relay_is_dialled_at_the_relay_and_is_of_the_peer_behind_it() -> None:
    address = parse(f"{PUBLIC}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}")
    assert (address.relay, address.peer, address.dialled) == (RELAY, PEER, PUBLIC)
    assert by_peer([str(address)]) == {PEER: [f"{PUBLIC}/p2p/{RELAY}/p2p-circuit"]}


def test_an_address_by_a_relay_reaches_as_far_as_the_relay_does() -> None:
    near, far = (f"{one}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}" for one in (PRIVATE, PUBLIC))
    assert tellable([near, far], ["8.8.8.8"]) == [far]


@pytest.mark.parametrize(
    ("told", "reach"),
    [
        ([], "none"),
        (["/ip4/192.0.2.1/udp/1"], "none"),
        ([PUBLIC], "direct"),
        ([f"{PUBLIC}/p2p/{RELAY}/p2p-circuit"], "relay"),
        ([f"{PUBLIC}/p2p/{RELAY}/p2p-circuit", PUBLIC], "direct"),
    ],
)
def test_addresses_tell_how_their_peer_is_reached(told: list[str], reach: str) -> None:
    assert reach_of(told) == reach


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1:4001",
        "/ip4/192.0.2.1",
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/ip4/192.0.2.1/tcp/4001/ws/ws",
        "/ip4/192.0.2.1/tcp/4001/ws\n",
        "/ip4/192.0.2.1/tcp/4001/wsx",
        "/ip4/192.0.2.1/tcp/4001/tls",
        "/ip4/192.0.2.1/tcp/4001/tls/sni//ws",
        "/ip4/192.0.2.1/tcp/4001/tls/sni/a b/ws",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/ws",
        "/ip4/192.0.2.256/tcp/4001",
        "/ip4/192.0.2.1/tcp/65536",
        "/ip4/192.0.2.1/tcp/-1",
        "/ip4/192.0.2.1/tcp/²",
        "/ip6/192.0.2.1/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/dns/a b/tcp/1",
        "/dns/" + "a" * 300 + "/tcp/1",
        "/ip4/192.0.2.1/tcp/4001/p2p/0OIl",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p/{PEER}",
        "/ip4/192.0.2.1/tcp/4001/p2p-circuit",
        f"/ip4/192.0.2.1/tcp/4001/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}/p2p-circuit",
        f"/p2p/{PEER}/p2p-circuit",
    ],
)
def test_what_is_no_tcp_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse(text)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.9.9.9", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("0.0.0.0", Scope.LOOPBACK),
        ("localhost", Scope.LOOPBACK),
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.17.0.1", Scope.PRIVATE),
        ("192.168.0.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("169.254.1.1", Scope.PRIVATE),
        ("fe80::1", Scope.PRIVATE),
        ("fd00::2", Scope.PRIVATE),
        ("::ffff:10.0.0.1", Scope.PRIVATE),
        ("9.9.9.9", Scope.PUBLIC),
        ("2606:4700::1111", Scope.PUBLIC),
        ("node.example.org", Scope.PUBLIC),
    ],
)
def test_how_far_a_host_reaches(host: str, scope: Scope) -> None:
    assert scope_of(host) == scope


@pytest.mark.parametrize(
    ("remote_hosts", "told"),
    [
        ([], [LOOPBACK, PRIVATE, PUBLIC]),
        (["127.0.0.1"], [LOOPBACK, PRIVATE, PUBLIC]),
        (["192.168.1.9"], [PRIVATE, PUBLIC]),
        (["9.9.9.10"], [PUBLIC]),
        (["127.0.0.1", "9.9.9.10"], [PUBLIC]),
        (["127.0.0.1", "::1", "10.0.0.1"], [PRIVATE, PUBLIC]),
    ],
)
def test_a_peer_is_told_only_what_it_can_use(remote_hosts: list[str], told: list[str]) -> None:
    assert tellable([LOOPBACK, PRIVATE, PUBLIC], remote_hosts) == told


def test_addresses_are_sorted_by_peer() -> None:
    assert by_peer([f"{LOOPBACK}/p2p/{PEER}", f"{PUBLIC}/p2p/{PEER}"]) == {PEER: [LOOPBACK, PUBLIC]}
    with pytest.raises(BadAddress, match="does not end in /p2p/"):
        by_peer([LOOPBACK])
