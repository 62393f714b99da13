"""Who gets the room of a compute peer: rules about the loans that hold some and those that wait.

What waits is served by priority, then age. A node that may preempt ends as little batch work of lower
priority as makes room for something more urgent. Pure functions; `core.lending` acts on what they say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .lending_records import Loan, LoanState
from .matching import fits, minus
from .messages import Offer
from .spec import JobType

_HOLDING_NOTHING = (LoanState.WAITING, LoanState.ENDED)


def holding(loans: Iterable[Loan]) -> list[Loan]:
    """The loans that hold resources."""
    return [one for one in loans if one.state not in _HOLDING_NOTHING]


def waiting(loans: Iterable[Loan]) -> list[Loan]:
    """The asks that wait for room, the most urgent first."""
    return sorted((one for one in loans if one.state is LoanState.WAITING), key=_urgency)


def fits_without(loan: Loan, capacity: Offer, held: Iterable[Loan], gone: Collection[Loan] = ()) -> bool:
    """Would there be room for it if some others were gone?"""
    left = (one.requirements.resources for one in held if one not in gone)
    return fits(loan.requirements.resources, minus(capacity.total, left))


def victims(loan: Loan, capacity: Offer, held: Collection[Loan]) -> list[Loan]:
    """The least batch work of lower priority that has to end to make room; none if it would not do."""
    able = [
        one
        for one in held
        if one.state is not LoanState.ENDING
        and one.priority < loan.priority
        and one.award is not None
        and one.award.spec.type is JobType.BATCH
    ]
    able.sort(key=lambda one: (one.priority, -one.created))
    chosen: list[Loan] = []
    while able and not fits_without(loan, capacity, held, chosen):
        chosen.append(able.pop(0))
    return chosen if fits_without(loan, capacity, held, chosen) else []


def _urgency(loan: Loan) -> tuple[int, float, str]:
    return -loan.priority, loan.created, loan.execution
