"""Text that others wrote, made fit to be shown: what a reader would not see as it is, is spelt out.

A control character moves a terminal's cursor, a line break forges a line, a bidi mark reorders
what is read, and what has no width hides. All of them are written as in a string of Python, such
as `\\x1b`, `\\n`, `\\u202e`. The result is stable: it is shown as itself when it is shown again.
"""

from __future__ import annotations

import re
import unicodedata

# Drawn as nothing though they are letters or marks to Unicode: fillers and variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_WIDE = ("W", "F")


def visible(text: str) -> str:
    """The text as one line in which each character is seen as what it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_seen(char) else _spelt_out(char) for char in text)


def visible_lines(text: str) -> str:
    """`visible` for what programs print: its line breaks and tabs are meant."""
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))


def width(text: str) -> int:
    """The columns that visible text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def ljust(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """The beginning of visible text that fits into so many columns."""
    if text.isascii():
        return text[:columns]
    taken = 0
    for index, char in enumerate(text):
        taken += _columns(char)
        if taken > columns:
            return text[:index]
    return text


def _is_seen(char: str) -> bool:
    # Not printable: control, format (bidi, zero width, tags), surrogate, private, unassigned, separator.
    printable = char.isprintable() or unicodedata.category(char) == "Zs"
    return printable and not _BLANK.match(char)


def _spelt_out(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in _WIDE else 1
