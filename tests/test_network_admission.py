"""Admission to a real host: crowds from outside, and no room."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import pytest
import trio

from p2pnode.core.link import inbound
from p2pnode.core.link.knocking import HANDSHAKES_MAX
from p2pnode.network.host import Unreachable, open_host

from .network_support import LOOPBACK, new_identity, until
from .test_network_host import ECHO, connect, echo, echoes


async def test_a_silent_crowd_does_not_keep_a_peer_out() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        port = int(b.addresses()[0].split("/")[4])
        async with AsyncExitStack() as crowd:
            for _ in range(2 * HANDSHAKES_MAX):
                await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await connect(a, b)
            assert await echoes(a, b)


async def test_a_full_range_of_strangers_makes_place_for_a_newcomer_and_keeps_whom_the_node_works_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbound, "PER_SCOPE_MAX", 2)
    monkeypatch.setattr(inbound, "LATELY_USED_KEPT", 0)
    async with AsyncExitStack() as hosts:
        b, old, partner, newcomer = [
            await hosts.enter_async_context(open_host(new_identity(), [LOOPBACK])) for _ in range(4)
        ]
        b.keep(lambda peer: peer == partner.peer_id)
        await connect(old, b)
        await connect(partner, b)
        await connect(newcomer, b)
        await until(lambda: set(b.connected()) == {partner.peer_id, newcomer.peer_id})
        b.keep(lambda peer: peer != old.peer_id)
        await until(lambda: not old.connected())
        with suppress(Unreachable):
            await connect(old, b)
        await until(lambda: not old.connected())
        assert set(b.connected()) == {partner.peer_id, newcomer.peer_id}


async def test_without_room_nobody_new_comes_in_and_those_not_needed_go() -> None:
    room = True
    async with (
        open_host(new_identity(), [LOOPBACK], has_room=lambda: room) as b,
        open_host(new_identity(), [LOOPBACK]) as needed,
        open_host(new_identity(), [LOOPBACK]) as other,
    ):
        await connect(needed, b)
        await connect(other, b)
        await until(lambda: len(b.connected()) == 2)
        room = False
        await b.shed({needed.peer_id})
        assert b.connected() == [needed.peer_id]
        with pytest.raises(Unreachable):
            await connect(other, b)
        room = True
        await until(lambda: not other.connected())
        await connect(other, b)
