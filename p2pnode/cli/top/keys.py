"""Keys, out of the bytes that a terminal sends for them."""

from __future__ import annotations

import re

_PIECE = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_NAMES = {
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~"), "end"),
    "\t": "tab",
    "\x1b[Z": "tab",
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\x08"), "backspace"),
    "\x1b": "escape",
}


def keys_of(data: bytes) -> list[str]:
    """The keys in their order: a character, or the name of a key; those that nobody knows are left out."""
    pieces = _PIECE.findall(data.decode(errors="ignore"))
    named = [_NAMES.get(piece, piece) for piece in pieces]
    return [key for key in named if (len(key) > 1 and key[0] != "\x1b") or key.isprintable()]
