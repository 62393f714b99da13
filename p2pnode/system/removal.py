"""The removal of trees of files that strangers made, of any depth and size.

No link is followed, and whoever made a tree may still be changing it. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from .opening import DIRECTORY_FLAGS

# Directories that are removed in one go through their parent.
_BATCH = 1_000


def remove_tree(directory: Path) -> str:
    """Remove a directory and all below it, of any depth; why some of it is left, or ""."""
    try:
        clear_directory(directory)
        os.rmdir(directory)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def make_anew(directory: Path) -> None:
    """Make a directory empty, or a new one where it is another user's by now. Raises `OSError`."""
    try:
        if directory.stat().st_uid == os.geteuid():
            clear_directory(directory)
            return
    except PermissionError:
        # Something in it is another user's.
        pass
    # The removal of the directory above takes this, too.
    directory.rename(directory.with_name(f".{directory.name}-{os.urandom(4).hex()}"))
    directory.mkdir()


def clear_directory(directory: Path) -> None:
    """Remove all that is in a directory, following no link. Raises the first `OSError` when the rest is gone.

    Directories are moved up to the top one by one and emptied there, so that depth costs nothing.
    """
    top = os.open(directory, DIRECTORY_FLAGS)
    prefix, serial = f".removing-{os.urandom(8).hex()}-", 0
    failed: dict[str, OSError] = {}
    try:
        while folders := _unlink_files(top, failed):
            for name in folders:
                try:
                    serial = _empty(top, name, prefix, serial)
                    os.rmdir(name, dir_fd=top)
                except OSError as error:
                    failed[name] = error
    finally:
        os.close(top)
    if failed:
        raise next(iter(failed.values()))


def _unlink_files(top: int, failed: dict[str, OSError]) -> list[str]:
    """Remove what is no directory; some of the directories, those that failed before left out."""
    folders: list[str] = []
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.name in failed:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                if len(folders) == _BATCH:
                    break
                continue
            try:
                os.unlink(entry.name, dir_fd=top)
            except OSError as error:
                failed[entry.name] = error
    return folders


def _empty(top: int, name: str, prefix: str, serial: int) -> int:
    """Remove the files of a directory in `top`, and move its directories up; the next serial number."""
    opened = os.open(name, DIRECTORY_FLAGS, dir_fd=top)
    try:
        # Again until nothing is found: a directory that changes while it is read may not show all.
        found = True
        while found:
            found = False
            with os.scandir(opened) as entries:
                for entry in entries:
                    found = True
                    if entry.is_dir(follow_symlinks=False):
                        os.rename(entry.name, f"{prefix}{serial}", src_dir_fd=opened, dst_dir_fd=top)
                        serial += 1
                    else:
                        os.unlink(entry.name, dir_fd=opened)
    finally:
        os.close(opened)
    return serial
