"""Peers' messages on their way to the core: decoded, vetted, and given what the core cannot look up.

What is no message of an honest node is refused (`BadMessage`) before anything has changed. One that
this node itself fails with is refused as well, and kept among the problems, so that it can be tried again.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from p2pnode import identity
from p2pnode.core.records import vetting
from p2pnode.core.records.events import ReceiptRefused, Received
from p2pnode.core.records.lifecycle import LIVE
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.messages import (
    Ask,
    Command,
    Ended,
    Message,
    Orphan,
    Owned,
    Receipt,
    Replicate,
    WhoOwns,
)
from p2pnode.core.wire.reasons import reason_of
from p2pnode.data.inputs import Inputs
from p2pnode.faults.caution import Caution
from p2pnode.ipfs import cid as cids
from p2pnode.network.strangers import Strangers

from .driver import Driver, EventRefused
from .journal import Journal


class Intake:
    def __init__(
        self,
        driver: Driver,
        journal: Journal,
        inputs: Inputs,
        caution: Caution,
        keep_receipt: Callable[[bytes], str],
        strangers: Strangers,
    ) -> None:
        """`keep_receipt` stores a signed receipt; who has done a work is no stranger."""
        self._driver = driver
        self._journal = journal
        self._inputs = inputs
        self._caution = caution
        self._keep_receipt = keep_receipt
        self._strangers = strangers

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
        event = Received(peer, message)
        core = self._driver.core
        match message:
            case Replicate(job=job) | Owned(job=job) | WhoOwns(job=job) | Orphan(job=job) | Command(job=job):
                held = job in core.jobs or job in core.replication.copies
                event = Received(peer, message, record=None if held else self._journal.job(job))
            case Ask() if message.requirements.directories:
                need = message.requirements
                lacks = await self._inputs.lacks(need.directories, need.engine)
                event = Received(peer, message, lacks=lacks)
            case Ended():
                try:
                    event = self._ended_untrusted(peer, message)
                except BadMessage as exc:
                    self._driver.apply(ReceiptRefused(peer, message.execution, reason_of(exc)))
                    raise
        self._driver.apply(event, None if sequence is None else (peer, sequence))

    def _ended_untrusted(self, peer: str, ended: Ended) -> Received:
        """With the receipt, whose signature holds; raises `BadMessage`."""
        body = identity.verify_untrusted(peer, identity.RECEIPT_DOMAIN, ended.receipt)
        receipt = codec.decode_untrusted(body, Receipt)
        vetting.vet_receipt(receipt)
        signed = codec.encode(ended.receipt)
        job = self._driver.core.jobs.of_execution(ended.execution)
        # An execution that was cancelled as its job ended is told of afterwards.
        stored = None if job else self._driver.stored(receipt.job)
        record = job.record if job else stored
        one = record.executions.get(ended.execution) if record else None
        # Kept only from the peer that had the execution, and once: nobody may fill the store with receipts.
        if one is not None and one.peer == peer and (one.state in LIVE or one.awaits_receipt):
            self._keep_receipt(signed)
            self._strangers.know([peer])
        return Received(peer, ended, receipt, cids.make(signed, "dag-cbor"), stored)
