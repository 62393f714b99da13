"""Content by its CID, for the API: files in and out, listings, pins.

Everything is fetched from the connected peers first where it is not here.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import trio

from p2pnode.api.content_shapes import EntryJson, FetchedJson, PinJson
from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.values import content_paths
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.peer_ids import public_key_untrusted
from p2pnode.ipfs import car, dagpb, reading
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.bitswap import Bitswap
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.fetch import Reach
from p2pnode.node.fetching import Fetching

# A person sees a number that moves; each is an event on the stream.
PROGRESS_INTERVAL_S = 0.25
# Each takes some 300 bytes of JSON; what is listed is read by people and their scripts.
ENTRIES_LISTED_MAX = 100_000


class Content:
    """Implements `api.services.ContentService`."""

    def __init__(
        self, blocks: BlockStore, bitswap: Bitswap, fetching: Fetching, nursery: trio.Nursery
    ) -> None:
        """`nursery` is for fetches, which outlive what waits for them by a moment."""
        self._blocks = blocks
        self._bitswap = bitswap
        self._fetching = fetching
        self._nursery = nursery

    async def import_car(self, chunks: AsyncIterator[bytes]) -> str:
        async def next_chunk() -> bytes | None:
            return await anext(chunks, None)

        def pieces() -> Iterator[bytes]:
            while (chunk := trio.from_thread.run(next_chunk)) is not None:
                yield chunk

        try:
            root = await trio.to_thread.run_sync(lambda: self._store_car(pieces()))
        except BadMessage as exc:
            raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc
        except OSError as exc:
            raise ServiceError(Code.UNAVAILABLE, f"cannot store the blocks: {exc.strerror}") from exc
        self._bitswap.blocks_added()
        return root

    def _store_car(self, pieces: Iterator[bytes]) -> str:
        """Stores and pins; the first block of a depth-first stream is the root."""
        root = ""
        with adding(self._blocks) as put:
            for cid, data in car.read_car_untrusted(pieces):
                root = root or cid
                put(data, cids.parse(cid).codec)
            if not root:
                raise BadMessage("a CAR stream without blocks")
            self._blocks.pin(root, "added")
        return root

    async def export_car(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        with self._blocks.using(_checked(cid)):
            await self._fetched(cid, peers_hint)
            chunks: Iterator[bytes] = car.chunks_of(car.write_car(cid, self._blocks.get))
            while (chunk := await trio.to_thread.run_sync(next, chunks, None)) is not None:
                yield chunk

    async def read_file(self, path: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        cid = await self.resolve(path, peers_hint)
        with self._blocks.using(cid):
            await self._fetched(cid, peers_hint)
            try:
                chunks = await trio.to_thread.run_sync(reading.read_file, cid, self._blocks.get)
                while (chunk := await trio.to_thread.run_sync(next, chunks, None)) is not None:
                    yield chunk
            except reading.NoSuchPath as exc:
                raise ServiceError(Code.NO_SUCH_PATH, str(exc)) from exc
            except BadMessage as exc:
                raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc

    async def fetch(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[FetchedJson, None]:
        _checked(cid)
        fetched = FetchedJson(blocks=0, size_bytes=0, total_bytes=None)
        ended = trio.Event()
        failures: list[Exception] = []

        def progress(blocks: int, size_bytes: int) -> None:
            fetched["blocks"], fetched["size_bytes"] = blocks, size_bytes

        async def run(scope: trio.CancelScope) -> None:
            with scope:
                try:
                    await self._fetched(cid, peers_hint, progress)
                # The guard: it runs among the node's own tasks, and is a matter of the request.
                except Exception as error:  # noqa: BLE001
                    failures.append(error)
            ended.set()

        # A task of the node's: a generator must not yield inside a nursery of its own.
        scope = trio.CancelScope()
        self._nursery.start_soon(run, scope)
        try:
            while not ended.is_set():
                with trio.move_on_after(PROGRESS_INTERVAL_S):
                    await ended.wait()
                if fetched["blocks"] and fetched["total_bytes"] is None:
                    fetched["total_bytes"] = await trio.to_thread.run_sync(self._graph_size, cid)
                yield fetched
        finally:
            scope.cancel()
        if failures:
            raise failures[0]

    def _graph_size(self, cid: str) -> int | None:
        """The bytes of all blocks, as the root's links say, which may be wrong."""
        data = self._blocks.get(cid)
        if data is None or cids.parse(cid).codec != "dag-pb":
            return None if data is None else len(data)
        try:
            return len(data) + sum(link.size_bytes for link in dagpb.decode_untrusted(data).links)
        except BadMessage:
            return None

    async def list_directory(self, path: str, peers_hint: list[str]) -> list[EntryJson]:
        return await self._entries(await self.resolve(path, peers_hint), peers_hint)

    async def resolve(self, path: str, peers_hint: list[str]) -> str:
        try:
            root, names = content_paths.split(path)
        except ValueError as exc:
            raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc

        async def fetch_block(cid: str) -> None:
            await self._fetched(cid, peers_hint, reach=Reach.BLOCK)

        try:
            return await self._fetching.resolve(_checked(root), names, fetch_block)
        except reading.NoSuchPath as exc:
            raise ServiceError(Code.NO_SUCH_PATH, str(exc)) from exc
        except BlockUnavailable as exc:
            raise ServiceError(Code.NOT_FOUND, str(exc)) from exc
        except BadMessage as exc:
            raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc

    async def _entries(self, cid: str, peers_hint: list[str]) -> list[EntryJson]:
        with self._blocks.using(cid):
            await self._fetched(cid, peers_hint, reach=Reach.LISTING)
            try:
                return await trio.to_thread.run_sync(self._read_entries, cid)
            except reading.NoSuchPath as exc:
                raise ServiceError(Code.NO_SUCH_PATH, str(exc)) from exc
            except BadMessage as exc:
                raise ServiceError(Code.BAD_REQUEST, f"{cid} cannot be listed: {exc}") from exc

    def _read_entries(self, cid: str) -> list[EntryJson]:
        entries: list[EntryJson] = []
        for link in reading.list_directory(cid, self._blocks.get):
            if len(entries) == ENTRIES_LISTED_MAX:
                raise BadMessage(f"it has more than {ENTRIES_LISTED_MAX:,} entries")
            name = link.name.encode(errors="surrogateescape").decode(errors="replace")
            entries.append({"name": name, "cid": link.cid, "size_bytes": link.size_bytes})
        return sorted(entries, key=lambda entry: entry["name"])

    async def _fetched(
        self,
        cid: str,
        peers_hint: list[str],
        progress: Callable[[int, int], None] = lambda blocks, size_bytes: None,
        reach: Reach = Reach.ALL,
    ) -> None:
        for peer in peers_hint:
            try:
                public_key_untrusted(peer)
            except BadMessage as exc:
                raise ServiceError(Code.BAD_REQUEST, f"the peer {peer!r} is {exc}") from exc
        try:
            await self._fetching.fetch(cid, peers_hint, progress, reach=reach)
        except BlockUnavailable as exc:
            raise ServiceError(Code.NOT_FOUND, str(exc)) from exc
        except BadMessage as exc:
            raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc
        except OSError as exc:
            raise ServiceError(Code.UNAVAILABLE, f"cannot store the blocks: {exc.strerror}") from exc

    # Pins

    def pins(self) -> list[PinJson]:
        return [
            {"cid": pin.root, "what": pin.what, "until": None if pin.until_s == math.inf else pin.until_s}
            for pin in self._blocks.pins.all()
        ]

    async def pin(self, cid: str, peers_hint: list[str]) -> None:
        with self._blocks.using(_checked(cid)):
            await self._fetched(cid, peers_hint)
            self._blocks.pin(cid, "pinned by hand")

    def unpin(self, cid: str) -> None:
        if not self._blocks.unpin(_checked(cid)):
            raise ServiceError(Code.NOT_FOUND, f"{cid} is not pinned")


def _checked(cid: str) -> str:
    try:
        return str(cids.parse(cid))
    except cids.BadCid as exc:
        raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc
