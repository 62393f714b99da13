"""Signatures under records: what each is over, and what the core needs of whoever makes and checks them."""

from __future__ import annotations

from typing import Annotated, Protocol

from .codec import Meta, Record

# The bytes that a signature is over begin with the kind of the record (protocols/README.md), so that a
# signature of one kind cannot be shown as one of another.
RECEIPT_DOMAIN = b"p2pnode/receipt/1\0"
CHARTER_DOMAIN = b"p2pnode/charter/1\0"
EXTENSION_DOMAIN = b"p2pnode/extension/1\0"
COMMAND_DOMAIN = b"p2pnode/command/1\0"
EXEC_DOMAIN = b"p2pnode/exec/1\0"
INVITATION_DOMAIN = b"p2pnode/invitation/1\0"
MEMBER_DOMAIN = b"p2pnode/member/1\0"
EXPULSION_DOMAIN = b"p2pnode/expulsion/1\0"
KEYRING_DOMAIN = b"p2pnode/keyring/1\0"


class Signed(Record, frozen=True):
    """The canonical bytes of a record, and a peer's Ed25519 signature over them."""

    body: bytes
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Keys(Protocol):
    """This node's key, and the public keys in peer ids."""

    def sign(self, domain: bytes, body: bytes) -> bytes:
        """Return the signature of 64 bytes over `domain + body`."""

    def verify_untrusted(self, peer_id: str, domain: bytes, signed: Signed) -> bytes:
        """Return the body of `signed`, which `peer_id` did sign for `domain`; raises `BadMessage`."""
