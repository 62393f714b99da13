"""The operator's word on whether this node takes work: cordoned, draining, or to end once it is empty."""

from __future__ import annotations

from p2pnode.core.records.events import SchedulingChanged
from p2pnode.core.wire.states import Scheduling

from .changes import Changes
from .clock import Clock
from .driver import Driver
from .journal import Journal


class OperatorScheduling:
    """Keeps the operator's word in the journal, and tells the core."""

    def __init__(self, driver: Driver, journal: Journal, clock: Clock, changes: Changes) -> None:
        self._driver = driver
        self._journal = journal
        self._clock = clock
        self._changes = changes
        # The node ends once nothing runs here any more.
        self._leaves = False

    def set(self, scheduling: Scheduling, timeout_s: float | None, *, leave: bool) -> None:
        """Take work or none from now on, also after a restart; raises `JournalError` and `EventRefused`.

        A drain: no more bids (`core.worker.bidding`) and no new copies (`core.job.deputies`). Owners see it
        in the advert, move services and end daemons here (`core.job.desired`). The rest runs on, and is
        ended as moved after `timeout_s` (`core.worker.machine`). Its own jobs and the copies that it has
        stay. With `leave` the node ends when it is empty (`until_empty`): each of its jobs goes to its
        lowest deputy that is there, and it takes over no more.
        """
        self._leaves = leave and scheduling is Scheduling.DRAINING
        deadline = None if timeout_s is None else self._clock.now() + timeout_s
        with self._journal.transaction():
            self._journal.set_meta("scheduling", scheduling)
            self._journal.set_meta("drained_at", "" if deadline is None else str(deadline))
            self._driver.apply(SchedulingChanged(scheduling, deadline))

    def before_restart(self) -> SchedulingChanged | None:
        """Return what was set before the node was restarted; None: it takes work."""
        scheduling = Scheduling(self._journal.meta("scheduling") or Scheduling.SCHEDULABLE)
        if scheduling is Scheduling.SCHEDULABLE:
            return None
        drained_at = self._journal.meta("drained_at")
        return SchedulingChanged(scheduling, float(drained_at) if drained_at else None)

    async def until_empty(self) -> None:
        """Wait until this node is told to leave and nothing runs here any more."""
        while not self._leaves or self._driver.core.worker.held:
            await self._changes.any().wait()
