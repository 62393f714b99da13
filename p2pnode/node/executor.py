"""Runs what was awarded to this node: inputs, program, result, receipt.

One task per execution, in a nursery that ends with the node. Each step leaves on disk what
the next needs, so that after a crash `start` goes on: inputs that are whole are kept, the
engine decides whether its program is still there, and a program that has ended (`ended`)
is not run again but published.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import trio

from p2pnode.core.records import receipts
from p2pnode.core.records.events import (
    Finished,
    Kill,
    Progressed,
    Start,
)
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.values import content_paths
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import State, Unreadable
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.log_order import LogOrder
from p2pnode.core.wire.messages import Award, Receipt, Signed
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.states import Fault, Stage
from p2pnode.core.worker import blame
from p2pnode.data.archive import tree_of
from p2pnode.data.failures import DataFailed, of_disk
from p2pnode.data.inputs import Inputs
from p2pnode.data.publishers import Publishers, Result, needs_publishing
from p2pnode.engines.workload import KILL_S_MAX, Ended, Engine, Mount, Stopping, Workload, failed
from p2pnode.faults.caution import Caution
from p2pnode.faults.guards import Guards

log = logging.getLogger(__name__)

# Progress of a download, at most this often: each report is a message to the owner and a line of history.
PROGRESS_INTERVAL_S = 2.0
_NUMBER = re.compile(r"[\d.]+ ?[kKMGT]?B?%?")


@dataclass(slots=True)
class _Execution:
    reservation: Reservation
    award: Award
    # What it does now, which ends with this.
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopping: Stopping = field(default_factory=Stopping)
    order: LogOrder = field(default_factory=LogOrder)
    kill: Kill | None = None
    # Its program has ended: now it is stored, and then published.
    stores: bool = False
    publishes: bool = False
    started_at: float | None = None
    # When progress was last told, on trio's clock.
    told_at: float = float("-inf")
    # And what, without its numbers: a download's progress is one text, whatever its figures.
    told: str = ""

    @property
    def ran(self) -> bool:
        """Its program has begun, here and now or before a restart of the node."""
        return self.started_at is not None or self.reservation.ran

    def end(self, kill: Kill) -> None:
        """End what it does, so that what its program wrote is kept if that is wanted."""
        self.kill = self.kill or kill
        if self.publishes:
            # What is stored can be read; a job that nobody waits for has no place to fill.
            if not kill.publish:
                self.scope.cancel()
        elif not kill.keep or not (self.ran or self.stores):
            self.scope.cancel()
        elif not self.stores:
            self.stopping.ask(kill.grace_s)
            self.scope.deadline = trio.current_time() + kill.grace_s + KILL_S_MAX


class _EndedOnDisk(State, kw_only=True):
    """What the engine said, kept until the receipt is in the journal."""

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
        """A result that is not where it should be is a failure; the program's own comes first."""
        kept = f"; it can still be fetched as {result_cid}" if result_cid else ""
        said = f"the result was not published: {problem}{kept}"
        self.reason = f"{self.reason}; {said}" if self.fault else said
        self.fault = self.fault or problem.fault


