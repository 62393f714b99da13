"""Exit statuses, which scripts rely on, and the one exception that ends a command with one."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    OK = 0
    # A check of `doctor` fails.
    UNWELL = 1
    USAGE = 2
    NO_PEER = 3
    PROGRAM = 4
    FAILED = 5
    UNREACHABLE = 6
    # A shell gives these to a process that SIGINT, or SIGPIPE, has ended.
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class CommandError(Exception):
    """The command ends: a status, what was wrong, and lines that say what to do about it."""

    def __init__(self, status: Status, message: str, *hints: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hints = hints
