"""The peers to ask, and the best bid: pure functions with a total order, so every run agrees.

What counts is when the result would be there: what a peer has yet to fetch, then how much else it has to do.
Equal choices are told apart by a hash of job and peer: two requesters that look at the
same table then prefer different peers, and a thousand jobs spread by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from p2pnode.core.records.lifecycle import Execution
from p2pnode.core.wire.messages import Advert, Requirements

from .adverts import Known
from .arrival import start_s, step
from .matching import RESOURCE_NAMES, favours
from .reliance import NO_DOUBTS, Doubts

# The label that names a failure domain, over which replicas are spread.
ZONE_LABEL = "zone"


def asks_for(needed: int) -> int:
    """How many peers are asked to fill `needed` replicas: half as many more, and two, are a choice.

    Each is a message and a reservation. Of those that the adverts rank highest, three are nearly as good a
    choice as all (the power of two choices), and a refusal is followed by another round.
    """
    return needed + needed // 2 + 2


def rendezvous_hash(job: str, round: int, peer: str) -> int:
    """A number that is the same everywhere and different for each job, round and peer."""
    return int.from_bytes(hashlib.sha256(f"{job}/{round}/{peer}".encode()).digest()[:8], "big")


def free_tenths(need: Requirements, peer: Known) -> int:
    """How much of the scarcest resource that the job asks for would be left, in tenths of the whole.

    What the peer was given since its advert counts whether or not it has ended: then it is a turn, and below
    nothing turns go on.
    """
    total, free = peer.advert.capacity.total, peer.advert.capacity.free
    given, wanted = peer.given, need.resources
    shares = [
        10 * (getattr(free, name) - getattr(given, name) - getattr(wanted, name)) // getattr(total, name)
        for name in RESOURCE_NAMES
        if getattr(total, name) and getattr(wanted, name)
    ]
    return min(shares, default=10)


def time_rank(need: Requirements, peer: Known, sizes: Mapping[int, int]) -> tuple[int, int]:
    """When the result would be there, by the peer's advert: the least is the best."""
    return step(start_s(sizes, peer.advert.capacity)), -free_tenths(need, peer)


def rank_candidates(
    job: str,
    round: int,
    need: Requirements,
    candidates: Iterable[Known],
    used: Mapping[str, int],
    failures: Mapping[str, int],
    deputies: Collection[str] = (),
    sizes: Mapping[int, int] | None = None,
    doubts: Doubts = NO_DOUBTS,
) -> list[Advert]:
    """Peers in the order in which to ask them.

    `used` counts the job's replicas on each peer, `failures` how often it failed the job; `sizes` are
    those of what the job uses. What dies with a peer should not be both an execution and the copy of its
    job's record: `deputies` come later. What is offered by those in `doubts` may count for nothing.
    """

    def key(known: Known) -> tuple[int, ...]:
        peer, capacity = known.advert.peer, known.advert.capacity
        return (
            failures.get(peer, 0),
            used.get(peer, 0),
            rendezvous_hash(job, round, peer) if doubts.draws(peer) else 0,
            -favours(need, capacity),
            capacity.price_micros,
            step(start_s(sizes or {}, capacity)),
            # A connection takes longer to begin than a small job.
            not known.near,
            -free_tenths(need, known),
            peer in deputies,
            rendezvous_hash(job, round, peer),
        )

    return [one.advert for one in sorted(candidates, key=key)]


def best_bid(
    job: str,
    need: Requirements,
    bids: Iterable[Execution],
    known: Mapping[str, Known],
    used: Mapping[str, int],
    failures: Mapping[str, int],
    deputies: Collection[str] = (),
    doubts: Doubts = NO_DOUBTS,
) -> Execution:
    """The bid to award next, of at least one: spread over peers and zones, cheap, soon, roomy."""
    zones: dict[str, int] = {}
    for peer, count in used.items():
        zone = _zone(known.get(peer))
        if zone:
            zones[zone] = zones.get(zone, 0) + count

    def key(execution: Execution) -> tuple[int, ...]:
        assert execution.bid is not None
        peer = known.get(execution.peer)
        lot = rendezvous_hash(job, execution.round, execution.peer)
        return (
            used.get(execution.peer, 0),
            failures.get(execution.peer, 0),
            doubts.lateness(execution.peer),
            lot if doubts.draws(execution.peer) else 0,
            zones.get(_zone(peer), 0),
            -favours(need, peer.advert.capacity) if peer else 0,
            execution.bid.price_micros,
            step(execution.bid.start_ms / 1000),
            -free_tenths(need, peer) if peer else 0,
            execution.peer in deputies,
            lot,
        )

    return min(bids, key=key)


def _zone(peer: Known | None) -> str:
    return peer.advert.capacity.labels.get(ZONE_LABEL, "") if peer else ""
