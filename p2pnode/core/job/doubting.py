"""Doubts of a job about peers: those that kept it, or other jobs of its owner, waiting against their word.

Identities cost nothing, and neither do their offers and what they sign. So a peer that has kept its word is
asked with them, and tries what a stranger says to fail wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from p2pnode.core.placement.adverts import Known, KnownPeers, doubts
from p2pnode.core.placement.reliance import Doubts
from p2pnode.core.records.lifecycle import BROKEN, ExecutionState, JobRecord
from p2pnode.core.wire.messages import Advert


def doubts_of(
    record: JobRecord, known: Mapping[str, Known], has_room: Callable[[Advert], bool], now: float
) -> Doubts:
    """Look at how the job's asks and awards went; `has_room` tells whether an advert would take it."""
    if not isinstance(known, KnownPeers):
        return Doubts()
    suspects = {peer for peer, one in record.refusals.items() if one.of_award}
    waiting = (one.peer for one in record.of(ExecutionState.QUEUED) if one.peer in known)
    suspects |= {peer for peer in waiting if has_room(known[peer].advert)}
    believed = {*known.reliance.proven, record.owner}
    wary = any(
        one.is_unbegun or one.is_peers_fault or (one.is_excuse and one.peer not in believed)
        for one in record.of(*BROKEN)
    )
    return doubts(known, record.owner, suspects, now, wary=wary)


def with_proven(ranked: Sequence[Advert], most: int, needed: int, proven: Collection[str]) -> list[Advert]:
    """The first `most`, and a proven peer in the place of the last, for each second replica that is `needed`.

    So the bid of somebody that kept its word is at hand, whatever strangers offer.
    """
    first = [*ranked[:most]]
    wanted = [one for one in ranked if one.peer in proven][: -(-needed // 2)]
    lacking = [one for one in wanted if one not in first][: len(first) - 1]
    return [*first[: len(first) - len(lacking)], *lacking]
