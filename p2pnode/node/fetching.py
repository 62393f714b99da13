"""Brings content into this node's store: from likely holders, connected peers, others, and those in the DHT.

For inputs Kubo is asked last.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.values import content_paths
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import reading
from p2pnode.ipfs.bitswap import FETCH_SIZE_BYTES_MAX, Bitswap
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import ExportRoom, export
from p2pnode.ipfs.fetch import Reach
from p2pnode.ipfs.result_store import ResultStore
from p2pnode.network.host import Host
from p2pnode.network.streams import NetworkError

CONNECT_TIMEOUT_S = 5.0
# So many others are asked for what no neighbour has, so many at once: each dial costs both sides 10 ms.
OTHERS_MAX = 64
OTHERS_AT_ONCE = 16
# Peers of those that say in the DHT that they have it: some are gone, and one is enough.
PROVIDERS_MAX = 8


class Peers(Protocol):
    """The node's knowledge of peers."""

    def addresses_of(self, peer: str) -> Sequence[str]: ...
    def peers_heard(self) -> Collection[str]: ...

    def owners(self) -> Sequence[str]:
        """The peers for which something runs here."""
        ...


class Fetching:
    """Fetches blocks over bitswap, for jobs' inputs and for the API."""

    def __init__(
        self,
        host: Host,
        blocks: BlockStore,
        bitswap: Bitswap,
        results: ResultStore,
        peers: Peers,
        rate: FetchRate,
        find_providers: Callable[[bytes], Awaitable[Mapping[str, Sequence[str]]]],
    ) -> None:
        """`rate` is told what came how quickly.

        `find_providers` finds further peers that have a content, by its multihash, with their addresses.
        """
        self._host = host
        self._blocks = blocks
        self._bitswap = bitswap
        self._results = results
        self._peers = peers
        self._rate = rate
        self._find_providers = find_providers

    def _holders(self, first: Sequence[str]) -> list[str]:
        """The connected peers to ask for blocks, those likely to have them first."""
        connected = self._host.connected()
        return [peer for peer in dict.fromkeys([*first, *connected]) if peer in connected]

    async def join(self, peer: str, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect to a peer at its known addresses; raises `NetworkError`."""
        if peer != self._host.peer_id:
            await self._host.connect(peer, self._peers.addresses_of(peer), timeout_s)

    async def fetch(
        self,
        cid: str,
        first: Sequence[str],
        progress: Callable[[int, int], None] = lambda blocks, size: None,
        size_bytes_max: int = FETCH_SIZE_BYTES_MAX,
        reach: Reach = Reach.ALL,
    ) -> None:
        """Bring what is below a CID into the store, from `first`, all connected peers, and then some others.

        Raises `BlockUnavailable`, `BadMessage` and `OSError`.
        """
        for peer in first:
            with suppress(NetworkError):
                await self.join(peer)
        fetch = partial(
            self._bitswap.fetch_dag, cid, progress=progress, size_bytes_max=size_bytes_max, reach=reach
        )
        holders = self._holders(first)
        others = [one for one in self._peers.peers_heard() if one not in {*holders, self._host.peer_id}]
        random.shuffle(others)
        others = others[:OTHERS_MAX]
        asks_further = True
        while True:
            began = trio.current_time()
            try:
                received_bytes = await fetch(holders)
            except BlockUnavailable:
                if not others and not asks_further:
                    raise
                if not others:
                    asks_further = False
                    holders = await self._join_providers(cid)
                    if not holders:
                        raise
                    continue
            else:
                self._rate.note(received_bytes, trio.current_time() - began)
                return
            await self._join_all(others[:OTHERS_AT_ONCE])
            holders = self._holders(first)
            del others[:OTHERS_AT_ONCE]

    async def _join_providers(self, cid: str) -> list[str]:
        """Connect to peers that say in the DHT that they have a content; those that are there."""
        found = await self._find_providers(cids.parse(cid).multihash)

        async def join(peer: str, addresses: Sequence[str]) -> None:
            known = [*addresses, *self._peers.addresses_of(peer)]
            with suppress(NetworkError):
                await self._host.connect(peer, list(dict.fromkeys(known)), CONNECT_TIMEOUT_S)

        async with trio.open_nursery() as nursery:
            for peer, addresses in list(found.items())[:PROVIDERS_MAX]:
                nursery.start_soon(join, peer, addresses)
        connected = self._host.connected()
        return [peer for peer in found if peer in connected]

    async def _join_all(self, peers: Sequence[str]) -> None:
        """Connect to those of these peers that are there, all at once."""

        async def join(peer: str) -> None:
            with suppress(NetworkError):
                await self.join(peer)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(join, peer)

    async def resolve(
        self, root: str, names: Sequence[str], fetch_block: Callable[[str], Awaitable[None]]
    ) -> str:
        """The CID that a path below a root leads to; blocks on the way that are not here are fetched alone.

        Raises `NoSuchPath`, `BlockUnavailable`, `BadMessage`, and what `fetch_block` raises.
        """
        fetched: set[str] = set()
        with self._blocks.using(root):
            while True:
                try:
                    return await trio.to_thread.run_sync(reading.resolve, root, names, self._blocks.get)
                except BlockUnavailable as exc:
                    if exc.cid in fetched:
                        raise
                    fetched.add(exc.cid)
                    await fetch_block(exc.cid)

    async def fetch_input(self, address: str, size_bytes_max: int, progress: Callable[[int], None]) -> str:
        """Bring an input (`CID` or `CID/path`) into the store; its CID.

        Kubo is asked for what no peer has. Raises as `fetch` and `resolve` do.
        """
        root, names = content_paths.split(address)

        async def fetch(cid: str, reach: Reach) -> None:
            try:
                await self.fetch(
                    cid, self._peers.owners(), lambda _, size: progress(size), size_bytes_max, reach
                )
            except BlockUnavailable as exc:
                if not self._results.has_kubo:
                    raise
                try:
                    if reach is Reach.BLOCK:
                        await self._results.block_from_kubo(cid)
                    else:
                        await self._results.fetch_from_kubo(cid, progress, size_bytes_max)
                except BlockUnavailable as from_kubo:
                    raise BlockUnavailable(cid, f"{exc.reason}; {from_kubo.reason}") from exc

        cid = str(cids.parse(root))
        if names:
            cid = await self.resolve(root, names, partial(fetch, reach=Reach.BLOCK))
        await fetch(cid, Reach.ALL)
        return cid

    def export(self, cid: str, path: Path, size_bytes_max: int) -> None:
        """Write what is below a CID to a path; raises `TooLarge`, `CannotExport`, `BlockUnavailable`."""
        export(cid, self.block, path, room=ExportRoom(size_bytes_max))

    def block(self, cid: str) -> bytes:
        """A block of this node's store; raises `BlockUnavailable`."""
        data = self._blocks.get(cid)
        if data is None:
            raise BlockUnavailable(cid, "it is not in this node's store")
        return data
