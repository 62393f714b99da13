"""Files and directories that a command writes to by a path that others may have taken, as in /tmp."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from p2pnode.cli.status import CommandError, Status

# Without a link followed, and without waiting for the reader of a pipe.
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_directory(path: Path) -> None:
    """Make a directory for this user alone, unless it is there and this user's; raises `CommandError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise CommandError(Status.FAILED, f"{path}: {error.strerror}") from error
    check_directory(path)


def check_directory(path: Path) -> None:
    """Check that a path, if anything is there, is a directory that only this user writes to.

    Raises `CommandError`.
    """
    if not os.path.lexists(path):
        return
    try:
        found, itself = path.stat(), path.lstat()
    except OSError as error:
        raise CommandError(Status.FAILED, f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise CommandError(Status.FAILED, f"{path} exists and is not a directory")
    if {found.st_uid, itself.st_uid} != {os.geteuid()}:
        raise CommandError(Status.FAILED, f"{path} is another user's; name a directory of your own")
    if found.st_mode & stat.S_IWOTH:
        raise CommandError(Status.FAILED, f"{path} can be written to by all users; name another directory")


def write_file(path: Path, text: str) -> None:
    """Write a new file, or anew one that is this user's; raises `CommandError`."""
    try:
        with open(os.open(path, _WRITE, 0o666), "w", encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            # A file with another name may be one that somebody wants overwritten.
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
                raise CommandError(Status.FAILED, f"{path} exists and is no plain file of your own")
            file.truncate()
            file.write(text)
    except OSError as error:
        raise CommandError(Status.FAILED, f"{path}: {error.strerror}") from error
