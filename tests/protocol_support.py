"""The golden vectors and schemas of the pages in `PAGES`."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pycddl
import pytest

from p2pnode.core.records import keyring, mandate, membership, vetting
from p2pnode.core.records.roster import vet_expulsion_untrusted
from p2pnode.core.wire import codec
from p2pnode.core.wire.exec import ExecBody, ExecRequest, FromController, FromPeer
from p2pnode.core.wire.inquiries import JobsPage, LogOrderAnswer, LogOrderRequest, LogsPiece, LogsRequest
from p2pnode.core.wire.mandates import Charter, CommandBody, Extension, Mandate, job_id
from p2pnode.core.wire.membership import (
    ExpulsionBody,
    InvitationBody,
    InvitationToken,
    KeyringBody,
    KeyringGiven,
    MemberBody,
    Membership,
    MemberShown,
)
from p2pnode.core.wire.messages import Adopt, Advert, Command, Message, Owned, Receipt, Replicate
from p2pnode.core.wire.places import PlacesTold
from p2pnode.core.wire.signing import Signed
from p2pnode.core.worker import entering
from p2pnode.identity import Identity

from .cddl_support import PROTOCOLS, definitions

PAGES = ("advert", "placement", "execution", "ownership", "logs", "jobs", "exec", "network")
# Names in a vector's "kind": the type in the code, and the rule of the schema.
KINDS: dict[str, tuple[Any, str]] = {
    "message": (Message, "placement-message / execution-message / ownership-message"),
    "advert": (Advert, "advert"),
    "signed": (Signed, "signed"),
    "receipt": (Receipt, "receipt"),
    "charter": (Charter, "charter"),
    "extension": (Extension, "extension"),
    "mandate": (Mandate, "mandate"),
    "places-told": (PlacesTold, "places-told"),
    "command-body": (CommandBody, "command-body"),
    "logs-request": (LogsRequest, "logs-request"),
    "logs-piece": (LogsPiece, "logs-piece"),
    "log-order-request": (LogOrderRequest, "log-order-request"),
    "log-order-answer": (LogOrderAnswer, "log-order-answer"),
    "jobs-page": (JobsPage, "jobs-page"),
    "exec-request": (ExecRequest, "exec-request"),
    "exec-body": (ExecBody, "exec-body"),
    "exec-from-controller": (FromController, "exec-from-controller"),
    "exec-from-peer": (FromPeer, "exec-from-peer"),
    "invitation-body": (InvitationBody, "invitation-body"),
    "member-body": (MemberBody, "member-body"),
    "membership": (Membership, "membership"),
    "expulsion-body": (ExpulsionBody, "expulsion-body"),
    "member-shown": (MemberShown, "member-shown"),
    "keyring-body": (KeyringBody, "keyring-body"),
    "keyring-given": (KeyringGiven, "keyring-given"),
    "invitation-token": (InvitationToken, "invitation-token"),
}
# The peers whose keys protocols/README.md names, and the job that most vectors are about.
PEER, REQUESTER, CONTROLLER = (Identity(bytes(range(first, first + 32))) for first in range(3))
# The operator of the network "acme" is the requester, and an invitation's key the controller's.
NETWORK, MEMBER_NOW_MS = "acme", 1_950_000_000_000
JOB = job_id(REQUESTER.peer_id, bytes(range(16)))
DEFINITIONS = definitions("types", "spec", *PAGES)


@cache
def schema(rule: str) -> pycddl.Schema:
    # pycddl validates against a file's first rule.
    return pycddl.Schema(f"start = {rule}\n{DEFINITIONS}")


def read_untrusted(data: bytes, kind: Any) -> Any:
    """As a node reads it that knows nothing of what it is about, but the charter of a command's job."""
    if kind is Receipt:
        return vetting.receipt_untrusted(data)
    record = vetting.message_untrusted(data) if kind is Message else codec.decode_untrusted(data, kind)
    match record:
        case Mandate():
            mandate.vet(record, JOB, PEER)
        case Adopt(job=job, mandate=given) | Owned(job=job, mandate=given):
            mandate.vet(given, job, PEER)
        case Replicate(job=job, mandate=given):
            authority = mandate.vet(given, job, PEER)
            vetting.vet_copies(record, None, PEER)
            for command in record.commands:
                mandate.vet_command(command, authority, PEER)
            if record.spec is not None:
                mandate.vet_spec(record.spec, authority, record.commands)
        case Command(signed=signed):
            mandate.vet_command(signed, mandate.read(good("ownership", "mandate")[0]), PEER)
        case Membership():
            membership.vet_untrusted(record, NETWORK, REQUESTER.peer_id, PEER.peer_id, MEMBER_NOW_MS, PEER)
        case MemberShown():
            read_shown_untrusted(record)
        case KeyringGiven(keyring=signed):
            keyring.vet_untrusted(signed, NETWORK, REQUESTER.peer_id, PEER)
        case ExecRequest(signed=signed):
            entering.vet_untrusted(signed, CONTROLLER.peer_id, PEER.peer_id, PEER)
    return record


def read_shown_untrusted(shown: MemberShown) -> None:
    """As a member of the network does whom the requester's key has invited."""
    membership.vet_untrusted(shown.membership, NETWORK, REQUESTER.peer_id, PEER.peer_id, MEMBER_NOW_MS, PEER)
    if shown.expulsion is not None:
        vet_expulsion_untrusted(shown.expulsion, NETWORK, REQUESTER.peer_id, PEER)


def vectors(which: str) -> list[Any]:
    return [
        pytest.param(vector, id=f"{page}: {vector['name']}")
        for page in PAGES
        for vector in json.loads((PROTOCOLS / "vectors" / f"{page}.json").read_text())[which]
    ]


def plain(value: Any) -> Any:
    """Have bytes where the vectors write {"bytes": hex}."""
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def good(page: str, kind: str) -> list[Any]:
    found = json.loads((PROTOCOLS / "vectors" / f"{page}.json").read_text())["good"]
    data = [bytes.fromhex(one["hex"]) for one in found if one["kind"] == kind]
    return [codec.decode_untrusted(one, KINDS[kind][0]) for one in data]
