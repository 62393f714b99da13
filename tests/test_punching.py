"""Hole punching: whom it is tried with, what it is told by, and its messages."""

from __future__ import annotations

import secrets
from contextlib import suppress
from functools import partial
from math import inf
from types import SimpleNamespace

import pytest
import trio
from multiaddr import Multiaddr

from p2pnode.core.link.observed import OBSERVERS_MAX, Observed
from p2pnode.core.link.punching import (
    AGAIN_S,
    IN_ALL_BURST,
    IN_ALL_PER_S,
    PUNCHES_MAX,
    Punching,
    PunchPlaces,
    of_one_line,
)
from p2pnode.core.wire.addresses import parse
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.hole_punching import (
    DCUTR,
    PunchKind,
    PunchMessage,
    decode_punch_untrusted,
    encode_punch,
)
from p2pnode.network.hole_punching import HolePuncher
from p2pnode.network.host import Host, open_host
from p2pnode.network.member_gate import OpenDoor
from p2pnode.network.observations import Observations
from p2pnode.network.prefixed import read_prefixed, write_prefixed
from p2pnode.network.streams import NetworkError, StreamBroken

from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import TIMEOUT_S, echoed, open_behind, open_relay

HOSTS4 = ["ip4/8.8.8.8", "ip4/8.8.8.8", "ip4/9.9.9.9"]
HOSTS6 = ["ip6/2001:4860::1", "ip6/2001:4860::2", "ip6/2001:4861::1"]
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def test_a_message_is_read_as_it_was_written_and_has_the_bytes_of_the_specification() -> None:
    message = PunchMessage(PunchKind.CONNECT, (b"first", b"second"))
    assert decode_punch_untrusted(encode_punch(message)) == message
    assert encode_punch(PunchMessage(PunchKind.SYNC)) == bytes.fromhex("08ac02")
    assert encode_punch(PunchMessage(PunchKind.CONNECT, (b"A",))) == bytes.fromhex("0864120141")


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x08\x01", b"\x12\x05", b"no message"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_punch_untrusted(data)


def test_an_address_counts_once_two_of_different_hosts_see_it() -> None:
    seen = Observed()
    seen.saw("a", "9.9.9.1", "8.8.8.8", port_kept=True)
    seen.saw("b", "9.9.9.1", "8.8.8.8", port_kept=True)
    assert seen.hosts() == []
    seen.saw("c", "9.9.9.2", "8.8.8.8", port_kept=True)
    assert seen.hosts() == ["8.8.8.8"] and seen.keeps_ports("8.8.8.8")
    seen.saw("d", "9.9.9.3", "8.8.8.8", port_kept=False)
    assert not seen.keeps_ports("8.8.8.8")


def test_the_word_of_one_host_is_enough_to_try_while_no_other_sees_the_node_in_that_family() -> None:
    seen = Observed()
    seen.saw("a", "9.9.9.1", "8.8.8.8", port_kept=True)
    # Neither of one on this side of the router nor of another family does one wait.
    seen.saw("lan", "192.168.1.3", "192.168.1.2", port_kept=True)
    seen.saw("six", "2001:4860::1", "2001:4860::2", port_kept=True)
    seen.saw("six too", "2001:4860::3", "2001:4860::4", port_kept=True)
    assert seen.hosts() == [] and seen.hosts_to_try() == ["8.8.8.8"]
    seen.saw("b", "9.9.9.2", "7.7.7.7", port_kept=True)
    assert seen.hosts_to_try() == []
    seen.saw("c", "9.9.9.3", "8.8.8.8", port_kept=True)
    assert seen.hosts_to_try() == ["8.8.8.8"]


