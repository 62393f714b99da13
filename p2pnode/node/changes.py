"""Wakes whoever waits for a job's record or history to change, or for anything to happen."""

from __future__ import annotations

import trio


class Changes:
    """One event for each job that somebody waits for."""

    def __init__(self) -> None:
        self._events: dict[str, trio.Event] = {}
        self._any = trio.Event()

    def of(self, job: str) -> trio.Event:
        """The event that is set at the job's next change; take it before looking at the job."""
        return self._events.setdefault(job, trio.Event())

    def note(self, job: str) -> None:
        """Wake all that wait for this job."""
        self._events.pop(job, trio.Event()).set()

    def any(self) -> trio.Event:
        """The event that is set once the core has handled an event, or a link has changed."""
        return self._any

    def note_any(self) -> None:
        """Wake all that wait for anything."""
        self._any.set()
        self._any = trio.Event()
