"""Refusals that a job remembers: how long a peer that said no is not asked again."""

from __future__ import annotations

from p2pnode.core.records.lifecycle import PastRefusal
from p2pnode.core.wire.states import RefusalKind

# A silent peer's advert may stay the same for as long as it lives: after a while it is asked again.
REFUSAL_HOLDS_S = 60.0
# A peer that never takes the job may have another policy, or variable, one day: services wait for that.
REFUSED_AWARD_HOLDS_S = 10 * 60.0


def held_until(refused: PastRefusal) -> float:
    """When a refusal no longer holds, whatever its peer advertises."""
    return refused.at + (REFUSED_AWARD_HOLDS_S if _is_final(refused) else REFUSAL_HOLDS_S)


def holds(refused: PastRefusal, number: int, now: float) -> bool:
    """Whether a peer whose newest advert has this number is not asked again now."""
    return now < held_until(refused) and (_is_final(refused) or number <= refused.number)


def _is_final(refused: PastRefusal) -> bool:
    """Whether all of the job was looked at, and it is not taken."""
    return refused.of_award and refused.refusal_kind is RefusalKind.UNSUITABLE
