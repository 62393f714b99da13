"""Hosts that are reached by relays alone, and relays, for the tests of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2pnode.network.host import Host, open_host
from p2pnode.network.relay_service import RelayService
from p2pnode.network.relay_upkeep import RelayUpkeep
from p2pnode.network.streams import Stream

from .network_support import LOOPBACK, keys_of, new_identity

ECHO = "/test/echo/1"
TIMEOUT_S = 15.0


@dataclass
class Behind:
    """A host that is reached by its relays alone."""

    host: Host
    upkeep: RelayUpkeep
    changes: list[list[str]]

    @property
    def addresses(self) -> list[str]:
        return list(self.host.relayed_addresses)


async def echo(stream: Stream) -> None:
    while data := await stream.read_some(1 << 16, TIMEOUT_S):
        await stream.write(data, TIMEOUT_S)


@asynccontextmanager
async def open_relay(
    key: bytes | None = None, *, is_open: bool = True
) -> AsyncIterator[tuple[Host, RelayService]]:
    async with open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as host:
        yield host, RelayService(host, lambda: is_open)


@asynccontextmanager
async def open_behind(key: bytes | None = None) -> AsyncIterator[Behind]:
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(key)) as host,
        trio.open_nursery() as nursery,
    ):
        changes: list[list[str]] = []
        upkeep = RelayUpkeep(host, lambda: changes.append(list(host.relayed_addresses)))
        host.handle(ECHO, echo)
        upkeep.need(True)
        nursery.start_soon(upkeep.run)
        yield Behind(host, upkeep, changes)
        nursery.cancel_scope.cancel()


async def echoed(host: Host, peer: str, data: bytes) -> bytes:
    async with await host.open_stream(peer, [ECHO], TIMEOUT_S) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, data, TIMEOUT_S)
            return await stream.read_exactly(len(data), TIMEOUT_S)
