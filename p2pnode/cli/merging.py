"""Several trees of files made one; where names clash, nothing is lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from p2pnode.system.trees import plain_mode

_READ_SIZE_BYTES = 1024**2
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def merge(names: Sequence[str], merged: str, folder: int) -> Iterator[str]:
    """Move all that is in the folders `names` into the new one `merged`, all below an open folder.

    Of two files of one name and the same content, both executable or neither, one is kept. Otherwise the
    first keeps the name, and to that of another is added what its folder is called; each such clash is
    given as a line for a person.
    No symbolic link is followed. Raises `OSError`.
    """
    os.mkdir(merged, dir_fd=folder)
    with _opened(merged, folder) as target:
        for name in names:
            with _opened(name, folder) as source:
                yield from _move_into(source, target, "", name)


def _move_into(source: int, target: int, place: str, label: str) -> Iterator[str]:
    for name in sorted(os.listdir(source)):
        if not _is_there(name, target):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        elif _is_directory(name, source) and _is_directory(name, target):
            with _opened(name, source) as new, _opened(name, target) as old:
                yield from _move_into(new, old, f"{place}{name}/", label)
        elif not _is_same(name, source, target):
            own_name = f"{name}.{label}"
            while _is_there(own_name, target):
                own_name += "_"
            os.rename(name, own_name, src_dir_fd=source, dst_dir_fd=target)
            yield f"{place}{name} differs between executions: that of {label} is {place}{own_name}"


@contextmanager
def _opened(name: str, folder: int) -> Iterator[int]:
    opened = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


def _mode(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode


def _is_there(name: str, folder: int) -> bool:
    try:
        _mode(name, folder)
    except FileNotFoundError:
        return False
    return True


def _is_directory(name: str, folder: int) -> bool:
    return stat.S_ISDIR(_mode(name, folder))


def _is_same(name: str, one: int, other: int) -> bool:
    modes = _mode(name, one), _mode(name, other)
    if all(map(stat.S_ISLNK, modes)):
        return os.readlink(name, dir_fd=one) == os.readlink(name, dir_fd=other)
    alike = all(map(stat.S_ISREG, modes)) and plain_mode(modes[0]) == plain_mode(modes[1])
    return alike and _has_same_content(name, one, other)


def _has_same_content(name: str, one: int, other: int) -> bool:
    with (
        open(os.open(name, _OPEN, dir_fd=one), "rb") as first,
        open(os.open(name, _OPEN, dir_fd=other), "rb") as second,
    ):
        while (chunk := first.read(_READ_SIZE_BYTES)) == second.read(_READ_SIZE_BYTES):
            if not chunk:
                return True
    return False
