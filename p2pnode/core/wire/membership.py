"""The records of a private network (protocols/network.md): invitations to it, memberships, keys, tokens."""

from __future__ import annotations

import enum
from typing import Annotated

from .codec import Meta, Record
from .extensions import Open
from .fields import MOMENT_MS_MAX, Moment, Natural, PeerId
from .signing import Signed

# A label of DNS: fits a line, a file name and a terminal.
NETWORK_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}\Z"
# As libp2p's private networks have it.
NETWORK_KEY_SIZE_BYTES = 32
SEED_SIZE_BYTES = 32
# Nodes to begin with: more would make the line too long to pass on.
BOOTSTRAP_ADDRESSES_MAX = 8
BOOTSTRAP_ADDRESS_LENGTH_MAX = 256
# Two peer ids, a name, a role and two numbers, and some extensions.
MEMBERSHIP_BODY_SIZE_BYTES_MAX = 8 * 1024

# The peers, and the invitations, that an operator may expel: all are in one frame, at each new link.
EXPELLED_MAX = 1_000
# A peer id takes 54 bytes, a number 9.
EXPULSION_BODY_SIZE_BYTES_MAX = 72 * 1024
# The record of those expelled, a membership, and the maps around them.
MEMBER_FRAME_SIZE_BYTES_MAX = 96 * 1024

# The keys before the newest that still count: more rotations within their time are mistakes.
EARLIER_KEYS_MAX = 7
# A key takes some 80 bytes; and some extensions.
KEYRING_BODY_SIZE_BYTES_MAX = 8 * 1024
# The keyring, and the record of those expelled.
KEYRING_FRAME_SIZE_BYTES_MAX = 96 * 1024

NetworkName = Annotated[str, Meta(pattern=NETWORK_NAME_PATTERN)]
NetworkKey = Annotated[bytes, Meta(min_length=NETWORK_KEY_SIZE_BYTES, max_length=NETWORK_KEY_SIZE_BYTES)]
Seed = Annotated[bytes, Meta(min_length=SEED_SIZE_BYTES, max_length=SEED_SIZE_BYTES)]
BootstrapAddress = Annotated[str, Meta(min_length=1, max_length=BOOTSTRAP_ADDRESS_LENGTH_MAX)]
BootstrapAddresses = Annotated[tuple[BootstrapAddress, ...], Meta(max_length=BOOTSTRAP_ADDRESSES_MAX)]


class Role(enum.StrEnum):
    """A member's place in a network."""

    GUEST = "guest"
    MEMBER = "member"
    OPERATOR = "operator"


class InvitationBody(Open, frozen=True):
    """An operator's word that whoever holds a key may join, which the operator's key signs."""

    network: NetworkName
    operator: PeerId
    # The public key of a pair made for this invitation, as a peer id.
    key: PeerId
    role: Role
    # Nobody joins from then on.
    expires_ms: Moment
    # How long a membership by it lasts; None: without end.
    member_for_ms: Annotated[int, Meta(ge=1, le=MOMENT_MS_MAX)] | None
    # At random, so that one invitation can be told from another.
    number: Natural


class MemberBody(Open, frozen=True):
    """A peer's entry by an invitation, whose key signs it."""

    network: NetworkName
    operator: PeerId
    peer: PeerId
    joined_ms: Moment


class Membership(Record, frozen=True):
    """A peer's place in a network, as it can be shown to whoever knows the operator's id."""

    invitation: Signed
    member: Signed


class ExpulsionBody(Open, frozen=True):
    """All whom an operator has expelled from its network, which its key signs."""

    network: NetworkName
    operator: PeerId
    # The record with the highest counts. p2pnode: at least the time in ms.
    serial: Moment
    peers: Annotated[tuple[PeerId, ...], Meta(max_length=EXPELLED_MAX)]
    # Their numbers: by these nobody is in, whenever and as whoever they joined.
    invitations: Annotated[tuple[Natural, ...], Meta(max_length=EXPELLED_MAX)]


class MemberShown(Open, frozen=True):
    """A node's membership as it shows it to a neighbour, and the newest record of those expelled."""

    membership: Membership
    expulsion: Signed | None
    # Taken of the newest keyring that the sender has; 0: none.
    keyring_serial: Moment


class EarlierKey(Record, frozen=True):
    """A network key that is not the newest any more."""

    key: NetworkKey
    since_ms: Moment
    until_ms: Moment

    def __repr__(self) -> str:
        return "EarlierKey(...)"


class KeyringBody(Open, frozen=True):
    """All keys of a network that count, which its operator's key signs. Secret, as the keys are."""

    network: NetworkName
    operator: PeerId
    # The record with the highest counts. p2pnode: at least the time in ms.
    serial: Moment
    # Taken of the record of those expelled as this one was made; 0: there was none.
    expulsion_serial: Moment
    # The newest.
    key: NetworkKey
    since_ms: Moment
    # The newest first.
    earlier: Annotated[tuple[EarlierKey, ...], Meta(max_length=EARLIER_KEYS_MAX)]

    def __repr__(self) -> str:
        return "KeyringBody(...)"


class KeyringGiven(Open, frozen=True):
    """The newest keyring as a member gives it to another, and those expelled, who do not get it."""

    keyring: Signed
    expulsion: Signed | None

    def __repr__(self) -> str:
        return "KeyringGiven(...)"


class InvitationToken(Open, frozen=True):
    """All that a machine needs to join. Secret: never logged, and printed where it is made alone."""

    invitation: Signed
    # The invitation's private key.
    seed: Seed
    # Shared by all of the network.
    network_key: NetworkKey
    addresses: BootstrapAddresses

    def __repr__(self) -> str:
        return "InvitationToken(...)"
