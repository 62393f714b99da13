"""Hosts that listen at addresses of IPv6, beside those of IPv4 and alone."""

from __future__ import annotations

import secrets

import pytest
import trio

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import OwnNetworks, Scope, interleaved, tellable
from p2pnode.network.host import open_host

from .network_support import LOOPBACK, keys_of, new_identity

LOOPBACK6 = "/ip6/::1/tcp/0"
EVERYWHERE = ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"]
TIMEOUT_S = 10.0
HOME, HOME6, AWAY6 = "/ip4/192.168.1.2/tcp/1", "/ip6/2a00:1450:1:2::3/tcp/1", "2a00:1450:9:9::1"


@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
async def test_peers_by_ip6_are_connected_directly_and_seen_at_their_addresses(key: bytes | None) -> None:
    async with (
        open_host(new_identity(), [LOOPBACK6], network_keys=keys_of(key)) as a,
        open_host(new_identity(), [LOOPBACK6], network_keys=keys_of(key)) as b,
    ):
        await a.connect(b.peer_id, b.addresses(), TIMEOUT_S)
        assert a.remote_host(b.peer_id) == b.remote_host(a.peer_id) == "::1"
        assert a.dialled_at(b.peer_id) == [addressing.parse(b.addresses()[0]).transport]


async def test_both_families_have_one_port_and_let_in_their_own() -> None:
    async with open_host(new_identity(), EVERYWHERE) as b:
        parsed = [addressing.parse(one) for one in b.addresses()]
        assert {one.family for one in parsed} == {"ip4", "ip6"}
        assert len({one.port for one in parsed}) == 1
        for family, here, seen in (("ip4", LOOPBACK, "127.0.0.1"), ("ip6", LOOPBACK6, "::1")):
            async with open_host(new_identity(), [here]) as a:
                at = [str(one) for one in parsed if one.family == family and one.host == seen]
                await a.connect(b.peer_id, at, TIMEOUT_S)
                with trio.fail_after(TIMEOUT_S):
                    while not b.remote_host(a.peer_id):  # noqa: ASYNC110
                        await trio.sleep(0.005)
                assert b.remote_host(a.peer_id) == seen


def test_an_address_of_a_link_alone_is_told_to_nobody() -> None:
    assert tellable(["/ip6/fe80::1/tcp/1", "/ip6/fd00::1/tcp/1"], ["fd00::2"]) == ["/ip6/fd00::1/tcp/1"]


@pytest.mark.parametrize(
    ("seen_at", "told"),
    [
        (["2a00:1450:1:2::4", "192.168.1.3"], [HOME, HOME6]),
        ([AWAY6, "192.168.1.3"], [HOME6]),
        (["192.168.1.3"], [HOME, HOME6]),
    ],
)
def test_a_neighbour_on_the_lan_is_told_private_addresses_also_where_it_has_a_public_one(
    seen_at: list[str], told: list[str]
) -> None:
    assert tellable([HOME, HOME6], seen_at) == told


def test_a_peer_in_an_own_network_is_near_and_others_are_as_far_as_their_addresses_say() -> None:
    own = OwnNetworks.of(["2a00:1450:1:2::3", "192.168.1.2", "fd00::1"])
    found = [own.scope_of(host) for host in ("2a00:1450:1:2::9", AWAY6, "fd00::2", "::1", "8.8.8.8")]
    assert found == [Scope.PRIVATE, Scope.PUBLIC, Scope.PRIVATE, Scope.LOOPBACK, Scope.PUBLIC]


@pytest.mark.parametrize(
    ("given", "dialled"),
    [
        ([], []),
        (["/ip4/1", "/ip4/2", "/ip6/1", "/dns6/2"], ["/ip4/1", "/ip6/1", "/ip4/2", "/dns6/2"]),
        (["/ip6/1", "/ip6/2", "/ip6/3", "/ip4/1"], ["/ip6/1", "/ip4/1", "/ip6/2", "/ip6/3"]),
    ],
)
def test_addresses_of_both_families_are_dialled_by_turns(given: list[str], dialled: list[str]) -> None:
    assert interleaved(given) == dialled
