"""Results as plain files: what there is of them, and all of it as one compressed archive.

A result's links are kept as links in an archive and left out of a listing: what they point to on
this node is nobody's business. Devices, pipes and sockets are left out of both.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import trio

from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import Left
from p2pnode.system import opening, trees

# A result's content under each name: a file or directory, or some bytes.
Tree = Mapping[str, Path | bytes]

# Results are mostly text or compressed already: 6 takes twice the time for some percent.
_COMPRESSION = 3
_DIRECTORY_MODE = 0o755


def tree_of(directory: Path, exit_code: int | None, folders: Iterable[str]) -> Tree:
    """The result of an execution in its directory: stdout, stderr and exitCode always. Raises `OSError`."""
    stdout, stderr = directory / "stdout", directory / "stderr"
    for path in (stdout, stderr):
        path.touch()
    code = b"" if exit_code is None else str(exit_code).encode()
    results = {name: directory / "results" / name for name in folders}
    return {"stdout": stdout, "stderr": stderr, "exitCode": code, **results}


def fit(tree: Tree, size_bytes_max: int, whose: str) -> tuple[Tree, list[Left]]:
    """Return the part of a result that can be kept, and what cannot; that is removed. Blocking.

    `whose` says whose limit of size it is. One folder that is too much does not take the others with it.
    """
    use, kept, left = trees.Use(), dict(tree), list[Left]()
    for name, content in tree.items():
        stop_if_cancelled()
        if not isinstance(content, Path) or content.is_symlink() or not content.is_dir():
            continue
        try:
            left += trees.fit(name, content, use, size_bytes_max, whose)
        except trees.UnusableTree as unfit:
            del kept[name]
            left.append(Left(name, str(unfit)))
        except OSError as error:
            del kept[name]
            left.append(Left(name, f"this peer cannot read it: {error.strerror}", fault=Fault.PEER))
    return kept, left


def stop_if_cancelled() -> None:
    """Ends a thread of trio's that nobody waits for any more; a large result may take it minutes."""
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        # A thread of somebody else's.
        return


def files_of(tree: Tree) -> Iterator[tuple[str, Path | bytes]]:
    """The regular files and their paths in the result, sorted. Blocking; raises `OSError`."""
    for name, content in sorted(tree.items()):
        for path, found in _walk(name, content):
            if isinstance(found, bytes) or stat.S_ISREG(found.lstat().st_mode):
                yield path, found


def write_archive(tree: Tree, destination: Path, ended_s: int) -> None:
    """A .tar.gz of the result, the same bytes each time. Blocking; raises `OSError`."""
    with (
        destination.open("wb") as raw,
        tarfile.open(
            fileobj=raw, mode="w:gz", compresslevel=_COMPRESSION, format=tarfile.PAX_FORMAT
        ) as archive,
    ):
        for name, content in sorted(tree.items()):
            for path, found in _walk(name, content):
                _add(archive, path, found, ended_s)


def _walk(name: str, content: Path | bytes) -> Iterator[tuple[str, Path | bytes]]:
    stop_if_cancelled()
    yield name, content
    if isinstance(content, Path) and content.is_dir() and not content.is_symlink():
        for entry in sorted(os.scandir(content), key=lambda entry: entry.name):
            yield from _walk(f"{name}/{entry.name}", Path(entry.path))


def _add(archive: tarfile.TarFile, path: str, content: Path | bytes, ended_s: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.mtime = ended_s
    entry.mode = trees.FILE_MODE
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    elif content.is_symlink():
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(content)
        archive.addfile(entry)
    elif content.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, _DIRECTORY_MODE
        archive.addfile(entry)
    elif content.is_file():
        with opening.open_regular(content) as file:
            status = os.fstat(file.fileno())
            entry.size, entry.mode = status.st_size, trees.plain_mode(status.st_mode)
            archive.addfile(entry, file)
