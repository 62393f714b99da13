"""The private network that this node is in, as its data directory keeps it: made, joined, left.

One file holds it all, for its owner alone, and appears whole or not at all: the network's keys, this node's
membership, nodes to connect to first, and where the network was made the operator's private key. A second
file is the operator's newest record of those expelled.

May know `identity` and the core. Known to `serving`, `doctor`, `service` and the command line.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from p2pnode.core.records import keyring, membership, roster
from p2pnode.core.records.keyring import first as first_keyring
from p2pnode.core.records.membership import Member
from p2pnode.core.records.roster import vet_expulsion_untrusted
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import bootstrap, codec
from p2pnode.core.wire.codec import BadMessage, Record
from p2pnode.core.wire.fields import INTEGER_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.membership import (
    BOOTSTRAP_ADDRESSES_MAX,
    EXPULSION_BODY_SIZE_BYTES_MAX,
    NETWORK_KEY_SIZE_BYTES,
    NETWORK_NAME_PATTERN,
    SEED_SIZE_BYTES,
    BootstrapAddresses,
    ExpulsionBody,
    InvitationBody,
    InvitationToken,
    KeyringBody,
    Membership,
    NetworkKey,
    Role,
    Seed,
)
from p2pnode.core.wire.signing import Signed

from . import identity
from .identity import Identity

NETWORK_FILE = "network.key"
EXPELLED_FILE = "network.expelled"
# A token's content, and a membership for its invitation.
_FILE_SIZE_BYTES_MAX = 64 * 1024
_EXPELLED_SIZE_BYTES_MAX = EXPULSION_BODY_SIZE_BYTES_MAX + 1024
_NAME_ALLOWED = "expected 1 to 63 of a-z, 0-9 and -, the first no -"


class OwnNetworkError(Exception):
    """The network cannot be made, joined, left or read; the message says why and what to do."""


class OwnNetwork(Record, frozen=True):
    """A private network, and this node's place in it."""

    # The one that this node joined with, and the operator's newest record of keys, which counts if there is.
    key: NetworkKey
    keyring: Signed | None
    membership: Membership
    addresses: BootstrapAddresses
    # The operator's private key; None: the network was made on another machine.
    operator_seed: Seed | None

    def __repr__(self) -> str:
        return "OwnNetwork(...)"

    @property
    def member(self) -> Member:
        return membership.read(self.membership)

    @property
    def keys(self) -> KeyringBody:
        """The network's keys, as far as is known here; those that have ended may be among them."""
        if self.keyring is None:
            return first_keyring(self.member, self.key)
        return codec.decode(self.keyring.body, KeyringBody)


def load(data_dir: Path) -> OwnNetwork | None:
    """The network of the node on a data directory; None: the open one. Raises `OwnNetworkError`."""
    path = data_dir / NETWORK_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_SIZE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise OwnNetworkError(f"cannot read {path}: {exc.strerror}") from exc
    try:
        found = codec.decode_untrusted(data, OwnNetwork, _FILE_SIZE_BYTES_MAX)
        # All of it is used later on.
        for address in found.addresses:
            bootstrap.parse_given(address)
        membership.read(found.membership)
        if found.keyring is not None:
            member = found.member
            keyring.vet_untrusted(
                found.keyring, member.network, member.operator, Identity(bytes(SEED_SIZE_BYTES))
            )
    except (BadMessage, codec.Unreadable, addressing.BadAddress) as exc:
        raise OwnNetworkError(f"{path} is damaged: move it away, and join again by a token") from exc
    return found


def create(data_dir: Path, name: str, now_ms: int) -> OwnNetwork:
    """Make a network whose operator this node is; raises `OwnNetworkError`."""
    _refuse_second(data_dir)
    operator = Identity(secrets.token_bytes(SEED_SIZE_BYTES))
    invited = Identity(secrets.token_bytes(SEED_SIZE_BYTES))
    body = _invitation(name, operator, invited, Role.OPERATOR, MOMENT_MS_MAX, None)
    invitation = membership.invite(operator, body)
    made = OwnNetwork(
        key=secrets.token_bytes(NETWORK_KEY_SIZE_BYTES),
        keyring=None,
        membership=membership.enter(invited, invitation, _own_peer(data_dir), now_ms),
        addresses=(),
        operator_seed=operator.seed,
    )
    _save(data_dir, made)
    return made


