"""Content of a node that has no network: what is in its store, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from p2pnode.api.content_shapes import EntryJson, FetchedJson
from p2pnode.api.shapes import Code, Json, ServiceError
from p2pnode.core.values import content_paths
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car, reading
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.cid import BadCid

PINNED_UNTIL = 1_700_000_000.0


class FakeContent:
    """Implements `api.services.ContentService`."""

    def __init__(self, data_dir: Path) -> None:
        self.blocks = BlockStore(data_dir / "store")
        self.hints: list[str] = []
        self.fetched: list[str] = []
        self.resolved: list[tuple[str, list[str]]] = []
        self.pinned: list[str] = []

    async def import_car(self, chunks: AsyncIterator[bytes]) -> str:
        data = b"".join([chunk async for chunk in chunks])
        root = ""
        try:
            for cid, block in car.read_car_untrusted([data]):
                self.blocks.put_verified(cid, block)
                root = root or cid
        except BadMessage as error:
            raise ServiceError(Code.BAD_REQUEST, str(error)) from error
        return root

    async def export_car(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        self.hints += peers_hint
        self._known(cid)
        for chunk in car.chunks_of(car.write_car(cid, self.blocks.get)):
            yield chunk

    async def read_file(self, path: str, peers_hint: list[str]) -> AsyncGenerator[bytes, None]:
        cid = await self.resolve(path, peers_hint)
        try:
            for chunk in reading.read_file(cid, self.blocks.get):
                yield chunk
        except reading.NoSuchPath as error:
            raise ServiceError(Code.NO_SUCH_PATH, str(error)) from error

    async def fetch(self, cid: str, peers_hint: list[str]) -> AsyncGenerator[FetchedJson, None]:
        self.fetched.append(cid)
        yield FetchedJson(blocks=1, size_bytes=100, total_bytes=None)
        self._known(cid)

    async def list_directory(self, path: str, peers_hint: list[str]) -> list[EntryJson]:
        cid = await self.resolve(path, peers_hint)
        try:
            found = list(reading.list_directory(cid, self.blocks.get))
        except reading.NoSuchPath as error:
            raise ServiceError(Code.NO_SUCH_PATH, str(error)) from error
        return [EntryJson(name=one.name, cid=one.cid, size_bytes=one.size_bytes) for one in found]

    async def resolve(self, path: str, peers_hint: list[str]) -> str:
        self.resolved.append((path, peers_hint))
        try:
            root, names = content_paths.split(path)
        except ValueError as error:
            raise ServiceError(Code.BAD_REQUEST, str(error)) from error
        self._known(root)
        try:
            return reading.resolve(root, names, self.blocks.get)
        except reading.NoSuchPath as error:
            raise ServiceError(Code.NO_SUCH_PATH, str(error)) from error

    def _known(self, cid: str) -> None:
        try:
            found = self.blocks.has(cid)
        except BadCid as error:
            raise ServiceError(Code.BAD_REQUEST, str(error)) from error
        if not found:
            raise ServiceError(Code.NOT_FOUND, f"no peer has {cid}")

    def pins(self) -> list[Json]:
        return [{"cid": cid, "what": "result\x1b[31m", "until": PINNED_UNTIL} for cid in self.pinned]

    async def pin(self, cid: str, peers_hint: list[str]) -> None:
        self.pinned.append(cid)

    def unpin(self, cid: str) -> None:
        if cid not in self.pinned:
            raise ServiceError(Code.NOT_FOUND, f"{cid} is not pinned")
        self.pinned.remove(cid)
