"""Input sources: what a job names is fetched and laid out on disk before its program starts.

Each input is a file or a directory below one directory of the execution. It is written beside
its place and renamed, so what is there is whole, and a restart goes on from it. Only the
source `local` copies nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import trio

from p2pnode.core.placement import arrival, forwarding, targets
from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.placement.locality import KEPT_SOURCES, source_cache_key
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Directory
from p2pnode.core.wire.spec import InputSource, Source, Task, WasmTask
from p2pnode.core.wire.states import Fault
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.ipfs.export import TooLarge
from p2pnode.ipfs.partial import CannotExport
from p2pnode.ipfs.reading import NoSuchPath
from p2pnode.network.streams import NetworkError
from p2pnode.system.removal import clear_directory
from p2pnode.system.trees import measure

from .budget import Budget, on_disk
from .cache import Cache
from .concurrently import all_of
from .download import Destination
from .failures import DataFailed, Retryable, of_disk
from .inline import write_inline
from .local import AllowedPath, find_local, look_up
from .s3 import S3Fetch
from .s3_client import Bucket, S3Account
from .url import fetch_url
from .web import Web, open_web

# Several at once hide latency; more only compete for the disk.
FETCHES_AT_ONCE_MAX = 4
# A terabyte at 50 MB/s. Beyond this a peer's slot is better given to another job.
FETCH_S_MAX = 6 * 3600.0
# A requester waits 3 s for a bid; a network disk that hangs must not hold up its link for longer.
LOOK_S_MAX = 2.0
# More than what is fetched may have (ipfs.export): all of an input counts.
INPUT_ENTRIES_MAX = 2_000_000
# As many inputs as adverts tell of, many times over.
SIZES_KEPT_MAX = 1_000
# Also an input must not fill the disk on which the node stores results.
DISK_FREE_BYTES_MIN = 1024**3

# Its runtime opens directories only.
WASM_FILE_READ_ONLY = "a WASM program can write only below a folder: make that its SourcePath"

# Brings all blocks of what a CID, or a path below one, names into this node's store, at most so many bytes,
# telling how many have come; gives its CID.
FetchIpfs = Callable[[str, int, Callable[[int], None]], Awaitable[str]]
# Writes what a CID names to a path, from this node's store, at most so many bytes. Blocking.
ExportIpfs = Callable[[str, Path, int], None]


@dataclass(frozen=True, slots=True)
class Ipfs:
    """How this node gets at content."""

    fetch: FetchIpfs
    export: ExportIpfs


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The paths, hosts and variables that the operator lets jobs reach."""

    paths: tuple[AllowedPath, ...] = ()
    # Though their addresses are not public.
    hosts: tuple[AllowedHost, ...] = ()
    s3: S3Account = field(default_factory=S3Account)
    # Names of variables, or parts of them with *, and the environment that has them.
    variables: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def all_hosts(self) -> tuple[AllowedHost, ...]:
        return (*self.hosts, *self.s3.hosts)


@dataclass(frozen=True, slots=True)
class Input:
    """An input as the program gets it."""

    path: Path
    # Where it sees it.
    target: str
    read_only: bool = True