def invite(
    own: OwnNetwork, role: Role, expires_ms: int, member_for_ms: int | None, addresses: Sequence[str]
) -> str:
    """A token for the network; raises `OwnNetworkError` where the operator's key is not here."""
    operator, invited = _operator(own, "invite"), Identity(secrets.token_bytes(SEED_SIZE_BYTES))
    body = _invitation(own.member.network, operator, invited, role, expires_ms, member_for_ms)
    return membership.write_token(
        InvitationToken(
            invitation=membership.invite(operator, body),
            seed=invited.seed,
            network_key=own.keys.key,
            addresses=tuple(addresses)[:BOOTSTRAP_ADDRESSES_MAX],
        )
    )


def number_of(token: str) -> int:
    """The number of the invitation in a token that was made here."""
    invitation = membership.read_token_untrusted(token).invitation
    return codec.decode(invitation.body, InvitationBody).number


def join(data_dir: Path, text: str, now_ms: int) -> OwnNetwork:
    """Join the network of a token, without asking anyone; raises `OwnNetworkError`."""
    try:
        token = membership.read_token_untrusted(text)
        invited = Identity(token.seed)
        body = membership.vet_invitation_untrusted(token.invitation, invited)
        if now_ms >= body.expires_ms:
            raise OwnNetworkError("the invitation has expired: ask the operator for another")
        _refuse_second(data_dir, body)
        peer = _own_peer(data_dir)
        entered = membership.enter(invited, token.invitation, peer, now_ms)
        membership.vet_untrusted(entered, body.network, body.operator, peer, now_ms, invited)
    except BadMessage as exc:
        raise OwnNetworkError(str(exc)) from exc
    joined = OwnNetwork(
        key=token.network_key,
        keyring=None,
        membership=entered,
        addresses=token.addresses,
        operator_seed=None,
    )
    _save(data_dir, joined)
    return joined


def expelled(data_dir: Path, own: OwnNetwork) -> Signed | None:
    """The record of those expelled that is kept here, if there is one; raises `OwnNetworkError`."""
    path = data_dir / EXPELLED_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_EXPELLED_SIZE_BYTES_MAX + 1)
        signed = codec.decode_untrusted(data, Signed, _EXPELLED_SIZE_BYTES_MAX)
        member = own.member
        vet_expulsion_untrusted(signed, member.network, member.operator, Identity(bytes(SEED_SIZE_BYTES)))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise OwnNetworkError(f"cannot read {path}: {exc.strerror}") from exc
    except BadMessage as exc:
        raise OwnNetworkError(f"{path} is damaged ({exc}): move it away; members send it again") from exc
    return signed


def keep_expelled(data_dir: Path, signed: Signed) -> None:
    """Store the record of those expelled in place of the one before; raises `OwnNetworkError`."""
    path = data_dir / EXPELLED_FILE
    try:
        identity.write_over(path, codec.encode(signed))
    except OSError as exc:
        raise OwnNetworkError(f"cannot write {path}: {exc.strerror}") from exc


def expel(
    data_dir: Path, own: OwnNetwork, peers: Sequence[str], invitations: Sequence[int], now_ms: int
) -> ExpulsionBody:
    """Expel peers, and all who joined by these invitations; raises `OwnNetworkError`."""
    member, operator = own.member, _operator(own, "expel")
    if member.peer in peers or member.invitation in invitations:
        raise OwnNetworkError("that is this machine, which holds the operator's key")
    found = expelled(data_dir, own)
    before = codec.decode(found.body, ExpulsionBody) if found else None
    try:
        signed = roster.expel(operator, member, before, peers, invitations, now_ms)
    except ValueError as exc:
        raise OwnNetworkError(str(exc)) from exc
    keep_expelled(data_dir, signed)
    return codec.decode(signed.body, ExpulsionBody)


def rotate_key(data_dir: Path, own: OwnNetwork, grace_ms: int, now_ms: int) -> KeyringBody:
    """Make a new network key, beside which those before count for the grace; raises `OwnNetworkError`."""
    operator, found = _operator(own, "rotate it"), expelled(data_dir, own)
    serial = codec.decode(found.body, ExpulsionBody).serial if found else 0
    made = secrets.token_bytes(NETWORK_KEY_SIZE_BYTES)
    try:
        signed = keyring.rotate(operator, own.member, own.keys, made, serial, grace_ms, now_ms)
    except ValueError as exc:
        raise OwnNetworkError(str(exc)) from exc
    keep_keyring(data_dir, own, signed)
    return codec.decode(signed.body, KeyringBody)


