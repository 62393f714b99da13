"""The receipts of a job's executions: fetched, verified against their peers' keys, written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2pnode import identity
from p2pnode.api.client import Client
from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.cli.output import answer_json, as_json, say, short_id
from p2pnode.cli.ownfiles import write_file
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.ipfs import car


def write_receipts(client: Client, job: JobJson, executions: Sequence[ExecutionJson], file: str) -> None:
    """Write the receipts of all executions that have one to a file, or, for "-", to stdout."""
    found = [(one, one["receipt_cid"]) for one in executions]
    receipts = [_verified(client, job, one, cid) for one, cid in found if cid]
    if not receipts:
        raise CommandError(Status.FAILED, f"{job['id']} has no receipts: no execution of it has ended")
    if file == "-":
        answer_json(receipts)
        return
    write_file(Path(file), as_json(receipts))
    say(f"{file}: {len(receipts)} verified receipt{'s' * (len(receipts) > 1)}")


def _verified(client: Client, job: JobJson, execution: ExecutionJson, cid: str) -> dict[str, Any]:
    """A receipt with all that is needed to verify it again; it must be of this very execution."""
    name = f"the receipt of {short_id(execution['id'])}"
    try:
        block = car.blocks_in_order(client.export_car(cid, [execution["peer"]]))(cid)
        assert block is not None
        signed = codec.decode_untrusted(block, Signed)
        body = identity.verify_untrusted(execution["peer"], RECEIPT_DOMAIN, signed)
        receipt = codec.decode_untrusted(body, Receipt)
    except BadMessage as error:
        raise CommandError(Status.FAILED, f"{name} is not valid: {error}") from error
    named = (receipt.job, receipt.execution, receipt.peer, receipt.result_cid)
    if named != (job["id"], execution["id"], execution["peer"], execution["result_cid"]):
        raise CommandError(Status.FAILED, f"{name} is one of another execution, peer or result")
    return {
        "cid": cid,
        "receipt": codec.plain(receipt),
        # The signature is over these bytes after the domain, by the key that the peer's id holds.
        "domain": RECEIPT_DOMAIN.hex(),
        "body": signed.body.hex(),
        "signature": signed.signature.hex(),
        "verified": True,
    }