class Inputs:
    def __init__(self, ipfs: Ipfs, access: Access, cache_directory: Path, rate: FetchRate) -> None:
        """`rate` is told what came how quickly."""
        self.rate = rate
        # Bytes that inputs took on disk, by cache key.
        self._sizes: dict[int, int] = {}
        self._ipfs = ipfs
        self._access = access
        self._cache = Cache(cache_directory)

    @property
    def types(self) -> tuple[str, ...]:
        """The sources that this node can fetch from, for its advert."""
        types = ["ipfs", "s3", "urldownload", "inline"]
        types += ["local"] if self._access.paths else []
        types += [forwarding.SOURCE] if self._access.variables else []
        return tuple(types)

    def size_class(self, cache_key: int) -> int:
        """About how large an input is, for an advert."""
        size_bytes = self._sizes.get(cache_key)
        return arrival.KEPT_INPUT_CLASS if size_bytes is None else arrival.size_class(size_bytes)

    async def _note_size(self, source: Source, path: Path) -> None:
        if source.type not in KEPT_SOURCES or (cache_key := source_cache_key(source)) in self._sizes:
            return
        self._sizes[cache_key] = await trio.to_thread.run_sync(_size_of, path)
        if len(self._sizes) > SIZES_KEPT_MAX:
            del self._sizes[next(iter(self._sizes))]

    def lacks_variables(self, task: Task) -> str | None:
        """Why this node can't give a task the variables of its environment that it asks for, or None."""
        return forwarding.why_not(task, self._access.variables, self._access.environment)

    def environment(self, task: Task) -> dict[str, str]:
        """The task's variables, with those of this node that it may have; raises `DataFailed`."""
        try:
            return forwarding.filled_in(task.environment, self._access.variables, self._access.environment)
        except forwarding.NotForwarded as exc:
            raise DataFailed(Fault.PEER, str(exc)) from exc

    async def lacks(self, directories: Sequence[Directory], engine: str) -> str:
        """Why this node can't give a job one of these paths; "" if it can."""
        with trio.move_on_after(LOOK_S_MAX):
            return await trio.to_thread.run_sync(self._lacks, directories, engine, abandon_on_cancel=True)
        return f"the disk of {directories[0].path} did not answer within {LOOK_S_MAX:.0f} s"

    def _lacks(self, directories: Sequence[Directory], engine: str) -> str:
        for one in directories:
            try:
                path = look_up(one.path, one.writable, one.made, self._access.paths)
                if engine == "wasm" and one.writable and path.is_file():
                    return f"{one.path} is a file here, and {WASM_FILE_READ_ONLY}"
            except DataFailed as exc:
                return str(exc)
            except OSError as exc:
                return f"{one.path} cannot be looked up: {exc.strerror}"
        return ""

    async def fetch_all(
        self, task: Task, replica: int, replica_count: int, directory: Path, progress: Callable[[str], None]
    ) -> tuple[Input, ...]:
        """The task's inputs, in their order; raises `DataFailed` for the first that fails."""
        with trio.move_on_after(FETCH_S_MAX):
            return await self._fetch_all(task, replica, replica_count, directory, progress)
        raise Retryable(f"the inputs were not fetched within {FETCH_S_MAX / 3600:.0f} h")

    async def _fetch_all(
        self, task: Task, replica: int, replica_count: int, directory: Path, progress: Callable[[str], None]
    ) -> tuple[Input, ...]:
        async with open_web(self._access.all_hosts) as web:
            fetching = _Fetching(
                self._ipfs,
                self._access,
                self._cache,
                web,
                _budget(task, directory),
                replica,
                replica_count,
                self.rate,
            )
            found: dict[int, Input] = {}

            async def fetch(index: int, source: InputSource) -> None:
                def tell(text: str) -> None:
                    progress(f"fetching {source.target}: {text}")

                try:
                    one = await fetching.fetch(source, directory / str(index), tell)
                except DataFailed as exc:
                    raise DataFailed(exc.fault, f"input {source.target}: {exc}") from exc
                except OSError as exc:
                    raise of_disk(f"input {source.target}", exc) from exc
                await self._note_size(source.source, one.path)
                found[index] = _as_module(task, source, one)

            await all_of(partial(fetch, index, source) for index, source in enumerate(task.inputs))
        inputs = tuple(found[index] for index in range(len(task.inputs)))
        _check_apart(inputs, task)
        return inputs


