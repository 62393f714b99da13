"""Converters of a scalar's text: each gives a value, or raises `ValueError` saying what is allowed."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from p2pnode.core.values import content_paths
from p2pnode.core.values import pattern as patterns

# How much of a wrong value or key a message repeats.
_SHOWN_CHARS_MAX = 60
# How alike a key must be to be suggested: Resourses and Resources are 0.89, CPUs and CPU 0.86.
_ALIKE = 0.6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# More digits are beyond every bound here.
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,18})")
# Longer patterns are slow to compile, and nobody filters keys with them.
_PATTERN_CHARS_MAX = 500

# CIDv0, and CIDv1 in base32, which is what all our tools print: shape only, as decoding is
# the block store's. A CIDv1 has at least version, codec, hash and length, and one byte.
CID = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{8,200}")
# With a path below it, as far as a schema can tell.
CONTENT_ADDRESS = rf"^(?:{CID.pattern})(?:/(?!\.{{1,2}}(?:/|$))[^/]{{1,255}})*/?$"
_URL = re.compile(r"https?://[^\s/?#]+(?:[/?#]\S*)?", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,\s]*,.*", re.IGNORECASE | re.DOTALL)


class Choice:
    """One of these words, in any case and between blanks; `words` has them as a new file should write them.

    `deprecated` has others that are understood, but not offered.
    """

    def __init__(
        self, words: Mapping[str, Any], what: str, deprecated: Mapping[str, Any] | None = None
    ) -> None:
        self.words, self.deprecated, self._what = words, deprecated or {}, what
        self._meanings = {word.lower(): value for word, value in {**self.deprecated, **words}.items()}
        self._spellings = {word.lower(): word for word in words}

    def __call__(self, text: str) -> Any:
        word = text.strip().lower()
        if word not in self._meanings:
            begun = [one for one in self._spellings if word and one.startswith(word)]
            like = alike(word, self._spellings) or (begun[0] if len(begun) == 1 else None)
            meant = f"; did you mean {self._spellings[like]}?" if like else ""
            raise ValueError(f"{cut(text)} is not {self._what}; allowed: {', '.join(self.words)}{meant}")
        return self._meanings[word]


class Integer:
    """A whole number between two bounds."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        # A leading zero is octal to some readers of YAML and decimal to others.
        if not _INTEGER.fullmatch(text) or not self.low <= int(text) <= self.high:
            raise ValueError(f"{cut(text)} is not a whole number from {self.low} to {self.high}")
        return int(text)


def plain_text(text: str) -> str:
    """Text without a null character, which ends a string for the programs that would get it."""
    if "\0" in text:
        raise ValueError("contains a null character")
    return text


def some_text(text: str) -> str:
    """Text that is not blank."""
    if not text.strip():
        raise ValueError("is empty; give it a value or leave it out")
    return plain_text(text)


def one_line(text: str) -> str:
    """A name, safe to show in a line of a terminal."""
    if _CONTROL.search(text):
        raise ValueError(f"{cut(ascii(text)[1:-1])} contains a control character or a line break")
    return text


def absolute_path(text: str) -> str:
    """A path inside the task in its shortest form.

    Raises `ValueError` where it is not absolute, climbs with `..`, or is the root.
    """
    parts = [part for part in one_line(text).split("/") if part not in ("", ".")]
    if not text.startswith("/"):
        raise ValueError(f'"{text[:80]}" must be an absolute path, such as /{text[:80].lstrip("./")}')
    if ".." in parts or not parts:
        raise ValueError(f'"{text[:80]}" must be a folder or file below /, without ..')
    return "/" + "/".join(parts)


def content_address(text: str) -> str:
    """The address of data in IPFS, by its shape: a CID, or a path below one."""
    root, _, path = text.partition("/")
    if not CID.fullmatch(root):
        raise ValueError(
            f"{cut(text)} is not a CID; allowed: CIDv0 (Qm...) and CIDv1 in base32 (b...), and /PATH after it"
        )
    return content_paths.join(root, content_paths.names(path))


def url(text: str) -> str:
    """An http or https URL."""
    if not _URL.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not an http or https URL')
    return text


def data_url(text: str) -> str:
    """A URL that holds the data itself."""
    if not _DATA_URL.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not a data URL, such as data:text/plain;base64,aGVsbG8=')
    head, _, data = text.partition(",")
    if head.lower().endswith(";base64"):
        try:
            base64.b64decode(unquote_to_bytes(data), validate=True)
        except binascii.Error as exc:
            raise ValueError(f"{cut(text)} says base64, and its data is none: {exc}") from exc
    return text


def pattern(text: str) -> str:
    """A regular expression as peers will match it, and not too long to be compiled."""
    if len(text) > _PATTERN_CHARS_MAX:
        raise ValueError(f"{len(text)} characters; allowed: a regular expression of {_PATTERN_CHARS_MAX}")
    try:
        patterns.parse(text)
    except ValueError as exc:
        raise ValueError(f'"{text[:80]}" is {exc}') from exc
    return text


def alike(text: str, known: Iterable[str]) -> str | None:
    """The known word that is most like the text, if any is."""
    close = difflib.get_close_matches(text[:_SHOWN_CHARS_MAX], known, n=1, cutoff=_ALIKE)
    return close[0] if close else None


def cut(text: str) -> str:
    """The text in quotes, for a message, without its end if it is long."""
    return f'"{text}"' if len(text) <= _SHOWN_CHARS_MAX else f'"{text[:_SHOWN_CHARS_MAX]}..."'


BOOLEANS = Choice({"true": True, "false": False}, "true or false")
