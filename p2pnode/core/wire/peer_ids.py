"""Peer ids as text: the base58 of the identity multihash of an Ed25519 public key.

(https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md)
"""

from __future__ import annotations

from functools import lru_cache

import base58

from .codec import BadMessage
from .fields import PEER_ID_LENGTH_MAX

# Multihash code 0 (identity), its length, then the protobuf `PublicKey`: type 1 (Ed25519), 32 bytes of data.
_PREFIX = bytes.fromhex("0024") + bytes.fromhex("08011220")
_KEY_SIZE_BYTES = 32
# Ids whose keys are remembered: each message names some.
PEER_IDS_MAX = 1_024


def of_public_key(public_key: bytes) -> str:
    """The peer id of an Ed25519 public key of 32 bytes."""
    return str(base58.b58encode(_PREFIX + public_key), "ascii")


def public_key_untrusted(peer_id: str) -> bytes:
    """The Ed25519 public key in a peer id; raises `BadMessage` if it is none."""
    if len(peer_id) > PEER_ID_LENGTH_MAX:
        raise BadMessage("a peer id that is too long")
    return _public_key_untrusted(peer_id)


@lru_cache(PEER_IDS_MAX)
def _public_key_untrusted(peer_id: str) -> bytes:
    """The key in an id, which is always the same: it takes a tenth of a millisecond to read."""
    try:
        data = base58.b58decode(peer_id)
    except ValueError as exc:
        raise BadMessage(f"not a peer id: {exc}") from exc
    if not data.startswith(_PREFIX) or len(data) != len(_PREFIX) + _KEY_SIZE_BYTES:
        raise BadMessage("not the peer id of an Ed25519 key")
    # One peer has one name: base58 decoders skip blanks at the ends.
    if of_public_key(data[len(_PREFIX) :]) != peer_id:
        raise BadMessage("a peer id that is not in its one form")
    return bytes(data[len(_PREFIX) :])


def is_peer_id(text: str) -> bool:
    try:
        public_key_untrusted(text)
    except BadMessage:
        return False
    return True