def keyring_of(data_dir: Path, own: OwnNetwork) -> Signed | None:
    """The record of the network's keys that lies here now; raises `OwnNetworkError`."""
    there = load(data_dir)
    return there.keyring if there is not None and there.membership == own.membership else None


def keep_keyring(data_dir: Path, own: OwnNetwork, signed: Signed) -> None:
    """Store the network's keys; raises `OwnNetworkError`.

    Nothing is stored where the node has left that network meanwhile, or has newer ones.
    """
    there = load(data_dir)
    body = codec.decode(signed.body, KeyringBody)
    if there is None or there.membership != own.membership or there.keys.serial >= body.serial:
        return
    path = data_dir / NETWORK_FILE
    try:
        identity.write_over(path, codec.encode(codec.replace(there, key=body.key, keyring=signed)))
    except OSError as exc:
        raise OwnNetworkError(f"cannot write {path}: {exc.strerror}") from exc


def parse_name(text: str) -> str:
    """The name of a network; raises `ValueError`."""
    if not re.match(NETWORK_NAME_PATTERN, text):
        raise ValueError(f"{text[:63]!r} is no name of a network: {_NAME_ALLOWED}")
    return text


def leave(data_dir: Path) -> None:
    """Forget the network, and with it its keys; raises `OwnNetworkError`."""
    for path in (data_dir / NETWORK_FILE, data_dir / EXPELLED_FILE):
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise OwnNetworkError(f"cannot remove {path}: {exc.strerror}") from exc


def peers_of(own: OwnNetwork | None, me: str) -> tuple[str, ...]:
    """The nodes to connect to first, without this one."""
    found = () if own is None else own.addresses
    return tuple(one for one in found if bootstrap.peer_of(one) != me)


def why_of_another(data_dir: Path, own: OwnNetwork) -> str | None:
    """A line that the membership is not of the identity here, and what to do; None where it is.

    Raises `OwnNetworkError` where the identity cannot be read.
    """
    path = data_dir / identity.KEY_FILE_NAME
    me = _own_peer(data_dir) if path.exists() else None
    if own.member.peer == me:
        return None
    anew = "" if own.operator_seed else ", or p2pnode network leave and join by a new token"
    return (
        f"the membership of {own.member.network} is of {own.member.peer}, whose {path} is gone"
        f" or was replaced, so that members refuse this node: put it back{anew}"
    )


def description(own: OwnNetwork | None, now: float) -> str:
    """The network that this node is in, as a line for people."""
    if own is None:
        return membership.OPEN_NETWORK
    member = own.member
    return membership.described(member.network, member.operator, member.role, member.expires, now)


def _operator(own: OwnNetwork, act: str) -> Identity:
    if own.operator_seed is None:
        raise OwnNetworkError(
            f"the key of {own.member.network}'s operator is not on this machine: {act} where it was made"
        )
    return Identity(own.operator_seed)


def _invitation(
    name: str,
    operator: Identity,
    invited: Identity,
    role: Role,
    expires_ms: int,
    member_for_ms: int | None,
) -> InvitationBody:
    return InvitationBody(
        network=name,
        operator=operator.peer_id,
        key=invited.peer_id,
        role=role,
        expires_ms=expires_ms,
        member_for_ms=member_for_ms,
        number=secrets.randbelow(INTEGER_MAX),
    )


def _refuse_second(data_dir: Path, invitation: InvitationBody | None = None) -> None:
    own = load(data_dir)
    if own is None:
        return
    member = own.member
    if invitation is not None and invitation.operator == member.operator:
        raise OwnNetworkError(
            f"this node is in {member.network} already: to join anew, p2pnode network leave"
        )
    raise OwnNetworkError(f"this node is in the network {member.network}: first p2pnode network leave")


def _own_peer(data_dir: Path) -> str:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return identity.load_or_create(data_dir).peer_id
    except OSError as exc:
        raise OwnNetworkError(f"cannot use {data_dir}: {exc.strerror}") from exc
    except identity.IdentityError as exc:
        raise OwnNetworkError(str(exc)) from exc


def _save(data_dir: Path, own: OwnNetwork) -> None:
    path = data_dir / NETWORK_FILE
    try:
        if not identity.write_new(path, codec.encode(own)):
            raise OwnNetworkError("another command made or joined a network just now: p2pnode network show")
    except OSError as exc:
        raise OwnNetworkError(f"cannot write {path}: {exc.strerror}") from exc