def test_the_newest_word_of_an_observer_counts_and_few_are_remembered() -> None:
    seen = Observed()
    for peer, host in (("a", "9.9.9.1"), ("b", "9.9.9.2")):
        seen.saw(peer, host, "8.8.8.8", port_kept=True)
    seen.saw("a", "9.9.9.1", "7.7.7.7", port_kept=True)
    assert seen.hosts() == []
    for number in range(OBSERVERS_MAX):
        seen.saw(str(number), f"9.9.8.{number}", "6.6.6.6", port_kept=True)
    seen.saw("a", "9.9.9.1", "7.7.7.7", port_kept=True)
    seen.saw("b", "9.9.9.2", "7.7.7.7", port_kept=True)
    assert seen.hosts() == ["6.6.6.6", "7.7.7.7"]


def test_a_peer_that_comes_by_a_relay_is_tried_at_once_and_after_failing_only_later() -> None:
    punching = Punching()
    punching.came("peer", 0)
    assert punching.begin(0) == ["peer"] and punching.begin(0) == []
    punching.ended("peer", 5)
    assert punching.begin(6) == [] and punching.deadline == 5 + AGAIN_S
    # Neither does it help to come again.
    punching.gone("peer")
    punching.came("peer", 10)
    assert punching.begin(10) == []
    assert punching.begin(5 + AGAIN_S) == ["peer"]


def test_a_peer_with_which_it_worked_is_tried_at_once_when_it_comes_by_a_relay_again() -> None:
    punching = Punching()
    punching.came("peer", 0)
    punching.begin(0)
    punching.gone("peer")
    punching.ended("peer", 1)
    assert punching.deadline == inf
    punching.came("peer", 2)
    assert punching.begin(2) == ["peer"]


def test_few_are_tried_at_once() -> None:
    punching = Punching()
    for number in range(PUNCHES_MAX + 1):
        punching.came(str(number), number)
    begun = punching.begin(100)
    assert len(begun) == PUNCHES_MAX and punching.deadline == inf
    punching.ended(begun[0], 101)
    assert punching.begin(101) == [str(PUNCHES_MAX)]


def test_what_peers_name_is_dialled_a_few_times_for_each_and_not_often_in_all() -> None:
    places = PunchPlaces()
    assert [places.allows("peer", 0) for _ in range(7)] == [True] * 6 + [False]
    assert places.allows("other", 0) and places.allows("peer", AGAIN_S)
    places = PunchPlaces()
    assert sum(places.allows(str(number), 0) for number in range(1000)) == IN_ALL_BURST
    assert not places.allows("late", 0) and places.allows("later", 1 / IN_ALL_PER_S)


def test_a_peer_is_dialled_at_one_host_of_each_family() -> None:
    at = [parse(f"/{host}/tcp/{port}") for port, host in enumerate([*HOSTS4, *HOSTS6], 1)]
    assert [one.port for one in of_one_line(at)] == [1, 2, 4, 5]


async def test_an_error_that_nobody_foresaw_ends_one_try_alone() -> None:
    class Door(OpenDoor):
        async def admitted(self, peer: str) -> None:
            raise KeyError("a fault of libp2p's")

    async with open_host(new_identity(), [LOOPBACK], door=Door()) as host:
        puncher = HolePuncher(host, Observed(), lambda peer: [])
        began = trio.current_time()
        puncher._punching.came("peer", began)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(puncher.run)
            await until(lambda: AGAIN_S <= puncher._punching.deadline - began < inf)
            nursery.cancel_scope.cancel()


async def test_one_who_may_be_dialled_is_and_what_is_by_the_relay_ends_there() -> None:
    async with open_relay() as (relay, service), open_behind() as behind, trio.open_nursery() as nursery:
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.addresses)
        async with open_host(new_identity(), [LOOPBACK]) as visitor:
            known = {visitor.peer_id: visitor.addresses()}
            puncher = _puncher(behind.host, lambda peer: known.get(peer, []))
            other = _puncher(visitor, lambda peer: [])
            nursery.start_soon(puncher.run)
            nursery.start_soon(other.run)
            await visitor.connect(behind.host.peer_id, behind.addresses, TIMEOUT_S)
            await until(lambda: visitor.remote_host(behind.host.peer_id))
            data = secrets.token_bytes(1_000_000)
            assert await echoed(visitor, behind.host.peer_id, data) == data
            await until(lambda: service.places.circuits == 0)
            assert visitor.remote_host(behind.host.peer_id) and behind.host.remote_host(visitor.peer_id)
            nursery.cancel_scope.cancel()


