"""The standard input of a command, which may be closed, or hold no text."""

from __future__ import annotations

import os
import sys

from p2pnode.cli.status import CommandError, Status

STDIN = 0


def open_if_closed() -> None:
    """Have a closed stdin be an empty one: its number would go to the next file or socket."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115


def read(size_bytes_max: int) -> bytes:
    """So many bytes at most; raises `CommandError` where it cannot be read."""
    try:
        return sys.stdin.buffer.read(size_bytes_max)
    except OSError as error:
        raise CommandError(Status.USAGE, f"stdin cannot be read: {error.strerror}") from error
