"""Whom a compute peer obeys while owners die and come back: rules about a loan and who looks after it.

An award names the owner's deputies and its epoch. A deputy that takes over adopts the
execution with a higher epoch; of two that claim it, the higher epoch is obeyed, and of equal
ones the higher peer id, as everywhere. While nobody is heard of, the program goes on: batch
work to its end, since its result is wanted; what would run for ever, for a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2pnode.core.records.events import Action, SaveLoan, Send
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.records.reservations import Loan, LoanState
from p2pnode.core.wire.messages import (
    PEERS_NAMED_MAX,
    Adopt,
    Orphan,
    Owned,
    Refusal,
    Refusing,
    Stage,
    Update,
)

# An owner whose laptop sleeps and whose deputies are gone comes back within this time, or not at all.
ORPHAN_TIMEOUT_S = 60 * 60.0

_STAGES = {
    LoanState.PREPARING: Stage.PREPARING,
    LoanState.RUNNING: Stage.RUNNING,
    LoanState.PUBLISHING: Stage.PUBLISHING,
}


def update(loan: Loan, stage: Stage, detail: str) -> Update:
    return Update(
        execution=loan.execution, round=loan.round, sequence=loan.sequence, stage=stage, detail=detail
    )


def adopted(loan: Loan | None, peer: str, adopt: Adopt) -> list[Action]:
    """A peer says that it looks after an execution: answer how far that is, or who it obeys instead."""
    if loan is None or loan.job != adopt.job or loan.state in (LoanState.OFFERED, LoanState.WAITING):
        reason = "knows nothing of this execution any more"
        refusal = Refusal(
            execution=adopt.execution, round=adopt.round, refusing=Refusing.EXPIRED, reason=reason
        )
        return [Send(peer, refusal)]
    if not _trusts(loan, peer) or (adopt.epoch, peer) < (loan.epoch, loan.owner):
        return [Send(peer, Owned(job=loan.job, epoch=loan.epoch, owner=loan.owner))]
    loan.owner, loan.epoch, loan.deputies = peer, adopt.epoch, adopt.deputies
    # Whom it was told of before may not be among the new deputies, and has to be told of anew.
    loan.told = (0, "")
    if forsaken_at(loan) is not None:
        loan.deadline = None
    loan.orphaned = None
    if loan.ended is not None:
        return [SaveLoan(loan), Send(peer, loan.ended)]
    if loan.state is LoanState.ENDING:
        return [SaveLoan(loan)]
    loan.sequence += 1
    return [SaveLoan(loan), Send(peer, update(loan, _STAGES[loan.state], ""))]


def told_of_owner(loans: Iterable[Loan], peer: str, owned: Owned) -> list[Action]:
    """A peer that may know says who owns a job: let that one know of what runs here for it."""
    actions: list[Action] = []
    for loan in loans:
        higher = (owned.epoch, owned.owner) > max((loan.epoch, loan.owner), loan.told)
        if loan.job != owned.job or not higher or not _trusts(loan, peer) or loan.state not in _STAGES:
            continue
        loan.told = owned.epoch, owned.owner
        if owned.owner not in loan.deputies:
            loan.deputies = (owned.owner, *loan.deputies)[:PEERS_NAMED_MAX]
        actions += [SaveLoan(loan), Send(owned.owner, _orphan(loan))]
    return actions


def orphaned(loan: Loan, now: float) -> list[Action]:
    """Its owner is silent: tell all who may take over, and the owner itself should it come back."""
    if loan.state not in _STAGES:
        return []
    loan.orphaned = now
    loan.deadline = forsaken_at(loan) or loan.deadline
    tell = dict.fromkeys((loan.owner, *loan.deputies))
    return [SaveLoan(loan), *(Send(peer, _orphan(loan)) for peer in tell)]


def forsaken_at(loan: Loan) -> float | None:
    """When a program that would run for ever is ended because nobody looks after it; None: never."""
    for_ever = loan.award is not None and loan.award.spec.type in LONG_RUNNING
    if loan.orphaned is None or loan.state is not LoanState.RUNNING or not for_ever:
        return None
    return loan.orphaned + ORPHAN_TIMEOUT_S


def _trusts(loan: Loan, peer: str) -> bool:
    return peer == loan.owner or peer in loan.deputies


def _orphan(loan: Loan) -> Orphan:
    assert loan.award is not None
    return Orphan(
        execution=loan.execution,
        round=loan.round,
        job=loan.job,
        replica=loan.award.replica,
        owner=loan.owner,
        epoch=loan.epoch,
    )
