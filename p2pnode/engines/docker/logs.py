"""From a container's output stream into the two log files, also where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from p2pnode.core.wire.log_order import STDERR, STDOUT
from p2pnode.engines.workload import LogFile, Workload

from . import api

GAP_NOTE = b"\n[p2pnode: output is missing or repeated here: the node was restarted]\n"


class ResumedLog(LogFile):
    """Takes a container's whole stream again and appends only what the file does not have yet.

    The engine's log is a ring, so its beginning may be gone. What comes is therefore compared
    with the file; where the two differ, a note is left and everything from there on is kept.
    """

    def __init__(self, path: Path, wrote: Callable[[int], None] = lambda length: None) -> None:
        """`wrote` is told of all that the file has, what was there before, too."""
        super().__init__(path, append=True, wrote=wrote)
        self._known = open(path, "rb")  # noqa: SIM115 - close() ends it
        self._known_left = self.size_bytes

    def write(self, data: bytes) -> None:
        if self._known_left:
            part, data = data[: self._known_left], data[self._known_left :]
            if self._known.read(len(part)) == part:
                self._known_left -= len(part)
                self._wrote(len(part))
            else:
                self._wrote(self._known_left)
                self._known_left = 0
                super().write(GAP_NOTE + part)
        if data:
            super().write(data)

    def close(self) -> None:
        self._known.close()
        super().close()


def resumed(workload: Workload) -> tuple[LogFile, LogFile]:
    """The log files of a container whose output is told again from the start."""
    workload.order.clear()
    return (
        ResumedLog(workload.stdout, partial(workload.order.add, STDOUT)),
        ResumedLog(workload.stderr, partial(workload.order.add, STDERR)),
    )


async def copy(body: api.Body, logs: Sequence[LogFile]) -> None:
    """Move a container's output into (stdout, stderr) until the stream ends; raises `EngineGone`."""
    async for number, data in api.output(body):
        logs[1 if number == 2 else 0].write(data)
