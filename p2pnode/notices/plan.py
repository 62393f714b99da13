"""Decides which notices are tried when, again after which wait, and which are given up; it performs nothing.

`handle(event, now)` returns what is to be done, and `deadline` says when it wants to be woken. Each target,
a command or a webhook, has its own queue: one that does not answer holds up no other.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

# A receiver that is being restarted is back within a minute; one that broke in the evening, the next one.
WAITS_S = (1.0, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 54000.0)
# People are told of a target once it has failed a notice so often: by then that is no hiccup.
REPORTED_AT_TRIES = 3
# A burst of ends neither forks a hundred commands nor opens a hundred connections.
AT_ONCE_MAX = 4
# For each target: with it out of order for a day, this is a job every nine seconds.
WAITING_MAX = 10_000


class Answer(enum.Enum):
    """The outcome of a try."""

    TAKEN = enum.auto()
    FAILED = enum.auto()
    # The receiver wants to hear nothing more.
    GONE = enum.auto()


class NoticeOutcome(enum.StrEnum):
    """The ways in which a try to tell a job's end can end."""

    TOLD = "told"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice, by its number, on its way to a target, and as an event: one that is to be delivered."""

    notice: int
    target: str
    due: float
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A try has ended."""

    notice: int
    target: str
    answer: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Woken:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Try:
    """Tell the target, now."""

    notice: int
    target: str


@dataclass(frozen=True, slots=True)
class Postpone:
    """Keep that the delivery is tried again when it is due."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Forget:
    """The target needs to be told nothing of it any more."""

    notice: int
    target: str


@dataclass(frozen=True, slots=True)
class TellPeople:
    """Tell people that a target fails."""

    target: str
    reason: str


PlanEvent = Delivery | Answered | Woken
PlanAction = Try | Postpone | Forget | TellPeople


@dataclass(slots=True)
class _Queue:
    """The deliveries of one target."""

    # By notice, the oldest first: how often it was tried.
    tries: dict[int, int] = field(default_factory=dict)
    # Pairs of due time and notice; of some notices that were dropped since.
    due: list[tuple[float, int]] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    gone: bool = False

    @property
    def deadline(self) -> float:
        return self.due[0][0] if self.due and len(self.busy) < AT_ONCE_MAX else inf


class NoticePlan:
    """The queues of all targets."""

    def __init__(self, targets: Iterable[str], counts: dict[NoticeOutcome, int]) -> None:
        """`counts` grows with what comes of the tries."""
        self._queues = {target: _Queue() for target in targets}
        self._counts = counts

    @property
    def deadline(self) -> float:
        """When it is to be woken; infinity: when something happens."""
        return min((queue.deadline for queue in self._queues.values()), default=inf)

    def handle(self, event: PlanEvent, now: float) -> list[PlanAction]:
        """Take in what happened; what is to be done, in order."""
        actions: list[PlanAction] = []
        match event:
            case Delivery():
                actions += self._added(event, now)
            case Answered() if event.notice in self._queues[event.target].busy:
                actions += self._answered(event, now)
            case _:
                pass
        for target, queue in self._queues.items():
            while queue.deadline <= now:
                _, notice = heapq.heappop(queue.due)
                if notice in queue.tries:
                    queue.busy.add(notice)
                    actions.append(Try(notice, target))
        return actions

    def _added(self, one: Delivery, now: float) -> list[PlanAction]:
        queue = self._queues.get(one.target)
        if queue is None or queue.gone:
            return [Forget(one.notice, one.target)]
        queue.tries[one.notice] = one.tries
        # A machine whose clock was set back since must not wait for years.
        heapq.heappush(queue.due, (min(one.due, now + WAITS_S[-1]), one.notice))
        if len(queue.tries) <= WAITING_MAX:
            return []
        oldest = next(notice for notice in queue.tries if notice not in queue.busy)
        reason = f"more than {WAITING_MAX:,} ends of jobs wait to be told: the oldest is dropped"
        return self._drop(one.target, [oldest], reason)

    def _answered(self, event: Answered, now: float) -> list[PlanAction]:
        queue = self._queues[event.target]
        queue.busy.discard(event.notice)
        if event.answer is Answer.TAKEN:
            self._counts[NoticeOutcome.TOLD] += 1
            del queue.tries[event.notice]
            return [Forget(event.notice, event.target)]
        if event.answer is Answer.GONE or queue.gone:
            queue.gone = True
            left = [notice for notice in queue.tries if notice not in queue.busy]
            return self._drop(
                event.target, left, f"{event.reason}; nothing more is sent until the next start"
            )
        self._counts[NoticeOutcome.FAILED] += 1
        tries = queue.tries[event.notice] = queue.tries[event.notice] + 1
        if tries > len(WAITS_S):
            return self._drop(event.target, [event.notice], f"given up after {tries} tries: {event.reason}")
        due = now + WAITS_S[tries - 1]
        heapq.heappush(queue.due, (due, event.notice))
        later = Postpone(Delivery(event.notice, event.target, due, tries))
        return [later, TellPeople(event.target, event.reason)] if tries == REPORTED_AT_TRIES else [later]

    def _drop(self, target: str, notices: list[int], reason: str) -> list[PlanAction]:
        queue = self._queues[target]
        for notice in notices:
            del queue.tries[notice]
        self._counts[NoticeOutcome.DROPPED] += len(notices)
        return [*(Forget(notice, target) for notice in notices), TellPeople(target, reason)]
