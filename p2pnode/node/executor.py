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
from pathlib import Path

import trio

from p2pnode.core.records import receipts
from p2pnode.core.records.events import (
    Finished,
    Kill,
    Progressed,
    Start,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.log_order import LogOrder
from p2pnode.core.wire.messages import Receipt
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.states import Fault, Stage
from p2pnode.core.worker import blame
from p2pnode.data.archive import tree_of
from p2pnode.data.failures import DataFailed, of_disk
from p2pnode.data.inputs import Inputs
from p2pnode.data.publishers import Publishers, Result, needs_publishing
from p2pnode.engines.workload import Engine, Mount, ProgramEnd, Workload, failed
from p2pnode.faults.caution import Caution
from p2pnode.faults.guards import Guards
from p2pnode.system.log_lines import concerning

from . import ended_on_disk
from .ended_on_disk import EndedOnDisk
from .execution import LocalExecution

log = logging.getLogger(__name__)

# Progress of a download, at most this often: each report is a message to the owner and a line of history.
PROGRESS_INTERVAL_S = 2.0
_NUMBER = re.compile(r"[\d.]+ ?[kKMGT]?B?%?")


class Executor:
    """Runs the executions that were awarded to this node, and makes and reports their receipts."""

    def __init__(
        self,
        directory: Path,
        peer: str,
        engines: Mapping[str, Engine],
        inputs: Inputs,
        publishers: Publishers,
        sign: Callable[[bytes], bytes],
        keep_receipt: Callable[[bytes], object],
        keep_order: Callable[[str, LogOrder], None],
        report: Callable[[Progressed | Finished], bool],
        guards: Guards,
        caution: Caution,
        set_aside: Callable[[str, Exception], None],
        remove: Callable[[Path], Awaitable[str]],
    ) -> None:
        """`sign` signs a receipt's body; `keep_receipt` stores a signed receipt;
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
        self._running: dict[str, LocalExecution] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the executions' tasks until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def start(self, action: Start) -> None:
        """Begin the task of an execution, or go on with one of before a restart."""
        assert self._nursery is not None
        assert action.reservation.execution not in self._running
        execution = self._running[action.reservation.execution] = LocalExecution(
            action.reservation, action.award
        )
        self._nursery.start_soon(self._run_alone, execution)

    def kill(self, action: Kill) -> None:
        """End an execution as its owner or this node says; nothing, where it does not run."""
        execution = self._running.get(action.execution)
        if execution is not None:
            execution.end(action)

    @property
    def executions(self) -> list[str]:
        """The ids of the executions that are here now, in any stage."""
        return list(self._running)

    def log_files(self, execution: str) -> tuple[Path, Path, Sequence[int]] | None:
        """The files of an execution's stdout and stderr, and the order of the two; None if it is not here."""
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
            with concerning(execution=directory.name):
                log.warning("cannot remove all that %s left: %s", directory.name, left)

    async def _run_alone(self, execution: LocalExecution) -> None:
        """Run it as a task of its own, whatever event has begun it."""
        about = execution.reservation
        with concerning(anew=True, job=about.job, execution=execution.id, peer=about.owner):
            await self._run(execution)

    async def _run(self, execution: LocalExecution) -> None:
        id = execution.id
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

    async def _run_and_publish(self, execution: LocalExecution) -> bool:
        id = execution.id
        directory = self._directory / id
        ended = await self._to_the_end(execution, directory)
        with self._caution.trying(Compartment.EXECUTION, id):
            result_cid = await self._publish_result(execution, directory, ended)
            return self._finish(id, ended.receipt(execution, self._peer, result_cid))

    def _finish(self, id: str, receipt: Receipt) -> bool:
        """Sign, keep and report how it ended; whether the journal has it."""
        body = codec.encode(receipt)
        signed = Signed(body=body, signature=self._sign(body))
        self._keep_receipt(codec.encode(signed))
        del self._running[id]
        return self._report(Finished(id, signed))

    async def _to_the_end(self, execution: LocalExecution, directory: Path) -> EndedOnDisk:
        """Prepare and run; whatever goes wrong on the way is how it ended."""
        if found := ended_on_disk.read(directory):
            execution.order.runs = found.output_runs
            return found
        ended: ProgramEnd | None = None
        with execution.scope:
            ended = await self._prepare_and_run(execution, directory)
        on_disk = ended_on_disk.of_execution(execution, ended)
        ended_on_disk.write(directory, on_disk)
        return on_disk

    async def _prepare_and_run(self, execution: LocalExecution, directory: Path) -> ProgramEnd:
        task = execution.award.spec.task
        try:
            environment = self._inputs.environment(task)
            inputs_directory = directory / "inputs"
            inputs_directory.mkdir(parents=True, exist_ok=True)
            with self._caution.trying(Compartment.EXECUTION, execution.id):
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
            execution_id=execution.id,
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

    def _started(self, execution: LocalExecution) -> None:
        execution.started_at = time.time()
        self._report(Progressed(execution.id, Stage.RUNNING, ""))

    def _tell(self, execution: LocalExecution, stage: Stage, text: str) -> None:
        now, kind = trio.current_time(), _NUMBER.sub("", text)
        if kind != execution.told or now - execution.told_at >= PROGRESS_INTERVAL_S:
            execution.told, execution.told_at = kind, now
            shown = blame.without_paths(text, execution.award.spec.task)
            self._report(Progressed(execution.id, stage, reason_of(shown)))

    async def _publish_result(
        self, execution: LocalExecution, directory: Path, ended: EndedOnDisk
    ) -> str | None:
        """The CID of the result, or None; what goes wrong is put into `ended`."""
        if not ended.keep:
            return None
        if execution.kill is None:
            self._report(Progressed(execution.id, Stage.PUBLISHING, ""))
        result_cid: str | None = None
        execution.stores = True
        # A new scope: a killed program's output is still wanted, and a kill while publishing ends it.
        with trio.CancelScope() as execution.scope:
            try:
                result = self._result(execution, directory, ended)
                result_cid, result, left = await self._publishers.store(result)
                ended.judge(*blame.with_left(ended.end.reason, ended.end.fault, left))
                if execution.order.tells:
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
            ended.judge(execution.kill.ending.reason, execution.kill.ending.fault)
        return result_cid

    def _is_published(self, execution: LocalExecution, ended: EndedOnDisk) -> bool:
        """Not what was cut short by others than the job: a whole result may lie there, or come to."""
        if execution.kill is not None and not execution.kill.ending.publish:
            # Its program had come to its own end when it was told to.
            if ended.publish and needs_publishing(execution.award.spec.task.publisher):
                ended.judge(execution.kill.ending.reason, execution.kill.ending.fault)
            return False
        return ended.publish

    def _result(self, execution: LocalExecution, directory: Path, ended: EndedOnDisk) -> Result:
        folders = [one.name for one in execution.award.spec.task.results]
        return Result(
            tree=tree_of(directory, ended.end.exit_code, folders),
            job=execution.reservation.job,
            execution=execution.id,
            peer=self._peer,
            ended_ms=ended.ended_ms,
            disk_bytes=execution.award.spec.task.resources.disk_bytes,
            scratch=directory,
        )
