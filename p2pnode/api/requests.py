"""Checks of a request before any route sees it: it is for this node, of its owner, and in plain text."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Scope

from .shapes import Code, ServiceError

# Numbers in paths: JavaScript tells them apart, and SQLite holds them.
NUMBER_DIGITS_MAX = 15
ALIVE_PATH = "/api/v1/alive"
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_LOCAL_HOST = re.compile(rf"({'|'.join(map(re.escape, LOCAL_NAMES))})(:[0-9]{{1,5}})?", re.IGNORECASE)
# Controls of ASCII and Latin-1; tab and line breaks are white space, which loses form where it means nothing.
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_CONTROLS = re.compile(f"[{_CONTROL}]")
# The text that the checks below let through, as JSON Schema says it.
PLAIN_PATTERN = f"^[^{_CONTROL}]*$"
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def check_request(scope: Scope, bearer: bytes) -> None:
    """Raises `ServiceError` for a request that is not for this node, not its owner's, or not text."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        said = " and ".join(map(repr, hosts)) or "missing"
        raise ServiceError(
            Code.UNAUTHORIZED, f"the Host header is {said}; this API answers at {LOCAL_NAMES[0]} only"
        )
    if not scope["raw_path"].startswith(b"/"):
        raise ServiceError(Code.BAD_REQUEST, "the request's target has to be a path")
    if scope["path"] == ALIVE_PATH:
        return
    tokens = headers.getlist("authorization")
    if len(tokens) != 1 or not hmac.compare_digest(tokens[0].encode("latin-1"), bearer):
        reason = "the token is missing or wrong; it is in api.token in the node's data directory"
        raise ServiceError(Code.UNAUTHORIZED, reason)
    _check_encoded("the path", scope["raw_path"], _CONTROLS)
    _check_encoded("the query", scope["query_string"].replace(b"+", b" "), _CONTROLS)


def check_texts(value: object) -> None:
    """Raises `ServiceError` where a text anywhere in a JSON value is not valid, naming its field."""
    for field, text in _texts(value, ""):
        if problem := _problem(text, _CONTROLS):
            raise ServiceError(Code.BAD_REQUEST, f"the field {ascii(field)[1:-1]} {problem}")


def _check_encoded(what: str, encoded: bytes, forbidden: re.Pattern[str]) -> None:
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise ServiceError(Code.BAD_REQUEST, f"{what} is not UTF-8 text") from None
    if problem := _problem(text, forbidden):
        raise ServiceError(Code.BAD_REQUEST, f"{what} {problem}")


def _problem(text: str, forbidden: re.Pattern[str]) -> str | None:
    if found := _SURROGATES.search(text):
        return f"is not valid Unicode: it holds the lone surrogate U+{ord(found[0]):04X}"
    if found := forbidden.search(text):
        return f"holds the control character U+{ord(found[0]):04X}; it has to be plain text"
    return None


def _texts(value: object, field: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, the names of its fields as well, with where it stands."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{field}[{number}]")
    elif isinstance(value, dict):
        for name, one in value.items():
            inner = f"{field}.{name}" if field else name
            yield inner, name
            yield from _texts(one, inner)
