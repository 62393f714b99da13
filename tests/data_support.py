"""Surroundings of a node without the node, for the tests of inputs and publishers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.wire.spec import (
    InputSource,
    Resources,
    Source,
    Task,
    WasmTask,
)
from p2pnode.data.inputs import Access, Input, Inputs, Ipfs
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.ipfs.export import TooLarge
from p2pnode.ipfs.reading import NoSuchPath


@dataclass
class Content:
    """Stands for IPFS: what there is of it, by CID."""

    files: dict[str, bytes] = field(default_factory=dict)

    async def fetch(self, cid: str, size_bytes_max: int, progress: Callable[[int], None]) -> str:
        if cid not in self.files:
            root, _, path = cid.partition("/")
            raise (
                NoSuchPath(f"{root} has no entry {path}") if path else BlockUnavailable(cid, "nobody has it")
            )
        progress(len(self.files[cid]))
        return cid

    def export(self, cid: str, path: Path, size_bytes_max: int) -> None:
        if len(self.files[cid]) > size_bytes_max:
            raise TooLarge("no room")
        path.write_bytes(self.files[cid])


@dataclass
class Execution:
    """One execution's directory, and the node's that it runs on."""

    directory: Path
    access: Access = field(default_factory=Access)
    content: Content = field(default_factory=Content)
    told: list[str] = field(default_factory=list)
    name: str = "e-1"

    @property
    def inputs(self) -> Path:
        path = self.directory / self.name / "inputs"
        path.mkdir(parents=True, exist_ok=True)
        return path

    async def fetch(
        self, *sources: tuple[str, dict[str, Any]], replica: int = 0, count: int = 1, **task: Any
    ) -> tuple[Input, ...]:
        """Fetch inputs, each given as its type and parameters, to /input0, /input1, ..."""
        ipfs = Ipfs(self.content.fetch, self.content.export)
        inputs = Inputs(ipfs, self.access, self.directory / "cache", FetchRate())
        wanted = task_of(*sources, **task)
        return await inputs.fetch_all(wanted, replica, count, self.inputs, self.told.append)


def task_of(*sources: tuple[str, dict[str, Any]], disk_bytes: int = 0, module: str = "/program.wasm") -> Task:
    return Task(
        name="main",
        engine=WasmTask(entry_module=module),
        inputs=tuple(
            InputSource(source=Source(type=kind, params=params), target=f"/input{index}")
            for index, (kind, params) in enumerate(sources)
        ),
        resources=Resources(cpu_millis=100, memory_bytes=1 << 26, disk_bytes=disk_bytes),
    )


def files_in(directory: Path) -> dict[str, bytes]:
    """The content of a path; of a single file by its name."""
    if directory.is_file():
        return {directory.name: directory.read_bytes()}
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
