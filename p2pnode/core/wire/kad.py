"""The messages of libp2p's Kademlia DHT, to and from bytes.

(https://github.com/libp2p/specs/blob/master/kad-dht/README.md)
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from .codec import BadMessage
from .protobuf import bytes_field, bytes_untrusted, fields_untrusted, number_untrusted, varint_field

KAD = "/ipfs/kad/1.0.0"
# The DHT of nodes at private addresses, as Kubo has it.
LAN_KAD = "/ipfs/lan/kad/1.0.0"
# The specification's k: peers in an answer, and with a record of a provider.
CLOSEST_MAX = 20
# Twenty peers with a dozen addresses each take 16 KiB; QUIC's certificate hashes double that.
ANSWER_SIZE_BYTES_MAX = 256 * 1024
# A key, and one provider with its addresses; the records of IPNS, which are refused, have 10 KiB.
QUESTION_SIZE_BYTES_MAX = 16 * 1024
# A multihash of 64 bytes is the longest in use.
KEY_SIZE_BYTES_MAX = 128
# An answer may name providers beside the closer peers.
PEERS_NAMED_MAX = 40
# Each is parsed; a peer with several networks and transports has a dozen.
ADDRESSES_NAMED_MAX = 32


class KadKind(enum.IntEnum):
    """The specification's numbers."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True, slots=True)
class KadPeer:
    """A peer's multihash, and its addresses as binary multiaddrs."""

    id: bytes
    addresses: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class KadMessage:
    """A question or an answer."""

    kind: KadKind
    # A peer's id or a content's multihash.
    key: bytes = b""
    closer: tuple[KadPeer, ...] = ()
    providers: tuple[KadPeer, ...] = ()


def place_of(key: bytes) -> bytes:
    """The place of a peer or content among all: distances are the XOR of places."""
    return hashlib.sha256(key).digest()


def encode_kad(message: KadMessage) -> bytes:
    """The bytes, without their length."""
    return (
        varint_field(1, message.kind)
        + (bytes_field(2, message.key) if message.key else b"")
        + b"".join(bytes_field(8, _peer_bytes(one)) for one in message.closer)
        + b"".join(bytes_field(9, _peer_bytes(one)) for one in message.providers)
        # libp2p's cluster level, from 1.
        + varint_field(10, 1)
    )


def decode_kad_untrusted(data: bytes) -> KadMessage:
    """Raises `BadMessage` whatever the bytes are."""
    kind, key = 0, b""
    closer, providers = list[KadPeer](), list[KadPeer]()
    for number, value in fields_untrusted(data):
        match number:
            case 1:
                kind = number_untrusted(value)
            case 2:
                key = bytes_untrusted(value)
            case 8 | 9:
                peers = closer if number == 8 else providers
                if len(peers) < PEERS_NAMED_MAX:
                    peers.append(_peer_untrusted(bytes_untrusted(value)))
    if len(key) > KEY_SIZE_BYTES_MAX:
        raise BadMessage("a key of the DHT that is too long")
    try:
        return KadMessage(KadKind(kind), key, tuple(closer), tuple(providers))
    except ValueError as exc:
        raise BadMessage("a message of the DHT that is of no kind") from exc


def _peer_bytes(peer: KadPeer) -> bytes:
    return bytes_field(1, peer.id) + b"".join(bytes_field(2, one) for one in peer.addresses)


def _peer_untrusted(data: bytes) -> KadPeer:
    id, addresses = b"", list[bytes]()
    for number, value in fields_untrusted(data):
        if number == 1:
            id = bytes_untrusted(value)
        elif number == 2 and len(addresses) < ADDRESSES_NAMED_MAX:
            addresses.append(bytes_untrusted(value))
    if not 0 < len(id) <= KEY_SIZE_BYTES_MAX:
        raise BadMessage("a peer of the DHT without an id")
    return KadPeer(id, tuple(addresses))
