"""The end of an execution's program: kept on disk until its receipt is in the journal, and made into it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from p2pnode.core.values import content_paths
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import State, Unreadable
from p2pnode.core.wire.messages import Award, Receipt
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker import blame
from p2pnode.data.failures import DataFailed
from p2pnode.engines.workload import ProgramEnd, failed

from .execution import LocalExecution

log = logging.getLogger(__name__)

_FILE_NAME = "ended"


class EndedOnDisk(State, kw_only=True):
    """The end of a program in the engine's words, and what becomes of its output."""

    exit_code: int | None
    reason: str
    fault: Fault | None
    cpu_ms: int
    memory_bytes: int
    program: str
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
        self.reason = f"{self.reason}; {said}" if self.fault else said
        self.fault = self.fault or problem.fault

    def receipt(self, execution: LocalExecution, peer: str, result_cid: str | None) -> Receipt:
        """The receipt that `peer` signs for the execution."""
        reservation, spec = execution.reservation, execution.award.spec
        # Their roots: the spec has the paths below them.
        cids = [
            content_paths.root_of(str(one.source.params["CID"]))
            for one in spec.task.inputs
            if one.source.type == "ipfs"
        ]
        return Receipt(
            job=reservation.job,
            execution=reservation.execution,
            round=reservation.round,
            replica=execution.award.replica,
            peer=peer,
            requester=reservation.owner,
            spec_hash=reservation.spec_hash,
            program=self.program,
            inputs=tuple(cids),
            exit_code=self.exit_code,
            fault=self.fault,
            # Else the owner would refuse the message.
            reason=reason_of(blame.without_paths(self.reason, spec.task)),
            result_cid=result_cid,
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
            cpu_ms=self.cpu_ms,
            memory_bytes=self.memory_bytes,
        )


def of_execution(execution: LocalExecution, ended: ProgramEnd | None) -> EndedOnDisk:
    """The end of an execution by what its engine said, None where that was cut short, and by its kill."""
    kill = execution.kill
    if ended is None:
        assert kill is not None
        ended = failed(kill.fault, kill.reason)
    elif kill is not None:
        # However it took that, it ended because it was told to.
        ended = replace(ended, fault=kill.fault, reason=kill.reason)
    return EndedOnDisk(
        exit_code=ended.exit_code,
        reason=reason_of(ended.reason),
        fault=ended.fault,
        cpu_ms=ended.cpu_ms,
        memory_bytes=ended.memory_bytes_max,
        program=ended.program or _program(execution.award),
        started_ms=int((execution.started_at or 0) * 1000),
        ended_ms=int(time.time() * 1000),
        keep=execution.ran and (kill is None or kill.keep),
        publish=kill is None or kill.publish,
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
