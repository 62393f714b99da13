"""Checks of a request before any route sees it: it is for this node, and in plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Scope

from .shapes import Code, ServiceError

# Numbers in paths: JavaScript tells them apart, and SQLite holds them.
NUMBER_DIGITS_MAX = 15
ALIVE_PATH = "/api/v1/alive"
LOGIN_PATH = "/login"
# Answered without a token, and so without a secret in the answer; one that ends in / stands for all below it.
PUBLIC = (ALIVE_PATH, "/", LOGIN_PATH, "/page/")
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
# Controls of ASCII and Latin-1; tab and line breaks are white space, which loses form where it means nothing.
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_CONTROLS = re.compile(f"[{_CONTROL}]")
# The text that the checks below let through, as JSON Schema says it.
PLAIN_PATTERN = f"^[^{_CONTROL}]*$"
_SURROGATES = re.compile(r"[\ud800-\udfff]")


class OwnHosts:
    """The hosts that this node answers for, in the form of a Host header."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are those beside the local ones; `*.` before one stands for one label."""
        self.names = (*LOCAL_NAMES, *names)
        self._form = re.compile(rf"({'|'.join(map(_host_form, self.names))})(:[0-9]{{1,5}})?", re.IGNORECASE)

    def has(self, host: str) -> bool:
        return self._form.fullmatch(host) is not None


def _host_form(name: str) -> str:
    one_label = name.startswith("*.")
    return "[a-z0-9_-]+" + re.escape(name[1:]) if one_label else re.escape(name)


def is_public(path: str) -> bool:
    """Whether anybody may ask for it."""
    return path in PUBLIC or any(one != "/" and one.endswith("/") and path.startswith(one) for one in PUBLIC)


def check_target(scope: Scope, hosts: OwnHosts) -> None:
    """Raises `ServiceError` for a request that is not for this node."""
    given = Headers(scope=scope).getlist("host")
    if len(given) != 1 or not hosts.has(given[0]):
        said = " and ".join(map(repr, given)) or "missing"
        only = ", ".join(name for name in hosts.names if name not in LOCAL_NAMES[1:])
        raise ServiceError(Code.UNAUTHORIZED, f"the Host header is {said}; this API answers at {only} only")
    if not scope["raw_path"].startswith(b"/"):
        raise ServiceError(Code.BAD_REQUEST, "the request's target has to be a path")


def check_plain(scope: Scope) -> None:
    """Raises `ServiceError` for a request whose target is not plain text."""
    _check_encoded("the path", scope["raw_path"], _CONTROLS)
    _check_encoded("the query", scope["query_string"].replace(b"+", b" "), _CONTROLS)


def is_from_own_page(scope: Scope) -> bool:
    """Whether a browser says that a page of this very host and port asks; `check_target` has seen it."""
    headers = Headers(scope=scope)
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    if sites:
        return sites == ["same-origin"]
    return [one.lower() for one in origins] == [f"{scope['scheme']}://{headers['host'].lower()}"]


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
