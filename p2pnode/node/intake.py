"""Peers' messages on their way to the core: decoded, vetted, and given what they need beside.

What is no message of an honest node is refused (`BadMessage`) before anything has changed. One that
this node itself fails with is refused as well, and kept among the problems, so that it can be tried again.
"""

from __future__ import annotations

import traceback

from p2pnode.core.records import vetting
from p2pnode.core.records.events import ReceiptRefused
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.messages import Ended, Message
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.caution import Caution

from .driver import Driver, EventRefused
from .journal import Journal
from .message_needs import MessageNeeds


class Intake:
    def __init__(self, driver: Driver, journal: Journal, needs: MessageNeeds, caution: Caution) -> None:
        self._driver = driver
        self._journal = journal
        self._needs = needs
        self._caution = caution

    async def deliver(self, peer: str, sequence: int, payload: bytes) -> None:
        """Handle a link's message, and commit its number with its effects; raises `BadMessage`."""
        subject = f"{sequence} of {peer}"
        if self._caution.is_suspect(Compartment.MESSAGE, subject):
            raise BadMessage("this node ended while it handled this message")
        message = vetting.message_untrusted(payload)
        try:
            with self._caution.trying(Compartment.MESSAGE, subject):
                await self._take_in(peer, sequence, message)
        except EventRefused as exc:
            about = f"{type(message).__name__.lower()} of {peer}"
            detail = "".join(traceback.format_exception(exc))
            self._journal.problems.add(
                Compartment.MESSAGE, about, str(exc), detail, aside=False, payload=payload
            )
            raise BadMessage(f"this node failed with it: {exc}") from exc

    async def again(self, about: str, payload: bytes) -> None:
        """Handle a message that failed before, as `deliver` has noted it; raises as `Driver.apply` does."""
        peer = about.rpartition(" ")[2]
        await self._take_in(peer, None, vetting.message_untrusted(payload))

    async def _take_in(self, peer: str, sequence: int | None, message: Message) -> None:
        try:
            event = await self._needs.of_peer_untrusted(peer, message)
        except BadMessage as exc:
            if isinstance(message, Ended):
                self._driver.apply(ReceiptRefused(peer, message.execution, reason_of(exc)))
            raise
        self._driver.apply(event, None if sequence is None else (peer, sequence))
