"""What people do about what has failed on this node: look at it, have it tried again, drop it."""

from __future__ import annotations

from p2pnode.api.service import Code, ProblemJson, ServiceError
from p2pnode.core.wire.codec import BadMessage, Unreadable
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.problems import Problem
from p2pnode.node.driver import EventRefused
from p2pnode.node.journal import JournalError

from .content import Content


class Mending(Content):
    """The part of `api.service.NodeService` about problems."""

    def problems(self) -> list[ProblemJson]:
        return [_json(problem) for problem in self._node.journal.problems.all()]

    async def retry_problem(self, number: int) -> None:
        node, problem = self._node, self._problem(number)
        kind, subject = problem.compartment, problem.subject
        try:
            if problem.aside:
                node.driver.take_back(kind, subject)
                node.journal.problems.remove(number)
            elif kind is Compartment.MESSAGE and problem.payload is not None:
                await node.intake.again(subject, problem.payload)
                node.journal.problems.remove(number)
            else:
                raise ServiceError(Code.CONFLICT, f"the {kind} {subject} is tried again by itself")
        except (EventRefused, BadMessage, Unreadable) as exc:
            raise ServiceError(Code.CONFLICT, f"it failed again: {reason_of(exc)}") from exc
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc

    async def drop_problem(self, number: int) -> None:
        node, problem = self._node, self._problem(number)
        try:
            if problem.aside:
                node.driver.drop(problem.compartment, problem.subject)
            node.journal.problems.remove(number)
        except JournalError as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc
        if problem.aside and problem.compartment is Compartment.EXECUTION:
            await node.executor.remove(problem.subject)

    def _problem(self, number: int) -> Problem:
        problem = self._node.journal.problems.get(number)
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
