"""An execution on this node while it runs: what it does now, how it is stopped, what was told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from p2pnode.core.records.events import Kill
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire.log_order import LogOrder
from p2pnode.core.wire.messages import Award
from p2pnode.engines.workload import KILL_S_MAX, Stopping


@dataclass(slots=True)
class LocalExecution:
    """The state of one execution in the memory of the executor."""

    reservation: Reservation
    award: Award
    # Ends the stage that it is in: preparing and running, or publishing.
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopping: Stopping = field(default_factory=Stopping)
    order: LogOrder = field(default_factory=LogOrder)
    kill: Kill | None = None
    # Its program has ended: now it is stored, and then published.
    stores: bool = False
    publishes: bool = False
    started_at: float | None = None
    # When progress was last told, on trio's clock.
    told_at: float = float("-inf")
    # The text last told, without its numbers: a download's progress is one text, whatever its figures.
    told: str = ""

    @property
    def id(self) -> str:
        """The id that its owner gave it, by which its peers know it."""
        return self.reservation.execution

    @property
    def ran(self) -> bool:
        """Whether its program has begun, here and now or before a restart of the node."""
        return self.started_at is not None or self.reservation.ran

    def end(self, kill: Kill) -> None:
        """End what it does, so that what its program wrote is kept if that is wanted."""
        self.kill = self.kill or kill
        if self.publishes:
            # Stored content can be read; a job that nobody waits for has no place to fill.
            if not kill.ending.publish:
                self.scope.cancel()
        elif not kill.ending.keep or not (self.ran or self.stores):
            self.scope.cancel()
        elif not self.stores:
            self.stopping.ask(kill.grace_s)
            self.scope.deadline = trio.current_time() + kill.grace_s + KILL_S_MAX
