"""A private folder in which what is to be at a path is made, and put there when it is whole.

Others may write to the folder in which the path lies, such as /tmp. So the private one has a name
that nobody can guess, is open to this user only, and is worked in through its descriptor: whatever
others do to names, nothing is written outside it. What is put in place replaces nothing but an
empty directory of this user's own. What killed commands of this user left is cleared.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".partial"
# The eight characters that tempfile makes up.
_MADE_UP = "[a-z0-9_]{8}"
# With what is added to it, it is to be no longer than a name may be, whatever its characters.
_NAME_LENGTH_MAX = 50
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class CannotExport(Exception):
    """The destination cannot be used, or the graph is larger than allowed."""


class Partial:
    """An open folder that is this user's own."""

    def __init__(self, folder: int, parent: int, destination: Path) -> None:
        self.folder = folder
        self._parent = parent
        self._destination = destination

    def new_file(self, name: str) -> BinaryIO:
        return open(os.open(name, _NEW_FILE, 0o666, dir_fd=self.folder), "wb")

    @contextmanager
    def new_folder(self, name: str) -> Iterator[int]:
        os.mkdir(name, dir_fd=self.folder)
        opened = os.open(name, _OPEN_DIRECTORY, dir_fd=self.folder)
        try:
            yield opened
        finally:
            os.close(opened)

    def place(self, name: str) -> None:
        """Move what is whole to the destination; raises `CannotExport` if something is there."""
        wanted = self._destination.name
        is_directory = stat.S_ISDIR(os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mode)
        found = _lstat(wanted, self._parent)
        if found is not None and not is_directory and stat.S_ISDIR(found.st_mode):
            raise CannotExport(f"{self._destination} is a directory, and what is to be there is not")
        try:
            if is_directory:
                _check_free(self._destination, self._parent)
                os.rename(name, wanted, src_dir_fd=self.folder, dst_dir_fd=self._parent)
            else:
                # Where a rename would replace, this fails.
                os.link(name, wanted, src_dir_fd=self.folder, dst_dir_fd=self._parent, follow_symlinks=False)
        except (FileExistsError, NotADirectoryError) as exc:
            raise CannotExport(f"{self._destination} exists") from exc
        except OSError as exc:
            # Some file systems have no links; there, what comes in between is replaced.
            if is_directory or exc.errno not in _NO_LINKS:
                raise
            _check_free(self._destination, self._parent)
            os.rename(name, wanted, src_dir_fd=self.folder, dst_dir_fd=self._parent)


@contextmanager
def partial_folder(destination: Path) -> Iterator[Partial]:
    """An empty folder beside `destination` for what is to become it; removed with what is left in it.

    Raises `CannotExport` when something is there already or another command of this user writes to it
    now, and `OSError`.
    """
    destination = Path(os.path.abspath(destination))
    destination.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_free(destination, parent)
        _clear_left(destination, parent)
        name, folder = _make(destination, parent)
        try:
            yield Partial(folder, parent, destination)
        finally:
            os.close(folder)
            shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
    finally:
        os.close(parent)


def _check_free(destination: Path, parent: int) -> None:
    """Nothing is there, or an empty directory of our own; no link is followed."""
    found = _lstat(destination.name, parent)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        opened = os.open(destination.name, _OPEN_DIRECTORY, dir_fd=parent)
        try:
            if not os.listdir(opened):
                if found.st_uid != os.geteuid():
                    raise CannotExport(f"{destination} is a directory of another user")
                return
        finally:
            os.close(opened)
    raise CannotExport(f"{destination} exists and is not an empty directory")


def _make(destination: Path, parent: int) -> tuple[str, int]:
    while True:
        # Mode 0700, and never one that is there.
        path = tempfile.mkdtemp(_SUFFIX, _prefix(destination), destination.parent)
        name = os.path.basename(path)
        folder = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = os.fstat(folder)
            if here.st_uid != os.geteuid() or os.listdir(folder):
                raise CannotExport(f"another user changes what is in {destination.parent}")
            if here.st_nlink:
                return name, folder
        except BlockingIOError:
            # Another command of ours took it for one that was left, between the two lines above.
            pass
        except BaseException:
            os.close(folder)
            raise
        os.close(folder)


def _clear_left(destination: Path, parent: int) -> None:
    """Remove what killed commands of this user left; what others made is not touched."""
    ours = re.compile(re.escape(_prefix(destination)) + _MADE_UP + re.escape(_SUFFIX))
    for name in filter(ours.fullmatch, os.listdir(parent)):
        found = _lstat(name, parent)
        if found is None or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            continue
        folder = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
        except BlockingIOError:
            raise CannotExport(f"another command is writing to {destination}") from None
        finally:
            os.close(folder)


def _prefix(destination: Path) -> str:
    return f".{destination.name[:_NAME_LENGTH_MAX]}."


def _lstat(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
