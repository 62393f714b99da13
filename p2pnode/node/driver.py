"""The one loop: gives events to the core, journals what they cause, performs the rest.

`apply` is synchronous, so an event, its effects on the journal and the outboxes are one step
that no other task sees half done. What takes time (running programs, gossip) is handed to
`Effects`, and comes back as events.

An event that raises has changed nothing: the journal is rolled back, and the core takes what it
touched from there again (`core.recovery`). Either the event is refused (`EventRefused`), or the one
job or execution that broke on the way is set aside and the event given again.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Literal, Protocol

import trio

from p2pnode.core import recovery
from p2pnode.core.node import Core
from p2pnode.core.records import history
from p2pnode.core.records.events import (
    Action,
    Advertise,
    DropJob,
    DropReservation,
    Event,
    Kill,
    SaveLines,
    Send,
    Start,
    Tick,
)
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire.codec import BadMessage, Unreadable
from p2pnode.core.wire.compartments import Broken, Compartment
from p2pnode.core.wire.messages import (
    Ask,
)
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.problems import JournalError
from p2pnode.system.log_lines import LineIds, concerning, ids_of

from .clock import Clock
from .counts import Counts
from .journal import Journal
from .step import Effect, OwnEnd, SendToPeer, Step

log = logging.getLogger(__name__)

# Jobs and executions that one event may find broken; beyond that it is the event that is wrong.
BROKEN_PER_EVENT_MAX = 100
# A tick that fails for no one job's sake, or leads to nothing, is not tried again at once.
TICK_RETRY_S = 1.0
# As `concerning` calls them, and all messages, events and records.
_IDS: tuple[Literal["job", "execution", "peer"], ...] = ("job", "execution", "peer")


class EventRefused(Exception):
    """The event failed, and has changed nothing; the message is a reason for people."""


class Effects(Protocol):
    """The rest of the node, as the driver calls it: nothing blocks, or raises but for `JournalError`."""

    def start(self, action: Start) -> None:
        """Begin an execution, which reports `Finished` when it ends."""

    def kill(self, action: Kill) -> None:
        """End an execution that runs here."""

    def advertise(self, action: Advertise) -> None:
        """Gossip what this node now offers."""

    def ask_here(self, ask: Ask) -> None:
        """Take in the node's ask of itself, for which its disk has to be looked at."""

    def job_changed(self, job: str) -> None:
        """Wake whoever follows the job: its record or history has changed."""

    def handled(self) -> None:
        """Wake whoever waits for anything: the core has handled an event."""

    def tell_set_aside(self, reservation: Reservation, reason: str) -> None:
        """Tell the owner of an execution that was set aside that it has ended."""

    def unsend(self, peers: set[str]) -> None:
        """Take from these outboxes what a step that failed has put into them."""


