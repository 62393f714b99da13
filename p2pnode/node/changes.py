"""Wakes whoever waits for a job to change, for peers to dial, or for anything to happen."""

from __future__ import annotations

from weakref import WeakValueDictionary

import trio


class Changes:
    """One event for each job that somebody waits for."""

    def __init__(self) -> None:
        # Kept by those that wait alone: of a job that has ended no change comes that would drop its event.
        self._events: WeakValueDictionary[str, trio.Event] = WeakValueDictionary()
        self._any = trio.Event()
        self._peers = trio.Event()

    def of(self, job: str) -> trio.Event:
        """The event that is set at the job's next change; take it before looking at the job."""
        return self._events.setdefault(job, trio.Event())

    def note(self, job: str) -> None:
        """Wake all that wait for this job."""
        self._events.pop(job, trio.Event()).set()

    def any(self) -> trio.Event:
        """The event that is set once the core has handled an event, or a link or a connection has changed.

        A link changes also by its outbox getting empty, a connection by an advert having gone out.
        """
        return self._any

    def note_any(self) -> None:
        """Wake all that wait for anything."""
        self._any.set()
        self._any = trio.Event()

    def peers(self) -> trio.Event:
        """The event that is set once a peer, or an address of one, is heard of that was not known."""
        return self._peers

    def note_peers(self) -> None:
        """Wake all that wait for peers to dial."""
        self._peers.set()
        self._peers = trio.Event()
