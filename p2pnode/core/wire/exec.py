"""Messages of an exec: a program begun in a running execution, its input and output (protocols/exec.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from .codec import Meta, Record
from .extensions import Open
from .fields import ExecutionId, JobId, PeerId, Reason
from .signing import Signed

# A shell and a script of a screen: what is longer belongs in an input, or comes by stdin.
COMMAND_SIZE_BYTES_MAX = 8 * 1024
ARGUMENTS_MAX = 64
# One read of a pipe or socket; it shares a connection with everything else.
EXEC_DATA_SIZE_BYTES_MAX = 64 * 1024
# Data that a side may send before the other has taken some: 0.1 s of a fast line, and no burden to who waits.
EXEC_WINDOW_BYTES = 256 * 1024
# A piece counts as this at least: each costs whoever keeps it more than its bytes.
PIECE_COST_BYTES_MIN = 256
# A terminal's own limit: its size is told in 16 bits.
SIDE_MAX = 65_535

Side = Annotated[int, Meta(ge=1, le=SIDE_MAX)]
Argument = Annotated[str, Meta(max_length=COMMAND_SIZE_BYTES_MAX)]
Data = Annotated[bytes, Meta(max_length=EXEC_DATA_SIZE_BYTES_MAX)]
StreamName = Literal["stdout", "stderr"]


class Terminal(Record, frozen=True):
    """The terminal of whoever sits before the program; `type` is its TERM."""

    columns: Side
    rows: Side
    type: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}\Z")]


class ExecBody(Open, frozen=True):
    """A controller's wish to enter an execution, which it signs."""

    job: JobId
    execution: ExecutionId
    # Which runs it.
    peer: PeerId
    controller: PeerId
    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=ARGUMENTS_MAX)]
    # None: stdout and stderr are pipes.
    terminal: Terminal | None
    # Whether input will come.
    stdin: bool


class ExecRequest(Open, frozen=True):
    """Controller to peer, the first on a stream of its own."""

    signed: Signed


class ExecInput(Record, frozen=True, tag_field="kind", tag="exec-input"):
    """The next bytes for the program; none are a sign of life. `end` closes its stdin behind them."""

    data: Data
    end: bool


class ExecResize(Record, frozen=True, tag_field="kind", tag="exec-resize"):
    """The size that the terminal has now."""

    columns: Side
    rows: Side


class ExecTaken(Record, frozen=True, tag_field="kind", tag="exec-taken"):
    """So much more of what the other side has sent is taken, by the program or by whoever reads."""

    size_bytes: Annotated[int, Meta(ge=1, le=EXEC_WINDOW_BYTES)]


class ExecOutput(Record, frozen=True, tag_field="kind", tag="exec-output"):
    """The next bytes of the program; none are a sign of life. A terminal has stdout only."""

    stream: StreamName
    data: Data


class ExecEnd(Record, frozen=True, tag_field="kind", tag="exec-end"):
    """The last from the peer: how the program ended, or without a code why it did not begin or was ended."""

    exit_code: Annotated[int, Meta(ge=0, le=255)] | None
    reason: Reason


FromController = ExecInput | ExecResize | ExecTaken
FromPeer = ExecOutput | ExecEnd | ExecTaken


def cost_bytes(piece: ExecInput | ExecOutput) -> int:
    """How much of the window a piece takes: a sign of life nothing."""
    is_sign = not piece.data and not (isinstance(piece, ExecInput) and piece.end)
    return 0 if is_sign else max(len(piece.data), PIECE_COST_BYTES_MIN)
