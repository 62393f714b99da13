"""A program begun in an execution, as an engine gives it: an echo of its input, until that ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2pnode.core.wire.exec import ExecEnd, StreamName
from p2pnode.core.wire.signing import Signed
from p2pnode.core.worker.entering import CannotEnter, Entered


class FakeProgram:
    def __init__(self, *first: tuple[StreamName, bytes], exit_code: int = 7, takes: bool = True) -> None:
        """`first` is what it writes by itself; one that `takes` nothing never reads its input."""
        self._sending, self._output = trio.open_memory_channel[tuple[StreamName, bytes]](max(100, len(first)))
        for piece in first:
            self._sending.send_nowait(piece)
        self._exit_code = exit_code
        self._takes = takes
        self.got = b""
        self.sizes: list[tuple[int, int]] = []
        self.ended_by_session = trio.Event()

    @property
    def left(self) -> int:
        """The pieces that nobody has read."""
        return self._output.statistics().current_buffer_used

    async def read(self) -> tuple[StreamName, bytes] | None:
        async for piece in self._output:
            return piece
        return None

    async def write(self, data: bytes) -> None:
        if not self._takes:
            await trio.sleep_forever()
        self.got += data
        await self._sending.send(("stdout", data))

    async def end_input(self) -> None:
        await self._sending.aclose()

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def ended(self) -> ExecEnd:
        return ExecEnd(exit_code=self._exit_code, reason="")


class FakeEngine:
    """Begins the programs that it is given, or refuses for a reason."""

    def __init__(self, *programs: FakeProgram, refusal: str = "") -> None:
        self._programs = list(programs)
        self._refusal = refusal
        self.asked: list[tuple[str, Signed]] = []

    @asynccontextmanager
    async def enter(self, peer: str, signed: Signed) -> AsyncIterator[Entered]:
        self.asked.append((peer, signed))
        if self._refusal:
            raise CannotEnter(self._refusal)
        program = self._programs.pop(0)
        try:
            yield program
        finally:
            program.ended_by_session.set()
