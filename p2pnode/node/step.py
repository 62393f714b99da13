"""One step of the driver: actions written into the journal and the outboxes, effects kept for after that."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from p2pnode.core.node import Core
from p2pnode.core.records.events import (
    Action,
    Advertise,
    DropJob,
    DropReservation,
    Event,
    Kill,
    PeerLost,
    Received,
    Rejected,
    SaveJob,
    SaveLines,
    SaveReservation,
    Send,
    Start,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import LINES_PER_MESSAGE_MAX
from p2pnode.core.wire.messages import Ask, Bid, Ended, Message, Refusal, Replicate
from p2pnode.core.wire.reasons import reason_of
from p2pnode.network.link_owner import CannotSend, OutboxFull
from p2pnode.system.log_lines import concerning

from .clock import Clock
from .counts import Counted
from .journal import Journal

log = logging.getLogger(__name__)

# An event that leads to another (a result of one's own) is handled in the same step; no chain is longer.
EVENTS_PER_STEP_MAX = 1_000

Effect = Start | Kill | Advertise | Send

# Puts a message into the outbox of the link to a peer; raises `OutboxFull` and `CannotSend`.
SendToPeer = Callable[[str, Message], None]
# Makes the event of the end of an execution of this node's own job on itself.
OwnEnd = Callable[[Ended], Received]


class Step:
    """A step in the making, within one transaction of the journal."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        clock: Clock,
        send: SendToPeer,
        own_end: OwnEnd,
    ) -> None:
        self._core = core
        self._journal = journal
        self._clock = clock
        self._send = send
        self._own_end = own_end
        self._pending: deque[Event] = deque()
        # To be performed when the step is in the journal.
        self.effects: list[Effect] = []
        # The jobs whose record or history has changed, in their order.
        self.changed: dict[str, None] = {}
        # The peers with something new in their outboxes.
        self.sent: set[str] = set()
        self.counted: list[Counted] = []

    def take(self, decide: Callable[[], list[Action]]) -> None:
        """Write what `decide` returns, and what the events that follow from it lead to.

        Raises what deciding and writing raise, and `RuntimeError` if the events come to no end; the
        transaction is then to be rolled back.
        """
        self._write(decide())
        for _ in range(EVENTS_PER_STEP_MAX):
            if not self._pending:
                return
            self._write(self._core.handle(self._pending.popleft(), self._clock.now()))
        raise RuntimeError(f"an event led to more than {EVENTS_PER_STEP_MAX} others")

    def _write(self, actions: Sequence[Action]) -> None:
        journal = self._journal
        # All was decided before the first is written: a record that is to be saved twice is the same.
        saved: dict[str, JobRecord | Reservation] = {}
        ended: list[str] = []
        for action in actions:
            match action:
                case SaveJob(record) if saved.get(record.id) is record:
                    continue
                case SaveReservation(reservation) if saved.get(reservation.execution) is reservation:
                    continue
                case Send(peer, message):
                    self._write_send(action, peer, message)
                case SaveJob(record):
                    saved[record.id] = record
                    if self._is_new_end(record):
                        journal.notices.add(record, self._clock.now())
                    if journal.save_job(record):
                        self.changed[record.id] = None
                case DropJob(job):
                    saved.pop(job, None)
                    journal.drop_job(job)
                    self.changed[job] = None
                case SaveLines(job, lines, anew):
                    if not anew and any(line.topic == "End" for line in lines):
                        ended.append(job)
                    if anew:
                        journal.replace_history(job, lines)
                    for line in () if anew else lines:
                        journal.add_line(job, line)
                    self.changed[job] = None
                case SaveReservation(reservation):
                    saved[reservation.execution] = reservation
                    journal.save_reservation(reservation)
                case DropReservation(execution):
                    saved.pop(execution, None)
                    journal.drop_reservation(execution)
                case Start() | Kill() | Advertise():
                    self.effects.append(action)
        for job in ended:
            # The end of another's job is its owner's to count.
            own = saved.get(job)
            if isinstance(own, JobRecord) and own.owner == self._core.me and own.outcome is not None:
                self.counted.append(own.outcome)

    def _is_new_end(self, record: JobRecord) -> bool:
        """Whether the operator is to be told of it: a job of this node's users, whoever saw it to its end."""
        if not (record.ended and self._journal.notices.is_wanted and record.requester == self._core.me):
            return False
        before = self._journal.readable_job(record.id)
        return before is None or not before.ended or before.run != record.run

    def _write_send(self, action: Send, peer: str, message: Message) -> None:
        """Put a message into its peer's outbox; one to this node itself becomes an event or an effect."""
        match message:
            case Ended() if peer == self._core.me:
                self._pending.append(self._own_end(message))
                return
            case Ask() if peer == self._core.me:
                self.effects.append(action)
                return
            case Replicate(full=True):
                message = self._with_history(message)
            case Bid() | Refusal():
                self.counted.append(message)
        self.sent.add(peer)
        try:
            self._send(peer, message)
        except OutboxFull as exc:
            with concerning(peer=peer):
                log.warning("%s", exc)
            self._pending.append(PeerLost(peer, str(exc)))
        except CannotSend as exc:
            with concerning(peer=peer):
                log.warning("%s", exc)
            self._pending.append(Rejected(peer, message, reason_of(exc)))

    def _with_history(self, message: Replicate) -> Replicate:
        """The message with the job's history, which the journal alone has."""
        rows = self._journal.history(message.job, 0)[-LINES_PER_MESSAGE_MAX:]
        lines = tuple(line for _, line in rows)
        return codec.replace(message, history=lines)
