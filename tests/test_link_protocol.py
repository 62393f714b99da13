"""Code, CDDL and golden vectors of `protocols/link` and `protocols/peers`, held together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pycddl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.link import frames as link_frames
from p2pnode.core.link import machine
from p2pnode.core.link.frames import decode_frame_untrusted
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.signing import Signed
from p2pnode.network.protocols import adverts
from p2pnode.network.protocols.adverts import PAGE_SIZE_BYTES_MAX, Page, TableEntry

from .cddl_support import PROTOCOLS, definitions


def decode_page_untrusted(data: bytes) -> Page:
    return codec.decode_untrusted(data, Page, PAGE_SIZE_BYTES_MAX)


DECODERS: dict[str, Callable[[bytes], Any]] = {"link": decode_frame_untrusted, "peers": decode_page_untrusted}
SCHEMAS = {name: pycddl.Schema(definitions(name)) for name in DECODERS}


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(name, vector, id=f"{name}: {vector['name']}")
        for name in DECODERS
        for vector in json.loads((PROTOCOLS / "vectors" / f"{name}.json").read_text())[kind]
    ]


def plain(value: Any) -> Any:
    """Have bytes where the vectors write {"bytes": hex}."""
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "vector"), vectors("good"))
def test_good_vectors_are_read_and_written_as_they_are(name: str, vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    SCHEMAS[name].validate_cbor(data)
    record = DECODERS[name](data)
    assert codec.encode(record) == codec.encode(plain(vector["value"])) == data


# Faults that pycddl overlooks though the schema says them.
_OVERLOOKED = {"a bignum", "store with a line feed"}


@pytest.mark.parametrize(("name", "vector"), vectors("bad"))
def test_bad_vectors_are_refused(name: str, vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert vector["why"]
    with pytest.raises(BadMessage):
        DECODERS[name](data)
    if vector.get("schema") != "cannot tell" and vector["name"] not in _OVERLOOKED:
        with pytest.raises(pycddl.ValidationError):
            SCHEMAS[name].validate_cbor(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_bad_message(data: bytes) -> None:
    for decode in DECODERS.values():
        with contextlib.suppress(BadMessage):
            decode(data)


sequences = st.integers(0, link_frames.SEQUENCE_MAX)
stores = st.text("0123456789abcdef", min_size=32, max_size=32)
frames = st.one_of(
    st.builds(
        link_frames.Hello,
        version=st.integers(1, 255),
        store=stores,
        first=st.integers(1, link_frames.SEQUENCE_MAX),
        known=st.just("") | stores,
        received=sequences,
    ),
    st.builds(link_frames.Data, sequence=sequences, payload=st.binary(max_size=100)),
    st.builds(link_frames.Ack, sequence=sequences),
    st.builds(link_frames.Beat),
)


@given(frames)
def test_every_frame_is_as_the_cddl_says(frame: link_frames.Frame) -> None:
    data = codec.encode(frame)
    SCHEMAS["link"].validate_cbor(data)
    assert decode_frame_untrusted(data) == frame


entries = st.builds(
    TableEntry,
    signed=st.builds(Signed, body=st.binary(max_size=50), signature=st.binary(min_size=64, max_size=64)),
    remaining_ms=st.integers(0, 2**63 - 1),
)


@given(st.builds(Page, entries=st.lists(entries, max_size=4).map(tuple), more=st.booleans()))
def test_every_page_is_as_the_cddl_says(page: Page) -> None:
    data = codec.encode(page)
    SCHEMAS["peers"].validate_cbor(data)
    assert decode_page_untrusted(data) == page


def test_the_pages_name_the_limits_that_the_code_has() -> None:
    text = (PROTOCOLS / "link.md").read_text()
    for limit in (
        link_frames.FRAME_SIZE_BYTES_MAX,
        link_frames.PAYLOAD_SIZE_BYTES_MAX,
        machine.OUTBOX_MESSAGES_MAX,
    ):
        assert f"{limit:,}" in text
    for limit_s in (machine.BEAT_AFTER_S, machine.SUSPECT_AFTER_S, machine.DOWN_AFTER_S, machine.HELLO_S_MAX):
        assert f"{limit_s:g} s" in text
    text = (PROTOCOLS / "peers.md").read_text()
    for limit in (adverts.PAGE_SIZE_BYTES_MAX, adverts.ENTRIES_MAX, adverts.PAGE_ENTRIES_MAX):
        assert f"{limit:,}" in text
