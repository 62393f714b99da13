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
from p2pnode.core.link.punching import AGAIN_S, PUNCHES_MAX, Punching
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
from p2pnode.network.observations import Observations
from p2pnode.network.prefixed import read_prefixed, write_prefixed
from p2pnode.network.streams import StreamBroken

from .network_support import LOOPBACK, new_identity, until
from .relay_support import TIMEOUT_S, echoed, open_behind, open_relay


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
        async with await peer.open_stream(host.peer_id, [DCUTR], TIMEOUT_S) as stream:
            message = encode_punch(PunchMessage(PunchKind.CONNECT, (private,)))
            with suppress(StreamBroken):
                await write_prefixed(stream, message, TIMEOUT_S)
            with pytest.raises(StreamBroken):
                await read_prefixed(stream, 4096, TIMEOUT_S)


async def test_a_peer_that_punches_while_it_is_met_ends_nothing(autojump_clock: object) -> None:
    network = SimpleNamespace(get_connections=lambda peer: [])
    inner = SimpleNamespace(get_network=lambda: network)
    host = SimpleNamespace(inner=inner, watch=lambda watcher: None, handle=lambda *given, **limits: None)
    puncher = HolePuncher(host, Observed(), lambda peer: [])  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        for inbound in (True, False):
            nursery.start_soon(partial(puncher._dial_all, "peer", [], inbound=inbound))
