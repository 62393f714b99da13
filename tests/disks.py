"""File systems in memory for the tests, small enough to be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from p2pnode.system.host_resources import DISK_RESERVE_BYTES

# The journal, a result and a few blocks; a node that lends needs far more to be free.
SMALL_DISK_BYTES = 16 * 1024**2
# Just above what a node keeps in reserve, so that it lends as yet.
LENT_DISK_BYTES = DISK_RESERVE_BYTES + 64 * 1024**2


@contextmanager
def mounted(place: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of that size, in memory."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a small file system takes root to mount")
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Write until nothing fits any more; the file that takes the room."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1024**2, 4096):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return ballast