def _puncher(host: Host, addresses_of: object) -> HolePuncher:
    return HolePuncher(host, Observations(host).observed, addresses_of)  # type: ignore[arg-type]


async def test_neighbours_tell_where_they_see_a_host() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as host:
        observed = Observations(host).observed
        for _ in range(2):
            observed.saw(new_identity().peer_id, secrets.token_hex(4), "127.0.0.1", port_kept=True)
        async with open_host(new_identity(), [LOOPBACK]) as other:
            await host.connect(other.peer_id, other.addresses(), TIMEOUT_S)
            # Nothing stands between: the port is the one from which it dialled.
            await until(lambda: len(observed._sights) == 3)
            assert observed.hosts() == ["127.0.0.1"] and observed.keeps_ports("127.0.0.1")


async def test_a_peer_with_a_direct_connection_has_no_host_dial_for_it() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as host, open_host(new_identity(), [LOOPBACK]) as peer:
        _puncher(host, lambda peer: [])
        await peer.connect(host.peer_id, host.addresses(), TIMEOUT_S)
        private = Multiaddr("/ip4/192.168.1.1/tcp/22").to_bytes()
        # As the host resets the stream at once, it may not even be opened.
        with pytest.raises(NetworkError):
            await _asked(peer, host, private)


async def _asked(peer: Host, host: Host, address: bytes) -> PunchMessage:
    """Have a host dial an address, and return its answer."""
    async with await peer.open_stream(host.peer_id, [DCUTR], TIMEOUT_S) as stream:
        with suppress(StreamBroken):
            await write_prefixed(stream, encode_punch(PunchMessage(PunchKind.CONNECT, (address,))), TIMEOUT_S)
        return decode_punch_untrusted(await read_prefixed(stream, 4096, TIMEOUT_S))


@pytest.mark.parametrize(("theirs", "met"), [(KEY, True), (OTHER_KEY, False), (None, False)])
async def test_a_connection_that_both_sides_began_is_one_of_the_private_network_alone(
    theirs: bytes | None, met: bool
) -> None:
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(KEY)) as host,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(theirs)) as peer,
        trio.open_nursery() as nursery,
    ):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        one, other = await trio.open_tcp_stream("127.0.0.1", port), await listener.accept()
        at = parse(f"/ip4/127.0.0.1/tcp/{port}")
        for mine, of, stream, inbound in ((host, peer, one, True), (peer, host, other, False)):
            nursery.start_soon(_puncher(mine, lambda peer: [])._upgrade, of.peer_id, stream, at, inbound)
        if met:
            await until(lambda: host.connected() and peer.connected())
            nursery.cancel_scope.cancel()
    assert met or not (host.connected() or peer.connected())


async def test_a_peer_is_dialled_for_once_it_has_been_let_in() -> None:
    asked = trio.Event()

    class Door(OpenDoor):
        async def admitted(self, peer: str) -> None:
            asked.set()
            raise StreamBroken("it is no member")

    async with open_host(new_identity(), [LOOPBACK], door=Door()) as host:
        puncher = HolePuncher(host, Observed(), lambda peer: pytest.fail("it is dialled"))
        await puncher._meet(new_identity().peer_id)
        assert asked.is_set()


async def test_a_peer_that_punches_while_it_is_met_ends_nothing(autojump_clock: object) -> None:
    network = SimpleNamespace(get_connections=lambda peer: [])
    inner = SimpleNamespace(get_network=lambda: network)
    host = SimpleNamespace(inner=inner, watch=lambda watcher: None, handle=lambda *given, **limits: None)
    puncher = HolePuncher(host, Observed(), lambda peer: [])  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        for inbound in (True, False):
            nursery.start_soon(partial(puncher._dial_all, "peer", [], inbound=inbound))
