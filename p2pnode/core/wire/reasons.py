"""Makes a reason that a person can read out of anything: an error, a group of errors, bytes, text."""

from __future__ import annotations

from p2pnode.core.values.text import visible

from .fields import REASON_LENGTH_MAX


def reason_of(what: object, length_max: int = REASON_LENGTH_MAX) -> str:
    """One line of valid Unicode without control characters, of at most `length_max` characters.

    Of a group of errors the first counts. An error that says nothing is told by its type.
    """
    while isinstance(what, BaseExceptionGroup) and what.exceptions:
        what = what.exceptions[0]
    if isinstance(what, bytes):
        text = what.decode("utf-8", "backslashreplace")
    elif isinstance(what, BaseException):
        text = str(what) or type(what).__name__
        if not isinstance(what, OSError) and type(what).__module__ == "builtins":
            # "'free'" alone tells nobody that a key was missing.
            text = f"{type(what).__name__}: {text}" if str(what) else text
    else:
        text = str(what)
    return one_line(text)[:length_max]


def one_line(text: str) -> str:
    """Valid Unicode in one line: what breaks lines is a blank, and what cannot be seen is spelt out."""
    lines = [part for part in (" ".join(line.split()) for line in text.splitlines()) if part]
    return visible(" ".join(lines))
