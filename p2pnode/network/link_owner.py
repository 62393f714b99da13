"""The owner of the links, as they see it: a journal and a handler, and errors for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from p2pnode.core.link.events import LinkRecord


class OutboxFull(Exception):
    """The message was not taken, since too much waits for its peer; the text says what."""


class CannotSend(Exception):
    """The message was not taken, and never will be; the text says why."""


class LinkJournal(Protocol):
    """The links' part of the journal: quick calls; those in one transaction stand or fall together."""

    def load_link(self, peer: str) -> tuple[LinkRecord, Sequence[tuple[int, bytes]]]:
        """The peer's record (a new one if there is none) and its outbox in the order of its numbers."""
        ...

    def peers_waiting(self) -> Sequence[str]:
        """The peers whose outboxes are not empty."""
        ...

    def save_link(self, peer: str, record: LinkRecord) -> None:
        """Puts the record in the place of the peer's."""
        ...

    def add_message(self, peer: str, sequence: int, payload: bytes) -> None:
        """Adds to the outbox, and saves `sequence` as the record's `sent`."""
        ...

    def forget_messages(self, peer: str, sequence: int) -> None:
        """Removes what is numbered `sequence` or less."""
        ...

    def replace_messages(self, peer: str, record: LinkRecord, outbox: Sequence[tuple[int, bytes]]) -> None:
        """Puts the record and the outbox in the place of the peer's."""
        ...


# Called as deliver(peer, sequence, payload). It must commit the effects of the payload and `sequence` as the
# `received` of the peer's record, in one transaction. What it raises has the message discarded, and the peer
# told so; `BadMessage` says why.
DeliverMessage = Callable[[str, int, bytes], Awaitable[None]]
