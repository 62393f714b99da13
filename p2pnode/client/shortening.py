"""Ids as people are shown them."""

from __future__ import annotations

# Characters of a digest; two jobs of one node that share them are one in four billion.
SHORT_ID_LENGTH = 8


def short_id(text: str) -> str:
    """`j-1234abcd` for a job's or execution's id."""
    prefix, dash, rest = text.partition("-")
    return f"{prefix}{dash}{rest[:SHORT_ID_LENGTH]}" if dash else text


def short_peer(peer: str) -> str:
    """The end of a peer's id, as all begin alike."""
    return peer[-SHORT_ID_LENGTH:]
