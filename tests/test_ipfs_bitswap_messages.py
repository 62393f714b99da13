"""The messages of bitswap: encoded and decoded, from any bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import bitswap_messages, cid, dagpb
from p2pnode.ipfs.bitswap_messages import Message, Want, WantKind


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_message(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        bitswap_messages.decode_untrusted(data)


@given(
    st.lists(st.tuples(st.binary(max_size=9), st.sampled_from(WantKind), st.booleans(), st.booleans())),
    st.lists(st.tuples(st.binary(max_size=9), st.booleans())),
    st.booleans(),
)
def test_a_message_survives_encoding(
    raw_wants: list[tuple[bytes, WantKind, bool, bool]], presences: list[tuple[bytes, bool]], full: bool
) -> None:
    def named(data: bytes) -> cid.Cid:
        return cid.parse(cid.make(data, "raw"))

    message = Message(
        wants=tuple(Want(named(data), *rest) for data, *rest in raw_wants),
        full=full,
        blocks=tuple((named(data), data) for data, _ in presences),
        presences=tuple((named(data), have) for data, have in presences),
    )
    encoded = bitswap_messages.encode(message)
    _, start = protobuf.varint_untrusted(encoded, 0)
    decoded = bitswap_messages.decode_untrusted(encoded[start:])
    assert (decoded.wants, decoded.full, decoded.presences) == (message.wants, full, message.presences)
    assert decoded.received == tuple(data for _, data in message.blocks)


def test_a_wantlist_of_too_many_entries_is_refused() -> None:
    wants = (Want(cid.parse(cid.make(b"", "raw"))),) * (bitswap_messages.ENTRIES_PER_MESSAGE_MAX + 1)
    encoded = bitswap_messages.encode(Message(wants=wants))
    _, start = protobuf.varint_untrusted(encoded, 0)
    with pytest.raises(BadMessage, match="more than"):
        bitswap_messages.decode_untrusted(encoded[start:])


def test_the_largest_block_fits_into_a_message() -> None:
    data = bytes(dagpb.BLOCK_SIZE_BYTES_MAX)
    encoded = bitswap_messages.encode(Message(blocks=((cid.parse(cid.make(data, "raw")), data),)))
    assert len(encoded) < bitswap_messages.MESSAGE_SIZE_BYTES_MAX
