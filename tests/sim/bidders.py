"""Honest nodes among invented ones that have met them all, and offer more than any honest node.

Each kind answers asks in its own way, and none ever runs anything. Kept is how long honest jobs wait until
they run.
"""

from __future__ import annotations

import enum
from typing import Any

from p2pnode.core.records import mandate, vetting
from p2pnode.core.records.events import AdvertHeard, ConnectionChanged, Received
from p2pnode.core.wire.codec import decode, digest, replace
from p2pnode.core.wire.messages import Advert, Ask, Award, Bid, Ended, Message, Receipt, Refusal, Update
from p2pnode.core.wire.spec import Resources
from p2pnode.core.wire.states import ExecutionState, Fault, RefusalKind, Stage
from tests.core_support import receipt, signed

from .network import Node
from .placing import PlacingSimulation
from .weather import EPOCH

HONEST = 8
# As many as a node's connections from four ranges: the others were met before.
CONNECTED = 240
# Kept before the invented come: jobs of those that have worked with each other for a while.
WARM_S = 40
BEGIN_S = 60
JOBS = 120


class Kind(enum.Enum):
    SILENT = "answers nothing"
    IDLE = "bids, and does not confirm an award"
    LATE = "bids, and refuses the award"
    UNSUITED = "bids, and says that it never takes such an award"
    HOLDING = "has asks wait for room for ever"
    LAPSING = "bids for a moment only"
    PREPARING = "confirms an award, and runs nothing"
    FAILING = "signs at once that it failed by its own fault"


class Bidders(PlacingSimulation):
    """`invented` of one kind, behind four ranges of addresses."""

    def __init__(
        self,
        seed: int,
        kind: Kind,
        invented: int,
        *,
        warm: bool,
        ranges: int = 4,
        honest: int = HONEST,
        requesters: int = HONEST,
    ) -> None:
        """`requesters`: so many of the honest submit jobs; one that is alone does not compute."""
        super().__init__(seed, honest, {"module": 60}, {0: ["module"]}, slots=4)
        self.kind, self.warm = kind, warm
        if requesters == 1:
            alone = self.nodes["peer00"]
            alone.capacity = replace(alone.capacity, engines=())
        self.asked_in_vain = self.awarded_in_vain = 0
        self.nodes = _WithNobody(dict(self.nodes))
        for number in range(invented):
            self.at(BEGIN_S - 10 + number / 1000, self._come, f"invented{number}", number, ranges)
        if warm:
            for number in range(JOBS):
                self.order_at(5 + number * WARM_S / JOBS, number % requesters, 1.0, "module")
        for number in range(JOBS):
            self.order_at(BEGIN_S + number, number % requesters, 1.0, "module")

    def _come(self, peer: str, number: int, ranges: int) -> None:
        host = f"9.{number % ranges % 250}.{number % ranges // 250}.{number // ranges % 250}"
        much = Resources(cpu_millis=64_000, memory_bytes=10**12)
        offer = replace(self.nodes["peer01"].capacity, price_micros=0, total=much, free=much)
        told = Advert(
            peer=peer,
            number=1,
            issued_ms=int(self.now * 1000),
            ttl_ms=600_000,
            name=peer,
            version="0",
            capacity=offer,
            addresses=(f"/ip4/{host}/tcp/4001",),
        )
        for node in self.nodes.values():
            self.give(node, 0, ConnectionChanged(peer, True, host))
            self.give(node, 0, AdvertHeard(signed(told), told, 600_000, peer))
            if number >= CONNECTED:
                self.give(node, 0, ConnectionChanged(peer, False))

    def transmit(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        if to.capacity is not None:
            super().transmit(sender, from_store, to, to_store, data)
            return
        message = vetting.message_untrusted(data, lambda peer: None)
        self.asked_in_vain += isinstance(message, Ask)
        self.awarded_in_vain += isinstance(message, Award)
        answer = self._answer(to.peer, message)
        if answer is not None:
            found = decode(answer.receipt.body, Receipt) if isinstance(answer, Ended) else None
            self.at(0.001, self.give, sender, sender.incarnation, Received(to.peer, answer, found))

    def _answer(self, peer: str, message: Message) -> Message | None:
        kind = self.kind
        if kind is Kind.SILENT or not isinstance(message, Ask | Award):
            return None
        of: dict[str, Any] = {"execution": message.execution, "round": message.round}
        if isinstance(message, Award):
            if kind is Kind.PREPARING:
                return Update(**of, sequence=1, stage=Stage.PREPARING, detail="")
            if kind is Kind.FAILING:
                return Ended(**of, receipt=signed(_receipt(peer, message)))
            late = {Kind.LATE: RefusalKind.BUSY, Kind.UNSUITED: RefusalKind.UNSUITABLE}.get(kind)
            return None if late is None else Refusal(**of, refusal_kind=late, reason="no")
        if kind is Kind.HOLDING:
            return Refusal(**of, refusal_kind=RefusalKind.QUEUED, reason="wait")
        valid_ms = 1_001 if kind is Kind.LAPSING else 10_000
        return Bid(**of, valid_ms=valid_ms, price_micros=0, start_ms=0)

    def waits(self, longer_s: float = 0.0) -> list[float]:
        """Seconds until each job ran, the shortest first; a job that failed is as one that never did."""
        self.run(BEGIN_S + JOBS + 60 + longer_s)
        found = []
        for record in self.records():
            if record.created >= self.began:
                done = [one.started for one in record.now_of(ExecutionState.COMPLETED) if one.started]
                found.append(min(done, default=float("inf")) - record.created)
        assert len(found) == JOBS
        return sorted(found)

    @property
    def began(self) -> float:
        return EPOCH + BEGIN_S


def _receipt(peer: str, award: Award) -> Receipt:
    authority = mandate.read(award.mandate)
    return receipt(
        award.execution,
        job=authority.charter.job,
        round=award.round,
        replica=award.replica,
        peer=peer,
        requester=authority.requester,
        spec_hash=digest(award.spec),
        exit_code=None,
        fault=Fault.PEER,
        reason="no luck",
    )


class _WithNobody(dict[str, Node]):
    """The nodes by their ids; nobody real is behind an invented one."""

    def __missing__(self, peer: str) -> Any:
        return _Nobody(peer)


class _Nobody:
    store = 0
    capacity = None

    def __init__(self, peer: str) -> None:
        self.peer = peer
