"""Content identifiers: text and bytes of CIDv0 and CIDv1, and checking a block against one.

A CID names a block by a hash of its bytes (the multihash) and says how to read it (the
codec). CIDv0 is a bare sha2-256 multihash of a dag-pb block, written in base58 (`Qm...`);
CIDv1 adds version and codec and is written here in base32 (`baf...`). We make CIDv1 with
sha2-256 only, and read sha2-256 and `identity`, whose digest is the block itself.
Rules: https://github.com/multiformats/cid and .../multihash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Literal

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage

Codec = Literal["raw", "dag-pb", "dag-cbor"]

CODES: dict[Codec, int] = {"raw": 0x55, "dag-pb": 0x70, "dag-cbor": 0x71}
_CODECS: dict[int, Codec] = {code: codec for codec, code in CODES.items()}
_SHA2_256 = 0x12
_SHA2_256_SIZE_BYTES = 32
_IDENTITY = 0x00
# Kubo's own limit for inlined blocks: more would let an address carry content.
_IDENTITY_SIZE_BYTES_MAX = 128
# Version, codec and hash code take 5 bytes; no digest that we read is longer than the one above.
CID_SIZE_BYTES_MAX = 8 + _IDENTITY_SIZE_BYTES_MAX
# Hexadecimal, the longest spelling that we read, takes 2 characters a byte.
_TEXT_LENGTH_MAX = 2 * CID_SIZE_BYTES_MAX + 1
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class BadCid(BadMessage):
    """Text or bytes that are no CID, or one of a kind that we cannot check."""


@dataclass(frozen=True, slots=True)
class Cid:
    version: Literal[0, 1]
    codec: Codec
    # Hash code, length and digest: what a block is found by, whichever CID it was asked for with.
    multihash: bytes

    def __bytes__(self) -> bytes:
        if self.version == 0:
            return self.multihash
        return bytes((1, CODES[self.codec])) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(self.multihash)
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")

    @property
    def prefix(self) -> bytes:
        """All but the digest, which is how bitswap describes a block that it sends."""
        if self.version == 0:
            return bytes((0, CODES["dag-pb"])) + self.multihash[:2]
        return bytes((1, CODES[self.codec])) + self.multihash[:2]

    @property
    def identity(self) -> bytes | None:
        """The block itself, where the CID holds it."""
        return self.multihash[2:] if self.multihash[0] == _IDENTITY else None

    def matches(self, data: bytes) -> bool:
        """Whether `data` is the block that this CID names."""
        return self.multihash == sha2_256(data) or self.identity == data


def sha2_256(data: bytes) -> bytes:
    """The sha2-256 multihash of `data`."""
    return bytes((_SHA2_256, _SHA2_256_SIZE_BYTES)) + hashlib.sha256(data).digest()


def of(data: bytes, codec: Codec) -> Cid:
    """The CID of a block."""
    return Cid(1, codec, sha2_256(data))


def make(data: bytes, codec: Codec) -> str:
    """The CID of a block, as text."""
    return str(of(data, codec))


def canonical(text: str) -> str:
    """The CIDv1 in base32 that names the same block as `text`; raises `BadCid`."""
    cid = parse(text)
    return str(Cid(1, cid.codec, cid.multihash))


def parse(text: str) -> Cid:
    """Text of a CIDv0, or of a CIDv1 in base32, base58 or hexadecimal; raises `BadCid`."""
    text = text.removeprefix("ipfs://").removeprefix("/ipfs/")
    if not text or len(text) > _TEXT_LENGTH_MAX:
        raise BadCid(f"{_shown(text)} is not a CID: it has {len(text)} characters")
    if text.startswith("Qm") and len(text) == 46:
        return from_bytes_untrusted(_base58_decode(text))
    base, rest = text[0], text[1:]
    try:
        match base:
            case "b" | "B":
                if rest != (rest.lower() if base == "b" else rest.upper()):
                    raise BadCid(f"{_shown(text)} is not a CID: it mixes upper and lower case")
                data = base64.b32decode(rest.upper() + "=" * (-len(rest) % 8))
            case "z":
                data = _base58_decode(rest)
            case "f":
                data = bytes.fromhex(rest)
            case _:
                raise BadCid(f"{_shown(text)} is not a CID: expected bafy..., bafk... or Qm...")
    except (binascii.Error, ValueError) as exc:
        raise BadCid(f"{_shown(text)} is not a CID: {exc}") from exc
    if data[:2] == bytes((_SHA2_256, _SHA2_256_SIZE_BYTES)):
        raise BadCid(f"{_shown(text)} is not a CID: version 0 has no base prefix")
    try:
        return from_bytes_untrusted(data)
    except BadCid as exc:
        raise BadCid(f"{_shown(text)}: {exc}") from exc


def from_bytes_untrusted(data: bytes) -> Cid:
    """The binary form, which must take up all of `data`; raises `BadCid`."""
    cid, end = read_untrusted(data, 0)
    if end != len(data):
        raise BadCid(f"{len(data) - end} bytes after a CID")
    return cid


def read_untrusted(data: bytes, start: int) -> tuple[Cid, int]:
    """The CID that starts at `start`, and the position after it; raises `BadCid`."""
    try:
        if data[start : start + 2] == bytes((_SHA2_256, _SHA2_256_SIZE_BYTES)):
            multihash, end = _multihash_untrusted(data, start)
            return Cid(0, "dag-pb", multihash), end
        version, at = protobuf.varint_untrusted(data, start)
        code, at = protobuf.varint_untrusted(data, at)
        multihash, end = _multihash_untrusted(data, at)
    except BadMessage as exc:
        raise BadCid(f"not a CID: {exc}") from exc
    if version != 1:
        raise BadCid(f"not a CID: version {version}")
    codec = _CODECS.get(code)
    if codec is None:
        raise BadCid(f"a CID of codec {code:#x}, where raw, dag-pb and dag-cbor are supported")
    return Cid(1, codec, multihash), end


def _multihash_untrusted(data: bytes, start: int) -> tuple[bytes, int]:
    code, at = protobuf.varint_untrusted(data, start)
    size_bytes, at = protobuf.varint_untrusted(data, at)
    if code == _SHA2_256:
        good = size_bytes == _SHA2_256_SIZE_BYTES
    elif code == _IDENTITY:
        good = size_bytes <= _IDENTITY_SIZE_BYTES_MAX
    else:
        raise BadCid(f"a hash of kind {code:#x}, where sha2-256 is supported")
    end = at + size_bytes
    if not good or end > len(data):
        raise BadCid("a hash that has the wrong length")
    # Rebuilt, not sliced: one digest has one key, however its length was spelled.
    return protobuf.varint(code) + protobuf.varint(size_bytes) + data[at:end], end


def _base58_encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def _base58_decode(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise BadCid(f"{_shown(text)} is not base58: it holds {character!r}")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
