"""Places for connections that others open: who gets one, and who goes for it, decided without I/O.

Strangers come with as many ids as they like, but not from as many addresses: each range of addresses has so
many places. Where a range, or the node, is full, a newcomer takes the place of the youngest of the most
crowded range. Kept are those with which this node works, the half that has been here longest, and the few of
whom something came last (after Bitcoin Core's eviction). So nobody locks a newcomer out by coming first, nor
those that were there by coming often. What this node has opened itself is not counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from p2pnode.core.values.ranges import LOOPBACK, PRIVATE, Ranges, ranges_of

# Each takes about 1 MiB, and nodes keep 16 by themselves: the rest is of jobs, or a network that starts.
INBOUND_MAX = 240
# Nodes behind one public address: an office, or a university's cluster.
PER_HOST_MAX = 32
PER_NEAR_MAX = 48
PER_WIDE_MAX = 96
# A LAN, or a lab on one machine, rightly has them all in one range; the rest stays for others.
PER_SCOPE_MAX = 200
# So many strangers that used their connection last stay.
LATELY_USED_KEPT = 8


@dataclass(frozen=True, slots=True)
class Inbound:
    """A connection that a peer has opened."""

    peer: str
    host: str
    since: float
    # When something other than gossip went over it last.
    used_at: float
    # Does this node work with the peer, or was it named by the user?
    acquainted: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a newcomer gets a place: `refused` says why not; `goes` is who makes it."""

    refused: str = ""
    goes: str = ""


def admit(host: str, acquainted: bool, held: Iterable[Inbound]) -> Verdict:
    """Decide on one more connection, from `host`."""
    ranges = ranges_of(host)
    there = [(one, ranges_of(one.host)) for one in held]
    full = _full(ranges, [found for _, found in there])
    if full:
        rivals = [pair for pair in there if _shares(ranges, pair[1], full)]
    elif len(there) >= INBOUND_MAX:
        full, rivals = "this node", there
    else:
        return Verdict()
    goes = _goes(rivals)
    if goes is None and acquainted and len(there) < INBOUND_MAX:
        # Its range is full of others with which this node works: they may be as many as there are places.
        return Verdict()
    return Verdict(goes=goes) if goes is not None else Verdict(refused=f"{full} has no place left")


def _full(newcomer: Ranges, there: list[Ranges]) -> str:
    """The narrowest range of the newcomer that is full; "" if none is."""
    if not newcomer.is_public:
        same = sum(one.wide == newcomer.wide for one in there)
        return newcomer.wide if same >= PER_SCOPE_MAX else ""
    limits = (("host", PER_HOST_MAX), ("near", PER_NEAR_MAX), ("wide", PER_WIDE_MAX))
    for name, most in limits:
        own = getattr(newcomer, name)
        if sum(getattr(one, name) == own for one in there) >= most:
            return str(own)
    return ""


def _shares(newcomer: Ranges, other: Ranges, full: str) -> bool:
    if full in (LOOPBACK, PRIVATE):
        return other.wide == full
    return full in (other.host, other.near, other.wide) and other.is_public == newcomer.is_public


def _goes(rivals: list[tuple[Inbound, Ranges]]) -> str | None:
    """Choose who makes place among these: none of the acquainted, the long there, or the useful."""
    strangers = sorted((pair for pair in rivals if not pair[0].acquainted), key=lambda pair: pair[0].since)
    young = strangers[(len(strangers)) // 2 :]
    by_use = sorted(young, key=lambda pair: pair[0].used_at)
    idle = by_use[: max(0, len(by_use) - LATELY_USED_KEPT)]
    if not idle:
        return None
    crowds = Counter(ranges.near for _, ranges in strangers)
    return max(idle, key=lambda pair: (crowds[pair[1].near], pair[0].since))[0].peer
