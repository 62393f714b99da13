"""Peers' messages on their way to the core: decoded, vetted, and given what they need beside.

What is no message of an honest node is refused (`BadMessage`) before anything has changed. One that
this node itself fails with is refused as well, and kept among the problems, so that it can be tried again.
"""

from __future__ import annotations

import traceback

from p2pnode.core.records import vetting
from p2pnode.core.records.events import ReceiptRefused
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.mandates import CommandBody
from p2pnode.core.wire.messages import Command, Ended, Message
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.caution import Caution
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.system.audit_log import AuditLog

from .driver import Driver, EventRefused
from .journal import Journal
from .message_needs import MessageNeeds


class Intake:
    def __init__(
        self,
        driver: Driver,
        journal: Journal,
        needs: MessageNeeds,
        caution: Caution,
        audit_log: AuditLog,
        door: Doorkeeper | None,
    ) -> None:
        """`door` knows who is in this node's private network, and as what."""
        self._driver = driver
        self._journal = journal
        self._needs = needs
        self._caution = caution
        self._audit_log = audit_log
        self._door = door

    async def deliver(self, peer: str, sequence: int, payload: bytes) -> None:
        """Handle a link's message, and commit its number with its effects; raises `BadMessage`."""
        subject = f"{sequence} of {peer}"
        if self._caution.is_suspect(Compartment.MESSAGE, subject):
            raise BadMessage("this node ended while it handled this message")
        message = vetting.message_untrusted(payload)
        if self._door is not None:
            self._door.roster.vet_message_untrusted(peer, message, self._door.now_ms())
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
        delivered = None if sequence is None else (peer, sequence)
        if not isinstance(message, Command) or self._has(message):
            self._driver.apply(event, delivered)
            return
        self._driver.apply(event, delivered)
        if self._has(message):
            body = codec.decode(message.signed.body, CommandBody)
            about = {"job": message.job, "reason": body.reason, "brought_by": peer}
            self._audit_log.note(f"peer {body.controller}", body.action, about, "done")

    def _has(self, command: Command) -> bool:
        """Whether the job's record has a controller's command, as it has once that was found true."""
        record = self._journal.readable_job(command.job)
        return record is not None and command.signed in record.commands
