"""The standard streams of a command, which may be closed; its input may be no text, or cannot be read."""

from __future__ import annotations

import os
import sys

from p2pnode.cli.status import CommandError, Status

STDIN = 0
# In the order of their numbers, so that each gets its own back.
_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_closed() -> None:
    """Have a closed stream be an empty one: its number would go to the next file or socket."""
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def read(size_bytes_max: int) -> bytes:
    """So many bytes of stdin at most; raises `CommandError` where it cannot be read."""
    try:
        return sys.stdin.buffer.read(size_bytes_max)
    except OSError as error:
        raise CommandError(Status.USAGE, f"stdin cannot be read: {error.strerror}") from error
