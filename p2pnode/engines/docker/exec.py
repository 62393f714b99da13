"""Programs begun in a running container, by the engine's exec: beside the job's own, and as fenced as that.

The engine runs them as the container's user, with its directory, environment and capabilities. It does not
end them when nobody listens any more: this side does, where it may send them signals (`exec_signals`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from p2pnode.core.wire.exec import ExecBody, ExecEnd, StreamName
from p2pnode.core.worker.entering import CannotEnter, Entered
from p2pnode.engines.workload import KILL_S_MAX

from . import api, exec_signals
from .answers import BadAnswer, ExecCreated, ExecState, decode
from .api import EngineGone, EngineRefused, Hijacked

# From the request to the program's first instruction. The controller waits for 30 s.
BEGIN_S_MAX = 20.0
# A shell writes its history and ends its jobs.
HANGUP_GRACE_S = 2.0
# How often the engine is asked whether a program has begun, or ended: it answers in some milliseconds.
LOOK_INTERVAL_S = 0.05
# From the end of its output to that of the program, which may close its streams before: then it is ended.
END_S_MAX = 10.0
# Keys that leave a terminal's program alone: nobody types them. Docker's own hold Ctrl-P back.
DETACH_KEYS = "ctrl-^,ctrl-_,ctrl-^,ctrl-_,ctrl-^"
# The most shown of a program's name: a line of a terminal, about.
SHOWN_LENGTH_MAX = 80
LOST = "the engine has lost the program; the peer's log says how"
NOT_RUNNING = "the execution's program is not running any more"

log = logging.getLogger(__name__)


class _Program:
    """A program that the engine runs, and the connection with its streams."""

    def __init__(self, socket_path: str, body: ExecBody, id: str, connection: Hijacked) -> None:
        self._socket = socket_path
        self._body = body
        self._id = id
        self._connection = connection
        self._has_input = body.stdin
        # Whether it has closed its output.
        self._is_over = False
        self._output = _raw(connection) if body.terminal else api.output(connection)

    async def read(self) -> tuple[StreamName, bytes] | None:
        try:
            found = await anext(self._output, None)
        except EngineGone as error:
            raise _lost(self._body, error) from error
        if found is not None:
            return ("stderr" if found[0] == 2 else "stdout"), found[1]
        self._is_over = True
        return None

    async def write(self, data: bytes) -> None:
        if self._has_input:
            try:
                await self._connection.write(data)
            except EngineGone:
                # The program has ended, or its engine: `read` says which.
                self._has_input = False

    async def end_input(self) -> None:
        if self._has_input:
            self._has_input = False
            self._connection.end_writing()

    async def resize(self, columns: int, rows: int) -> None:
        if self._body.terminal is None:
            return
        try:
            await api.order(self._socket, "POST", f"/exec/{self._id}/resize?h={rows}&w={columns}")
        except (EngineGone, EngineRefused) as error:
            # A program of another size is better than none.
            log.info("exec in %s: no other size: %s", self._body.execution, error)

    async def ended(self) -> ExecEnd:
        with trio.move_on_after(END_S_MAX):
            while (found := await self.look()) and found.running:  # noqa: ASYNC110
                await trio.sleep(LOOK_INTERVAL_S)
            if found is None or found.exit_code is None:
                return ExecEnd(exit_code=None, reason=NOT_RUNNING)
            return ExecEnd(exit_code=found.exit_code, reason="")
        return ExecEnd(exit_code=None, reason="the program has closed its output, and was ended")

    async def has_begun(self) -> None:
        """Wait until the program runs or has run; raises `CannotEnter` where it cannot."""
        while found := await self.look():
            if found.pid:
                return
            if not found.running and found.exit_code is not None:
                raise CannotEnter(
                    f"the container cannot run {self._body.command[0][:SHOWN_LENGTH_MAX]!r}:"
                    " it has no such program, or its user may not"
                )
            await trio.sleep(LOOK_INTERVAL_S)
        raise CannotEnter(NOT_RUNNING)

    async def look(self) -> ExecState | None:
        """The engine's word of it; None once its container is gone."""
        try:
            return await api.ask(self._socket, f"/exec/{self._id}/json", ExecState)
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise _lost(self._body, error) from error
        except EngineGone as error:
            raise _lost(self._body, error) from error

    async def end(self) -> None:
        """End it, unless it came to its end by itself; also when cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
            try:
                found = await self.look()
            except CannotEnter:
                return
            if found and found.pid and (found.running or not self._is_over):
                await exec_signals.end_session(found.pid, found.container, HANGUP_GRACE_S)


@asynccontextmanager
async def entered(socket_path: str, body: ExecBody) -> AsyncIterator[Entered]:
    """A program in the execution's container, ended when the block is left. Raises `CannotEnter`."""
    async with AsyncExitStack() as stack:
        with trio.move_on_after(BEGIN_S_MAX) as deadline:
            program = await _begun(socket_path, body, stack)
        if deadline.cancelled_caught:
            raise CannotEnter(f"the engine did not begin the program within {BEGIN_S_MAX:g} s")
        yield program


async def _begun(socket_path: str, body: ExecBody, stack: AsyncExitStack) -> _Program:
    try:
        path = f"/containers/{body.execution}/exec"
        created = decode(await api.order(socket_path, "POST", path, _wanted(body)), ExecCreated)
        start = {"Detach": False, "Tty": body.terminal is not None, **_size(body)}
        connection = await stack.enter_async_context(
            api.hijacked(socket_path, f"/exec/{created.id}/start", start)
        )
        program = _Program(socket_path, body, created.id, connection)
        stack.push_async_callback(program.end)
    except EngineRefused as error:
        log.warning("exec in %s: the engine refuses: %s", body.execution, error)
        # 409: it is paused, or not running.
        if error.status in (404, 409):
            raise CannotEnter(NOT_RUNNING) from error
        raise CannotEnter("the engine refused to begin the program; the peer's log says why") from error
    except (EngineGone, BadAnswer) as error:
        raise _lost(body, error) from error
    await program.has_begun()
    if body.terminal is not None:
        await program.resize(body.terminal.columns, body.terminal.rows)
    return program


def _wanted(body: ExecBody) -> dict[str, Any]:
    """The engine's word for it: as the container itself, and never privileged."""
    has_terminal = body.terminal is not None
    return {
        "AttachStdin": body.stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": has_terminal,
        "DetachKeys": DETACH_KEYS,
        "Cmd": list(body.command),
        "Env": [f"TERM={body.terminal.type}"] if body.terminal else [],
        "Privileged": False,
        **_size(body),
    }


def _size(body: ExecBody) -> dict[str, Any]:
    """The terminal's size, for engines since Docker 23."""
    return {"ConsoleSize": [body.terminal.rows, body.terminal.columns]} if body.terminal else {}


async def _raw(connection: Hijacked) -> AsyncIterator[tuple[int, bytes]]:
    while data := await connection.read_some():
        yield 1, data


def _lost(body: ExecBody, error: Exception) -> CannotEnter:
    log.warning("exec in %s: %s", body.execution, error)
    return CannotEnter(LOST)
