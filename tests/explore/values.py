"""Objects of the core as values: frozen, thawed, and told apart by all that they would act by."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import deque
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import msgspec

from p2pnode.core.values.deadlines import Deadlines

_ANY = "takes any job"


def takes_any(_: object) -> None:
    """The check of a node that runs whatever it is given."""
    return


class _Pickler(pickle.Pickler):
    def persistent_id(self, found: Any) -> str | None:
        is_check = found is takes_any or (isinstance(found, FunctionType) and found.__name__ == "<lambda>")
        return _ANY if is_check else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, name: Any) -> Any:
        assert name == _ANY
        return takes_any


def frozen(found: object) -> bytes:
    """An object as bytes; its checks of jobs are left out."""
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(found)
    return out.getvalue()


def thawed(data: bytes) -> Any:
    """A fresh copy of a frozen object."""
    return _Unpickler(io.BytesIO(data)).load()


def digest(found: object) -> bytes:
    """16 bytes that are the same for two objects that act alike, be they made in different ways."""
    return hashlib.blake2b(repr(_plain(found, {})).encode(), digest_size=16).digest()


def _plain(found: Any, seen: dict[int, int]) -> Any:
    if found is None or (isinstance(found, bool | int | float | str | bytes) and not isinstance(found, Enum)):
        return found
    if isinstance(found, Enum):
        return found.value
    if isinstance(found, FunctionType | MethodType):
        return _ANY
    if isinstance(found, tuple):
        return tuple(_plain(one, seen) for one in found)
    if isinstance(found, frozenset):
        return sorted(map(repr, found))
    if id(found) in seen:
        # A part that several share is looked at once.
        return "as", seen[id(found)]
    seen[id(found)] = len(seen)
    match found:
        case Deadlines():
            # Beside what is due it has entries of before, which change nothing.
            return sorted(found._at.items())
        case msgspec.Struct():
            return [_plain(getattr(found, name), seen) for name in found.__struct_fields__]
        case set():
            return sorted(map(repr, found))
        case list() | deque():
            return [_plain(one, seen) for one in found]
        case dict():
            items = sorted(found.items(), key=lambda item: repr(item[0]))
            inside = [(repr(key), _plain(value, seen)) for key, value in items]
            return inside, _attributes(found, seen)
        case _:
            return type(found).__name__, _attributes(found, seen)


def _attributes(found: Any, seen: dict[int, int]) -> list[tuple[str, Any]]:
    names = list(getattr(found, "__dict__", ()))
    for kind in type(found).__mro__:
        slots = getattr(kind, "__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    present = [name for name in sorted(set(names)) if name not in ("__dict__", "__weakref__")]
    return [(name, _plain(getattr(found, name), seen)) for name in present if hasattr(found, name)]
