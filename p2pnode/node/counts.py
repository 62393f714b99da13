"""Counts what has happened on this node since it began, by kinds of which there are few."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from p2pnode.core.records.events import Event, Finished, Received
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Bid, Receipt, Refusal
from p2pnode.core.wire.states import Fault, Outcome, RefusalKind
from p2pnode.system.histogram import Histogram

# A wake-up a second costs nothing to speak of, and meets what lasts for seconds.
LAG_INTERVAL_S = 1.0
LAG_BOUNDS_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)

# Done by a step, and counted once it is in the journal.
Counted = Bid | Refusal | Outcome


class Counts:
    """The counters. Each counts what is in the journal, and begins at 0 with the process."""

    def __init__(self) -> None:
        self.jobs_ended = dict.fromkeys(Outcome, 0)
        # None: no fault.
        self.executions_ended: dict[Fault | None, int] = dict.fromkeys((None, *Fault), 0)
        self.bids_sent = 0
        self.bids_received = 0
        self.refusals_sent = dict.fromkeys(RefusalKind, 0)
        self.refusals_received = dict.fromkeys(RefusalKind, 0)
        # The delay of the one loop: how late a task is woken that asked for a time.
        self.lag = Histogram(LAG_BOUNDS_S)

    def step(self, done: Iterable[Counted]) -> None:
        """Count what a step did."""
        for one in done:
            match one:
                case Outcome():
                    self.jobs_ended[one] += 1
                case Bid():
                    self.bids_sent += 1
                case Refusal(refusal_kind=kind):
                    self.refusals_sent[kind] += 1

    def event(self, event: Event) -> None:
        """Count an event that was handled."""
        match event:
            case Received(message=Bid()):
                self.bids_received += 1
            case Received(message=Refusal(refusal_kind=kind)):
                self.refusals_received[kind] += 1
            case Finished(signed=signed):
                self.executions_ended[codec.decode(signed.body, Receipt).fault] += 1

    async def watch_lag(self) -> None:
        """Measure the loop's delay now and then, until cancelled."""
        while True:
            due = trio.current_time() + LAG_INTERVAL_S
            await trio.sleep_until(due)
            self.lag.note(trio.current_time() - due)
