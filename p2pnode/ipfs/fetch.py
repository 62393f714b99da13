"""One graph on its way here from several peers: what is still needed, and whom to ask.

Blocks are asked for in depth-first order, each from one peer; a peer has a limited number
of them to answer at a time, so that fast peers get more to do. A block goes to another
peer when its peer says that it has none, is silent for too long, or cannot be reached. The fetch
fails when no peer is left for a block, or none has sent anything useful for a while.

`Bitswap` tells it what comes (`arrived`, `refused`, `peer_failed`, `useless`), and sends
what it asks for. Each block that arrives is stored already; what was stored before is
not asked for, so a fetch that is begun again goes on where it was.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import dagpb
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable

# 8 MiB on the way from one peer: enough for 80 MB/s at 100 ms, and half of what a Yamux stream buffers.
WANTS_PER_PEER_MAX = 32
# Our own peers send half a megabyte at once, so this asks of a line that it carries 35 kB/s.
PEER_STALL_TIMEOUT_S = 15.0
# Three peers that are silent in turn, or one that comes back after a short break of its network.
FETCH_STALL_TIMEOUT_S = 45.0
# A peer that cannot be reached is tried so often, and left alone for so long after each time.
PEER_ATTEMPTS_MAX = 3
PEER_RETRY_S = 1.0
# A block may come twice when it was asked for again; much more than a full window is abuse.
USELESS_BYTES_MAX = 32 * 1024 * 1024
# The hashes of all blocks that were met are kept, some 100 bytes each.
DAG_BLOCKS_MAX = 1_000_000
# In an error message for a person; as the command line shows peers.
PEER_SHOWN_LENGTH = 8
PEERS_NAMED_MAX = 3
# Stored blocks are looked up together: one step to a thread costs more than reading a node.
_LOOKUPS_AT_ONCE = 256

Ask: TypeAlias = Callable[[str, cids.Cid], None]
# The CIDs below a block, or what is wrong with it.
Links: TypeAlias = Sequence[str] | BadMessage


class Reach(enum.Enum):
    """The part of the graph below a root that is fetched."""

    ALL = enum.auto()
    # A directory's own blocks only, not its entries.
    LISTING = enum.auto()
    # The root's own block alone.
    BLOCK = enum.auto()


@dataclass(slots=True)
class _Needed:
    """A block that has not come yet."""

    cid: cids.Cid
    # The peer that is to send it now.
    peer: str | None = None
    refused: set[str] = field(default_factory=set)
    # Peers that were silent; they are asked again after all others.
    silent: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Source:
    """A peer of this fetch."""

    peer: str
    asked: set[bytes] = field(default_factory=set)
    heard_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    useless_bytes: int = 0
    # Why it is asked no more.
    gone: str = ""
    # The last thing that went wrong with it, for the error message.
    trouble: str = ""


class Fetch:
    def __init__(
        self,
        root: str,
        peers: Sequence[str],
        store: BlockStore,
        *,
        size_bytes_max: int,
        progress: Callable[[int, int], None],
        ask: Ask,
        cancel: Ask,
        reach: Reach,
    ) -> None:
        self._store = store
        self._size_bytes_max = size_bytes_max
        self._progress = progress
        self._ask = ask
        self._cancel = cancel
        self.reach = reach
        self._root = root
        self._sources = {peer: _Source(peer) for peer in peers}
        self._needed: dict[bytes, _Needed] = {}
        self._unasked: deque[bytes] = deque()
        self._ahead = [cids.parse(root)]
        self._met: set[bytes] = set()
        self._changed = trio.Event()
        self._progress_at = 0.0
        self._error: Exception | None = None
        self._blocks = 0
        self._size_bytes = 0
        # Bytes of the blocks that were not here.
        self.received_bytes = 0

    def needed(self, multihash: bytes) -> cids.Cid | None:
        """The CID under which a block is needed, or None. May be called from a thread."""
        needed = self._needed.get(multihash)
        return None if needed is None else needed.cid

    def asks(self, peer: str) -> bool:
        """Whether the peer has something to answer."""
        source = self._sources.get(peer)
        return source is not None and bool(source.asked)

    def has_asked(self, peer: str, multihash: bytes) -> bool:
        source = self._sources.get(peer)
        return source is not None and multihash in source.asked

    def uses(self, peer: str) -> bool:
        return peer in self._sources and not self._sources[peer].gone

    async def run(self) -> None:
        """Returns when all blocks are stored; raises `BlockUnavailable` and `OSError`."""
        self._progress_at = trio.current_time()
        try:
            while True:
                await self._look_ahead()
                if self._error is not None:
                    raise self._error
                if not self._needed:
                    return
                self._give_out()
                await self._wait()
                self._give_up_on_silent_peers()
        finally:
            for multihash, needed in self._needed.items():
                if needed.peer is not None:
                    self._take_back(multihash, needed)

    def arrived(self, peer: str, multihash: bytes, size_bytes: int, links: Links) -> None:
        """The block was stored."""
        needed = self._needed.pop(multihash, None)
        if needed is None:
            return
        source = self._sources.get(peer)
        if needed.peer is not None:
            self._sources[needed.peer].asked.discard(multihash)
            if needed.peer != peer:
                self._cancel(needed.peer, needed.cid)
        if source is not None:
            source.failures = 0
            source.retry_at = 0.0
            source.heard_at = trio.current_time()
        self._progress_at = trio.current_time()
        self.received_bytes += size_bytes
        self._passed(str(needed.cid), size_bytes, links)
        self._wake()

    def refused(self, peer: str, multihash: bytes) -> None:
        """The peer says that it does not have the block."""
        needed = self._needed.get(multihash)
        source = self._sources.get(peer)
        if needed is None or source is None or needed.peer != peer:
            return
        source.heard_at = trio.current_time()
        needed.refused.add(peer)
        self._withdraw(multihash, needed)
        self._wake()

    def peer_failed(self, peer: str, reason: str) -> None:
        """Nothing can be sent to the peer."""
        source = self._sources.get(peer)
        if source is None or source.gone:
            return
        source.failures += 1
        source.trouble = reason
        source.retry_at = trio.current_time() + PEER_RETRY_S * source.failures
        if source.failures == PEER_ATTEMPTS_MAX:
            source.gone = reason
        for multihash in list(source.asked):
            self._withdraw(multihash, self._needed[multihash])
        self._wake()

    def useless(self, peer: str, size_bytes: int) -> None:
        """The peer sent so many bytes in blocks that are not needed."""
        source = self._sources.get(peer)
        if source is None:
            return
        source.trouble = "it sends other blocks than those asked for"
        source.useless_bytes += size_bytes
        if source.useless_bytes > USELESS_BYTES_MAX and not source.gone:
            source.gone = source.trouble
            for multihash in list(source.asked):
                self._take_back(multihash, self._needed[multihash])
            self._wake()

    def fail(self, error: Exception) -> None:
        """Ends the fetch with this error."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _wait(self) -> None:
        """Wait until something comes, or a deadline passes."""
        now = trio.current_time()
        deadlines = [self._progress_at + FETCH_STALL_TIMEOUT_S]
        for source in self._sources.values():
            if source.asked:
                deadlines.append(source.heard_at + PEER_STALL_TIMEOUT_S)
            if self._unasked and source.retry_at > now:
                deadlines.append(source.retry_at)
        with trio.CancelScope(deadline=min(deadlines)):
            await self._changed.wait()
        self._changed = trio.Event()

    async def _look_ahead(self) -> None:
        """Passes over what is stored, until enough is known to be missing to keep all peers busy."""
        while self._ahead and len(self._unasked) < WANTS_PER_PEER_MAX and self._error is None:
            batch: list[cids.Cid] = []
            while self._ahead and len(batch) < _LOOKUPS_AT_ONCE:
                cid = self._ahead.pop()
                if cid.multihash not in self._met:
                    self._met.add(cid.multihash)
                    batch.append(cid)
            if len(self._met) + len(self._ahead) > DAG_BLOCKS_MAX:
                raise BlockUnavailable(self._root, f"it has more than {DAG_BLOCKS_MAX} blocks")
            found = await trio.to_thread.run_sync(self._look_up, batch)
            for cid, (size_bytes, links) in zip(batch, found, strict=True):
                if size_bytes is None:
                    self._needed[cid.multihash] = _Needed(cid)
                    self._unasked.append(cid.multihash)
                else:
                    self._passed(str(cid), size_bytes, links)

    def _look_up(self, batch: Sequence[cids.Cid]) -> list[tuple[int | None, Links]]:
        """The size and the links of each block, None and none where it is missing. Runs in a thread."""
        found: list[tuple[int | None, Links]] = []
        for cid in batch:
            if cid.codec != "dag-pb":
                found.append((self._store.block_size(str(cid)), ()))
                continue
            data = self._store.get(str(cid))
            found.append((None, ()) if data is None else (len(data), links_of(str(cid), data, self.reach)))
        return found

    def _passed(self, cid: str, size_bytes: int, links: Links) -> None:
        """The block is here: go on to those below it."""
        if isinstance(links, BadMessage):
            self.fail(BlockUnavailable(cid, f"it is no UnixFS node: {links}"))
            return
        self._blocks += 1
        self._size_bytes += size_bytes
        if self._size_bytes > self._size_bytes_max:
            self.fail(BlockUnavailable(self._root, f"it has more than {self._size_bytes_max} bytes"))
        self._ahead += [cids.parse(link) for link in reversed(links)]
        self._progress(self._blocks, self._size_bytes)

    def _give_out(self) -> None:
        """Ask for as many blocks as the peers may have to answer at a time."""
        now = trio.current_time()
        kept: deque[bytes] = deque()
        while self._unasked:
            multihash = self._unasked.popleft()
            needed = self._needed.get(multihash)
            # The block came from a peer that had been given up, or was put back twice.
            if needed is None or needed.peer is not None:
                continue
            left = [s for s in self._sources.values() if not s.gone and s.peer not in needed.refused]
            if not left:
                raise BlockUnavailable(str(needed.cid), self._why(needed))
            free = [s for s in left if len(s.asked) < WANTS_PER_PEER_MAX and s.retry_at <= now]
            if not free:
                kept.append(multihash)
                continue
            source = min(free, key=lambda s: (s.peer in needed.silent, len(s.asked)))
            if not source.asked:
                source.heard_at = now
            source.asked.add(multihash)
            needed.peer = source.peer
            self._ask(source.peer, needed.cid)
        self._unasked = kept

    def _give_up_on_silent_peers(self) -> None:
        now = trio.current_time()
        for source in self._sources.values():
            if source.asked and now >= source.heard_at + PEER_STALL_TIMEOUT_S:
                source.trouble = f"it sent nothing useful for {PEER_STALL_TIMEOUT_S:.0f} s"
                for multihash in list(source.asked):
                    self._needed[multihash].silent.add(source.peer)
                    self._take_back(multihash, self._needed[multihash])
        if now >= self._progress_at + FETCH_STALL_TIMEOUT_S:
            needed = next(iter(self._needed.values()))
            raise BlockUnavailable(
                str(needed.cid), f"nothing came for {FETCH_STALL_TIMEOUT_S:.0f} s; {self._why(needed)}"
            )

    def _take_back(self, multihash: bytes, needed: _Needed) -> None:
        """Tell the peer that the block is not wanted from it any more."""
        assert needed.peer is not None
        peer = needed.peer
        self._withdraw(multihash, needed)
        self._cancel(peer, needed.cid)

    def _withdraw(self, multihash: bytes, needed: _Needed) -> None:
        if needed.peer is not None:
            self._sources[needed.peer].asked.discard(multihash)
            needed.peer = None
            self._unasked.append(multihash)

    def _why(self, needed: _Needed) -> str:
        """Say what each peer did about a block, for a person."""
        if not self._sources:
            return "no peer that may have it is known"
        peers_by_reason: dict[str, list[str]] = {}
        for source in self._sources.values():
            reason = source.trouble or "no answer"
            if source.peer in needed.refused:
                reason = "it does not have it"
            peers_by_reason.setdefault(reason, []).append(source.peer)
        return "; ".join(f"{_some(peers)}: {reason}" for reason, peers in peers_by_reason.items())


def _some(peers: Sequence[str]) -> str:
    """The ends of the first peers' ids (all begin alike), and how many there are."""
    named = ", ".join(f"…{peer[-PEER_SHOWN_LENGTH:]}" for peer in peers[:PEERS_NAMED_MAX])
    return (
        named if len(peers) <= PEERS_NAMED_MAX else f"{named} and {len(peers) - PEERS_NAMED_MAX} more peers"
    )


def links_of(cid: str, data: bytes, reach: Reach = Reach.ALL) -> Links:
    """The CIDs below a block that a fetch goes on to, or what is wrong with the block."""
    if reach is Reach.BLOCK:
        return ()
    try:
        if reach is Reach.ALL or cids.parse(cid).codec != "dag-pb":
            return dagpb.links_untrusted(cid, data)
        node = dagpb.decode_untrusted(data)
    except BadMessage as exc:
        return exc
    if node.kind is not dagpb.NodeKind.SHARD:
        return ()
    # The name of a shard is its place alone, that of an entry goes on.
    digits = len(f"{max(node.fanout - 1, 0):X}")
    return tuple(link.cid for link in node.links if len(link.name) == digits)
