"""The one loop: gives events to the core, journals what they cause, performs the rest.

`apply` is synchronous, so an event, its effects on the journal and the outboxes are one step
that no other task sees half done. What takes time (running programs, gossip) is handed to
`Effects`, and comes back as events.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

import trio

from p2pnode.core import wire
from p2pnode.core.events import (
    Action,
    Advertise,
    DropJob,
    DropLoan,
    Event,
    Kill,
    Note,
    PeerLost,
    Received,
    SaveJob,
    SaveLines,
    SaveLoan,
    Send,
    Start,
    Tick,
)
from p2pnode.core.messages import (
    LINE_LENGTH_MAX,
    LINES_PER_MESSAGE_MAX,
    Ask,
    Ended,
    Keep,
    Line,
    Receipt,
)
from p2pnode.core.participant import Participant
from p2pnode.store import Store, StoreError

log = logging.getLogger(__name__)

# An event that leads to another (a result of one's own) is handled in the same step; no chain is longer.
EVENTS_PER_STEP_MAX = 1_000


class Clock:
    """Unix time that never goes back while the process lives, however the machine's clock is set."""

    def __init__(self) -> None:
        self._offset = time.time() - trio.current_time()

    def now(self) -> float:
        return trio.current_time() + self._offset

    def monotonic(self, at: float) -> float:
        """The same moment on trio's clock."""
        return at - self._offset


class Effects(Protocol):
    """What the driver hands on. None of it may block, or raise anything but `StoreError`."""

    def start(self, action: Start) -> None: ...

    def kill(self, action: Kill) -> None: ...

    def advertise(self, action: Advertise) -> None: ...

    def ask_here(self, ask: Ask) -> None:
        """The node asks itself, for what has to be looked up on its disk."""

    def job_changed(self, job: str) -> None:
        """The job's record or history has changed."""


_Effect = Start | Kill | Advertise | Send

# Puts a message into the outbox of the link to a peer; the error says that it is full.
SendToPeer = Callable[[str, bytes], None]


class Driver:
    def __init__(
        self,
        core: Participant,
        store: Store,
        clock: Clock,
        effects: Effects,
        send: SendToPeer,
        outbox_full: type[Exception],
        receipt_cid: Callable[[bytes], str],
    ) -> None:
        """`outbox_full` is what `send` raises when it takes no more; `receipt_cid` names a receipt."""
        self.core = core
        self._store = store
        self._clock = clock
        self._effects = effects
        self._send = send
        self._outbox_full = outbox_full
        self._receipt_cid = receipt_cid
        self._wake = trio.Event()
        self._failure: StoreError | None = None
        self._failed = trio.Event()

    def resume(self) -> None:
        """Go on from the journal."""
        now = self._clock.now()
        self._commit(self.core.resume(self._store.live_jobs(), self._store.loans(), now), None)

    def apply(self, event: Event, delivered: tuple[str, int] | None = None) -> None:
        """One step. `delivered` names the link's message that brought the event: peer and number.

        Raises `StoreError` if the journal can't be written; the node must then end, since what
        the core believes is no longer what a restart would find.
        """
        if self._failure is not None:
            raise self._failure
        self._commit(self.core.handle(event, self._clock.now()), delivered)

    async def run(self) -> None:
        """Ticks, until cancelled; raises `StoreError` as soon as the journal has failed, whoever saw it."""
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
                self.apply(Tick())

    def _commit(self, actions: Sequence[Action], delivered: tuple[str, int] | None) -> None:
        effects: list[_Effect] = []
        changed: dict[str, None] = {}
        pending: deque[Event] = deque()
        try:
            with self._store.transaction():
                self._write(actions, effects, changed, pending)
                for _ in range(EVENTS_PER_STEP_MAX):
                    if not pending:
                        break
                    more = self.core.handle(pending.popleft(), self._clock.now())
                    self._write(more, effects, changed, pending)
                assert not pending
                if delivered is not None:
                    self._store.mark_received(*delivered)
            for effect in effects:
                match effect:
                    case Start():
                        self._effects.start(effect)
                    case Kill():
                        self._effects.kill(effect)
                    case Advertise():
                        self._effects.advertise(effect)
                    case Send(message=Ask() as ask):
                        self._effects.ask_here(ask)
        except StoreError as exc:
            self.fail(exc)
            raise
        for job in changed:
            self._effects.job_changed(job)
        self._wake.set()

    def fail(self, error: StoreError) -> None:
        """The journal could not be written, by whomever: `run` ends the node with that."""
        self._failure = self._failure or error
        self._failed.set()

    def _write(
        self,
        actions: Sequence[Action],
        effects: list[_Effect],
        changed: dict[str, None],
        pending: deque[Event],
    ) -> None:
        for action in actions:
            match action:
                case Send(peer, Ended(receipt=signed) as message) if peer == self.core.me:
                    receipt = wire.decode(signed.body, Receipt)
                    cid = self._receipt_cid(wire.encode(signed))
                    pending.append(Received(peer, message, receipt, cid))
                case Send(peer, Ask() as message) if peer == self.core.me:
                    effects.append(action)
                case Send(peer, message):
                    if isinstance(message, Keep) and message.full:
                        message = self._with_history(message)
                    try:
                        self._send(peer, wire.encode(message))
                    except self._outbox_full as exc:
                        log.warning("%s", exc)
                        pending.append(PeerLost(peer, str(exc)))
                case SaveJob(record):
                    self._store.save_job(record)
                    changed[record.id] = None
                case DropJob(job):
                    self._store.drop_job(job)
                    changed[job] = None
                case SaveLines(job, lines, anew):
                    if anew:
                        self._store.replace_history(job, lines)
                    for line in () if anew else lines:
                        self._store.add_line(job, line)
                    changed[job] = None
                case SaveLoan(loan):
                    self._store.save_loan(loan)
                case DropLoan(execution):
                    self._store.drop_loan(execution)
                case Note():
                    self._note(action)
                    changed[action.job] = None
                case Start() | Kill() | Advertise():
                    effects.append(action)

    def _with_history(self, keep: Keep) -> Keep:
        """Whoever gets the whole of a job gets its history, which the journal alone has."""
        rows = self._store.history(keep.job, 0)[-LINES_PER_MESSAGE_MAX:]
        lines = tuple(
            Line(
                at_ms=int(row.at * 1000),
                topic=row.topic,
                text=row.text[:LINE_LENGTH_MAX],
                execution=row.execution,
                peer=row.peer,
                state=row.state,
            )
            for row in rows
        )
        return wire.replace(keep, history=lines)

    def _note(self, note: Note) -> None:
        row = (note.job, self._clock.now(), note.topic, note.execution, note.peer, note.text, note.state)
        self._store.add_history(*row)
