"""The identity on disk, peer ids and signatures."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.peer_ids import of_public_key, public_key_untrusted
from p2pnode.core.wire.signing import Signed
from p2pnode.identity import (
    KEY_FILE_NAME,
    Identity,
    IdentityError,
    load_or_create,
    verify_untrusted,
)

DOMAIN = b"p2pnode/test/1\0"
# RFC 8032, test 1: secret and public key.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_the_same_directory_gives_the_same_identity(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "data")
    assert load_or_create(tmp_path / "data") == first
    assert first.peer_id.startswith("12D3KooW")


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    load_or_create(tmp_path)
    assert stat.S_IMODE((tmp_path / KEY_FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE_NAME]


@pytest.mark.parametrize("data", [b"", b"junk", b"\x08\x01\x12\x40" + bytes(64)])
def test_a_damaged_key_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / KEY_FILE_NAME).write_bytes(data)
    with pytest.raises(IdentityError, match="move it away"):
        load_or_create(tmp_path)
    assert (tmp_path / KEY_FILE_NAME).read_bytes() == data


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="cannot use the identity file"):
        load_or_create(tmp_path / "file")


def test_the_peer_id_holds_the_public_key() -> None:
    identity = Identity(bytes(range(32)))
    assert of_public_key(public_key_untrusted(identity.peer_id)) == identity.peer_id


def test_the_peer_id_is_the_one_that_libp2p_makes() -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    assert Identity(SEED).peer_id == str(ID.from_pubkey(create_new_key_pair(SEED).public_key))
    assert public_key_untrusted(Identity(SEED).peer_id) == PUBLIC


def test_the_key_file_is_the_protobuf_of_the_libp2p_specification(tmp_path: Path) -> None:
    # The Ed25519 example of https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
    example = bytes.fromhex(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    )
    (tmp_path / KEY_FILE_NAME).write_bytes(example)
    assert public_key_untrusted(load_or_create(tmp_path).peer_id) == example[-32:]


@pytest.mark.parametrize(
    "peer", ["", "0OIl", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "1" * 500, "12D3KooW", "é"]
)
def test_what_is_no_ed25519_peer_id_is_a_bad_message(peer: str) -> None:
    with pytest.raises(BadMessage):
        public_key_untrusted(peer)


def test_a_signature_holds_for_its_body_domain_and_peer_only() -> None:
    identity, other = Identity(SEED), Identity(bytes(32))
    signature = identity.sign(DOMAIN, b"body")
    assert verify_untrusted(identity.peer_id, DOMAIN, Signed(body=b"body", signature=signature)) == b"body"
    for peer, domain, body in [
        (identity.peer_id, DOMAIN, b"bodY"),
        (identity.peer_id, b"p2pnode/other/1\0", b"body"),
        (other.peer_id, DOMAIN, b"body"),
    ]:
        with pytest.raises(BadMessage, match="not signed by"):
            verify_untrusted(peer, domain, Signed(body=body, signature=signature))


def test_a_signature_that_is_no_point_is_a_bad_message() -> None:
    with pytest.raises(BadMessage):
        verify_untrusted(Identity(SEED).peer_id, DOMAIN, Signed(body=b"", signature=b"\xff" * 64))


def test_the_module_does_not_import_libp2p() -> None:
    code = "import sys, p2pnode.identity; sys.exit('libp2p' in sys.modules or 'trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
