"""The opening of files and directories that strangers made: no link is followed, no pipe waited for."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path, PurePath

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_regular(path: Path) -> BufferedReader:
    """A file for reading that is one, and no link to one. Raises `OSError`."""
    return _regular(os.open(path, FILE_FLAGS))


def open_beneath(root: Path, below: PurePath) -> BufferedReader:
    """A regular file of a tree, and no link on the way to it from its root. Raises `OSError`."""
    *folders, name = below.parts or (".",)
    if not below.parts:
        return open_regular(root)
    if ".." in below.parts or below.is_absolute():
        raise OSError(errno.EINVAL, "not a path below")
    directory = os.open(root, DIRECTORY_FLAGS)
    try:
        for folder in folders:
            inner = os.open(folder, DIRECTORY_FLAGS, dir_fd=directory)
            os.close(directory)
            directory = inner
        return _regular(os.open(name, FILE_FLAGS, dir_fd=directory))
    finally:
        os.close(directory)


def _regular(opened: int) -> BufferedReader:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "neither a link, a pipe nor a device is read")
    return os.fdopen(opened, "rb")
