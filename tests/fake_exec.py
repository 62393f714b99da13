"""Programs that a fake node begins, by their names; one of another name says something and exits with 7."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from p2pnode.api.shapes import ServiceError
from p2pnode.core.wire.exec import ExecEnd, StreamName, Terminal
from p2pnode.core.worker.entering import CannotEnter
from p2pnode.service.exec import ExecSession

from .fake_program import FakeProgram

EXECUTION = "e-" + "e" * 32
# The output of `flood`: more than all that may be on its way.
FLOOD = bytes(range(256)) * 256 * 160


class _Lost(FakeProgram):
    async def ended(self) -> ExecEnd:
        raise CannotEnter("the peer was lost")


@dataclass
class Begun:
    """A wish to begin a program, and the program that it led to."""

    job: str
    execution: str | None
    command: tuple[str, ...]
    terminal: Terminal | None
    stdin: bool
    program: FakeProgram = field(default_factory=FakeProgram)

    @property
    def has_ended(self) -> bool:
        """Whether its session has."""
        return self.program.ended_by_session.is_set()


class FakeExec:
    """Implements `api.services.ExecService`."""

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.refusal: ServiceError | None = None

    @asynccontextmanager
    async def open(
        self,
        job: str,
        execution: str | None,
        command: Sequence[str],
        terminal: Terminal | None,
        *,
        stdin: bool,
    ) -> AsyncIterator[ExecSession]:
        if self.refusal:
            raise self.refusal
        program, is_open = _program(command, stdin)
        self.begun.append(Begun(job, execution, tuple(command), terminal, stdin, program))
        if not is_open:
            await program.end_input()
        try:
            yield ExecSession(program, EXECUTION)
        finally:
            program.ended_by_session.set()


def _program(command: Sequence[str], stdin: bool) -> tuple[FakeProgram, bool]:
    """A program, and whether it waits for its input."""
    match command:
        case ["cat" | "/bin/sh", *_]:
            return FakeProgram(exit_code=0), stdin
        case ["busy"]:
            return FakeProgram(takes=False), True
        case ["exits", code]:
            return FakeProgram(exit_code=int(code)), False
        case ["lost"]:
            return _Lost(("stdout", b"the last\n")), False
        case ["flood"]:
            size = 65_536
            pieces: list[tuple[StreamName, bytes]] = [
                ("stdout", FLOOD[at : at + size]) for at in range(0, len(FLOOD), size)
            ]
            return FakeProgram(*pieces, exit_code=0), False
    return FakeProgram(("stdout", b"out \xff\x1b[2J\n"), ("stderr", b"err\n")), False
