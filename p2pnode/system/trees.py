"""Trees of files that a stranger's program made: walked, measured, made fit for a result.

Whoever made one may still be changing it, and meant it to hurt: millions of entries, any depth,
holes of terabytes, links, pipes. So no link is followed and no pipe waited for, names are looked up in
directories that were opened, and a walk ends at its limits. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from p2pnode.core.values.units import ENTRY_SIZE_BYTES, about_bytes
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker.blame import Left

from .opening import DIRECTORY_FLAGS, FILE_FLAGS
from .removal import remove_tree

# Looking at 1,000 entries takes some 5 ms; more entries than this is an attack, and hurts a table of inodes.
ENTRIES_MAX = 200_000
# A walk keeps so many directories open; below, it goes back by "..", which who changes the tree can break.
OPEN_DIRECTORIES_MAX = 128
# A result is no deeper, so that content of ours (`ipfs.unixfs`) can hold it in a folder.
DEPTH_MAX = 63
# Half of PATH_MAX (4096 bytes), so that a result can be written out below some other place.
PATH_SIZE_BYTES_MAX = 2048
# The share that a file system (ext4) takes for itself, so that a program can fill its limit.
_OVERHEAD_BYTES, _OVERHEAD_PERCENT = 4 * 1024**2, 4
# Enough of a path for a person to find it.
_PATH_LENGTH_MAX = 200
_PRIVILEGES = stat.S_ISUID | stat.S_ISGID
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
# The modes that a file has where it comes from somebody else, less what the reader's umask takes.
FILE_MODE, PROGRAM_MODE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One thing in a tree, as it was just now; `directory` is open until the next one is asked for."""

    directory: int
    name: str
    status: os.stat_result
    depth: int
    # The folders from the tree's root to it, without its name.
    _parents: tuple[str, ...] | list[str]

    @property
    def below(self) -> str:
        """Its path below the root, as the file system has it."""
        return "/".join((*self._parents, self.name))

    @property
    def path(self) -> str:
        """Its path below the root, as valid text for people."""
        text = readable(self.below)
        return text if len(text) <= _PATH_LENGTH_MAX else f"{text[:_PATH_LENGTH_MAX]}..."

    @property
    def path_size_bytes(self) -> int:
        """The size of its path below the root, as the file system has it."""
        return sum(len(os.fsencode(name)) + 1 for name in (*self._parents, self.name)) - 1


@dataclass(slots=True)
class Use:
    """The space and entries that trees take, as far as they were looked at."""

    size_bytes: int = 0
    entries: int = 0
    # A file counts once, however many names it has.
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, status: os.stat_result) -> None:
        """Count an entry."""
        self.entries += 1
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            if key in self._seen:
                return
            self._seen.add(key)
        # A hole counts: whoever reads the file reads its zeros.
        size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self.size_bytes += max(size_bytes, status.st_blocks * 512, ENTRY_SIZE_BYTES)


def plain_mode(mode: int) -> int:
    """The mode that goes with a file's content to others: whether it is a program, as in Git.

    Never setuid or setgid, nor who may read or write it: that is the reader's own matter.
    """
    return PROGRAM_MODE if mode & _EXECUTABLE else FILE_MODE


def space_bytes(limit_bytes: int) -> int:
    """The file system that holds so much; what fits into it is within the limit."""
    return limit_bytes + limit_bytes * _OVERHEAD_PERCENT // 100 + _OVERHEAD_BYTES


def readable(path: str | bytes) -> str:
    r"""A path as valid Unicode text: bytes that are none are shown as \xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def measure(directories: Iterable[Path], size_bytes_max: int | None, entries_max: int | None = None) -> Use:
    """The use of these trees, looked at until it is over a limit, without what has gone or is refused."""
    use = Use()
    entries_max = ENTRIES_MAX if entries_max is None else entries_max
    for directory in directories:
        for entry in walk(directory):
            use.add(entry.status)
            if use.entries > entries_max or (size_bytes_max is not None and use.size_bytes > size_bytes_max):
                return use
    return use


class UnusableTree(Exception):
    """A folder that is not copied, stored or archived; the message is for whoever's program made it."""


def fit(name: str, directory: Path, use: Use, size_bytes_max: int, whose: str) -> list[Left]:
    """Remove from a result's folder what no result can hold; what that was. The rest is added to `use`.

    `name` is what the program's author calls it, `whose` says whose limit of size it is. Raises
    `UnusableTree` for a folder that is too much as a whole, and `OSError` where it cannot be made fit.
    """
    left: list[Left] = []
    own = Use()
    os.close(os.open(directory, DIRECTORY_FLAGS))
    # A folder of the same file system, removed with the execution's should this not come to it.
    aside = directory.with_name(f".left-{os.urandom(8).hex()}")
    trash = None
    try:
        for entry in walk(directory):
            if bad := _unfit(entry):
                place = f"{name}/{entry.path}"
                left.append(replace(bad, place=place))
                if trash is None:
                    aside.mkdir(mode=0o700)
                    trash = os.open(aside, DIRECTORY_FLAGS)
                os.rename(entry.name, str(len(left)), src_dir_fd=entry.directory, dst_dir_fd=trash)
                continue
            own.add(entry.status)
            if use.entries + own.entries + len(left) > ENTRIES_MAX:
                raise UnusableTree(f"it has more than {ENTRIES_MAX:,} files and directories")
            if use.size_bytes + own.size_bytes > size_bytes_max:
                raise UnusableTree(f"it takes more than {about_bytes(size_bytes_max)}, which is {whose}")
    finally:
        if trash is not None:
            os.close(trash)
            remove_tree(aside)
    use.size_bytes, use.entries = use.size_bytes + own.size_bytes, use.entries + own.entries
    return left