@dataclass(frozen=True, slots=True)
class _Fetching:
    """The inputs of one execution, under way."""

    ipfs: Ipfs
    access: Access
    cache: Cache
    web: Web
    budget: Budget
    replica: int
    replica_count: int
    rate: FetchRate
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(FETCHES_AT_ONCE_MAX))

    async def fetch(self, source: InputSource, path: Path, progress: Callable[[str], None]) -> Input:
        if source.source.type == "local":
            return await trio.to_thread.run_sync(self._find, source)
        if _is_there(path):
            self.budget.take(await trio.to_thread.run_sync(_size_of, path))
        else:
            whole = path.with_name(f".{path.name}.whole")
            if _is_left(whole):
                await trio.to_thread.run_sync(_remove, whole)
            await self._write(source, whole, path.with_name(f".{path.name}.parts"), progress)
            whole.rename(path)
        return await trio.to_thread.run_sync(_placed, source, path)

    def _find(self, source: InputSource) -> Input:
        params = source.source.params
        read_write = params.get("ReadWrite") is True
        create_as = str(params.get("CreateAs", ""))
        path = find_local(str(params["SourcePath"]), read_write, create_as, self.access.paths)
        return Input(path, source.target, read_only=not read_write)

    async def _write(
        self, source: InputSource, path: Path, parts: Path, progress: Callable[[str], None]
    ) -> None:
        """Make `path`; what has come by the time that the node dies lies in `parts`, for the next time."""
        params = source.source.params
        match source.source.type:
            case "ipfs":
                async with self.limiter:
                    await self._write_ipfs(str(params["CID"]), path, progress)
            case "inline":
                await trio.to_thread.run_sync(write_inline, str(params["URL"]), path, self.budget)
            case "urldownload":
                _make(path, parts)
                async with self.limiter:
                    place = Destination(path, parts, self.cache, self.budget, progress, self.rate)
                    await fetch_url(self.web, str(params["URL"]), place)
                await trio.to_thread.run_sync(_remove, parts)
            case "s3":
                _make(path, parts)
                place = Destination(path, parts, self.cache, self.budget, progress, self.rate)
                bucket = Bucket(self.web, self.access.s3, self.access.all_hosts, params)
                await S3Fetch(bucket, params, place, self.limiter).fetch(self.replica, self.replica_count)
                await trio.to_thread.run_sync(_remove, parts)
            case other:
                raise DataFailed(Fault.PEER, f"no source of type {other} here")

    async def _write_ipfs(self, address: str, path: Path, progress: Callable[[str], None]) -> None:
        size_bytes_max = self.budget.left_bytes
        try:
            cid = await self.ipfs.fetch(
                address, size_bytes_max, lambda size_bytes: progress(about_bytes(size_bytes))
            )
            size_bytes = await trio.to_thread.run_sync(self._export, cid, path, size_bytes_max)
        except TooLarge:
            self.budget.check(size_bytes_max + 1)
            raise
        except NoSuchPath as exc:
            raise DataFailed(Fault.JOB, str(exc)) from exc
        except BlockUnavailable as exc:
            raise DataFailed(Fault.NETWORK, f"{exc} (p2pnode ipfs add FILE puts it into a node)") from exc
        except (BadMessage, CannotExport, NetworkError) as exc:
            raise DataFailed(Fault.NETWORK, str(exc)) from exc
        self.budget.take(size_bytes)

    def _export(self, cid: str, path: Path, size_bytes_max: int) -> int:
        """The size of what was written."""
        self.ipfs.export(cid, path, size_bytes_max)
        return _size_of(path)


def _placed(source: InputSource, path: Path) -> Input:
    """Return an input where the program sees it; a single file goes by itself, so no folder hides others."""
    if not targets.is_single(source.source):
        return Input(path, source.target)
    (file,) = path.iterdir()
    itself = targets.is_itself(source)
    return Input(file, source.target if itself else f"{source.target.rstrip('/')}/{file.name}")


def _check_apart(inputs: Iterable[Input], task: Task) -> None:
    """The names that servers give can bring two to one place; raises `DataFailed`."""
    taken = {one.path for one in task.results}
    for one in inputs:
        if one.target in taken:
            raise DataFailed(Fault.JOB, f"two inputs or results of the job are at {one.target}")
        taken.add(one.target)


def _as_module(task: Task, source: InputSource, one: Input) -> Input:
    """A module's own file where a job names the Target of a one-file directory as the module."""
    engine = task.engine
    if isinstance(engine, WasmTask) and source.target in (engine.entry_module, *engine.import_modules):
        # A directory gives its only file; a single file has its own name in `target`, which nobody asked for.
        if targets.is_single(source.source):
            return replace(one, target=source.target)
        files = list(islice(one.path.iterdir(), 2)) if one.path.is_dir() else []
        # Whoever wrote the directory may have put a link there, to a file of this node's own.
        if len(files) == 1 and files[0].is_symlink():
            raise DataFailed(Fault.JOB, f"input {source.target}: the module {files[0].name} is a link")
        if len(files) == 1 and files[0].is_file():
            return replace(one, path=files[0])
    return one


def _budget(task: Task, directory: Path) -> Budget:
    if task.resources.disk_bytes:
        return Budget(task.resources.disk_bytes, of_job=True)
    return Budget(max(shutil.disk_usage(directory).free - DISK_FREE_BYTES_MIN, 0), of_job=False)


def _is_there(path: Path) -> bool:
    return path.exists()


def _is_left(path: Path) -> bool:
    """Is something there of a fetch that this node died with, be it a link that leads nowhere?"""
    return os.path.lexists(path)


def _make(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(exist_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        clear_directory(path)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _size_of(path: Path) -> int:
    """Return the bytes that an input takes, but for its own directory, as what fetches inputs counts them."""
    if not path.is_dir():
        return on_disk(path.lstat().st_size)
    return measure([path], None, INPUT_ENTRIES_MAX).size_bytes
