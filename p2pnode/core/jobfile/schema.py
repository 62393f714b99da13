"""The JSON Schema of job files, made of the fields that the parser reads with: for editors to check with.

It knows keys and words as new files should write them (the parser takes any case), and says
less than the parser where a schema cannot: what must differ, or add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .converters import Choice, Integer
from .enginefields import Assignments, ModuleField
from .jobfields import JOB
from .kinds import BOOLEAN, LIST_COUNT_MAX, Field, Kind, ListOf, ObjectOf, TextMap, Value
from .sources import Typed, Variant

Schema = dict[str, Any]

_TEXT = ["string", "number", "boolean"]


def schema() -> Schema:
    """A JSON Schema 2020-12 of a job file as YAML or JSON, after its templates are filled in."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "p2pnode job",
        "description": "A job for the network: what to run, on what data, and on which peers.",
    } | _object(JOB)


def _of(kind: Kind) -> Schema:
    match kind:
        case ObjectOf():
            return _object(kind)
        case Typed():
            return _typed(kind)
        case ListOf():
            item = _of(kind.item) if kind.null is None else _or_null(_of(kind.item))
            return {"type": "array", "items": item, "maxItems": LIST_COUNT_MAX}
        case Assignments():
            return _of(kind.list)
        case TextMap():
            keys = {"propertyNames": {"pattern": kind.key_pattern}} if kind.key_pattern else {}
            return {"type": "object", "additionalProperties": {"type": [*_TEXT, "null"]}} | keys
        case ModuleField():
            old = {"deprecated": True, "description": "An old form: make it one of InputSources."}
            return {"anyOf": [_of(kind.path), _of(kind.input) | old]}
        case Value():
            return _value(kind)
    raise TypeError(f"a schema of {kind!r} is not known")


def _object(kind: ObjectOf) -> Schema:
    rules = {"allOf": [dict(rule) for rule in kind.rules]} if kind.rules else {}
    return {
        "type": "object",
        "properties": {one.name: _field(one) for one in kind.fields},
        "required": [one.name for one in kind.fields if one.required],
        "additionalProperties": False,
    } | rules


def _field(one: Field) -> Schema:
    about = one.about or f"{one.hint[:1].upper()}{one.hint[1:]}."
    found: Schema = {"description": about} | (_of(one.kind) if one.required else _or_null(_of(one.kind)))
    if one.default is not None:
        found["default"] = list(one.default) if isinstance(one.default, tuple) else one.default
    if one.example is not None:
        found["examples"] = [one.example]
    return found


def _typed(kind: Typed) -> Schema:
    """Type, and for each of its words what Params are then."""
    usable = {name: one for name, one in kind.variants.items() if not one.refused}
    current = [name for name, one in usable.items() if name and not one.deprecated]
    words = _words(current, [name for name in usable if name not in current])
    return {
        "type": "object",
        "properties": {
            "Type": {"description": f"Which one: {', '.join(current)}.", "examples": current[:1]} | words,
            "Params": {"description": "What it needs to know, by Type.", "type": ["object", "null"]},
        },
        "required": ["Type"],
        "additionalProperties": False,
        "allOf": [_params(name, one) for name, one in usable.items()],
    }


def _params(name: str, variant: Variant) -> Schema:
    params = _object(variant.params)
    then: Schema = {"properties": {"Params": params if params["required"] else _or_null(params)}}
    if params["required"]:
        then["required"] = ["Params"]
    return {"if": {"properties": {"Type": {"const": name}}, "required": ["Type"]}, "then": then}


def _value(kind: Value) -> Schema:
    convert = kind.convert
    if kind is BOOLEAN:
        return {"type": "boolean"}
    if isinstance(convert, Choice):
        return _words(convert.words, convert.deprecated)
    if isinstance(convert, Integer):
        bounds = {"minimum": convert.low, "maximum": convert.high}
        return {"type": ["integer", "string"], "pattern": "^[+-]?[0-9]+$"} | bounds
    pattern = {"pattern": kind.pattern} if kind.pattern else {}
    if _takes(kind, "true"):
        return {"type": "string" if pattern else _TEXT} | pattern
    number = "number" if _takes(kind, "0.5") else "integer" if _takes(kind, "1") else ""
    if not number:
        return {"type": "string"} | pattern
    least = "minimum" if _takes(kind, "0") else "exclusiveMinimum"
    return {"type": ["string", number], least: 0} | pattern


def _takes(kind: Value, text: str) -> bool:
    """Whether a field's own converter takes an amount or a word; YAML numbers reach it as text, too."""
    try:
        kind.convert(text)
    except ValueError:
        return False
    return True


def _words(words: Iterable[str], deprecated: Iterable[str]) -> Schema:
    """An enumeration; of its old words an editor warns."""
    old = list(deprecated)
    current: Schema = {"enum": list(words)}
    return {"anyOf": [current, {"enum": old, "deprecated": True}]} if old else {"type": "string"} | current


def _or_null(found: Mapping[str, Any]) -> Schema:
    """Also nothing, which is as if the field were left out."""
    if "anyOf" in found:
        return {**found, "anyOf": [*found["anyOf"], {"type": "null"}]}
    kinds = found["type"] if isinstance(found["type"], list) else [found["type"]]
    enum = {"enum": [*found["enum"], None]} if "enum" in found else {}
    return {**found, "type": [*kinds, "null"]} | enum
