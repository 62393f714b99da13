"""The ends of a fake node's jobs, and the receipts of their executions."""

from __future__ import annotations

from typing import Any

from p2pnode.core.records.lifecycle import JobState, Outcome
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Receipt, Signed
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.core.wire.states import Fault
from p2pnode.identity import Identity

# Runs all executions of a fake node, and signs their receipts.
SIGNER = Identity(bytes(32))
PEER = SIGNER.peer_id
SPEC_HASH = "0" * 64
EVENTS = ("asked 3 peers", "2 bids", "awarded to alpha", "preparing", "running", "publishing")

# How a job ends, by its name; one with another name works, and "endless" never ends.
ENDS = {
    "unplaceable": (JobState.FAILED, Outcome.NO_PEER, "no suitable peer: 2 of 2: no docker engine"),
    "exits-3": (JobState.FAILED, Outcome.PROGRAM, "the program exited 3"),
    "times-out": (JobState.FAILED, Outcome.TIMEOUT, "over its TotalTimeout of 5s"),
}


def a_receipt(job: str, execution: str, result: str, **changes: Any) -> Receipt:
    """A receipt of what a fake node has run."""
    plain = Receipt(
        job=job,
        execution=execution,
        round=1,
        replica=0,
        peer=PEER,
        requester=PEER,
        spec_hash=SPEC_HASH,
        program="",
        inputs=(),
        exit_code=0,
        fault=Fault.JOB if changes.get("exit_code") else None,
        reason="",
        result_cid=result,
        started_ms=1,
        ended_ms=2,
        cpu_ms=3,
        memory_bytes=4,
    )
    return codec.replace(plain, **changes)


def signed(receipt: Receipt, signer: Identity = SIGNER, domain: bytes = RECEIPT_DOMAIN) -> Signed:
    body = codec.encode(receipt)
    return Signed(body=body, signature=signer.sign(domain, body))
