"""Programs begun in running executions of jobs, wherever they run: at their peers, or here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import Execution, ExecutionState, JobRecord
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import ARGUMENTS_MAX, ExecBody, StreamName, Terminal
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.signing import EXEC_DOMAIN, Signed
from p2pnode.core.worker.entering import CannotEnter, Entered, command_problem
from p2pnode.identity import Identity
from p2pnode.network.host import Host
from p2pnode.network.protocols import exec
from p2pnode.network.streams import NetworkError
from p2pnode.node.entering import Entering
from p2pnode.node.fetching import Fetching

from .lookup import CANDIDATES_SHOWN_MAX, Lookup

CONNECT_TIMEOUT_S = 10.0


class ExecSession:
    """A program that runs, its input and its output. One task may read while another sends.

    What comes too late for it is dropped: its reader learns how it ended.
    """

    def __init__(self, program: Entered, execution: str) -> None:
        self._program = program
        self.execution = execution
        # How it ended, once there is no more output; without a code the reason says why.
        self.exit_code: int | None = None
        self.reason = ""

    async def send(self, data: bytes) -> None:
        """Give the program input; returns once it is on its way, which a busy program holds back."""
        with suppress(CannotEnter):
            await self._program.write(data)

    async def end_input(self) -> None:
        with suppress(CannotEnter):
            await self._program.end_input()

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(CannotEnter):
            await self._program.resize(columns, rows)

    async def __aiter__(self) -> AsyncGenerator[tuple[StreamName, bytes], None]:
        """The output, until the program has ended or is lost."""
        try:
            while piece := await self._program.read():
                yield piece
            end = await self._program.ended()
        except CannotEnter as exc:
            self.reason = reason_of(exc)
        else:
            self.exit_code, self.reason = end.exit_code, end.reason


class Exec:
    """Implements `api.services.ExecService`."""

    def __init__(
        self, lookup: Lookup, me: Identity, host: Host, fetching: Fetching, entering: Entering
    ) -> None:
        self._lookup = lookup
        self._me = me
        self._host = host
        self._fetching = fetching
        self._entering = entering

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
        """A program in a job's execution, named by the beginning of its id, or the one that runs.

        The block's end is the program's. Raises `ServiceError`: BAD_REQUEST, NOT_FOUND, AMBIGUOUS,
        FORBIDDEN; CONFLICT with the reason of the peer that runs it, or where nothing runs; UNAVAILABLE
        where the peer does not answer.
        """
        words = tuple(command)
        problem = command_problem(words)
        if len(words) > ARGUMENTS_MAX:
            problem = f"the command has {len(words)} arguments, and {ARGUMENTS_MAX} are the most"
        if problem:
            raise ServiceError(Code.BAD_REQUEST, problem)
        record = self._lookup.record(job)
        self._lookup.check_controls(record, "do not enter it")
        one = self._chosen(record, execution)
        body = ExecBody(
            job=record.id,
            execution=one.id,
            peer=one.peer,
            controller=self._me.peer_id,
            command=words,
            terminal=terminal,
            stdin=stdin,
        )
        signed = mandate.sign(self._me, EXEC_DOMAIN, body)
        is_open = False
        try:
            async with await self._begin(one.peer, signed) as program:
                is_open = True
                yield ExecSession(program, one.id)
        except CannotEnter as exc:
            if is_open:
                raise
            raise ServiceError(Code.CONFLICT, f"{self._lookup.name_of(one.peer)}: {exc}") from exc
        except (NetworkError, BadMessage) as exc:
            if is_open:
                raise
            reason = f"{self._lookup.name_of(one.peer)} does not answer: {exc}"
            raise ServiceError(Code.UNAVAILABLE, reason) from exc

    async def _begin(self, peer: str, signed: Signed) -> AbstractAsyncContextManager[Entered]:
        if peer == self._me.peer_id:
            return self._entering.enter(peer, signed)
        await self._fetching.join(peer, CONNECT_TIMEOUT_S)
        return exec.entered(self._host, peer, signed)

    def _chosen(self, record: JobRecord, prefix: str | None) -> Execution:
        """The execution that is meant; raises `ServiceError`."""
        named = [one for one in record.executions.values() if one.id.startswith(prefix or "")]
        if not named and prefix:
            raise ServiceError(Code.NOT_FOUND, f"{record.id} has no execution {prefix}")
        running = [one for one in named if one.state is ExecutionState.RUNNING]
        if not running:
            which = f"{named[0].id} is {named[0].state}" if len(named) == 1 else f"the job is {record.state}"
            raise ServiceError(Code.CONFLICT, f"nothing of it runs that could be entered: {which}")
        if len(running) > 1:
            ids = [f"{one.id[:14]} (on {self._lookup.name_of(one.peer)})" for one in running]
            more = ", ..." if len(ids) > CANDIDATES_SHOWN_MAX else ""
            shown = ", ".join(ids[:CANDIDATES_SHOWN_MAX]) + more
            raise ServiceError(Code.AMBIGUOUS, f"it runs more than once, so name one of {shown}")
        return running[0]
