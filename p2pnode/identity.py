"""A node's identity: an Ed25519 key on disk, the peer id made from it, and signatures.

The key is kept as libp2p's specification has it (the protobuf `PrivateKey`, type Ed25519,
64 bytes), so that other libp2p software can read it. A peer id is the identity multihash of the protobuf
`PublicKey`, in base58: the public key can be taken out of it, so a signature is checked
with the peer id alone.
(https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md)

libp2p itself is not imported: that costs half a second, and `p2pnode id` needs none of it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from p2pnode.core.wire import peer_ids
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.signing import Signed

KEY_FILE_NAME = "identity.key"
# Field 1 (type) = 1 (Ed25519), then field 2 (data) with its length: 64 bytes private, 32 public.
_PRIVATE_KEY_PREFIX = bytes.fromhex("08011240")


class IdentityError(Exception):
    """The identity file cannot be read or written; the message says why."""


@dataclass(frozen=True)
class Identity:
    """This node's key. `seed` is the secret of 32 bytes from which the key pair is made."""

    seed: bytes = field(repr=False)

    # Kept, since it takes as long as a signature, and each advert that is heard is compared with it.
    @cached_property
    def peer_id(self) -> str:
        return peer_ids.of_public_key(bytes(self._key.verify_key))

    @cached_property
    def _key(self) -> SigningKey:
        return SigningKey(self.seed)

    def sign(self, domain: bytes, body: bytes) -> bytes:
        """The signature of 64 bytes over `domain + body`.

        `domain` names the kind of the body (such as b"p2pnode/advert/2\\0"), so that
        a signature of one kind cannot be shown as one of another.
        """
        return self._key.sign(domain + body).signature

    def verify_untrusted(self, peer_id: str, domain: bytes, signed: Signed) -> bytes:
        """Return the body of `signed`, which `peer_id` did sign for `domain`; raises `BadMessage`."""
        return verify_untrusted(peer_id, domain, signed)


def load_or_create(directory: Path) -> Identity:
    """The identity in `directory`, made anew where there is none; raises `IdentityError`.

    The file is readable by its owner only and appears whole or not at all.
    """
    path = directory / KEY_FILE_NAME
    try:
        try:
            return _decoded(path.read_bytes(), path)
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
            _create(path)
            return _decoded(path.read_bytes(), path)
    except OSError as exc:
        raise IdentityError(f"cannot use the identity file {path}: {exc.strerror}") from exc


def _create(path: Path) -> None:
    key = SigningKey.generate()
    write_new(path, _PRIVATE_KEY_PREFIX + bytes(key) + bytes(key.verify_key))


def write_over(path: Path, data: bytes) -> None:
    """Write a file for its owner alone in place of the one before, whole or not at all; raises `OSError`."""
    os.replace(_written(path, data), path)


def _written(path: Path, data: bytes) -> str:
    """A file beside the path that holds the data, on disk."""
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        # mkstemp makes the file with mode 0600.
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name)
        raise
    return name


def write_new(path: Path, data: bytes) -> bool:
    """Write a new file for its owner alone, whole or not at all; False: there is one. Raises `OSError`."""
    name = _written(path, data)
    try:
        # Unlike rename, link never replaces: of two processes that start at once, one wins.
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(name)
    return True


def _decoded(data: bytes, path: Path) -> Identity:
    prefix, seed, public = data[:4], data[4:36], data[36:]
    if prefix != _PRIVATE_KEY_PREFIX or len(data) != 68 or bytes(SigningKey(seed).verify_key) != public:
        raise IdentityError(f"{path} is not an Ed25519 identity; move it away to get a new one")
    return Identity(seed)


def verify_untrusted(peer_id: str, domain: bytes, signed: Signed) -> bytes:
    """The body of `signed`, which `peer_id` did sign for `domain`; raises `BadMessage`."""
    key = VerifyKey(peer_ids.public_key_untrusted(peer_id))
    try:
        return key.verify(domain + signed.body, signed.signature)[len(domain) :]
    except (BadSignatureError, ValueError, TypeError) as exc:
        raise BadMessage(f"not signed by {peer_id}") from exc
