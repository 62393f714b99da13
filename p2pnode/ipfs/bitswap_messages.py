"""Bitswap's one message, to and from bytes.

It carries what its sender wants (or no longer wants), blocks, and whether the sender has
blocks that were asked about. Format: https://specs.ipfs.tech/bitswap-protocol/.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.protobuf import bytes_field, bytes_untrusted, number_untrusted, varint_field
from p2pnode.ipfs import cid as cids

# Kubo and Helia accept this.
MESSAGE_SIZE_BYTES_MAX = 4 * 1024 * 1024
# Kubo looks at this many (MaxQueuedWantlistEntriesPerPeer); those beyond are dropped, and asked for again.
WANTS_PER_MESSAGE_MAX = 1024
# A list of many tiny entries costs a hundred times its bytes in memory.
ENTRIES_PER_MESSAGE_MAX = 16 * WANTS_PER_MESSAGE_MAX
_NOTHING = memoryview(b"")


class WantKind(enum.IntEnum):
    BLOCK = 0
    HAVE = 1


@dataclass(frozen=True, slots=True)
class Want:
    cid: cids.Cid
    kind: WantKind = WantKind.BLOCK
    cancel: bool = False
    send_dont_have: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    wants: tuple[Want, ...] = ()
    # The wants replace all earlier ones.
    full: bool = False
    blocks: tuple[tuple[cids.Cid, bytes], ...] = ()
    # As received: what a peer says of the blocks (their prefixes) is of no use, their hashes tell.
    received: tuple[bytes, ...] = ()
    presences: tuple[tuple[cids.Cid, bool], ...] = ()


def encode(message: Message, legacy: bool = False) -> bytes:
    """The bytes, with their length before them; `legacy` is version 1.0.0, which has bare blocks only."""
    entries = b"".join(bytes_field(1, _encode_want(want)) for want in message.wants)
    parts = [bytes_field(1, entries + (varint_field(2, 1) if message.full else b""))]
    for cid, data in message.blocks:
        # A block is long, and copied once: when all is joined.
        head = protobuf.bytes_key(2, len(data))
        if not legacy:
            head = bytes_field(1, cid.prefix) + head
            head = protobuf.bytes_key(3, len(head) + len(data)) + head
        parts += (head, data)
    if not legacy:
        for cid, have in message.presences:
            parts.append(bytes_field(4, bytes_field(1, bytes(cid)) + varint_field(2, 0 if have else 1)))
    return b"".join((protobuf.varint(sum(map(len, parts))), *parts))


def _encode_want(want: Want) -> bytes:
    return (
        bytes_field(1, bytes(want.cid))
        + varint_field(2, 1)
        + varint_field(3, want.cancel)
        + varint_field(4, want.kind)
        + varint_field(5, want.send_dont_have)
    )


def decode_untrusted(data: bytes) -> Message:
    """A message without its length; raises `BadMessage` whatever the bytes are.

    Entries about CIDs of kinds that we do not know are left out: we have no such blocks.
    """
    wants: list[Want] = []
    presences: list[tuple[cids.Cid, bool]] = []
    received: list[bytes] = []
    full = False
    # A view, or each level would copy the blocks once more.
    for number, value in protobuf.fields_untrusted(memoryview(data)):
        match number:
            case 1:
                full = _wantlist_untrusted(bytes_untrusted(value), wants) or full
            case 2:
                received.append(bytes(bytes_untrusted(value)))
            case 3:
                received.append(_block_untrusted(bytes_untrusted(value)))
            case 4:
                presence = _presence_untrusted(bytes_untrusted(value))
                if presence is not None:
                    presences.append(presence)
            case _:
                # pendingBytes, and what later versions may add.
                pass
        if len(wants) + len(received) + len(presences) > ENTRIES_PER_MESSAGE_MAX:
            raise BadMessage(f"a bitswap message with more than {ENTRIES_PER_MESSAGE_MAX} entries")
    return Message(tuple(wants), full, (), tuple(received), tuple(presences))


def _wantlist_untrusted(data: memoryview, wants: list[Want]) -> bool:
    """Adds the entries to `wants`; whether the list is a full one."""
    full = False
    for number, value in protobuf.fields_untrusted(data):
        match number:
            case 1:
                want = _want_untrusted(bytes_untrusted(value))
                if want is not None:
                    wants.append(want)
            case 2:
                full = bool(number_untrusted(value))
            case _:
                pass
        if len(wants) > ENTRIES_PER_MESSAGE_MAX:
            raise BadMessage(f"a wantlist with more than {ENTRIES_PER_MESSAGE_MAX} entries")
    return full


def _want_untrusted(data: memoryview) -> Want | None:
    fields = dict(protobuf.fields_untrusted(data))
    cid = _cid_untrusted(fields)
    if cid is None:
        return None
    return Want(
        cid,
        WantKind.HAVE if number_untrusted(fields.get(4, 0)) == WantKind.HAVE else WantKind.BLOCK,
        cancel=bool(number_untrusted(fields.get(3, 0))),
        send_dont_have=bool(number_untrusted(fields.get(5, 0))),
    )


def _block_untrusted(data: memoryview) -> bytes:
    return bytes(bytes_untrusted(dict(protobuf.fields_untrusted(data)).get(2, _NOTHING)))


def _presence_untrusted(data: memoryview) -> tuple[cids.Cid, bool] | None:
    fields = dict(protobuf.fields_untrusted(data))
    cid = _cid_untrusted(fields)
    return None if cid is None else (cid, number_untrusted(fields.get(2, 0)) == 0)


def _cid_untrusted(fields: dict[int, int | memoryview]) -> cids.Cid | None:
    """The CID in field 1, or None when it is one that we cannot check."""
    data = bytes(bytes_untrusted(fields.get(1, _NOTHING)))
    try:
        return cids.from_bytes_untrusted(data)
    except cids.BadCid:
        return None
