"""The receipt of an execution that its node could not bring to an end of its own."""

from __future__ import annotations

from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.messages import Award, Receipt
from p2pnode.core.wire.states import Fault

from .reservations import Reservation


def given_up(reservation: Reservation, award: Award, peer: str, reason: str, now_ms: int) -> Receipt:
    """Says that nothing came of it, by the peer's fault: another peer may do better."""
    return Receipt(
        job=reservation.job,
        execution=reservation.execution,
        round=reservation.round,
        replica=award.replica,
        peer=peer,
        requester=reservation.owner,
        spec_hash=reservation.spec_hash,
        program="",
        inputs=(),
        exit_code=None,
        fault=Fault.PEER,
        reason=reason[:REASON_LENGTH_MAX],
        result_cid=None,
        started_ms=now_ms,
        ended_ms=now_ms,
        cpu_ms=0,
        memory_bytes=0,
    )
