"""How a program ended: one value, from the engine that saw it to the receipt that its peer signs."""

from __future__ import annotations

from p2pnode.core.wire.codec import Record
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.states import Fault


class ProgramEnd(Record, frozen=True):
    """How a program ended. `fault` is None exactly when it ran, exited 0, and what it left is kept."""

    # None: no program came to an end by itself.
    exit_code: int | None
    reason: str
    fault: Fault | None
    cpu_ms: int = 0
    memory_bytes: int = 0
    # The program that really ran, where the engine knows it better than the job: the id of the Docker image.
    program: str = ""


def failed(fault: Fault, reason: str) -> ProgramEnd:
    """The end of an execution whose program never ran, or was ended by us."""
    return ProgramEnd(exit_code=None, reason=reason[:REASON_LENGTH_MAX], fault=fault)


def not_begun() -> ProgramEnd:
    """The end of an execution that was told to stop before its program could begin, or go on."""
    return failed(Fault.PEER, "it was told to stop before its program began")
