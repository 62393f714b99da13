"""Doubts of a job about peers: those that kept it, or other jobs of its owner, waiting against their word."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    wary = any(one.is_unbegun or one.is_peers_fault for one in record.of(*BROKEN))
    return doubts(known, record.owner, suspects, now, wary=wary)
