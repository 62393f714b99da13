"""The shapes of tokens and sessions in the API's JSON, as `shapes` has those of all else."""

from __future__ import annotations

import enum
from typing import Annotated, TypedDict

# A name stands in paths and tables. Python's $ alone would let a line break follow.
TOKEN_NAME_FORM = "1 to 64 letters, digits, dots, dashes and underscores, letters or digits at both ends"
TOKEN_NAME_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$(?!\\n)"


class TokenKind(enum.StrEnum):
    """The right that a token gives."""

    READ = "read"
    WRITE = "write"


class TokenJson(TypedDict):
    """A named token; its secret is told once, when it is made."""

    name: Annotated[str, "As 'token create' was given it."]
    kind: Annotated[TokenKind, "The right that it gives."]
    created: Annotated[float, "When it was made."]
    last_used: Annotated[float | None, "To the hour; null: never."]
    expires: Annotated[float | None, "Null: never."]


class TokensJson(TypedDict):
    tokens: Annotated[list[TokenJson], "By name."]


class NewTokenJson(TypedDict):
    token: Annotated[str, "The secret, which is told this once."]


class SessionJson(TypedDict):
    path: Annotated[str, "On this node: a browser that opens it within a minute has a session; works once."]
