"""Progress of a job that a command waits for: its block on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from p2pnode.api.shapes import EventJson, ExecutionJson
from p2pnode.cli.jobblock import JobBlock
from p2pnode.cli.output import clock_ms, draw_block, short_id
from p2pnode.cli.progress import Progress


class JobProgress(Progress):
    """The progress of a job: on a terminal a block of lines, elsewhere a line for each event."""

    def __init__(self, job: str, block: JobBlock) -> None:
        super().__init__()
        self._job = job
        self._block = block
        # Rows of the block that are on the terminal.
        self._drawn = 0

    def note(self, event: EventJson) -> None:
        """Show what has happened."""
        if not self._live:
            self.show(
                f"{short_id(event['execution'] or self._job)}  {event['message']}", clock_ms(event["at"])
            )
            return
        with self._lock:
            self._block.note(event)

    @property
    def lacks_a_peer(self) -> bool:
        """Whether the block shows an execution whose peer it has not learnt."""
        return self._live and self._block.lacks_a_peer

    def learn(self, executions: Iterable[ExecutionJson]) -> None:
        """Take note of the peers of executions."""
        with self._lock:
            self._block.learn(executions)

    def _draw(self, frame: str) -> None:
        lines = self._block.lines(self.elapsed_s, frame)
        # A row that has scrolled out of the window could not be drawn anew.
        lines = lines[: max(1, shutil.get_terminal_size().lines - 1)]
        draw_block(lines, self._drawn)
        self._drawn = len(lines)

    def _erase(self) -> None:
        draw_block((), self._drawn)
        self._drawn = 0
