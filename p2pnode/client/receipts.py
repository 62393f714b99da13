"""The receipts of a job's executions, verified against their peers' keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2pnode import identity
from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.core.records import vetting
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed

from .calls import Client
from .errors import NotVerified
from .shortening import short_id, short_peer


@dataclass(frozen=True, slots=True)
class Verified:
    """A receipt that its execution's peer has signed, and that says what the node says."""

    signed: Signed
    receipt: Receipt


def verified(client: Client, job: JobJson, executions: Sequence[ExecutionJson]) -> list[Verified]:
    """The executions' receipts; raises `NotVerified` where one has none, or one that does not hold."""
    blocks = client.receipts(job["id"])
    return [_verified(job, one, blocks.get(one["id"])) for one in executions]


def _verified(job: JobJson, execution: ExecutionJson, block: bytes | None) -> Verified:
    name = f"the receipt of {short_id(execution['id'])}"
    if block is None:
        raise NotVerified(
            f"{short_id(execution['id'])} has no receipt of its peer {short_peer(execution['peer'])}"
        )
    try:
        signed = codec.decode_untrusted(block, Signed)
        body = identity.verify_untrusted(execution["peer"], RECEIPT_DOMAIN, signed)
        receipt = vetting.receipt_untrusted(body)
    except BadMessage as error:
        raise NotVerified(f"{name} is not valid: {error}") from error
    named = (receipt.job, receipt.execution, receipt.peer, receipt.replica)
    if named != (job["id"], execution["id"], execution["peer"], execution["replica"]):
        raise NotVerified(f"{name} is one of another execution or peer")
    files = {one["version"]: one["spec_hash"] for one in job["versions"]}
    if receipt.spec_hash != files.get(execution["version"], receipt.spec_hash):
        raise NotVerified(f"{name} is one of another file than version {execution['version']} of the job")
    if (receipt.result_cid, receipt.exit_code) != (execution["result_cid"], execution["exit_code"]):
        raise NotVerified(f"{name} is one of another result or exit code")
    return Verified(signed, receipt)
