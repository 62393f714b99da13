"""Bitswap 1.2: gives our blocks to any IPFS peer, and fetches graphs from peers.

Each side writes on streams that it opened itself and only reads those that the other
opened: Kubo and Helia never read the stream on which they wrote a wantlist. So a peer has
one task here that sends whatever there is for it (our wants, answers, blocks) and ends
when there has been nothing for a while. Answers are queued as CIDs and read from the store when
sent, half a megabyte at a time, so a peer can make us hold a batch and a list, no more.
What a peer wants and we lack is remembered and sent when it comes.

Anyone may ask for any block: a CID is a capability, and results are public under theirs.
Protocol: https://specs.ipfs.tech/bitswap-protocol/.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.bitswap_messages import (
    WANTS_PER_MESSAGE_MAX,
    Message,
    Want,
    WantKind,
)
from p2pnode.ipfs.bitswap_streams import PROTOCOLS, BitswapHost, BitswapStream, encoded, read_untrusted
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.fetch import Fetch, Links, Reach, links_of
from p2pnode.network.streams import NetworkError
from p2pnode.system.log_lines import concerning

log = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")

# The bytes of blocks in one message: two full chunks, whose nodes may be a little larger. That is well
# below what other implementations accept.
BATCH_SIZE_BYTES = 2 * 256 * 1024 + 1024
# A block this small is sent at once to who asks whether we have it (Kubo: WantHaveReplaceSize).
SMALL_BLOCK_SIZE_BYTES = 1024
# Peers whose wants are remembered, some 300 kB each at most.
PEERS_MAX = 256
# A thread each for reading and writing beside what else the node does.
DISK_THREADS_MAX = 4
FETCHES_MAX = 8
# Graphs of results and inputs; whoever knows the job's limits gives a smaller one.
FETCH_SIZE_BYTES_MAX = 1 << 40
OPEN_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
SEND_IDLE_S = 30.0


@dataclass(slots=True)
class _Peer:
    """The messages due to a peer, and its wants that are not here."""

    peer: str
    wants: dict[bytes, Want] = field(default_factory=dict)
    presences: dict[cids.Cid, bool] = field(default_factory=dict)
    blocks: dict[cids.Cid, None] = field(default_factory=dict)
    remembered: dict[bytes, Want] = field(default_factory=dict)
    # An empty message is due, to learn whether the peer is still there.
    probe: bool = False
    sending: bool = False
    work: trio.Event = field(default_factory=trio.Event)


@asynccontextmanager
async def open_bitswap(host: BitswapHost, store: BlockStore) -> AsyncIterator[Bitswap]:
    """Serves the blocks of `store` on `host`."""
    async with trio.open_nursery() as nursery:
        bitswap = Bitswap(nursery, host, store)
        for protocol in PROTOCOLS:
            host.handle(protocol, bitswap.serve, time_limit_s=math.inf)
        yield bitswap
        nursery.cancel_scope.cancel()


class Bitswap:
    """Made by `open_bitswap`."""

    def __init__(self, nursery: trio.Nursery, host: BitswapHost, store: BlockStore) -> None:
        self._nursery = nursery
        self._host = host
        self._store = store
        # The least recently heard of come first.
        self._peers: dict[str, _Peer] = {}
        self._fetches: list[Fetch] = []
        self._fetch_slots = trio.Semaphore(FETCHES_MAX)
        self._disk = trio.CapacityLimiter(DISK_THREADS_MAX)
        # The blocks that were fetched and served since the node began.
        self.fetched_bytes = 0
        self.served_bytes = 0

    async def fetch_dag(
        self,
        root: str,
        peers: Sequence[str],
        *,
        size_bytes_max: int = FETCH_SIZE_BYTES_MAX,
        progress: Callable[[int, int], None] = lambda blocks, size_bytes: None,
        reach: Reach = Reach.ALL,
    ) -> int:
        """Store all blocks of the graph below `root`; the bytes of those that were not here, and fetched.

        The peers must be connected. `progress` is called with the blocks and bytes that are here so
        far. `reach` says how much of the graph is wanted. Raises
        `BlockUnavailable` when no peer gives a block, `BadCid`, and `OSError` when a block cannot be
        stored; what has come by then stays stored.
        """
        async with self._fetch_slots:
            fetch = Fetch(
                root,
                peers,
                self._store,
                size_bytes_max=size_bytes_max,
                progress=progress,
                ask=self._ask,
                cancel=self._cancel,
                reach=reach,
            )
            self._fetches.append(fetch)
            try:
                with self._store.using(root):
                    await fetch.run()
                return fetch.received_bytes
            finally:
                self._fetches.remove(fetch)

    def blocks_added(self) -> None:
        """To be called after blocks were stored: peers that wait for them get them."""
        for peer in self._peers.values():
            if peer.remembered:
                self._nursery.start_soon(self._answer, peer, list(peer.remembered.values()), False)

    # Sending.

    def _ask(self, peer: str, cid: cids.Cid) -> None:
        self._queue_want(peer, Want(cid, send_dont_have=True))

    def _cancel(self, peer: str, cid: cids.Cid) -> None:
        if not any(fetch.has_asked(peer, cid.multihash) for fetch in self._fetches):
            self._queue_want(peer, Want(cid, cancel=True))

    def _queue_want(self, name: str, want: Want) -> None:
        peer = self._peer(name)
        peer.wants[want.cid.multihash] = want
        self._wake(peer)

    def _peer(self, name: str) -> _Peer:
        peer = self._peers.pop(name, None) or _Peer(name)
        self._peers[name] = peer
        if len(self._peers) > PEERS_MAX:
            idle = next((p for p in self._peers.values() if not p.sending and p is not peer), None)
            if idle is not None:
                del self._peers[idle.peer]
        return peer

    def _wake(self, peer: _Peer) -> None:
        peer.work.set()
        # At shutdown the last streams may still be read when the nursery takes no more.
        if not peer.sending and not self._nursery.cancel_scope.cancel_called:
            peer.sending = True
            self._nursery.start_soon(self._send_all, peer)

    async def _send_all(self, peer: _Peer) -> None:
        """Sends what there is for a peer, until there is nothing for a while."""
        stream: BitswapStream | None = None
        try:
            while True:
                peer.work = trio.Event()
                message = await self._next_message(peer)
                if message is not None:
                    stream = await self._send(peer.peer, stream, message)
                    self.served_bytes += sum(len(data) for _, data in message.blocks)
                    continue
                with trio.move_on_after(SEND_IDLE_S):
                    await peer.work.wait()
                if not peer.work.is_set():
                    return
        except NetworkError as exc:
            with concerning(anew=True, peer=peer.peer):
                log.info("bitswap: nothing can be sent to %s: %s", peer.peer, exc)
            # The peer asks again when it is back; a fetch does so too.
            for queue in (peer.wants, peer.presences, peer.blocks):
                queue.clear()
            for fetch in self._fetches:
                fetch.peer_failed(peer.peer, str(exc))
        finally:
            peer.sending = False
            if stream is not None:
                await stream.close()

    async def _send(self, peer: str, stream: BitswapStream | None, message: Message) -> BitswapStream:
        """Writes a message, on a new stream where there is none or the old one broke."""
        if stream is not None:
            try:
                await stream.write(encoded(message, stream), WRITE_TIMEOUT_S)
            except NetworkError:
                await stream.reset()
            else:
                return stream
        stream = await self._host.open_stream(peer, PROTOCOLS, OPEN_TIMEOUT_S)
        try:
            await stream.write(encoded(message, stream), WRITE_TIMEOUT_S)
        except BaseException:
            await stream.reset()
            raise
        return stream

    async def _next_message(self, peer: _Peer) -> Message | None:
        wants = tuple(_take(peer.wants, WANTS_PER_MESSAGE_MAX).values())
        probe, peer.probe = peer.probe, False
        blocks: list[tuple[cids.Cid, bytes]] = []
        if peer.blocks:
            taken, blocks = await trio.to_thread.run_sync(
                self._read_batch, list(peer.blocks), limiter=self._disk
            )
            for cid in taken:
                peer.blocks.pop(cid, None)
        presences = tuple(_take(peer.presences, WANTS_PER_MESSAGE_MAX).items())
        if not (wants or presences or blocks or probe):
            return None
        return Message(wants=wants, presences=presences, blocks=tuple(blocks))

    def _read_batch(
        self, queue: Sequence[cids.Cid]
    ) -> tuple[Sequence[cids.Cid], list[tuple[cids.Cid, bytes]]]:
        """As many blocks as go into a message, and the CIDs that are done with. Runs in a thread."""
        blocks: list[tuple[cids.Cid, bytes]] = []
        left_bytes = BATCH_SIZE_BYTES
        for index, cid in enumerate(queue):
            if blocks and (self._store.block_size(str(cid)) or 0) > left_bytes:
                return queue[:index], blocks
            data = self._store.get(str(cid))
            if data is not None:
                blocks.append((cid, data))
                left_bytes -= len(data)
        return queue, blocks

    # Receiving.

    async def serve(self, stream: BitswapStream) -> None:
        """Reads one stream that a peer opened; what it raises costs the peer its stream."""
        try:
            while (message := await read_untrusted(stream)) is not None:
                await self._received(stream.peer, message)
        finally:
            # The peer may be gone, which a read does not tell from an ordinary end.
            if any(fetch.asks(stream.peer) for fetch in self._fetches):
                peer = self._peer(stream.peer)
                peer.probe = True
                self._wake(peer)

    async def _received(self, name: str, message: Message) -> None:
        fetches = [fetch for fetch in self._fetches if fetch.uses(name)]
        if message.received and fetches:
            await self._store_received(name, message.received, fetches)
        for cid, have in message.presences:
            if not have:
                for fetch in fetches:
                    fetch.refused(name, cid.multihash)
        if message.wants or message.full:
            await self._queue_answers(self._peer(name), message)

    async def _store_received(self, name: str, blocks: Sequence[bytes], fetches: Sequence[Fetch]) -> None:
        try:
            stored, useless_bytes = await trio.to_thread.run_sync(
                _store_needed, self._store, blocks, fetches, limiter=self._disk
            )
        except OSError as exc:
            # The disk is full or broken, which is no fault of the peer.
            for fetch in fetches:
                fetch.fail(exc)
            return
        for multihash, size_bytes, links in stored:
            self.fetched_bytes += size_bytes
            for fetch in self._fetches:
                fetch.arrived(name, multihash, size_bytes, links[fetch.reach])
            self._pass_on(multihash)
        if useless_bytes:
            for fetch in fetches:
                fetch.useless(name, useless_bytes)

    def _pass_on(self, multihash: bytes) -> None:
        """Send a block that has just come to those that wait for it."""
        for peer in self._peers.values():
            want = peer.remembered.pop(multihash, None)
            if want is not None:
                peer.blocks[want.cid] = None
                self._wake(peer)

    async def _queue_answers(self, peer: _Peer, message: Message) -> None:
        if message.full:
            peer.remembered.clear()
            peer.blocks.clear()
        asked: list[Want] = []
        for want in message.wants:
            multihash = want.cid.multihash
            if want.cancel:
                peer.remembered.pop(multihash, None)
                peer.blocks.pop(want.cid, None)
            elif len(asked) < WANTS_PER_MESSAGE_MAX:
                asked.append(want)
                # Before the store is looked at, or a block that comes meanwhile would be missed.
                if len(peer.remembered) < WANTS_PER_MESSAGE_MAX:
                    peer.remembered[multihash] = want
        await self._answer(peer, asked, True)

    async def _answer(self, peer: _Peer, wants: Sequence[Want], say_dont_have: bool) -> None:
        """Queue blocks, or word of them, for those wants that the store can answer."""
        sizes_bytes = await trio.to_thread.run_sync(self._block_sizes, wants, limiter=self._disk)
        for want, size_bytes in zip(wants, sizes_bytes, strict=True):
            if size_bytes is None:
                if say_dont_have and want.send_dont_have and len(peer.presences) < WANTS_PER_MESSAGE_MAX:
                    peer.presences[want.cid] = False
                continue
            peer.remembered.pop(want.cid.multihash, None)
            if want.kind is WantKind.HAVE and size_bytes > SMALL_BLOCK_SIZE_BYTES:
                peer.presences[want.cid] = True
            elif len(peer.blocks) < WANTS_PER_MESSAGE_MAX:
                peer.blocks[want.cid] = None
        if peer.blocks or peer.presences:
            self._wake(peer)

    def _block_sizes(self, wants: Iterable[Want]) -> list[int | None]:
        return [self._store.block_size(str(want.cid)) for want in wants]


def _store_needed(
    store: BlockStore, blocks: Iterable[bytes], fetches: Sequence[Fetch]
) -> tuple[list[tuple[bytes, int, dict[Reach, Links]]], int]:
    """Stores the blocks that a fetch needs, and counts the bytes of the others. Runs in a thread.

    Links are given for all kinds of fetches.
    """
    stored: list[tuple[bytes, int, dict[Reach, Links]]] = []
    useless_bytes = 0
    for data in blocks:
        multihash = cids.sha2_256(data)
        cid = next((cid for fetch in fetches if (cid := fetch.needed(multihash)) is not None), None)
        if cid is None:
            useless_bytes += len(data)
            continue
        # The block is that of the CID, which was found by its hash.
        store.write(cid, data)
        links = {reach: links_of(str(cid), data, reach) for reach in Reach}
        stored.append((multihash, len(data), links))
    return stored, useless_bytes


def _take(queue: dict[K, V], count: int) -> dict[K, V]:
    """Removes the first entries of a queue."""
    taken = dict(itertools.islice(queue.items(), count))
    for key in taken:
        del queue[key]
    return taken