def _unfit(entry: TreeEntry) -> Left | None:
    """Why an entry cannot be in a result."""
    if entry.depth > DEPTH_MAX:
        return Left("", f"more than {DEPTH_MAX} directories deep")
    if entry.path_size_bytes > PATH_SIZE_BYTES_MAX:
        return Left("", f"its path takes more than {PATH_SIZE_BYTES_MAX} bytes")
    mode = entry.status.st_mode
    if stat.S_ISLNK(mode):
        return None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return Left("", "a pipe, socket or device", loss=False)
    try:
        os.close(
            os.open(entry.name, DIRECTORY_FLAGS if stat.S_ISDIR(mode) else FILE_FLAGS, dir_fd=entry.directory)
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        return Left("", f"this peer cannot read it: {error.strerror}", fault=Fault.PEER)
    return None


def walk(directory: Path, skipped: Callable[[], None] = lambda: None) -> Iterator[TreeEntry]:
    """Everything below a directory, of any depth; `skipped` is called for what could not be looked into."""
    try:
        levels = [_Level(os.open(directory, DIRECTORY_FLAGS))]
    except OSError:
        skipped()
        return
    parents: list[str] = []
    try:
        while levels:
            level = levels[-1]
            if level.unread:
                level.unread = False
                yield from _entries(level, parents, skipped)
            if not level.pending:
                _go_up(levels, skipped)
                if parents:
                    parents.pop()
                continue
            name = level.pending.pop()
            try:
                opened = os.open(name, DIRECTORY_FLAGS, dir_fd=level.directory)
            except OSError:
                skipped()
                continue
            if len(levels) > OPEN_DIRECTORIES_MAX:
                os.close(level.directory)
                level.directory = -1
            levels.append(_Level(opened))
            parents.append(name)
    finally:
        for level in levels:
            if level.directory >= 0:
                os.close(level.directory)


class _Level:
    """A directory on the way from a tree's root to where a walk is."""

    def __init__(self, directory: int) -> None:
        # The descriptor; below 0: not open now.
        self.directory = directory
        status = os.fstat(directory)
        self.key = status.st_dev, status.st_ino
        self.unread = True
        self.pending: list[str] = []


def _entries(level: _Level, parents: list[str], skipped: Callable[[], None]) -> Iterator[TreeEntry]:
    try:
        with os.scandir(level.directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    level.pending.append(entry.name)
                yield TreeEntry(level.directory, entry.name, status, len(parents) + 1, parents)
    except OSError:
        skipped()


def _go_up(levels: list[_Level], skipped: Callable[[], None]) -> None:
    """Leave the lowest level; the one above is opened again if it is not open."""
    level = levels.pop()
    if levels and levels[-1].directory < 0:
        above = levels[-1]
        try:
            if level.directory >= 0:
                opened = os.open("..", DIRECTORY_FLAGS, dir_fd=level.directory)
                status = os.fstat(opened)
                if (status.st_dev, status.st_ino) == above.key:
                    above.directory = opened
                else:
                    os.close(opened)
        except OSError:
            above.directory = -1
        if above.directory < 0:
            # Somebody moved the directory meanwhile: on from where the walk still has one open.
            above.pending.clear()
            skipped()
    if level.directory >= 0:
        os.close(level.directory)


def strip_privileges(path: Path, entries_max: int) -> tuple[int, bool]:
    """Take setuid and setgid from a file, or from all files of a tree; (how many, whether all were seen)."""
    stripped, left = 0, 0

    def skip() -> None:
        nonlocal left
        left += 1

    if not path.is_dir():
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return int(_strip(parent, path.name)), True
        finally:
            os.close(parent)
    for number, entry in enumerate(walk(path, skip), start=1):
        if number > entries_max:
            return stripped, False
        if stat.S_ISREG(entry.status.st_mode) and entry.status.st_mode & _PRIVILEGES:
            try:
                stripped += _strip(entry.directory, entry.name)
            except OSError:
                skip()
    return stripped, not left


def _strip(directory: int, name: str) -> bool:
    opened = os.open(name, FILE_FLAGS, dir_fd=directory)
    try:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode) or not mode & _PRIVILEGES:
            return False
        os.fchmod(opened, stat.S_IMODE(mode) & ~_PRIVILEGES)
        return True
    finally:
        os.close(opened)
