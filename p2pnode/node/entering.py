"""Begins programs in the executions that run here, for those who control the job (protocols/exec.md)."""

from __future__ import annotations

import logging
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire.exec import ExecBody
from p2pnode.core.wire.signing import Signed
from p2pnode.core.worker.entering import CannotEnter, Entered, Places, check_may_enter, vet_untrusted
from p2pnode.engines.workload import Engine
from p2pnode.identity import Identity
from p2pnode.network.protocols import exec
from p2pnode.network.streams import Stream
from p2pnode.system.audit_log import AuditLog

log = logging.getLogger(__name__)


class Entering:
    """Checks who wants in, finds a place, and has the engine begin the program."""

    def __init__(
        self,
        me: Identity,
        engines: Mapping[str, Engine],
        reservation: Callable[[str], Reservation | None],
        audit_log: AuditLog,
        *,
        allow_exec: bool,
    ) -> None:
        """`reservation` gives that of an execution, as it is now."""
        self._me = me
        self._engines = engines
        self._reservation = reservation
        self._audit_log = audit_log
        self._allow_exec = allow_exec
        self._places = Places()

    async def serve(self, stream: Stream) -> None:
        """Answers one peer's request; raises what ends its stream."""
        await exec.serve(stream, self.enter)

    @asynccontextmanager
    async def enter(self, sender: str, signed: Signed) -> AsyncIterator[Entered]:
        """A program in an execution here, which ends with the block; `sender` may be this node.

        Raises `CannotEnter`, and `BadMessage` for what its sender may not even ask.
        """
        body = vet_untrusted(signed, sender, self._me.peer_id, self._me)
        reservation = self._reservation(body.execution)
        try:
            found = check_may_enter(reservation, body, self._me.peer_id, allow_exec=self._allow_exec)
            with self._places.place(body.execution):
                async with self._engines[found.requirements.engine].enter(body) as program:
                    self._note(body)
                    yield program
        except CannotEnter as exc:
            # Not in the audit log: anybody may ask, as often as they like.
            log.info("no exec in %s for %s: %s", body.execution, sender, exc)
            raise

    def _note(self, body: ExecBody) -> None:
        about = {
            "job": body.job,
            "execution": body.execution,
            "command": shlex.join(body.command),
            "terminal": body.terminal is not None,
        }
        self._audit_log.note(f"peer {body.controller}", "exec", about, "done")
