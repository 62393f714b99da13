"""The receipt of an execution, made of how its program ended."""

from __future__ import annotations

from p2pnode.core.values import content_paths
from p2pnode.core.wire.fields import REASON_LENGTH_MAX, RECEIPT_INPUTS_MAX
from p2pnode.core.wire.messages import Award, Receipt
from p2pnode.core.wire.states import Fault

from .program_end import ProgramEnd, failed
from .reservations import Reservation


def receipt(
    reservation: Reservation,
    award: Award,
    peer: str,
    end: ProgramEnd,
    result_cid: str | None,
    started_ms: int,
    ended_ms: int,
) -> Receipt:
    """The receipt that `peer` signs of an execution; the times are its own clock's."""
    # Their roots: the spec has the paths below them.
    inputs = tuple(
        content_paths.root_of(str(one.source.params["CID"]))
        for one in award.spec.task.inputs
        if one.source.type == "ipfs"
    )
    return Receipt(
        job=reservation.job,
        execution=reservation.execution,
        round=reservation.round,
        replica=award.replica,
        peer=peer,
        requester=reservation.owner,
        spec_hash=reservation.spec_hash,
        program=end.program,
        inputs=inputs[:RECEIPT_INPUTS_MAX],
        exit_code=end.exit_code,
        fault=end.fault,
        reason=end.reason[:REASON_LENGTH_MAX],
        result_cid=result_cid,
        started_ms=started_ms,
        ended_ms=ended_ms,
        cpu_ms=end.cpu_ms,
        memory_bytes=end.memory_bytes,
    )


def given_up(reservation: Reservation, award: Award, peer: str, reason: str, now_ms: int) -> Receipt:
    """Says that nothing came of it, by the peer's fault: another peer may do better."""
    end = failed(Fault.PEER, reason)
    return receipt(reservation, award, peer, end, None, started_ms=now_ms, ended_ms=now_ms)
