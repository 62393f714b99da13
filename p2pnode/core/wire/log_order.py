"""In which order a program wrote to stdout and to stderr: lengths of runs of what two files hold.

A claim of the peer that ran it. Whatever it says, a reader gets every byte once, in the order of its stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

STDOUT, STDERR = 0, 1
# A MiB of lines that alternate, or thousands of warnings in the output; on the wire each is 9 bytes at most.
# What a program writes after so many changes is given as all of stdout, then all of stderr.
RUNS_MAX = 16_384


@dataclass(slots=True)
class LogOrder:
    """Grows while the program writes: the bytes of each run, by turns of stdout and stderr, stdout first."""

    runs: list[int] = field(default_factory=list)
    _full: bool = False

    def add(self, stream: int, length: int) -> None:
        if not length or self._full:
            return
        if not self.runs and stream == STDERR:
            self.runs.append(0)
        if self.runs and (len(self.runs) - 1) % 2 == stream:
            self.runs[-1] += length
        elif len(self.runs) < RUNS_MAX:
            self.runs.append(length)
        else:
            self._full = True

    def clear(self) -> None:
        """Forget the order: what was written is told again from its beginning."""
        self.runs.clear()
        self._full = False

    @property
    def tells(self) -> bool:
        """Is it anything else than all of stdout, and then all of stderr?"""
        return len(self.runs) > 2


class LogReading:
    """Where a reader of both streams is; `runs` may grow meanwhile."""

    def __init__(self, runs: Sequence[int], stdout_offset: int, stderr_offset: int) -> None:
        self._runs = runs
        self._at = [stdout_offset, stderr_offset]
        # The run that is read, and where the one before it ended in each stream.
        self._run = 0
        self._passed = [0, 0]

    def next(self) -> tuple[int, int] | None:
        """The stream to read from next and how much at most; None where nothing more is told."""
        while self._run < len(self._runs):
            stream = self._run % 2
            end = self._passed[stream] + self._runs[self._run]
            if end > self._at[stream]:
                return stream, end - self._at[stream]
            if self._run == len(self._runs) - 1:
                # The last run may still grow.
                return None
            self._passed[stream] = end
            self._run += 1
        return None

    def took(self, stream: int, length: int) -> None:
        self._at[stream] += length
