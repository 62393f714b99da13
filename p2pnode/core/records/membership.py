"""Memberships of private networks: how they are made and checked, what each role may, tokens as text.

An operator signs an invitation for a key pair made for it; whoever holds that key signs a peer's entry. So
a membership is made and checked without a line to the operator, by whoever knows the operator's id.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import bootstrap, codec, extensions
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX
from p2pnode.core.wire.membership import (
    MEMBERSHIP_BODY_SIZE_BYTES_MAX,
    InvitationBody,
    InvitationToken,
    MemberBody,
    Membership,
    Role,
)
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.signing import INVITATION_DOMAIN, MEMBER_DOMAIN, Keys, Signed

OPEN_NETWORK = "the open network"
# The extension of an advert in a private network: the canonical CBOR of its peer's membership.
MEMBERSHIP_EXTENSION = "membership/1"
# Said when so much of a membership's time is left: three days of thirty.
ENDS_SOON_SHARE = 0.1
_ASK = "ask its operator for a new invitation, then p2pnode network leave and join"
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_READ_MAX = 2_000
# The form of a token; another form gets another number.
TOKEN_PREFIX = "p2pnet1-"
# A body with extensions and eight addresses, and a third more by base64; one line still.
TOKEN_LENGTH_MAX = 16 * 1024
_LENGTH_SIZE_BYTES = 2
# Against mistakes of copying, not against forgers: those lack the operator's key.
_CHECKSUM_SIZE_BYTES = 8


class Right(enum.StrEnum):
    """An act in a network that a role may or may not do, as people read it."""

    SUBMIT = "submit jobs"
    COMPUTE = "run jobs of others"
    LOOK_AFTER = "look after jobs of others"
    CONTROL_OTHERS = "control jobs of others"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.GUEST: frozenset({Right.SUBMIT}),
    Role.MEMBER: frozenset({Right.SUBMIT, Right.COMPUTE, Right.LOOK_AFTER}),
    Role.OPERATOR: frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class Member:
    """A membership as it is read."""

    network: str
    operator: str
    peer: str
    role: Role
    expires_ms: int
    joined_ms: int
    # The number of the invitation.
    invitation: int

    @property
    def expires(self) -> float | None:
        """The Unix time at which the membership ends; None: never."""
        return None if self.expires_ms == MOMENT_MS_MAX else self.expires_ms / 1000

    def may(self, right: Right) -> bool:
        return right in RIGHTS[self.role]


def invite(operator: Keys, body: InvitationBody) -> Signed:
    """The invitation, signed by the operator, whose keys these are."""
    encoded = codec.encode(body)
    return Signed(body=encoded, signature=operator.sign(INVITATION_DOMAIN, encoded))


def enter(invited: Keys, invitation: Signed, peer: str, now_ms: int) -> Membership:
    """The membership of a peer by a checked invitation, whose own keys these are."""
    body = codec.decode(invitation.body, InvitationBody)
    entry = codec.encode(
        MemberBody(network=body.network, operator=body.operator, peer=peer, joined_ms=now_ms)
    )
    return Membership(
        invitation=invitation, member=Signed(body=entry, signature=invited.sign(MEMBER_DOMAIN, entry))
    )


def vet_invitation_untrusted(invitation: Signed, keys: Keys) -> InvitationBody:
    """Read an invitation, expired or not; raises `BadMessage` where its operator did not sign it."""
    body = codec.decode_untrusted(invitation.body, InvitationBody, MEMBERSHIP_BODY_SIZE_BYTES_MAX)
    extensions.vet(body, "the invitation")
    keys.verify_untrusted(body.operator, INVITATION_DOMAIN, invitation)
    return body


def vet_untrusted(
    membership: Membership, network: str, operator: str, peer: str, now_ms: int, keys: Keys
) -> Member:
    """Read a membership of `peer` in the operator's network; raises `BadMessage` with what is wrong."""
    invitation = vet_invitation_untrusted(membership.invitation, keys)
    if invitation.network != network:
        raise BadMessage(f"an invitation to the network {invitation.network}, not {network}")
    if invitation.operator != operator:
        raise BadMessage(f"an invitation of another operator: {invitation.operator}")
    body = codec.decode_untrusted(membership.member.body, MemberBody, MEMBERSHIP_BODY_SIZE_BYTES_MAX)
    extensions.vet(body, "the membership")
    if (body.network, body.operator) != (network, operator):
        raise BadMessage("a membership of another network than its invitation's")
    if body.peer != peer:
        raise BadMessage(f"the membership of another peer: {body.peer}")
    if body.joined_ms >= invitation.expires_ms:
        raise BadMessage(
            "a membership that began when its invitation had expired: ask the operator for another"
        )
    keys.verify_untrusted(invitation.key, MEMBER_DOMAIN, membership.member)
    member = read(membership)
    if now_ms >= member.expires_ms:
        raise Untimely("the membership has expired: ask the operator for another invitation")
    return member


def read(membership: Membership) -> Member:
    """Read a membership that was checked, or made here."""
    invitation = codec.decode(membership.invitation.body, InvitationBody)
    body = codec.decode(membership.member.body, MemberBody)
    return Member(
        network=body.network,
        operator=body.operator,
        peer=body.peer,
        role=invitation.role,
        expires_ms=_end_ms(invitation, body),
        joined_ms=body.joined_ms,
        invitation=invitation.number,
    )