class Executor:
    def __init__(
        self,
        directory: Path,
        peer: str,
        engines: Mapping[str, Engine],
        inputs: Inputs,
        publishers: Publishers,
        sign: Callable[[bytes], bytes],
        keep_receipt: Callable[[bytes], str],
        keep_order: Callable[[str, LogOrder], None],
        report: Callable[[Progressed | Finished], bool],
        guards: Guards,
        caution: Caution,
        set_aside: Callable[[str, Exception], None],
        remove: Callable[[Path], Awaitable[str]],
    ) -> None:
        """`sign` signs a receipt's body; `keep_receipt` stores a signed receipt and gives its CID;
        `keep_order` keeps the order of a result's output, blocking; `report` says whether the journal has it.

        `set_aside` is told of an execution that this node cannot even bring to an end. `remove` removes an
        execution's directory, and says why some of it is left.
        """
        self._directory = directory
        self._peer = peer
        self._engines = engines
        self._inputs = inputs
        self._publishers = publishers
        self._sign = sign
        self._keep_receipt = keep_receipt
        self._keep_order = keep_order
        self._report = report
        self._guards = guards
        self._caution = caution
        self._set_aside = set_aside
        self._remove_directory = remove
        self._running: dict[str, _Execution] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the executions' tasks until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def start(self, action: Start) -> None:
        assert self._nursery is not None
        assert action.reservation.execution not in self._running
        execution = self._running[action.reservation.execution] = _Execution(action.reservation, action.award)
        self._nursery.start_soon(self._run, execution)

    def kill(self, action: Kill) -> None:
        execution = self._running.get(action.execution)
        if execution is not None:
            execution.end(action)

    @property
    def executions(self) -> list[str]:
        """What runs here now, in any stage."""
        return list(self._running)

    def log_files(self, execution: str) -> tuple[Path, Path, Sequence[int]] | None:
        """Where an execution writes stdout and stderr, and in which order; None if it is not here."""
        if execution not in self._running:
            return None
        directory = self._directory / execution
        return directory / "stdout", directory / "stderr", self._running[execution].order.runs

    async def remove(self, execution: str) -> None:
        """Remove the directory of an execution that does not run."""
        if execution not in self._running:
            await self._remove_left(self._directory / execution)

    async def clear(self, keep: set[str]) -> None:
        """Remove the directories of executions that nobody knows any more."""
        if self._directory.exists():
            for path in list(self._directory.iterdir()):
                if path.name not in keep:
                    await self._remove_left(path)

    async def _remove_left(self, directory: Path) -> None:
        if left := await self._remove_directory(directory):
            log.warning("cannot remove all that %s left: %s", directory.name, left)

    async def _run(self, execution: _Execution) -> None:
        id = execution.reservation.execution
        failures: list[Exception] = []
        worse: list[Exception] = []
        is_told = False
        try:
            with self._guards.guard(Compartment.EXECUTION, id, failures.append):
                is_told = await self._run_and_publish(execution)
            if failures and not self._guards.ends_node(failures[0]):
                with self._guards.guard(Compartment.EXECUTION, id, worse.append):
                    now_ms = int(time.time() * 1000)
                    reservation, award = execution.reservation, execution.award
                    said = blame.without_paths(reason_of(failures[0]), award.spec.task)
                    reason = f"its node failed with it: {said}"
                    receipt = receipts.given_up(reservation, award, self._peer, reason, now_ms)
                    is_told = self._finish(id, receipt)
        finally:
            self._running.pop(id, None)
        if worse:
            # Its directory stays, for whoever has it tried again; so it does for the next start (below).
            self._set_aside(id, worse[0])
        if not is_told:
            return
        with self._guards.guard(Compartment.EXECUTION, id):
            await self._remove_left(self._directory / id)

    async def _run_and_publish(self, execution: _Execution) -> bool:
        id = execution.reservation.execution
        directory = self._directory / id
        ended = await self._to_the_end(execution, directory)
        with self._caution.trying(Compartment.EXECUTION, id):
            result_cid = await self._publish_result(execution, directory, ended)
            return self._finish(id, self._receipt(execution, ended, result_cid))

    def _finish(self, id: str, receipt: Receipt) -> bool:
        """Sign, keep and report how it ended; whether the journal has it."""
        body = codec.encode(receipt)
        signed = Signed(body=body, signature=self._sign(body))
        receipt_cid = self._keep_receipt(codec.encode(signed))
        del self._running[id]
        return self._report(Finished(id, signed, receipt, receipt_cid))

    async def _to_the_end(self, execution: _Execution, directory: Path) -> _EndedOnDisk:
        """Prepare and run; whatever goes wrong on the way is how it ended."""
        path = directory / "ended"
        if path.exists():
            try:
                found = codec.decode(path.read_bytes(), _EndedOnDisk)
                execution.order.runs = found.output_runs
                return found
            except Unreadable as exc:
                log.warning("how %s ended cannot be read, so it runs again: %s", directory.name, exc)
        with execution.scope:
            ended = await self._prepare_and_run(execution, directory)
        kill = execution.kill
        if execution.scope.cancelled_caught:
            assert kill is not None
            ended = failed(kill.fault, kill.reason)
        elif kill is not None:
            # However it took that, it ended because it was told to.
            ended = replace(ended, fault=kill.fault, reason=kill.reason)
        on_disk = _EndedOnDisk(
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
        _note_end(path, on_disk)
        return on_disk

    async def _prepare_and_run(self, execution: _Execution, directory: Path) -> Ended:
        task = execution.award.spec.task
        try:
            environment = self._inputs.environment(task)
            inputs_directory = directory / "inputs"
            inputs_directory.mkdir(parents=True, exist_ok=True)
            with self._caution.trying(Compartment.EXECUTION, execution.reservation.execution):
                found = await self._inputs.fetch_all(
                    task,
                    execution.award.replica,
                    execution.award.spec.count,
                    inputs_directory,
                    lambda text: self._tell(execution, Stage.PREPARING, text),
                )
            results = []
            for result in task.results:
                path = directory / "results" / result.name
                path.mkdir(parents=True, exist_ok=True)
                results.append(Mount(host_path=path, target=result.path, read_only=False))
        except DataFailed as exc:
            return failed(exc.fault, str(exc))
        except OSError as exc:
            return failed(Fault.PEER, f"cannot prepare the execution's directory: {exc.strerror}")
        workload = Workload(
            execution_id=execution.reservation.execution,
            # From here on alone: what this node forwards is in no spec.
            task=codec.replace(task, environment=environment),
            job_id=execution.reservation.job,
            replica=execution.award.replica,
            replica_count=execution.award.spec.count,
            directory=directory,
            inputs=tuple(
                Mount(host_path=one.path, target=one.target, read_only=one.read_only) for one in found
            ),
            results=tuple(results),
            stdout=directory / "stdout",
            stderr=directory / "stderr",
            order=execution.order,
            stopping=execution.stopping,
        )
        engine = self._engines[execution.reservation.requirements.engine]
        return await engine.run(
            workload,
            lambda: self._started(execution),
            lambda text: self._tell(execution, Stage.PREPARING, text),
        )

    def _started(self, execution: _Execution) -> None:
        execution.started_at = time.time()
        self._report(Progressed(execution.reservation.execution, Stage.RUNNING, ""))

    def _tell(self, execution: _Execution, stage: Stage, text: str) -> None:
        now, kind = trio.current_time(), _NUMBER.sub("", text)
        if kind != execution.told or now - execution.told_at >= PROGRESS_INTERVAL_S:
            execution.told, execution.told_at = kind, now
            shown = blame.without_paths(text, execution.award.spec.task)
            self._report(Progressed(execution.reservation.execution, stage, reason_of(shown)))

    async def _publish_result(
        self, execution: _Execution, directory: Path, ended: _EndedOnDisk
    ) -> str | None:
        """The CID of the result, or None; what goes wrong is put into `ended`."""
        if not ended.keep:
            return None
        if execution.kill is None:
            self._report(Progressed(execution.reservation.execution, Stage.PUBLISHING, ""))
        result_cid: str | None = None
        execution.stores = True
        # A new scope: a killed program's output is still wanted, and a kill while publishing ends it.
        with trio.CancelScope() as execution.scope:
            try:
                result = self._result(execution, directory, ended)
                result_cid, result, left = await self._publishers.store(result)
                ended.reason, ended.fault = blame.with_left(ended.reason, ended.fault, left)
                await trio.to_thread.run_sync(self._keep_order, result_cid, execution.order)
                execution.publishes = True
                if self._is_published(execution, ended):
                    await self._publishers.publish(
                        execution.award.spec.task.publisher,
                        result,
                        lambda text: self._tell(execution, Stage.PUBLISHING, text),
                    )
            except DataFailed as exc:
                ended.unpublished(exc, result_cid)
            except OSError as exc:
                ended.unpublished(of_disk("cannot collect the result", exc), result_cid)
        if execution.scope.cancelled_caught:
            assert execution.kill is not None
            ended.fault, ended.reason = execution.kill.fault, execution.kill.reason
        return result_cid

    def _is_published(self, execution: _Execution, ended: _EndedOnDisk) -> bool:
        """Not what was cut short by others than the job: a whole result may lie there, or come to."""
        if execution.kill is not None and not execution.kill.publish:
            # Its program had come to its own end when it was told to.
            if ended.publish and needs_publishing(execution.award.spec.task.publisher):
                ended.fault, ended.reason = execution.kill.fault, execution.kill.reason
            return False
        return ended.publish

    def _result(self, execution: _Execution, directory: Path, ended: _EndedOnDisk) -> Result:
        folders = [one.name for one in execution.award.spec.task.results]
        return Result(
            tree=tree_of(directory, ended.exit_code, folders),
            job=execution.reservation.job,
            execution=execution.reservation.execution,
            peer=self._peer,
            ended_ms=ended.ended_ms,
            disk_bytes=execution.award.spec.task.resources.disk_bytes,
            scratch=directory,
        )

    def _receipt(self, execution: _Execution, ended: _EndedOnDisk, result_cid: str | None) -> Receipt:
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
            peer=self._peer,
            requester=reservation.owner,
            spec_hash=reservation.spec_hash,
            program=ended.program,
            inputs=tuple(cids),
            exit_code=ended.exit_code,
            fault=ended.fault,
            # Else the owner would refuse the message.
            reason=reason_of(blame.without_paths(ended.reason, spec.task)),
            result_cid=result_cid,
            started_ms=ended.started_ms,
            ended_ms=ended.ended_ms,
            cpu_ms=ended.cpu_ms,
            memory_bytes=ended.memory_bytes,
        )


def _note_end(path: Path, ended: _EndedOnDisk) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(codec.encode(ended))
        part.replace(path)
    except OSError as exc:
        # After a crash the program would run again; that is all that is lost.
        log.warning("cannot note the end of %s: %s", path.parent.name, exc.strerror)


def _program(award: Award) -> str:
    """The CID of a WASM job's module, where one input is just that; "" where the engine must know."""
    engine = award.spec.task.engine
    entry = getattr(engine, "entry_module", None)
    for source in award.spec.task.inputs:
        if source.target == entry and source.source.type == "ipfs":
            address = str(source.source.params["CID"])
            return "" if "/" in address else address
    return ""
