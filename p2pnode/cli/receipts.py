"""The receipts of a job's executions, verified: told of, and written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.cli.output import answer_json, as_json, say, short_peer
from p2pnode.cli.ownfiles import write_file
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.client.errors import NotVerified
from p2pnode.client.receipts import Verified, verified
from p2pnode.core.wire import codec
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.ipfs import cid

# Peers whose word results are, named in a line of a terminal.
PEERS_TOLD_MAX = 3
_HINT = "--no-verify fetches it all the same, by the word of the node that is asked alone"


def checked(client: Client, job: JobJson, executions: Sequence[ExecutionJson]) -> list[Verified]:
    """Verify the executions' receipts; ends the command where one does not hold."""
    try:
        return verified(client, job, executions)
    except NotVerified as error:
        raise CommandError(Status.FAILED, str(error), _HINT) from error


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
    found = checked(client, job, ended)
    if not found:
        raise CommandError(Status.FAILED, f"{job['id']} has no receipts: no execution of it has ended")
    receipts = [_as_json(one) for one in found]
    if file == "-":
        answer_json(receipts)
        return
    write_file(Path(file), as_json(receipts))
    say(f"{file}: {len(receipts)} verified receipt{'s' * (len(receipts) > 1)}")


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
