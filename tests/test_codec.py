"""Encoding gives the very bytes that cbor2 gives for canonical CBOR, and remembers no more than it may."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pnode.core.wire import codec

from .wire_records import RECORDS

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
INTEGERS = st.integers() | st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64, -(2**64) - 1])
SCALARS = st.none() | st.booleans() | INTEGERS | TEXTS | st.binary(max_size=300) | st.floats()
KEYS = TEXTS | INTEGERS | st.booleans() | st.binary(max_size=30)
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6)
)


@given(PLAIN)
@example({"b": 1, "aa": 2, "\u00e9": 3, "": 4})
@example([{"x" * 23: 1, "y" * 24: 2, "z" * 256: 3}, {"z" * 256: 3, "y" * 24: 2, "x" * 23: 1}])
# Equal keys of two types, one after the other.
@example([{1: "a", 0: "b"}, {True: "a", False: "b"}])
@example([{1: "a", "": "b"}, {True: "a", "": "b"}])
@example({"float": 1.5, "a": [0.1, 1e300, float("inf")]})
def test_plain_values_have_the_bytes_of_canonical_cbor(value: Any) -> None:
    assert codec.encode(value) == cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("kind", RECORDS)
def test_records_have_the_bytes_of_canonical_cbor(kind: str) -> None:
    @given(RECORDS[kind])
    def same(record: Any) -> None:
        assert codec.encode(record) == cbor2.dumps(codec.plain(record), canonical=True)

    same()


def test_maps_that_people_write_take_no_more_memory_than_a_bound() -> None:
    for number in range(2 * codec.ORDERS_MAX):
        codec.encode({f"k{number}": 1, "a": 2})
    assert len(codec._ORDERS) <= codec.ORDERS_MAX
    long = {"x" * codec.ORDER_LENGTH_MAX: 1, "y": 2}
    codec.encode(long)
    assert tuple(long) not in codec._ORDERS