def _end_ms(invitation: InvitationBody, entry: MemberBody) -> int:
    lasts_ms = invitation.member_for_ms
    return MOMENT_MS_MAX if lasts_ms is None else min(MOMENT_MS_MAX, entry.joined_ms + lasts_ms)


def described(name: str, operator: str, role: str, expires: float | None, now: float) -> str:
    """The network and this node's place in it, as a line for people; times are Unix times."""
    until = ""
    if expires is not None:
        day = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
        until = f" until {day}" if now < expires else f", expired {day}"
    return f"network {name} (private), operator {operator}, role {role}{until}"


def why_role_may_not(role: Role, right: Right) -> str | None:
    """Why a role may not do something, and what to ask for; None where it may."""
    if right in RIGHTS[role]:
        return None
    other = next(one for one in Role if right in RIGHTS[one])
    return f"role {role} may not {right}: ask the operator for an invitation as {other}"


def in_advert(membership: Membership) -> dict[str, bytes]:
    """The extensions of an advert that shows a membership."""
    return {MEMBERSHIP_EXTENSION: codec.encode(membership)}


def advertised(advert: Advert) -> Membership | None:
    """The membership in an advert; None where there is none, or none that can be read. Not checked."""
    data = (advert.extensions or {}).get(MEMBERSHIP_EXTENSION)
    return None if data is None else _in_advert(data)


@lru_cache(maxsize=_READ_MAX)
def _in_advert(data: bytes) -> Membership | None:
    try:
        return codec.decode_untrusted(data, Membership)
    except BadMessage:
        return None


@lru_cache(maxsize=_READ_MAX)
def _read_role(data: bytes) -> Role | None:
    try:
        return read(codec.decode(data, Membership)).role
    except codec.Unreadable:
        return None


def role_of(advert: Advert) -> Role | None:
    """The role of an advert's peer, as it was checked when the advert came; None in the open network."""
    data = (advert.extensions or {}).get(MEMBERSHIP_EXTENSION)
    return None if data is None else _read_role(data)


def why_may_not(advert: Advert, right: Right) -> str | None:
    """Why an advert's peer may not do something in its network; None where it may, as all in the open one."""
    role = role_of(advert)
    return None if role is None else why_role_may_not(role, right)


def why_ended(member: Member, now: float) -> str | None:
    """A line that a membership has ended, and what to do; None where it lasts."""
    if member.expires is None or now < member.expires:
        return None
    return f"the membership of the network {member.network} has ended: {_ASK}"


def ends_soon(member: Member, now: float) -> str | None:
    """A line that a membership ends, or has ended, and what to do; None where there is time."""
    expires = member.expires
    if expires is None or expires - now > ENDS_SOON_SHARE * (expires - member.joined_ms / 1000):
        return None
    if ended := why_ended(member, now):
        return ended
    left_s = max(1, int(expires - now))
    unit, unit_s = next(one for one in _UNITS if left_s >= one[1])
    left = f"{left_s // unit_s} {unit}{'s' * (left_s >= 2 * unit_s)}"
    return f"the membership of the network {member.network} ends in {left}: {_ASK}"


def write_token(token: InvitationToken) -> str:
    """The token as one line."""
    return as_line(codec.encode(token))


def as_line(data: bytes) -> str:
    """The line of a token whose inside these bytes are."""
    framed = len(data).to_bytes(_LENGTH_SIZE_BYTES, "big") + data + _checksum(data)
    return TOKEN_PREFIX + base64.urlsafe_b64encode(framed).decode().rstrip("=")


def read_token_untrusted(text: str) -> InvitationToken:
    """The token in a text, which mails may have wrapped; raises `BadMessage`, without any of the text."""
    line = "".join(text.split())
    if len(line) > TOKEN_LENGTH_MAX:
        raise BadMessage(f"no token: more than {TOKEN_LENGTH_MAX} characters")
    if not line.startswith(TOKEN_PREFIX):
        raise BadMessage(f"no token: p2pnode network invite prints one, which begins with {TOKEN_PREFIX}")
    data = _unframed(line.removeprefix(TOKEN_PREFIX))
    token = codec.decode_untrusted(data, InvitationToken, TOKEN_LENGTH_MAX)
    extensions.vet(token, "the token")
    for address in token.addresses:
        try:
            bootstrap.parse_given(address)
        except addressing.BadAddress as exc:
            raise BadMessage(f"the token names a wrong address: {exc}") from exc
    return token


def _unframed(text: str) -> bytes:
    # A single character left over, as a cut leaves one, holds no byte.
    whole = text[:-1] if len(text) % 4 == 1 else text
    try:
        framed = base64.b64decode(whole + "=" * (-len(whole) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadMessage("the token is damaged: copy it again") from exc
    size_bytes = int.from_bytes(framed[:_LENGTH_SIZE_BYTES], "big")
    data = framed[_LENGTH_SIZE_BYTES:]
    if len(framed) < _LENGTH_SIZE_BYTES or len(data) < size_bytes + _CHECKSUM_SIZE_BYTES:
        raise BadMessage("the token is cut off: copy all of its line")
    if data[size_bytes:] != _checksum(data[:size_bytes]) or whole != text:
        raise BadMessage("the token is damaged: copy it again")
    return data[:size_bytes]


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_CHECKSUM_SIZE_BYTES]