class Driver:
    """Gives events to the core one by one, and makes each a step: all of it happens, or nothing."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        clock: Clock,
        effects: Effects,
        send: SendToPeer,
        own_end: OwnEnd,
    ) -> None:
        """`send` raises `OutboxFull` and `CannotSend`."""
        self.core = core
        self.counts = Counts()
        self._journal = journal
        self._clock = clock
        self._effects = effects
        self._send = send
        self._own_end = own_end
        self._wake = trio.Event()
        self._failure: Exception | None = None
        self._failed = trio.Event()

    def resume(self) -> None:
        """Go on from the journal, but for what is set aside."""
        core, problems = self.core, self._journal.problems
        while True:
            jobs = self._journal.live_jobs(partial(self._set_aside_unreadable, Compartment.JOB))
            core.aside = {job: self._executions(job) for job in problems.aside(Compartment.JOB)}
            live = [record for record in jobs if record.id not in core.aside]
            try:
                now = self._clock.now()
                self._step(partial(core.resume, live, self._reservations(), now), None)
                return
            except Broken as exc:
                self.set_aside(exc.compartment, exc.subject, exc.__cause__ or exc)

    def apply(self, event: Event, delivered: tuple[str, int] | None = None) -> None:
        """Handle an event in one step; `delivered` names the link's message that brought it: peer and number.

        Raises `BadMessage` for a message that no honest node sends, `EventRefused` for an event that
        failed, both with nothing changed; and `JournalError` if the journal can't be written: the node
        must then end, since what the core believes is no longer what a restart would find.
        """
        if self._failure is not None:
            raise self._failure
        with concerning(**_ids_in(event)):
            self._apply(event, delivered)

    def _apply(self, event: Event, delivered: tuple[str, int] | None) -> None:
        broken: set[str] = set()
        while True:
            try:
                self._step(partial(self.core.handle, event, self._clock.now()), delivered)
                self.counts.event(event)
                return
            except (JournalError, BadMessage):
                raise
            except Broken as exc:
                error = exc.__cause__ or exc
                blamed = recovery.is_cause(self.core, event, exc) or exc.subject in broken
                if blamed or len(broken) >= BROKEN_PER_EVENT_MAX:
                    raise _refused(event, error) from error
                broken.add(exc.subject)
                self.set_aside(exc.compartment, exc.subject, error)
            # The guard of the core: what is raised there costs one event.
            except Exception as exc:
                raise _refused(event, exc) from exc

    # Failures

    def set_aside(self, kind: Compartment, subject: str, error: BaseException) -> None:
        """Let a job or an execution take part in nothing until a person says so."""
        with concerning(**ids_of(kind, subject)):
            self._set_aside(kind, subject, error)

    def _set_aside(self, kind: Compartment, subject: str, error: BaseException) -> None:
        reason, detail = reason_of(error), "".join(traceback.format_exception(error))
        log.error("set aside the %s %s: %s", kind, subject, reason, exc_info=error)
        reservation = self.core.worker.reservations.get(subject) if kind is Compartment.EXECUTION else None
        self._step(partial(self._aside, kind, subject, reason, detail), None)
        if reservation is not None and reservation.award is not None:
            self._effects.tell_set_aside(reservation, f"its node set it aside: {reason}")

    def _aside(self, kind: Compartment, subject: str, reason: str, detail: str) -> list[Action]:
        self._journal.problems.add(kind, subject, reason, detail, aside=True)
        record = self._journal.readable_job(subject) if kind is Compartment.JOB else None
        actions = recovery.set_aside(self.core, kind, subject, record)
        if record is not None:
            text = f"Set aside on this node, since it failed: {reason} (p2pnode node problems)"
            line = history.line("Problem", text, record.state, self._clock.now())
            actions.append(SaveLines(subject, (line,)))
        return actions

    def take_back(self, kind: Compartment, subject: str) -> None:
        """Go on with what was set aside; raises `EventRefused` if that fails, and sets it aside again."""
        try:
            self._step(partial(self._resumed, kind, subject), None)
        except Broken as exc:
            self.set_aside(exc.compartment, exc.subject, exc.__cause__ or exc)
            raise EventRefused(reason_of(exc.__cause__ or exc)) from exc
        except Unreadable as exc:
            self._set_aside_unreadable(kind, subject, exc)
            raise

    def _resumed(self, kind: Compartment, subject: str) -> list[Action]:
        now = self._clock.now()
        if kind is Compartment.JOB:
            record = self._journal.job(subject)
            return recovery.take_back_job(self.core, record, now) if record is not None else []
        reservation = self._journal.reservation(subject)
        return recovery.take_back_execution(self.core, reservation, now) if reservation is not None else []

    def drop(self, kind: Compartment, subject: str) -> None:
        """Forget what was set aside, its record too."""
        action = DropJob(subject) if kind is Compartment.JOB else DropReservation(subject)
        self._step(lambda: [action], None)
        self.core.aside.pop(subject, None)

    def _set_aside_unreadable(self, kind: Compartment, name: str, error: Unreadable) -> None:
        self._journal.problems.add(kind, name, reason_of(error), aside=True)

    def _executions(self, job: str) -> frozenset[str]:
        record = self._journal.readable_job(job)
        return frozenset(record.executions) if record else frozenset()

    def _reservations(self) -> list[Reservation]:
        aside = self._journal.problems.aside(Compartment.EXECUTION)
        reservations = self._journal.reservations(partial(self._set_aside_unreadable, Compartment.EXECUTION))
        return [reservation for reservation in reservations if reservation.execution not in aside]

    def _undo(self, sent: set[str]) -> None:
        """Take from the journal what the failed step has touched in memory."""
        self._effects.unsend(sent)
        aside = self.core.aside
        recovery.restore(
            self.core,
            lambda id: None if id in aside else self._journal.readable_job(id),
            self._reservations(),
            self._clock.now(),
        )

    async def run(self) -> None:
        """Ticks, until cancelled; raises `JournalError` as soon as the journal has failed, whoever saw it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            await self._failed.wait()
            assert self._failure is not None
            raise self._failure

    async def _tick(self) -> None:
        while True:
            deadline = self.core.deadline
            wait_until = self._clock.monotonic(deadline) if deadline < inf else inf
            with trio.move_on_at(wait_until):
                await self._wake.wait()
            self._wake = trio.Event()
            if self._clock.now() >= self.core.deadline:
                try:
                    self.apply(Tick())
                except EventRefused as exc:
                    self._journal.problems.add(Compartment.TASK, "tick", str(exc), aside=False)
                if self.core.deadline <= deadline:
                    # A deadline that the tick has not moved on would keep this node busy for ever.
                    await trio.sleep(TICK_RETRY_S)

    def _step(self, decide: Callable[[], list[Action]], delivered: tuple[str, int] | None) -> None:
        """Decide, journal and perform; whatever it raises, nothing has changed (see `apply`)."""
        step = Step(self.core, self._journal, self._clock, self._send, self._own_end)
        self.core.jobs.touched = set()
        try:
            with self._journal.step():
                step.take(decide)
                if delivered is not None:
                    self._journal.mark_received(*delivered)
        except JournalError as exc:
            self.fail(exc)
            raise
        except Exception:
            self._undo(step.sent)
            raise
        self.counts.step(step.counted)
        for effect in step.effects:
            self._perform(effect)
        for job in step.changed:
            self._effects.job_changed(job)
        self._effects.handled()
        self._wake.set()

    def _perform(self, effect: Effect) -> None:
        with concerning(**_ids_in(effect)):
            self._perform_well(effect)

    def _perform_well(self, effect: Effect) -> None:
        try:
            match effect:
                case Start():
                    self._effects.start(effect)
                case Kill():
                    self._effects.kill(effect)
                case Advertise():
                    self._effects.advertise(effect)
                case Send(message=Ask() as ask):
                    self._effects.ask_here(ask)
        except JournalError as exc:
            self.fail(exc)
            raise
        # The decision is in the journal; only this one effect of it has failed.
        except Exception as exc:
            log.exception("the effect %s failed", type(effect).__name__)
            if isinstance(effect, Start | Kill):
                execution = effect.reservation.execution if isinstance(effect, Start) else effect.execution
                self.set_aside(Compartment.EXECUTION, execution, exc)
            else:
                name = f"effect {type(effect).__name__}"
                self._journal.problems.add(Compartment.TASK, name, reason_of(exc), aside=False)

    def fail(self, error: Exception) -> None:
        """Note that the journal could not be written, by whomever: `run` ends the node with that."""
        self._failure = self._failure or error
        self._failed.set()


def _ids_in(what: Event | Effect) -> LineIds:
    """The ids that an event or an effect names, as `concerning` takes them."""
    parts = [what, getattr(what, "message", None), getattr(what, "reservation", None)]
    found: LineIds = {}
    for part in parts:
        for name in _IDS:
            if isinstance(id := getattr(part, name, None), str):
                found[name] = id
    return found


def _refused(event: Event, error: BaseException) -> EventRefused:
    reason = reason_of(error)
    log.error("the event %s was refused: %s", type(event).__name__, reason, exc_info=error)
    return EventRefused(reason)
