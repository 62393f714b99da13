"""The single steps in which an owner changes a job's record: award, cancel, give up, end.

Each changes the record and says what to send and what to write into the history. What is
noted here is also told to the deputies; `tell_by` says by when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.placement.adverts import Known, KnownPeers
from p2pnode.core.placement.ranking import best_bid
from p2pnode.core.placement.reliance import Reliance
from p2pnode.core.records import history
from p2pnode.core.records.events import Action, SaveLines, Send
from p2pnode.core.records.lifecycle import (
    LIVE,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
    PastRefusal,
)
from p2pnode.core.wire.fields import LINES_PER_MESSAGE_MAX, REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Adopt, Award, Cancel, Line, Release
from p2pnode.core.wire.signing import Keys
from p2pnode.core.wire.states import Fault, RefusalKind

from .asking import Asking
from .desired import MissingPlacement
from .refusals import held_until
from .retries import back_off_s, is_last

# The peer journals the award and answers at once; a loaded two-core machine takes tenths of a second.
AWARD_CONFIRM_S = 5.0
# News that is not urgent goes to deputies together, so often.
TELL_DEPUTIES_S = 1.0


@dataclass
class JobTransitions:
    record: JobRecord
    # The owner's own peer id, and its live table of peers (read only here, but for how they keep their word).
    me: str
    known: Mapping[str, Known]
    keys: Keys
    actions: list[Action] = field(default_factory=list)
    # Lines of history that the deputies were not told yet, and by when they are to be told.
    lines: list[Line] = field(default_factory=list)
    tell_by: float = inf
    # Members that may have acted for the job meanwhile: they, or this node, were not to be heard.
    away: set[str] = field(default_factory=set)
    # Controllers, no members, whose users look at the job, and until when they are told what changes.
    readers: dict[str, float] = field(default_factory=dict)
    # Members that have named others without need, and when they did so last.
    unneeded: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.away.update(self.record.deputies)

    @property
    def reliance(self) -> Reliance:
        return self.known.reliance if isinstance(self.known, KnownPeers) else Reliance()

    def note(
        self, topic: str, text: str, now: float, execution: Execution | None = None, urgent: bool = False
    ) -> None:
        """A line of history. `urgent`: the deputies are told of what has happened at once."""
        id, peer = (execution.id, execution.peer) if execution else ("", "")
        state = execution.state if execution else self.record.state
        line = history.line(topic, text, state, now, id, peer)
        self.actions.append(SaveLines(self.record.id, (line,)))
        self.tell_by = min(self.tell_by, now if urgent else now + TELL_DEPUTIES_S)
        if len(self.lines) < LINES_PER_MESSAGE_MAX:
            self.lines.append(line)

    def award(self, missing: MissingPlacement, bids: list[Execution], now: float) -> None:
        """Give the replica to the best of the bids."""
        record, asking = self.record, Asking(self.record, self.known, now)
        of_job = asking.used, asking.failures, record.deputies, asking.doubts
        best = best_bid(record.id, asking.need, bids, self.known, *of_job)
        best.move(ExecutionState.AWARDED, now)
        best.replica, best.owner, best.deadline = missing.replica, self.me, now + AWARD_CONFIRM_S
        award = Award(
            execution=best.id,
            round=best.round,
            replica=missing.replica,
            mandate=record.mandate,
            spec=record.spec,
            changed_by=record.changed_by,
        )
        self.actions.append(Send(best.peer, award))
        self.reliance.awarded(best.peer, now)
        tries = sum(
            one.replica == missing.replica and one.state not in OPEN for one in record.now_of(*ExecutionState)
        )
        again = f", try {tries}" if tries > 1 else ""
        self.note("Award", f"Awarded replica {missing.replica}{again}", now, best, urgent=True)

    def adopt(self, execution: Execution) -> None:
        """Tell its peer who looks after it, and who the deputies are."""
        self.send_adopt(execution.peer, execution.id, execution.round)

    def send_adopt(self, peer: str, execution: str, round: int) -> None:
        record = self.record
        adopt = Adopt(execution=execution, round=round, job=record.id, mandate=record.mandate)
        self.actions.append(Send(peer, adopt))

    def cancel(self, execution: Execution, reason: str, now: float) -> None:
        if execution.state in OPEN:
            # An ask that led to nothing is history; a record of each would grow with every round.
            self.actions.append(Send(execution.peer, Release(execution=execution.id, round=execution.round)))
            del self.record.executions[execution.id]
        else:
            self.reliance.began(execution.peer)
            self.send_cancel(execution.peer, execution.id, execution.round, reason)
            execution.move(ExecutionState.CANCELLED, now, reason)
            self.note("Execution", f"Cancelled: {reason}", now, execution, urgent=True)

    def send_cancel(self, peer: str, execution: str, round: int, reason: str) -> None:
        cancel = Cancel(execution=execution, round=round, reason=reason[:REASON_LENGTH_MAX])
        self.actions.append(Send(peer, cancel))

    def cancel_all(self, executions: Iterable[Execution], reason: str, now: float) -> None:
        for execution in list(executions):
            self.cancel(execution, reason, now)

    def give_up(self, execution: Execution, reason: str, now: float) -> None:
        """Count an execution as lost, and cancel it in case its peer is only out of reach."""
        self.send_cancel(execution.peer, execution.id, execution.round, reason)
        execution.move(ExecutionState.LOST, now, reason)
        execution.fault = Fault.PEER
        self.note("Execution", f"Lost: {reason}", now, execution, urgent=True)
        self.broke(execution, now)

    def broke(self, execution: Execution, now: float) -> None:
        """Note when its replica may be tried again, and the first failure for the summary."""
        record = self.record
        if execution.run != record.run:
            return
        own = execution.state is ExecutionState.FAILED and execution.fault is not Fault.MOVED
        if own and not record.first_failure:
            record.first_failure = execution.reason
        if execution.replica is not None:
            wait_s = back_off_s(record, execution)
            record.retry_at[execution.replica] = now + wait_s
            if wait_s and not is_last(record, execution.replica):
                self.note("Retry", f"Replica {execution.replica} is tried again in {wait_s:.1f} s", now)

    def remember_refusal(
        self, peer: str, refusal_kind: RefusalKind, reason: str, now: float, *, of_award: bool = False
    ) -> None:
        known = self.known.get(peer)
        number = known.advert.number if known else 0
        held = self.record.refusals.items()
        self.record.refusals = {peer: one for peer, one in held if now < held_until(one)}
        self.record.refusals[peer] = PastRefusal(
            number=number, refusal_kind=refusal_kind, reason=reason, at=now, of_award=of_award
        )

    def end(self, state: JobState, outcome: Outcome, reason: str, now: float) -> None:
        self.cancel_all(self.record.of(*OPEN, *LIVE), reason or "the job has ended", now)
        self.record.move(state, now, reason[:REASON_LENGTH_MAX], outcome)
        self.note("End", f"{state}: {reason}" if reason else str(state), now, urgent=True)

    def queue(self, reason: str, now: float) -> None:
        """Nothing runs, and something is waited for."""
        record = self.record
        if record.state is not JobState.QUEUED:
            record.move(JobState.QUEUED, now, reason)
            self.note("Queueing", reason, now)
        record.reason = reason[:REASON_LENGTH_MAX]
