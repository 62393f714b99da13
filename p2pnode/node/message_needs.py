"""Messages made events: with what the core needs beside them (`core.records.needs`), of journal and disk."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode import identity
from p2pnode.core.node import Core
from p2pnode.core.records import vetting
from p2pnode.core.records.events import Received
from p2pnode.core.records.lifecycle import LIVE, JobRecord
from p2pnode.core.records.needs import Need, need_of
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Ask, Award, Ended, Message, Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.data.inputs import Inputs
from p2pnode.notices.probe import Probe

from .journal import Journal


class MessageNeeds:
    """Makes of a message the event with which the core handles it."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        inputs: Inputs,
        probe: Probe,
        keep_receipt: Callable[[str, bytes], None],
    ) -> None:
        """`keep_receipt` stores the signed receipt of a peer."""
        self._core = core
        self._journal = journal
        self._inputs = inputs
        self._probe = probe
        self._keep_receipt = keep_receipt

    async def of_peer_untrusted(self, peer: str, message: Message) -> Received:
        """The event of a peer's message; raises `BadMessage` for a receipt that is none of its own."""
        match message:
            case Ended():
                return self._ended_untrusted(peer, message)
            case Ask():
                return await self.of_ask(peer, message)
            case Award() if self._probe and self._is_of_a_bid(peer, message):
                lacks = await self._probe.why_not(message.spec, peer)
                return Received(peer, message, lacks=lacks)
            case _ if need_of(message) is Need.RECORD:
                job = getattr(message, "job", "")
                return Received(peer, message, record=None if self._holds(job) else self._journal.job(job))
            case _:
                return Received(peer, message)

    async def of_ask(self, peer: str, ask: Ask) -> Received:
        """The event of an ask, this node's own included."""
        if need_of(ask) is not Need.INPUTS:
            return Received(peer, ask)
        lacks = await self._inputs.lacks(ask.requirements.directories, ask.requirements.engine)
        return Received(peer, ask, lacks=lacks)

    def _is_of_a_bid(self, peer: str, award: Award) -> bool:
        """Whether an award takes up an open bid, with its job: nothing else is worth a look."""
        reservation = self._core.worker.of_owner(peer, award.execution)
        if reservation is None or reservation.state is not ReservationState.BID:
            return False
        return codec.digest(award.spec) == reservation.spec_hash

    def of_own_end(self, ended: Ended) -> Received:
        """The event of the end of an execution of this node's own job on itself."""
        receipt = codec.decode(ended.receipt.body, Receipt)
        return Received(self._core.me, ended, receipt, self._stored(receipt.job))

    def _ended_untrusted(self, peer: str, ended: Ended) -> Received:
        """The event of an end, its receipt signed by the peer that tells it, read and kept."""
        body = identity.verify_untrusted(peer, RECEIPT_DOMAIN, ended.receipt)
        receipt = vetting.receipt_untrusted(body)
        job = self._core.jobs.of_execution(ended.execution)
        # An execution that was cancelled as its job ended is told of afterwards.
        stored = None if job else self._stored(receipt.job)
        record = job.record if job else stored
        one = record.executions.get(ended.execution) if record else None
        # Kept only from the peer that had the execution, and once: nobody may fill the store with receipts.
        if one is not None and one.peer == peer and (one.state in LIVE or one.awaits_receipt):
            self._keep_receipt(peer, codec.encode(ended.receipt))
        return Received(peer, ended, receipt, stored)

    def _stored(self, job: str) -> JobRecord | None:
        """The journal's record of a job that the core does not hold, as it has ended."""
        return None if self._holds(job) or job in self._core.aside else self._journal.readable_job(job)

    def _holds(self, job: str) -> bool:
        return job in self._core.jobs or job in self._core.replication.copies
