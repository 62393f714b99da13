"""The shapes of an exec: what is to be begun in an execution, and the messages of its stream."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from p2pnode.core.wire.exec import ARGUMENTS_MAX, SIDE_MAX, StreamName, Terminal

from .queries import JsonBody, Query, Text

Columns = Annotated[int, Meta(ge=1, le=SIDE_MAX)]
Rows = Annotated[int, Meta(ge=1, le=SIDE_MAX)]
TERMINAL_TYPE_FORM = "a TERM: 1 to 64 letters, digits, dots, dashes, pluses and underscores"


class TerminalBody(JsonBody):
    """The terminal that the program is to have."""

    columns: Columns
    rows: Rows
    type: Annotated[
        str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$(?!\\n)", description=TERMINAL_TYPE_FORM)
    ]


class ProgramBody(JsonBody):
    """A program to begin in a running execution."""

    command: Annotated[
        list[str],
        Meta(
            min_length=1, max_length=ARGUMENTS_MAX, description="It and its arguments; no shell reads them."
        ),
    ]
    execution: Annotated[
        Text, Meta(description="An execution, or a unique prefix; without: the one that runs.")
    ] = ""
    terminal: TerminalBody | None = None
    stdin: Annotated[bool, Meta(description="Input will come; without, its stdin is empty.")] = False


def terminal(asked: ProgramBody) -> Terminal | None:
    """The terminal that is asked for, as peers have it."""
    one = asked.terminal
    return Terminal(columns=one.columns, rows=one.rows, type=one.type) if one else None


class SizeBody(JsonBody):
    """The size of a terminal from now on."""

    columns: Columns
    rows: Rows


class InputQuery(Query):
    """The place of a piece of input."""

    end: Annotated[bool, Meta(description="The last: stdin is closed behind it.")] = False


class ExecBegunJson(TypedDict):
    """The first: the program has begun."""

    session: Annotated[
        str, "Names it in the requests that give it input; for the caller that began it alone."
    ]
    execution: str


class ExecOutputJson(TypedDict):
    """The next bytes that the program wrote."""

    stream: Annotated[StreamName, "With a terminal all is stdout."]
    data: Annotated[str, "Each character is a byte (Latin-1)."]


class ExecEndedJson(TypedDict):
    """The last: how the program ended."""

    exit_code: Annotated[int | None, "null: it was ended, or lost."]
    reason: Annotated[str, "Why it has no exit code, or ''."]


ExecMessageJson = ExecBegunJson | ExecOutputJson | ExecEndedJson
