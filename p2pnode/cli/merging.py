"""Several trees of files made one; where names clash, nothing is lost."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def merge(folders: Sequence[Path], merged: Path) -> Iterator[str]:
    """Move all that is in `folders` into the new folder `merged`.

    Of two files of one name and the same content one is kept. Otherwise the first keeps the name, and to
    that of another is added what its folder is called; each such clash is given as a line for a person.
    No symbolic link is followed. Raises `OSError`.
    """
    merged.mkdir()
    for folder in folders:
        yield from _move_into(folder, merged, "", folder.name)


def _move_into(source: Path, target: Path, place: str, label: str) -> Iterator[str]:
    for name in sorted(os.listdir(source)):
        new, old = source / name, target / name
        if not os.path.lexists(old):
            new.rename(old)
        elif _is_directory(new) and _is_directory(old):
            yield from _move_into(new, old, f"{place}{name}/", label)
        elif not _is_same(new, old):
            own_name = f"{name}.{label}"
            while os.path.lexists(target / own_name):
                own_name += "_"
            new.rename(target / own_name)
            yield f"{place}{name} differs between executions: that of {label} is {place}{own_name}"


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and os.readlink(one) == os.readlink(other)
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
