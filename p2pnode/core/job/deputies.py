"""The deputies of a job: which peers are named, and when they are told. The acting owner's side.

The requester names them in its charter, and replaces one that falls silent by another charter; the
former one may still hold its copy, so it is remembered as a past member, which is told. Any other
owner can only name more, behind the present members.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

from p2pnode.core.placement.adverts import Known, out_of_reach
from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Send
from p2pnode.core.records.lifecycle import LIVE, JobRecord
from p2pnode.core.replication.sync import header, replicates
from p2pnode.core.wire import protocols
from p2pnode.core.wire.fields import MEMBERS_NAMED_MAX, PEERS_NAMED_MAX
from p2pnode.core.wire.states import Scheduling

from .transitions import JobTransitions

# One may die while the other takes over.
DEPUTIES = 2


def recipients(record: JobRecord) -> list[str]:
    """The peers that are told how the job stands: its members that take copies."""
    return [peer for peer in record.deputies if peer not in record.declined]


def lacks_deputies(record: JobRecord, lost: Collection[str]) -> bool:
    """Whether fewer members than there should be would take over now."""
    full = record.owner != record.requester and len(record.authority.members) >= MEMBERS_NAMED_MAX
    return not full and sum(peer not in lost for peer in recipients(record)) < DEPUTIES


def name_deputies(
    transitions: JobTransitions, known: Mapping[str, Known], lost: Collection[str], now: float
) -> None:
    """Replace deputies that are lost, as far as there are others."""
    record = transitions.record
    if record.ended or not lacks_deputies(record, lost):
        return
    live = [peer for peer in recipients(record) if peer not in lost]
    runs = {one.peer for one in record.of(*LIVE)}
    candidates = [
        peer
        for peer, one in known.items()
        if peer not in {record.owner, *record.deputies, *record.declined, *lost}
        and one.advert.capacity.scheduling is not Scheduling.DRAINING
        and protocols.why_no_link(one.advert.protocols) is None
    ]
    unreachable = out_of_reach(known, now)
    # Anybody can invent peers, which keep nothing. A node that runs nothing is often there for one command.
    candidates.sort(
        key=lambda peer: (
            peer in unreachable,
            known[peer].brought_by is not None,
            not known[peer].advert.capacity.engines,
            peer in runs,
            rendezvous_hash(record.id, 0, peer),
        )
    )
    more = candidates[: DEPUTIES - len(live)]
    removed: list[str] = []
    if record.owner == record.requester:
        silent = [peer for peer in recipients(record) if peer in lost]
        kept = (*live, *more, *silent[: max(0, DEPUTIES - len(live) - len(more))])
        if set(kept) == set(record.deputies):
            return
        removed = [peer for peer in record.deputies if peer not in kept]
        recharter(transitions, (record.owner, *kept))
    elif more:
        record.mandate = mandate.extended(transitions.keys, record.mandate, transitions.me, more)
    else:
        return
    for peer in removed:
        record.synced.pop(peer, None)
        # The peer learns, some day, that its copy is wanted no more.
        transitions.actions.append(Send(peer, header(record, now)))
    for one in record.of(*LIVE):
        transitions.adopt(one)
    if live or more:
        names = ", ".join((*live, *more))
        transitions.note("Ownership", f"Deputies, who would take over: {names}", now, urgent=True)


def recharter(transitions: JobTransitions, members: tuple[str, ...]) -> None:
    """Sign the requester's next charter; who is no member any more is a past one."""
    record = transitions.record
    removed = [peer for peer in record.authority.members if peer not in members]
    record.mandate = mandate.recharter(
        transitions.keys, record.mandate, members, record.version, record.spec_hash
    )
    record.past_members = tuple(dict.fromkeys((*removed, *record.past_members)))[:PEERS_NAMED_MAX]


def tell_deputies(transitions: JobTransitions, lost: Collection[str], now: float) -> None:
    """Send what has changed to those that can hear it, if it is time."""
    record = transitions.record
    if transitions.tell_by > now:
        return
    for peer in recipients(record):
        if peer in lost and not record.ended:
            # A silent peer's outbox must not fill: it gets the whole when it is back, or at the end.
            record.synced.pop(peer, None)
            continue
        since = record.synced.get(peer)
        transitions.actions += [
            Send(peer, message) for message in replicates(record, transitions.lines, since, now)
        ]
        record.synced[peer] = now
    transitions.lines, transitions.tell_by = [], inf
