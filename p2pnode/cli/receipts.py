"""The receipts of a job's executions: verified against their peers' keys, told of, written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pnode import identity
from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.cli.output import answer_json, as_json, say, short_id, short_peer
from p2pnode.cli.ownfiles import write_file
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.core.records import vetting
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.ipfs import cid

# Peers whose word results are, named in a line of a terminal.
PEERS_TOLD_MAX = 3
_HINT = "--no-verify fetches it all the same, by the word of the node that is asked alone"


@dataclass(frozen=True, slots=True)
class Verified:
    """A receipt that its execution's peer has signed, and that says what the node says."""

    signed: Signed
    receipt: Receipt


def verified(client: Client, job: JobJson, executions: Sequence[ExecutionJson]) -> list[Verified]:
    """The executions' receipts; raises `CommandError` where one has none, or one that does not hold."""
    blocks = client.receipts(job["id"])
    return [_verified(job, one, blocks.get(one["id"])) for one in executions]


def say_whose_word(executions: Sequence[ExecutionJson]) -> None:
    """Say who vouches for the results of executions whose receipts are verified."""
    peers = {one["peer"]: one["peer_name"] for one in executions}
    names = [f"{name} ({short_peer(peer)})" if name else short_peer(peer) for peer, name in peers.items()]
    told = names[:PEERS_TOLD_MAX]
    if len(names) > len(told):
        told.append(f"{len(names) - len(told)} others")
    of = "result" if len(executions) == 1 else f"results of {len(executions)} executions"
    say(f"{of} by the signed word of {' and '.join(filter(None, (', '.join(told[:-1]), told[-1])))}")


def write_receipts(client: Client, job: JobJson, executions: Sequence[ExecutionJson], file: str) -> None:
    """Write the receipts of all executions that have one to a file, or, for "-", to stdout."""
    # An execution that has a result and no receipt is refused before anything is written.
    ended = [one for one in executions if one["receipt_cid"] or one["result_cid"]]
    found = verified(client, job, ended)
    if not found:
        raise CommandError(Status.FAILED, f"{job['id']} has no receipts: no execution of it has ended")
    receipts = [_as_json(one) for one in found]
    if file == "-":
        answer_json(receipts)
        return
    write_file(Path(file), as_json(receipts))
    say(f"{file}: {len(receipts)} verified receipt{'s' * (len(receipts) > 1)}")


def _verified(job: JobJson, execution: ExecutionJson, block: bytes | None) -> Verified:
    name = f"the receipt of {short_id(execution['id'])}"
    if block is None:
        reason = f"{short_id(execution['id'])} has no receipt of its peer {short_peer(execution['peer'])}"
        raise CommandError(Status.FAILED, reason, _HINT)
    try:
        signed = codec.decode_untrusted(block, Signed)
        body = identity.verify_untrusted(execution["peer"], RECEIPT_DOMAIN, signed)
        receipt = vetting.receipt_untrusted(body)
    except BadMessage as error:
        raise CommandError(Status.FAILED, f"{name} is not valid: {error}", _HINT) from error
    named = (receipt.job, receipt.execution, receipt.peer, receipt.replica)
    if named != (job["id"], execution["id"], execution["peer"], execution["replica"]):
        raise CommandError(Status.FAILED, f"{name} is one of another execution or peer", _HINT)
    files = {one["version"]: one["spec_hash"] for one in job["versions"]}
    if receipt.spec_hash != files.get(execution["version"], receipt.spec_hash):
        reason = f"{name} is one of another file than version {execution['version']} of the job"
        raise CommandError(Status.FAILED, reason, _HINT)
    if (receipt.result_cid, receipt.exit_code) != (execution["result_cid"], execution["exit_code"]):
        raise CommandError(Status.FAILED, f"{name} is one of another result or exit code", _HINT)
    return Verified(signed, receipt)


def _as_json(one: Verified) -> dict[str, Any]:
    """A receipt with all that is needed to verify it again."""
    return {
        "cid": cid.make(codec.encode(one.signed), "dag-cbor"),
        "receipt": codec.plain(one.receipt),
        # The signature is over these bytes after the domain, by the key that the peer's id holds.
        "domain": RECEIPT_DOMAIN.hex(),
        "body": one.signed.body.hex(),
        "signature": one.signed.signature.hex(),
        "verified": True,
    }
