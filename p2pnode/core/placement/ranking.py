"""The peers to ask, and the best bid: pure functions with a total order, so every run agrees.

Equal choices are told apart by a hash of job and peer: two requesters that look at the
same table then prefer different peers, and a thousand jobs spread by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from p2pnode.core.records.lifecycle import Execution
from p2pnode.core.wire.messages import Advert, Capacity, Requirements

from .matching import RESOURCE_NAMES, cached_count, favours

# The label that names a failure domain, over which replicas are spread.
ZONE_LABEL = "zone"


def asks_for(needed: int) -> int:
    """How many peers are asked to fill `needed` replicas (2 needed + 3: power of choices)."""
    return 2 * needed + 3


def rendezvous_hash(job: str, round: int, peer: str) -> int:
    """A number that is the same everywhere and different for each job, round and peer."""
    return int.from_bytes(hashlib.sha256(f"{job}/{round}/{peer}".encode()).digest()[:8], "big")


def free_tenths(need: Requirements, capacity: Capacity) -> int:
    """How much of the scarcest resource that the job asks for would be left, in tenths of the whole."""
    shares = [
        10 * (getattr(capacity.free, name) - getattr(need.resources, name)) // getattr(capacity.total, name)
        for name in RESOURCE_NAMES
        if getattr(capacity.total, name) and getattr(need.resources, name)
    ]
    return min(shares, default=10)


def rank_candidates(
    job: str,
    round: int,
    need: Requirements,
    candidates: Iterable[Advert],
    used: Mapping[str, int],
    failures: Mapping[str, int],
    deputies: Collection[str] = (),
) -> list[Advert]:
    """Peers in the order in which to ask them.

    `used` counts the job's replicas on each peer, `failures` how often it failed the job. What dies with
    a peer should not be both an execution and the copy of its job's record: `deputies` come later.
    """

    def key(advert: Advert) -> tuple[int, ...]:
        return (
            failures.get(advert.peer, 0),
            used.get(advert.peer, 0),
            -favours(need, advert.capacity),
            advert.capacity.price_micros,
            -cached_count(need, advert.capacity),
            advert.peer in deputies,
            -free_tenths(need, advert.capacity),
            rendezvous_hash(job, round, advert.peer),
        )

    return sorted(candidates, key=key)


def best_bid(
    job: str,
    need: Requirements,
    bids: Iterable[Execution],
    adverts: Mapping[str, Advert],
    used: Mapping[str, int],
    failures: Mapping[str, int],
    deputies: Collection[str] = (),
) -> Execution:
    """The bid to award next, of at least one: spread over peers and zones, cheap, near data, soon, roomy."""
    zones: dict[str, int] = {}
    for peer, count in used.items():
        zone = _zone(adverts.get(peer))
        if zone:
            zones[zone] = zones.get(zone, 0) + count

    def key(execution: Execution) -> tuple[int, ...]:
        assert execution.bid is not None
        advert = adverts.get(execution.peer)
        return (
            used.get(execution.peer, 0),
            failures.get(execution.peer, 0),
            zones.get(_zone(advert), 0),
            -favours(need, advert.capacity) if advert else 0,
            execution.bid.price_micros,
            -cached_count(need, advert.capacity) if advert else 0,
            execution.bid.start_ms,
            execution.peer in deputies,
            -free_tenths(need, advert.capacity) if advert else 0,
            rendezvous_hash(job, execution.round, execution.peer),
        )

    return min(bids, key=key)


def _zone(advert: Advert | None) -> str:
    return advert.capacity.labels.get(ZONE_LABEL, "") if advert else ""
