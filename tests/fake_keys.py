"""Signatures that only the holder of a peer's keys makes, for peers of any name."""

from __future__ import annotations

import hashlib

from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.signing import Signed


class FakeKeys:
    def __init__(self, me: str) -> None:
        self._me = me

    def sign(self, domain: bytes, body: bytes) -> bytes:
        return _fake_signature(self._me, domain, body)

    def verify_untrusted(self, peer_id: str, domain: bytes, signed: Signed) -> bytes:
        if signed.signature != _fake_signature(peer_id, domain, signed.body):
            raise BadMessage(f"not signed by {peer_id}")
        return signed.body


def _fake_signature(peer: str, domain: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=hashlib.sha256(peer.encode() + domain).digest()).digest()
