"""The end of an execution's program: kept on disk until its receipt is in the journal, and made into it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from p2pnode.core.records import receipts
from p2pnode.core.records.program_end import ProgramEnd, failed
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import State, Unreadable
from p2pnode.core.wire.messages import Award, Receipt
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker import blame
from p2pnode.data.failures import DataFailed

from .execution import LocalExecution

log = logging.getLogger(__name__)

_FILE_NAME = "ended"


class EndedOnDisk(State, kw_only=True):
    """The end of a program, and what becomes of its output."""

    end: ProgramEnd
    started_ms: int
    ended_ms: int
    # Whether what it wrote is stored, and whether that goes where the job wants it.
    keep: bool
    publish: bool
    # `LogOrder.runs`.
    output_runs: list[int] = msgspec.field(default_factory=list)

    def unpublished(self, problem: DataFailed, result_cid: str | None) -> None:
        """Note that the result is not where it should be: a failure, though the program's own comes first."""
        kept = f"; it can still be fetched as {result_cid}" if result_cid else ""
        said = f"the result was not published: {problem}{kept}"
        before = self.end
        self.judge(f"{before.reason}; {said}" if before.fault else said, before.fault or problem.fault)

    def judge(self, reason: str, fault: Fault | None) -> None:
        """Note why it really ended, and whose fault that is."""
        self.end = codec.replace(self.end, reason=reason, fault=fault)

    def receipt(self, execution: LocalExecution, peer: str, result_cid: str | None) -> Receipt:
        """The receipt that `peer` signs for the execution."""
        award = execution.award
        end = codec.replace(self.end, reason=reason_of(blame.without_paths(self.end.reason, award.spec.task)))
        return receipts.receipt(
            execution.reservation, award, peer, end, result_cid, self.started_ms, self.ended_ms
        )


def of_execution(execution: LocalExecution, ended: ProgramEnd | None) -> EndedOnDisk:
    """The end of an execution by what its engine said, None where that was cut short, and by its kill."""
    kill = execution.kill
    if ended is None:
        assert kill is not None
        ended = failed(kill.ending.fault, kill.ending.reason)
    elif kill is not None:
        # However it took that, it ended because it was told to.
        ended = codec.replace(ended, fault=kill.ending.fault, reason=kill.ending.reason)
    program = ended.program or _program(execution.award)
    return EndedOnDisk(
        end=codec.replace(ended, reason=reason_of(ended.reason), program=program),
        started_ms=int((execution.started_at or 0) * 1000),
        ended_ms=int(time.time() * 1000),
        keep=execution.ran and (kill is None or kill.ending.keep),
        publish=kill is None or kill.ending.publish,
        output_runs=execution.order.runs,
    )


def read(directory: Path) -> EndedOnDisk | None:
    """The end that lies in an execution's directory; None where there is none that can be read."""
    path = directory / _FILE_NAME
    if not path.exists():
        return None
    try:
        return codec.decode(path.read_bytes(), EndedOnDisk)
    except Unreadable as exc:
        log.warning("how %s ended cannot be read, so it runs again: %s", directory.name, exc)
        return None


def write(directory: Path, ended: EndedOnDisk) -> None:
    """Put the end into an execution's directory, whole or not at all."""
    path = directory / _FILE_NAME
    part = path.with_suffix(".part")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        part.write_bytes(codec.encode(ended))
        part.replace(path)
    except OSError as exc:
        # After a crash the program would run again; that is all that is lost.
        log.warning("cannot note the end of %s: %s", directory.name, exc.strerror)


def _program(award: Award) -> str:
    """The CID of a WASM job's module, where one input is just that; "" where the engine must know."""
    engine = award.spec.task.engine
    entry = getattr(engine, "entry_module", None)
    for source in award.spec.task.inputs:
        if source.target == entry and source.source.type == "ipfs":
            address = str(source.source.params["CID"])
            return "" if "/" in address else address
    return ""
