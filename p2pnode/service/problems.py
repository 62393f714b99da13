"""Commands of people on what has failed on this node: look at it, have it tried again, drop it."""

from __future__ import annotations

from p2pnode.api.shapes import Code, ProblemJson, ServiceError
from p2pnode.core.wire.codec import BadMessage, Unreadable
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.problems import JournalError, Problem
from p2pnode.node.driver import Driver, EventRefused
from p2pnode.node.executor import Executor
from p2pnode.node.intake import Intake
from p2pnode.node.journal import Journal


class FaultReports:
    """Implements `api.services.ProblemService`."""

    def __init__(self, journal: Journal, driver: Driver, intake: Intake, executor: Executor) -> None:
        self._journal = journal
        self._driver = driver
        self._intake = intake
        self._executor = executor

    def problems(self) -> list[ProblemJson]:
        return [_json(problem) for problem in self._journal.problems.all()]

    async def retry_problem(self, number: int) -> None:
        problem = self._problem(number)
        kind, subject = problem.compartment, problem.subject
        try:
            if problem.aside:
                self._driver.take_back(kind, subject)
                self._journal.problems.remove(number)
            elif kind is Compartment.MESSAGE and problem.payload is not None:
                await self._intake.again(subject, problem.payload)
                self._journal.problems.remove(number)
            else:
                raise ServiceError(Code.CONFLICT, f"the {kind} {subject} is tried again by itself")
        except (EventRefused, BadMessage, Unreadable) as exc:
            raise ServiceError(Code.CONFLICT, f"it failed again: {reason_of(exc)}") from exc
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc

    async def drop_problem(self, number: int) -> None:
        problem = self._problem(number)
        try:
            if problem.aside:
                self._driver.drop(problem.compartment, problem.subject)
            self._journal.problems.remove(number)
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        if problem.aside and problem.compartment is Compartment.EXECUTION:
            await self._executor.remove(problem.subject)

    def _problem(self, number: int) -> Problem:
        problem = self._journal.problems.get(number)
        if problem is None:
            raise ServiceError(Code.NOT_FOUND, f"there is no problem {number}; see p2pnode node problems")
        return problem


def _json(problem: Problem) -> ProblemJson:
    return {
        "number": problem.number,
        "kind": problem.compartment,
        "subject": problem.subject,
        "reason": problem.reason,
        "detail": problem.detail,
        "aside": problem.aside,
        "count": problem.count,
        "first_at": problem.first_at,
        "last_at": problem.last_at,
    }
