"""Access to what containers' users made in this node's directories, where this node is not root itself.

A container's root is the machine's (or a sub-user of the node's, with a rootless engine): its folders and
files need not let this node in. The engine may read and write them, and does so for a container that is
made on the directory and never started: an archive put there opens folders, an archive from there has the
files. So nothing is run, no program of an image is relied on, and any kind of engine is right.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from p2pnode.system import removal, trees

from . import api
from .api import EngineGone, EngineRefused
from .sdk import ContainerFailed, Sdk

# Where the helper has the directory.
PLACE = "/own"
# A path in the helper: the kernel's limit, less the place and a margin.
PATH_SIZE_BYTES_MAX = 4_000
# Folders that are opened with one archive: half a kilobyte each.
FOLDERS_AT_ONCE_MAX = 2_000
# All of it: a folder in a closed folder takes a request of some 10 ms, reading the largest result minutes.
REACH_S_MAX = 600.0
# In the execution's directory, a file on its way.
_PART = "reached.part"
_OPEN_MODE = 0o777


@dataclass(slots=True)
class _Closed:
    """The paths that this process may not look into or remove (folders), and may not read (files)."""

    folders: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    # The folders that cannot even be listed.
    unlisted: list[str] = field(default_factory=list)


async def open_up(
    sdk: Sdk, labels: dict[str, str], directory: Path, below: str, size_bytes_max: int | None
) -> str:
    """Let this node read and remove what is in an execution's directory below a path; why it cannot, or "".

    Files are read only where all of them together are no larger than `size_bytes_max`; None: not at all.
    """
    if os.geteuid() == 0 or not (directory / below).exists():
        return ""
    closed = await sdk.call(_look, directory, [below])
    if not closed.folders and (size_bytes_max is None or not closed.files):
        return ""
    with trio.move_on_after(REACH_S_MAX, shield=True):
        try:
            async with _helper(sdk, labels, directory) as container:
                files = await _open_folders(sdk, container, directory, closed)
                if files and size_bytes_max is not None:
                    await sdk.call(_read_files, sdk, container, directory, files, size_bytes_max)
        except (ContainerFailed, EngineGone, EngineRefused, OSError, tarfile.TarError) as error:
            return f"the engine did not give what a container's user made: {error}"
        return ""
    return f"the engine did not give what a container's user made within {REACH_S_MAX:g} s"


async def remove(sdk: Sdk, labels: dict[str, str], directory: Path) -> str:
    """Remove an execution's directory, whoever owns what is in it; why some of it is left, or ""."""
    left = await sdk.call(removal.remove_tree, directory)
    if not left or os.geteuid() == 0:
        return left
    before: list[str] = []
    # A folder that was too deep to be opened is moved up, and so may be opened the next time.
    while left and (names := await sdk.call(_names, directory)) != before:
        before = names
        if problem := await open_up(sdk, labels, directory, "", None):
            return problem
        left = await sdk.call(removal.remove_tree, directory)
    return left


@asynccontextmanager
async def _helper(sdk: Sdk, labels: dict[str, str], directory: Path) -> AsyncIterator[str]:
    name = f"{directory.name}-reach"
    await api.remove_container(sdk.socket_path, name)
    await sdk.create_reach(name, labels, directory, PLACE)
    try:
        yield name
    finally:
        await api.remove_container(sdk.socket_path, name)


async def _open_folders(sdk: Sdk, container: str, directory: Path, closed: _Closed) -> dict[str, int]:
    """Open all folders, those in closed ones after these; the files that are closed, with their sizes."""
    files = dict(closed.files)
    while closed.folders:
        folders = list(closed.folders.items())
        for first in range(0, len(folders), FOLDERS_AT_ONCE_MAX):
            archive = _archive(folders[first : first + FOLDERS_AT_ONCE_MAX])
            await sdk.put(container, PLACE, archive)
        closed = await sdk.call(_look, directory, closed.unlisted)
        files |= closed.files
    return files


def _archive(folders: Iterable[tuple[str, int]]) -> bytes:
    """An archive that gives folders a mode and leaves what is in them."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, modified_s in folders:
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, _OPEN_MODE, max(modified_s, 0)
            archive.addfile(entry)
    return data.getvalue()


def _look(directory: Path, starts: Sequence[str]) -> _Closed:
    """Look for all that is closed at and below these paths in `directory`. Blocking."""
    closed, own = _Closed(), os.geteuid()
    for start in starts:
        prefix = f"{start}/" if start else ""
        for entry in trees.walk(directory / start):
            path = prefix + entry.below
            if len(os.fsencode(path)) > PATH_SIZE_BYTES_MAX:
                continue
            mode = entry.status.st_mode
            if stat.S_ISDIR(mode) and not _may(entry.status, own, 0o7):
                closed.folders[path] = int(entry.status.st_mtime)
                if not _may(entry.status, own, 0o5):
                    closed.unlisted.append(path)
            elif stat.S_ISREG(mode) and not _may(entry.status, own, 0o4):
                closed.files[path] = entry.status.st_size
    return closed


def _may(status: os.stat_result, own: int, bits: int) -> bool:
    """Whether this process may do so whatever its groups; in a sticky folder nobody removes another's."""
    if status.st_uid == own:
        return status.st_mode >> 6 & bits == bits
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return status.st_mode & bits == bits and not sticky


def _read_files(
    sdk: Sdk, container: str, directory: Path, files: dict[str, int], size_bytes_max: int
) -> None:
    """Put copies of this node's own in the place of files that it may not read. Blocking."""
    folders = {"/".join(path.split("/")[:2]) for path in files}
    if trees.measure([directory / folder for folder in folders], size_bytes_max).size_bytes > size_bytes_max:
        # The file is too large for a result.
        return
    for folder in sorted(folders):
        parent = folder.rpartition("/")[0]
        stream = _Stream(sdk.get_blocking(container, f"{PLACE}/{folder}"))
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=0) as archive:
            for member in archive:
                path = f"{parent}/{member.name}"
                if path not in files:
                    continue
                part = directory / _PART
                if member.islnk():
                    part.unlink(missing_ok=True)
                    os.link(directory / parent / member.linkname, part)
                elif (content := archive.extractfile(member)) is not None:
                    _copy(content, part, member.mode)
                part.replace(directory / path)


def _copy(content: io.BufferedIOBase | object, part: Path, mode: int) -> None:
    assert hasattr(content, "read")
    with part.open("wb") as file:
        while data := content.read(api.READ_SIZE_BYTES):
            # Holes stay holes.
            if data.count(0) == len(data):
                file.seek(len(data), os.SEEK_CUR)
            else:
                file.write(data)
        file.truncate(file.tell())
    part.chmod(mode & 0o777 | 0o600)


def _names(directory: Path) -> list[str]:
    """The uppermost of what is in an execution's directory, by which one sees that something was removed."""
    found: list[str] = []
    for entry in trees.walk(directory):
        if entry.depth > 3 or len(found) > FOLDERS_AT_ONCE_MAX:
            break
        found.append(entry.below)
    return sorted(found)


class _Stream(io.RawIOBase):
    """The chunks of an answer as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
