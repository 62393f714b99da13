"""Connections by relays, between real hosts: reservations, circuits, and their limits."""

from __future__ import annotations

import secrets

import pytest
import trio

from p2pnode.core.link.relay_places import CIRCUITS_PER_PEER_MAX
from p2pnode.core.wire.circuits import HOP, STOP, CircuitKind, CircuitMessage
from p2pnode.network.circuits import CircuitRefused, ask
from p2pnode.network.host import Unreachable, open_host

from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import TIMEOUT_S, echoed, open_behind, open_relay


@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
async def test_a_peer_is_connected_with_by_its_relay_and_both_speak(key: bytes | None) -> None:
    async with open_relay(key) as (relay, service), open_behind(key) as behind:
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.addresses)
        async with open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as visitor:
            await visitor.connect(behind.host.peer_id, behind.addresses, TIMEOUT_S)
            data = secrets.token_bytes(3_000_000)
            assert await echoed(visitor, behind.host.peer_id, data) == data
            assert visitor.remote_host(behind.host.peer_id) == ""
            assert visitor.remote_host(relay.peer_id) == "127.0.0.1"
            assert service.places.circuits == 1
            await visitor.disconnect(behind.host.peer_id)
            await until(lambda: service.places.circuits == 0)
            await until(lambda: visitor.peer_id not in behind.host.connected())
            assert relay.peer_id in visitor.connected()


async def test_the_addresses_by_a_relay_are_told_and_taken_back_when_it_goes() -> None:
    async with open_behind() as behind:
        async with open_relay() as (relay, _):
            await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
            await until(lambda: behind.addresses)
            assert behind.host.tellable_addresses()[-1] == behind.addresses[-1]
            assert behind.addresses[0].startswith(f"{relay.addresses()[0]}/p2p-circuit/p2p/")
        await until(lambda: not behind.addresses)
        assert behind.changes[-1] == []


async def test_another_relay_is_taken_when_one_goes() -> None:
    async with open_behind() as behind, open_relay() as (second, _), open_relay() as (third, _):
        async with open_relay() as (first, _):
            for one in (first, second):
                await behind.host.connect(one.peer_id, one.addresses(), TIMEOUT_S)
            await until(lambda: set(behind.upkeep.held()) == {first.peer_id, second.peer_id})
            await behind.host.connect(third.peer_id, third.addresses(), TIMEOUT_S)
        await until(lambda: set(behind.upkeep.held()) == {second.peer_id, third.peer_id})


async def test_a_node_that_is_no_relay_now_refuses_and_another_is_asked() -> None:
    async with open_behind() as behind, open_relay(is_open=False) as (closed, _), open_relay() as (relay, _):
        await behind.host.connect(closed.peer_id, closed.addresses(), TIMEOUT_S)
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.upkeep.held() == [relay.peer_id])


async def test_a_peer_without_a_reservation_is_not_reached_by_a_relay() -> None:
    async with (
        open_relay() as (relay, _),
        open_behind() as behind,
        open_host(new_identity(), [LOOPBACK]) as visitor,
    ):
        behind.upkeep.need(False)
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        by_relay = f"{relay.addresses()[0]}/p2p-circuit/p2p/{behind.host.peer_id}"
        with pytest.raises(Unreachable, match="the peer is not at that relay"):
            await visitor.connect(behind.host.peer_id, [by_relay], TIMEOUT_S)


async def test_a_circuit_of_somebody_who_is_no_relay_of_this_node_is_refused() -> None:
    async with open_behind() as behind, open_host(new_identity(), [LOOPBACK]) as stranger:
        await stranger.connect(behind.host.peer_id, behind.host.addresses(), TIMEOUT_S)
        async with await stranger.open_stream(behind.host.peer_id, [STOP], TIMEOUT_S) as stream:
            with pytest.raises(CircuitRefused, match="does not let"):
                await ask(stream, CircuitMessage(CircuitKind.CONNECT, b"\0\0"), hop=False)


@pytest.mark.parametrize("sent", [b"\x02\x08\x09", b"\xff\xff\x7f", b"\x02\x12\x05", b"\x80" * 12])
async def test_bytes_that_are_no_message_cost_a_relay_one_stream(sent: bytes) -> None:
    async with open_relay() as (relay, _), open_host(new_identity(), [LOOPBACK]) as visitor:
        await visitor.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        async with await visitor.open_stream(relay.peer_id, [HOP], TIMEOUT_S) as stream:
            await stream.write(sent, TIMEOUT_S)
            assert await stream.read_exactly(1, TIMEOUT_S)
        async with await visitor.open_stream(relay.peer_id, [HOP], TIMEOUT_S) as stream:
            await ask(stream, CircuitMessage(CircuitKind.RESERVE), hop=True)


async def test_one_peer_has_no_more_circuits_than_its_share() -> None:
    async with open_relay() as (relay, service), open_behind() as behind:
        await behind.host.connect(relay.peer_id, relay.addresses(), TIMEOUT_S)
        await until(lambda: behind.addresses)
        for _ in range(CIRCUITS_PER_PEER_MAX):
            service.places.open("somebody", behind.host.peer_id, trio.current_time())
        async with open_host(new_identity(), [LOOPBACK]) as visitor:
            with pytest.raises(Unreachable, match="no place for more circuits"):
                await visitor.connect(behind.host.peer_id, behind.addresses, TIMEOUT_S)
