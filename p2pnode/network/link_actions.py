"""The actions of the links' machines, performed on the journal, the streams and the owner."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import trio

from p2pnode.core.link.events import (
    Action,
    Down,
    Drop,
    Event,
    ForgetMessages,
    Forgot,
    PostRejected,
    Refuse,
    ReplaceMessages,
    SaveMessage,
    SaveRecord,
    SendFrame,
    Suspect,
    Up,
)
from p2pnode.core.link.failure_detector import (
    LinkDown,
    LinkEvent,
    LinkSuspect,
    LinkUp,
    MessageRejected,
    OutboxEmptied,
    PeerForgot,
)
from p2pnode.core.link.machine import Link
from p2pnode.system.log_lines import concerning

from .link_end import LinkEnd
from .link_owner import CannotSend, LinkJournal, OutboxFull

log = logging.getLogger(__name__)

# A link that was up for less than this does not count as a success.
STEADY_S = 5.0


class LinkActions:
    """Performs what machines decide on: on the journal, the streams, and the owner, who is told."""

    def __init__(
        self, own: str, store: str, journal: LinkJournal, notify: Callable[[LinkEvent], None]
    ) -> None:
        """`own` is this node's peer id, `store` that of its journal (`Links`)."""
        self._own = own
        self._store = store
        self._journal = journal
        self._notify = notify
        # To be told once the actions at hand are performed.
        self._untold: deque[LinkEvent] = deque()
        self._telling = False

    def load(self, peer: str) -> Link:
        """The machine of the link with a peer, as the journal has it."""
        record, outbox = self._journal.load_link(peer)
        return Link(own=self._own, peer=peer, store=self._store, record=record, outbox=outbox)

    def give(self, end: LinkEnd, event: Event) -> None:
        """Give an event to the end's machine, and perform what it decides; raises as `perform` does."""
        self.perform(end, end.link.handle(event, trio.current_time()))

    def perform(self, end: LinkEnd, actions: Sequence[Action]) -> None:
        """Perform all actions but `Deliver`, which waits for the owner, before anybody is told of them.

        Raises `OutboxFull` and `CannotSend` for a `Refuse`, and what the journal raises.
        """
        with concerning(peer=end.peer):
            self._perform(end, actions)

    def _perform(self, end: LinkEnd, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case SendFrame(number, data):
                    self._enqueue(end, number, data)
                case Drop(number, reason):
                    log.info("dropped a stream of the link with %s: %s", end.peer, reason)
                    end.streams[number].end(reason)
                case SaveMessage(sequence, payload):
                    self._journal.add_message(end.peer, sequence, payload)
                case ForgetMessages(sequence):
                    self._journal.forget_messages(end.peer, sequence)
                    if not end.link.waiting:
                        self._untold.append(OutboxEmptied(end.peer))
                case SaveRecord(record):
                    self._journal.save_link(end.peer, record)
                case ReplaceMessages(record, outbox):
                    log.warning("the journal has lost messages to %s; numbers go on anew", end.peer)
                    self._journal.replace_messages(end.peer, record, outbox)
                case Refuse(reason, full):
                    text = f"no message to {end.peer} is taken: {reason}"
                    raise OutboxFull(text) if full else CannotSend(text)
                case PostRejected(payload, reason):
                    log.info("%s has discarded a message: %s", end.peer, reason)
                    self._untold.append(MessageRejected(end.peer, payload, reason))
                case Up():
                    end.ups += 1
                    end.up_at = trio.current_time()
                    self._untold.append(LinkUp(end.peer))
                case Suspect():
                    self._untold.append(LinkSuspect(end.peer))
                case Down(reason):
                    self._went_down(end, reason)
                case Forgot():
                    self._untold.append(PeerForgot(end.peer))
        self._tell()

    def is_behind(self, end: LinkEnd) -> bool:
        """Whether the end's machine has numbered messages that the journal does not have."""
        return self._journal.load_link(end.peer)[0].sent != end.link.record.sent

    def reload(self, end: LinkEnd, reason: str) -> None:
        """Go back to what the journal holds, as after a crash; the end's streams end for `reason`."""
        was_up = end.link.is_up
        for stream in end.streams.values():
            stream.end(reason)
        end.link = self.load(end.peer)
        if was_up:
            self._went_down(end, reason)
            self._tell()

    def _tell(self) -> None:
        """Tell what has happened, in its order; the owner may post from within."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                self._notify(self._untold.popleft())
        finally:
            self._telling = False

    def _enqueue(self, end: LinkEnd, number: int, data: bytes) -> None:
        try:
            end.streams[number].frames.send_nowait(data)
        except trio.WouldBlock:
            end.streams[number].end("the peer does not read")

    def _went_down(self, end: LinkEnd, reason: str) -> None:
        if trio.current_time() - end.up_at >= STEADY_S:
            end.failures = 0
        end.failed()
        self._untold.append(LinkDown(end.peer, reason))
        end.wake.set()
