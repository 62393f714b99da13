"""Kinds of values that a job file has: each reads a node of the YAML tree into a Python value.

A file's fields are declared as a tree of kinds (`core.jobfile.jobfields`). `read` gives the value,
or None after it has put a problem in the report; it never stops at the first problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from . import yamltree
from .converters import BOOLEANS, alike, cut, one_line, plain_text, some_text
from .problems import Path, Report
from .yamltree import Node, Scalar

# A command line of more words, or a job with more inputs, is a mistake or an attack.
LIST_COUNT_MAX = 1000


class Kind(Protocol):
    def read(self, node: Node, path: Path, report: Report) -> Any: ...


@dataclass(frozen=True)
class Value:
    """A scalar. `convert` makes a value of its text, or raises `ValueError` saying what is allowed."""

    convert: Callable[[str], Any]
    # The name of such a value, for "expected text": text, a number of seconds.
    expected: str
    # For the schema: a regular expression, as JavaScript knows them, that all such texts match.
    pattern: str = ""

    def read(self, node: Node, path: Path, report: Report) -> Any:
        if type(node) is not Scalar:
            report.error(path, f"expected {self.expected}, found {shown(node)}", node)
            return None
        try:
            return self.convert(node.text)
        except ValueError as exc:
            report.error(path, str(exc), node)
            return None


@dataclass(frozen=True)
class ListOf:
    """A list of at most `LIST_COUNT_MAX` members."""

    item: Kind
    # No two members may have the same here, other than nothing: field of the file, attribute of the member.
    unique: Mapping[str, str] = field(default_factory=dict)
    # The value of a null member: an empty text where templates leave nothing; None where it is an error.
    null: str | None = None

    def read(self, node: Node, path: Path, report: Report) -> tuple[Any, ...] | None:
        if type(node) is not yamltree.Sequence:
            report.error(path, f"expected a list, found {shown(node)}", node)
            return None
        if len(node.items) > LIST_COUNT_MAX:
            report.error(path, f"{len(node.items)} members; allowed: at most {LIST_COUNT_MAX}", node)
            return None
        values = []
        taken: dict[tuple[str, Any], int] = {}
        for index, item in enumerate(node.items):
            here = (*path, index)
            if type(item) is Scalar and item.is_null:
                if self.null is None:
                    report.error(here, "an empty member; remove it, or give it a value", item)
                else:
                    values.append(self.null)
            elif (value := self.item.read(item, here, report)) is not None:
                values.append(value)
                for name, attribute in self.unique.items():
                    used = getattr(value, attribute)
                    first = taken.setdefault((name, used), index)
                    if first != index and used not in (None, ""):
                        report.error((*here, name), f'"{used}" is already the {name} of member {first}')
        return tuple(values)


@dataclass(frozen=True)
class TextMap:
    """A free map from text to text; its keys keep their case. A null value is an empty text."""

    # Checks a key; raises `ValueError` saying what is allowed.
    check_key: Callable[[str], Any] | None = None
    # As `check_key`, of a value.
    check_value: Callable[[str], Any] | None = None
    # Keys that begin so are dropped with a warning.
    reserved_prefix: str = ""
    # As that of a `Value`, for the keys.
    key_pattern: str = ""

    def read(self, node: Node, path: Path, report: Report) -> dict[str, str] | None:
        if type(node) is not yamltree.MappingNode:
            report.error(path, f"expected a map of names to texts, found {shown(node)}", node)
            return None
        found: dict[str, str] = {}
        for key, value in node.entries:
            here = (*path, key.text)
            if key.text in found:
                report.error(here, f"{cut(key.text)} occurs twice", key)
            elif self.reserved_prefix and key.text.startswith(self.reserved_prefix):
                report.warning(here, f"ignored: names with {self.reserved_prefix} are reserved", key)
            elif (
                self._key_is_good(key, here, report)
                and (text := self._value(value, here, report)) is not None
            ):
                found[key.text] = text
        return found

    def _value(self, node: Node, path: Path, report: Report) -> str | None:
        text = _text(node, path, report)
        try:
            if text is not None and self.check_value is not None:
                self.check_value(text)
        except ValueError as exc:
            report.error(path, str(exc), node)
            return None
        return text

    def _key_is_good(self, key: Scalar, path: Path, report: Report) -> bool:
        try:
            plain_text(key.text)
            if self.check_key is not None:
                self.check_key(key.text)
        except ValueError as exc:
            report.error(path, str(exc), key)
            return False
        return True


@dataclass(frozen=True)
class Raw:
    """Whatever is there, for somebody who knows more to read."""

    def read(self, node: Node, path: Path, report: Report) -> Node:
        return node


@dataclass(frozen=True)
class Field:
    """One key of an object. A key that is absent, or null, is left out of the values."""

    name: str
    kind: Kind
    required: bool = False
    # Said after "missing": what to write.
    hint: str = ""
    # For the schema and the page of all fields: what it means, if the hint does not say so, ...
    about: str = ""
    # ... what it is when left out, if that is a value that could be written down, ...
    default: Any = None
    # ... and what one could write.
    example: Any = None


class ObjectOf:
    """A map with a fixed set of keys, in any case.

    `check` sees the values that could be read and reports what is wrong between them;
    `build` makes the result, and is called only if all required fields could be read.
    `refused` has keys that are known but not allowed, and why; `slips` others that people write, with the
    field that is meant ("" for none of this map) and what to say. `rules` are parts of a JSON
    Schema: what it can say of `check` and `build`.
    """

    def __init__(
        self,
        *fields: Field,
        build: Callable[[dict[str, Any], Path, Report], Any] | None = None,
        check: Callable[[dict[str, Any], Path, Report], None] | None = None,
        refused: Mapping[str, str] = MappingProxyType({}),
        slips: Mapping[str, tuple[str, str]] = MappingProxyType({}),
        rules: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        self.fields, self.rules = fields, rules
        self._build, self._check = build, check
        self._by_name = {one.name.lower(): one for one in fields}
        self._slips = {name.lower(): slip for name, slip in slips.items()}
        self._refused = {name.lower(): why for name, why in refused.items()}

    def read(self, node: Node, path: Path, report: Report) -> Any:
        if type(node) is not yamltree.MappingNode:
            report.error(path, f"expected a map of {self._names()}; found {shown(node)}", node)
            return None
        values: dict[str, Any] = {}
        seen: set[str] = set()
        misspelt: set[str] = set()
        for key, value in node.entries:
            one = self._by_name.get(key.text.lower())
            if one is None:
                misspelt.add(self._unknown(key, path, report))
                continue
            here = (*path, one.name)
            if one.name in seen:
                report.error(here, f"{cut(key.text)} occurs twice (keys are the same in any case)", key)
            elif not (type(value) is Scalar and value.is_null):
                seen.add(one.name)
                if (read := one.kind.read(value, here, report)) is not None:
                    values[one.name] = read
        # A required field that is only misspelt is not missing as well.
        return self._finish(values, seen | misspelt, path, report)

    def _finish(self, values: dict[str, Any], seen: set[str], path: Path, report: Report) -> Any:
        for one in self.fields:
            if one.required and one.name not in seen:
                report.error((*path, one.name), f"missing{one.hint and ': '}{one.hint}")
        if self._check is not None:
            self._check(values, path, report)
        if any(one.required and one.name not in values for one in self.fields):
            return None
        return values if self._build is None else self._build(values, path, report)

    def _unknown(self, key: Scalar, path: Path, report: Report) -> str:
        """Reports the key; returns the name of the field that seems to be meant, or ""."""
        here, name = (*path, key.text), key.text.lower()
        if why := self._refused.get(name):
            report.error(here, why, key)
            return ""
        if name in self._slips or name.isdecimal():
            comma = ("", "a comma ends a value here; decimals have a dot, as in 1.5")
            meant, hint = self._slips.get(name, comma)
            report.error(here, f"unknown field {cut(key.text)}; {hint}", key)
            return meant
        # Looking for what is alike is slow, and a report that is full would not show it.
        like = None if report.is_full else alike(name, self._by_name)
        meant = self._by_name[like].name if like else ""
        hint = f"did you mean {meant}?" if meant else f"known here: {self._names()}"
        report.error(here, f"unknown field {cut(key.text)}; {hint}", key)
        return meant

    def _names(self) -> str:
        return ", ".join(one.name for one in self.fields) or "nothing"


def when(
    name: str,
    words: Sequence[str],
    *,
    then: Mapping[str, Any] = MappingProxyType({}),
    needs: Sequence[str] = (),
    otherwise: Mapping[str, Any] = MappingProxyType({}),
) -> Mapping[str, Any]:
    """A rule for a schema: what fields are where another is one of these words, which of them it needs,
    and what they are where it is not."""
    present = {"type": ["object", "array", "string", "number", "boolean"]}
    return {
        "if": {"properties": {name: {"enum": list(words)}}, "required": [name]},
        "then": {
            "required": list(needs),
            "allOf": [{"properties": dict(then)}, {"properties": dict.fromkeys(needs, present)}],
        },
        "else": {"properties": dict(otherwise)},
    }


def shown(node: Node) -> str:
    """The words in a message for what was found."""
    if isinstance(node, yamltree.MappingNode):
        return "a map"
    if isinstance(node, yamltree.Sequence):
        return "a list"
    return "nothing" if node.is_null else cut(node.text)


def _text(node: Node, path: Path, report: Report) -> str | None:
    if type(node) is Scalar and node.is_null:
        return ""
    value: str | None = TEXT.read(node, path, report)
    return value


NAME = Value(one_line, "a name")
TEXT = Value(plain_text, "text")
SOME_TEXT = Value(some_text, "text")
BOOLEAN = Value(BOOLEANS, "true or false")
