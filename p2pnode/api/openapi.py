"""The API's description in OpenAPI 3.1, made of its endpoints and the types that they read and give."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints, is_typeddict

import msgspec

from p2pnode.core.wire.codec import plain

from . import shapes
from .access import SESSION_COOKIE
from .endpoints import ENDPOINTS, Caller, Endpoint, Media
from .queries import JsonBody, Query
from .requests import NUMBER_DIGITS_MAX, PLAIN_PATTERN
from .shapes import Code, Json

PATH = "/api/openapi.json"
_KINDS = {Caller.READ: "read or write", Caller.WRITE: "write"}
_REFERENCE = "#/components/schemas/{name}"
# Starlette's kinds of path parameters, and theirs in JSON Schema.
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
# Schemas for path parameters that are more than a text.
_CID = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
_FORMATS = {
    "cid": {"type": "string", "format": "cid", "examples": [_CID]},
    "path": {
        "type": "string",
        "format": "cid-path",
        "description": "CID, or CID/name/...",
        "examples": [_CID],
    },
}
_DESCRIPTION = """\
Whoever has a token may call it: `Authorization: Bearer TOKEN`. The owner's, which may do all, is in
`api.token` in the node's data directory; others are of kind read or write, which the security of each
operation names. Times are Unix seconds, sizes bytes, CPU thousandths of a core. Answers get new fields
with new versions; what is here stays."""
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
}


def describe(version: str) -> Json:
    """The document, for a program of this version."""
    kinds = [kind for one in ENDPOINTS for kind in _several(one.answer) if is_typeddict(kind)]
    bodies = [one.body for one in ENDPOINTS if isinstance(one.body, type)]
    _, schemas = msgspec.json.schema_components([*kinds, *bodies, shapes.ErrorJson], ref_template=_REFERENCE)
    for kind in _typed_dicts([*kinds, shapes.ErrorJson]):
        _tell(schemas[kind.__name__], kind)
    paths: dict[str, Json] = {}
    for endpoint in ENDPOINTS:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    for body in bodies:
        schemas[body.__name__] = _plain(schemas[body.__name__])
    return {
        "openapi": "3.1.0",
        "info": {"title": "p2pnode", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _several(answer: Any) -> tuple[Any, ...]:
    """The types of an answer: those of a union, or the one that it is."""
    return get_args(answer) if isinstance(answer, types.UnionType) else (answer,)


def _typed_dicts(kinds: list[Any]) -> Iterator[Any]:
    """The types, and all that their fields are made of."""
    seen: set[Any] = set()
    while kinds:
        kind = kinds.pop()
        if is_typeddict(kind) and kind not in seen:
            seen.add(kind)
            yield kind
            kinds += get_type_hints(kind).values()
        else:
            kinds += getattr(kind, "__args__", ())


def _tell(schema: Json, kind: Any) -> None:
    """Put what the code says of a type and its fields into its schema."""
    schema["description"] = kind.__doc__ or ""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if said := next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)), None):
            field = schema["properties"][name]
            # Beside a reference other words are lost on old readers.
            schema["properties"][name] = {"allOf": [field]} if "$ref" in field else field
            schema["properties"][name]["description"] = said


def _operation(endpoint: Endpoint) -> Json:
    operation: Json = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query)],
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        operation["requestBody"] = _request_body(endpoint.body)
    operation["security"] = _security(endpoint)
    if endpoint.caller is not Caller.ANYBODY:
        operation["description"] = f"Needs a token of kind {_KINDS[endpoint.caller]}."
    return operation


def _security(endpoint: Endpoint) -> list[Json]:
    """The ways to be let in, each with the kind of token that it needs."""
    if endpoint.caller is Caller.ANYBODY:
        return []
    ways = ("token", "session") if endpoint.by_session else ("token",)
    return [{way: [str(endpoint.caller)]} for way in ways]


def _path_parameters(path: str) -> Iterator[Json]:
    for name, kind in _PARAMETER.findall(path):
        number = {"type": "integer", "minimum": 0, "maximum": 10**NUMBER_DIGITS_MAX - 1}
        text = _plain({"type": "string", "minLength": 1})
        schema = number if kind == "number" else _FORMATS.get(name, text)
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(query: type[Query]) -> Iterator[Json]:
    _, schemas = msgspec.json.schema_components([query], ref_template=_REFERENCE)
    for name, schema in schemas[query.__name__]["properties"].items():
        inlined = _inlined(schema, schemas)
        description = inlined.pop("description", "")
        yield {"name": name, "in": "query", "description": description, "schema": _plain(inlined)}


def _plain(schema: Any) -> Any:
    """The schema with its texts as `requests` lets them in: without control characters."""
    match schema:
        case {"type": "string"} if not schema.keys() & {"enum", "pattern"}:
            return schema | {"pattern": PLAIN_PATTERN}
        case dict():
            return {name: _plain(value) for name, value in schema.items()}
        case list():
            return [_plain(one) for one in schema]
    return schema


def _inlined(schema: Any, schemas: Json) -> Any:
    """The schema without references: a parameter's types are no components."""
    match schema:
        case {"$ref": str(reference)}:
            return _inlined(schemas[reference.rpartition("/")[2]], schemas)
        case dict():
            return {name: _inlined(value, schemas) for name, value in schema.items()}
        case list():
            return [_inlined(one, schemas) for one in schema]
    return schema


def _request_body(body: type[JsonBody] | Media) -> Json:
    if isinstance(body, Media):
        schema: Json = {"type": "string"} | (
            {"format": "binary"} if body in (Media.CAR, Media.OCTETS) else {}
        )
        return {"required": True, "content": {str(body): {"schema": schema}}}
    needed = any(field.required for field in msgspec.structs.fields(body))
    return {"required": needed, "content": {str(Media.JSON): {"schema": _reference(body)}}}


def _responses(endpoint: Endpoint) -> Json:
    if endpoint.media in (Media.CAR, Media.BYTES):
        schema: Json = {"type": "string", "format": "binary"}
    elif endpoint.media is Media.METRICS:
        schema = {"type": "string"}
    elif endpoint.media is Media.EVENTS:
        schema = _event(endpoint.answer)
    else:
        schema = _reference(endpoint.answer)
    good = {"description": "Done.", "content": {str(endpoint.media): {"schema": schema}}}
    refused = {"content": {str(Media.JSON): {"schema": _reference(shapes.ErrorJson)}}}
    responses: Json = {str(endpoint.status): good}
    if endpoint.name == "submit":
        responses["200"] = good
    responses["default"] = {"description": "Refused: " + ", ".join(Code), **refused}
    return responses


def _event(kind: Any) -> Json:
    """The schema of one event of a stream, as OpenAPI's registry of media types has it."""
    kinds = {
        "message": _reference(kind),
        "end": _reference(shapes.EmptyJson),
        "error": _reference(shapes.ErrorJson),
    }
    forms = [
        {
            "properties": {
                "event": {"const": name},
                "data": {"type": "string", "contentMediaType": str(Media.JSON), "contentSchema": schema},
            }
        }
        for name, schema in kinds.items()
    ]
    described = "Each event; the last is `end` or `error`, and a stream without has broken off."
    return {"description": described, "type": "object", "required": ["event", "data"], "oneOf": forms}


def _reference(kind: Any) -> Json:
    if isinstance(kind, types.UnionType):
        return {"anyOf": [_reference(one) for one in _several(kind)]}
    if is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, JsonBody)):
        return {"$ref": _REFERENCE.format(name=kind.__name__)}
    schema: Json = plain(msgspec.json.schema(kind))
    return schema
