"""Canonical CBOR in and out: the one place where bytes become values.

Everything that crosses the network or is hashed is a frozen `Record`, encoded as a
CBOR map in the canonical order of RFC 7049 section 3.9 (also DAG-CBOR's order), with
definite lengths, text keys, integers, text, bytes, booleans, null, arrays and maps.
There are no tags and no floats: a tag makes a decoder build objects that its sender
chose, and a float has more than one spelling.

Whatever reads a peer's bytes ends in `_untrusted` and raises `BadMessage` only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import cbor2
import msgspec

# A frame of a link, the largest thing that is ever decoded at once.
MESSAGE_SIZE_BYTES_MAX = 1024 * 1024
# A job file nests 8 deep; free-form parameters may add to that.
NESTING_DEPTH_MAX = 24
# Orders of keys that are remembered: those of all records, and some of the maps that people write.
ORDERS_MAX = 1_024
# Keys of one map together, in characters: the longest record has 300.
ORDER_LENGTH_MAX = 600

# Decoders raise these for bytes that are not what was expected.
_NO_RECORD = (cbor2.CBORError, ValueError, TypeError, KeyError, RecursionError, OverflowError)

# Canonical orders of keys, by the keys in some order.
_ORDERS: dict[tuple[str, ...], tuple[str, ...]] = {}

T = TypeVar("T")
Meta = msgspec.Meta
replace = msgspec.structs.replace


class BadMessage(Exception):
    """A peer sent bytes that are not the message that we expected."""


class Untimely(BadMessage):
    """The message does not go with what is known here, for which its sender need not be to blame."""


class Unreadable(Exception):
    """This node cannot read what it wrote: another version did, or its disk forgets."""


class _NoShortcut(Exception):
    """The value is one of those that only cbor2 brings into canonical form."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value with a fixed set of fields, checked on decoding."""


class State(msgspec.Struct, kw_only=True):
    """A value that changes, and that the journal keeps."""


def encode(value: Any) -> bytes:
    """The canonical bytes of a record, or of plain values."""
    ordered = plain(value)
    try:
        ordered = _ordered(ordered)
    except _NoShortcut:
        # A float is spelled otherwise in canonical form.
        return cbor2.dumps(ordered, canonical=True)
    return cbor2.dumps(ordered)


def pack(value: State) -> bytes:
    """The bytes of what this node alone reads, its journal: maps keep the order of their fields."""
    return cbor2.dumps(plain(value))


def digest(value: Any) -> str:
    """SHA-256 over the canonical bytes, in hexadecimal: how specs and ids are named."""
    return hashlib.sha256(encode(value)).hexdigest()


def plain(value: Any) -> Any:
    """The value as dicts, lists, text, bytes and integers, which JSON (but for bytes) and CBOR can hold."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def convert(value: Any, kind: type[T]) -> T:
    """Plain values as a `kind`.

    Raises `ValueError` naming the field that is not as the type says.
    """
    return msgspec.convert(value, kind)


def decode(data: bytes, kind: type[T]) -> T:
    """Bytes that this node wrote itself (its journal) as a `kind`; raises `Unreadable`."""
    try:
        return msgspec.convert(cbor2.loads(data), kind)
    except _NO_RECORD as exc:
        raise Unreadable(f"not a {_name(kind)}: {exc}") from exc


def decode_untrusted(data: bytes, kind: type[T], size_bytes_max: int = MESSAGE_SIZE_BYTES_MAX) -> T:
    """A peer's bytes as a `kind`; raises `BadMessage` whatever the bytes are.

    Refuses what is too large, nests too deep, holds a tag, a float, an indefinite
    length or a key twice, is not in canonical form, or has other fields than `kind`: none
    may be left out, defaults are for those who make a record.
    """
    if len(data) > size_bytes_max:
        raise BadMessage(f"{len(data)} bytes, over the limit of {size_bytes_max}")
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_EVERY_TAG,
            max_depth=NESTING_DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        record = msgspec.convert(value, kind)
        canonical = encode(record)
    except _NO_RECORD as exc:
        raise BadMessage(f"not a {_name(kind)}: {exc}") from exc
    # One value has one encoding, or a signature could cover two.
    if canonical != data:
        raise BadMessage(f"not a {_name(kind)}: not canonical CBOR")
    return record


def _ordered(value: Any) -> Any:
    """The value with the keys of its maps in canonical order: cbor2 takes thrice the time to find it."""
    kind = type(value)
    if kind is dict and value:
        keys = tuple(value)
        return {key: _ordered(value[key]) for key in _ORDERS.get(keys) or _order(keys)}
    if kind is list or kind is tuple:
        return [_ordered(one) for one in value]
    if kind is float:
        raise _NoShortcut
    return value


def _order(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    encoded = {key: cbor2.dumps(key, canonical=True) for key in keys}
    order = tuple(sorted(keys, key=lambda key: (len(encoded[key]), encoded[key])))
    # Keys of other types may be equal and yet another's: 1 and True.
    if all(type(key) is str for key in keys) and sum(map(len, keys)) <= ORDER_LENGTH_MAX:
        if len(_ORDERS) >= ORDERS_MAX:
            _ORDERS.clear()
        _ORDERS[keys] = order
    return order


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "message")).lower()


def _refuse_tag(*_: Any) -> NoReturn:
    raise ValueError("a CBOR tag")


class _EveryTag(dict[int, Callable[[Any], Any]]):
    """A decoder table in which each tag there is leads to a refusal."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> Callable[[Any], Any]:
        return _refuse_tag

    def get(self, key: int, default: Any = None) -> Any:
        return _refuse_tag


_EVERY_TAG = _EveryTag()
