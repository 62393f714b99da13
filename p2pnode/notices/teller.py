"""Tells the ends of jobs, as `plan` decides: a task for each try, what is left of them in the journal.

A command or a webhook that fails holds up nothing but its own queue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import trio

from p2pnode.api.shapes import JobJson
from p2pnode.config import DATA_DIR_VARIABLE
from p2pnode.config.settings import NodeConfig
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.guards import Guards
from p2pnode.system.log_lines import concerning

from .command import EndCommand
from .plan import (
    Answer,
    Answered,
    Forget,
    NoticeOutcome,
    NoticePlan,
    PlanEvent,
    Postpone,
    TellPeople,
    Try,
    Woken,
)
from .table import KeptNotice, NoticeTable
from .target import GoneAway, Notice, NotTaken, Target, target_name
from .webhook import Webhook, load_or_make_secret

log = logging.getLogger(__name__)

# A job as the API has it.
Describe = Callable[[JobRecord], JobJson]


class WakingClock(Protocol):
    """The clock by which the plan goes; see `node.clock`."""

    def now(self) -> float:
        """Unix time."""

    def monotonic(self, at: float) -> float:
        """The same moment on trio's clock."""


class Teller:
    """Tells what the settings name, once it runs; until then the table keeps what is to be told."""

    def __init__(
        self,
        config: NodeConfig,
        table: NoticeTable,
        clock: WakingClock,
        guards: Guards,
        report: Callable[[str, str], None],
    ) -> None:
        """`report` keeps for people what fails: its name, and why."""
        self._config = config
        self._table = table
        self._clock = clock
        self._guards = guards
        self._report = report
        self._woken = trio.Event()
        command = ["\0".join(config.on_job_end)] if config.on_job_end else []
        self._names = list(map(target_name, [*command, *config.job_end_webhooks]))
        # Over all plans: a teller that failed begins with a new one.
        self.counts = dict.fromkeys(NoticeOutcome, 0)
        table.serve(self._names, lambda: self._woken.set())

    async def run(self, describe: Describe, api_url: str) -> None:
        """Tell until cancelled; raises `SecretError` and `OSError` where the secret cannot be used."""
        targets = {one.name: one for one in self._targets(api_url)}
        plan = NoticePlan(self._names, self.counts)
        newest = 0
        async with trio.open_nursery() as nursery:
            run = _Run(nursery, targets, describe, plan)
            while True:
                self._woken = trio.Event()
                for delivery in self._table.after(newest):
                    newest = max(newest, delivery.notice)
                    self._handle(run, delivery)
                self._handle(run, Woken())
                with trio.move_on_at(self._clock.monotonic(plan.deadline)):
                    await self._woken.wait()

    def _targets(self, api_url: str) -> list[Target]:
        config = self._config
        found: list[Target] = []
        if config.on_job_end:
            found.append(
                EndCommand(config.on_job_end, command_environment(os.environ, config.data_dir, api_url))
            )
        if config.job_end_webhooks:
            secret = load_or_make_secret(config.data_dir)
            found += [Webhook(url, secret) for url in config.job_end_webhooks]
        return found

    def _handle(self, run: _Run, event: PlanEvent) -> None:
        for action in run.plan.handle(event, self._clock.now()):
            match action:
                case Try(notice, target):
                    run.nursery.start_soon(self._try, run, notice, run.targets[target])
                case Postpone(delivery):
                    self._table.postpone(delivery)
                case Forget(notice, target):
                    self._table.forget(notice, target)
                case TellPeople(target, reason):
                    self._report(run.targets[target].shown, reason)

    async def _try(self, run: _Run, number: int, target: Target) -> None:
        failures: list[Exception] = []
        answered = Answered(number, target.name, Answer.TAKEN)
        with self._guards.guard(Compartment.TASK, target.shown, failures.append):
            answered = await self._answer(run, number, target)
        if failures:
            answered = Answered(number, target.name, Answer.FAILED, reason_of(failures[0]))
        self._handle(run, answered)
        # The plan may want to be woken at another time now.
        self._woken.set()

    async def _answer(self, run: _Run, number: int, target: Target) -> Answered:
        kept = self._table.get(number)
        assert kept is not None
        with concerning(anew=True, job=kept.record.id):
            return await self._told(run, kept, target, number)

    async def _told(self, run: _Run, kept: KeptNotice, target: Target, number: int) -> Answered:
        ended = datetime.fromtimestamp(kept.ended_at, UTC).isoformat(timespec="milliseconds")
        notice = Notice(kept.id, run.describe(kept.record), ended.replace("+00:00", "Z"))
        try:
            await target.tell(notice)
        except NotTaken as error:
            log.warning("%s was not told that %s has ended: %s", target.shown, kept.record.id, error)
            return Answered(number, target.name, Answer.FAILED, reason_of(error))
        except GoneAway as error:
            log.warning("%s wants to be told nothing more: %s", target.shown, error)
            return Answered(number, target.name, Answer.GONE, reason_of(error))
        return Answered(number, target.name, Answer.TAKEN)


@dataclass(frozen=True, slots=True)
class _Run:
    """The parts of a teller that runs."""

    nursery: trio.Nursery
    targets: Mapping[str, Target]
    describe: Describe
    plan: NoticePlan


def command_environment(environ: Mapping[str, str], data_dir: Path, api_url: str) -> dict[str, str]:
    """The node's own variables but for its settings, and how `p2pnode` finds this node."""
    kept = {name: value for name, value in environ.items() if not name.startswith("P2PNODE_")}
    return {**kept, DATA_DIR_VARIABLE: str(data_dir), "P2PNODE_API": api_url}
