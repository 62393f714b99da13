"""The deputies of a job: which peers are named, and when they are told. The acting owner's side.

As many are named as the job wants, those that run nothing of it before others: peers that say in their
adverts that they look after jobs, meet the job's Constraints, are trusted where its requester names whom it
trusts, and are where its policy places jobs. The requester names them in its charter, and replaces one that
falls silent by another charter; the former one may still hold its copy, so it is remembered as a past member,
which is told. Any other owner can only name more, behind the present members.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

from p2pnode.core.placement import constraints
from p2pnode.core.placement.adverts import Known, out_of_reach
from p2pnode.core.placement.matching import grouped
from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.records import mandate
from p2pnode.core.records import membership as memberships
from p2pnode.core.records.events import Send
from p2pnode.core.records.lifecycle import LIVE, JobRecord
from p2pnode.core.records.membership import Right
from p2pnode.core.replication.sync import header, told_to
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import protocols
from p2pnode.core.wire.fields import MEMBERS_NAMED_MAX, PEERS_NAMED_MAX
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.spec import WITHOUT_DEPUTIES
from p2pnode.core.wire.states import Scheduling

from .transitions import JobTransitions

# A node that has just joined does not know its peers yet: a job says later that it lacks deputies.
SHORTAGE_TOLD_AFTER_S = 10.0
# A member that names others without need once may not have heard this node, or its word has crossed this
# node's. Cuts that this node does not notice last some 10 s: one that does it again so soon is dishonest, or
# of no use, and costs no more charters for as long.
UNNEEDED_HOLDS_S = 600.0
# A controller whose users look at a job asks again every 60 s (`core.replication.readings`).
READER_S = 150.0


def recipients(record: JobRecord) -> list[str]:
    """The peers that are told how the job stands: its members that take copies."""
    return [peer for peer in record.deputies if peer not in record.declined]


def lacks_deputies(record: JobRecord, lost: Collection[str]) -> bool:
    """Whether fewer members than there should be would take over now."""
    full = record.owner != record.requester and len(record.authority.members) >= MEMBERS_NAMED_MAX
    return not full and sum(peer not in lost for peer in recipients(record)) < record.spec.deputies


def why_no_deputy(record: JobRecord, advert: Advert, trust: Trust) -> str | None:
    """Why a peer is to know nothing of the job, draining or not; None where it may be a deputy."""
    if advert.peer == record.requester:
        return None
    if (silent := protocols.why_no_link(advert.protocols)) is not None:
        return silent
    if protocols.DEPUTY not in advert.protocols:
        return "looks after no jobs of others"
    if (barred := memberships.why_may_not(advert, Right.LOOK_AFTER)) is not None:
        return barred
    if (distrusted := trust.why_not(advert.peer)) is not None:
        return distrusted
    labels, role = advert.capacity.labels, memberships.role_of(advert) or ""
    if (misplaced := trust.why_not_placed(advert.peer, role, labels, 0)) is not None:
        return misplaced
    unmet = (constraints.why_not(one, labels) for one in constraints.requirements(record.spec.constraints))
    return next((reason for reason in unmet if reason is not None), None)


def name_deputies(
    transitions: JobTransitions, known: Mapping[str, Known], lost: Collection[str], trust: Trust, now: float
) -> None:
    """Replace deputies that are lost, as far as there are others, and those that may be none."""
    record = transitions.record
    if record.ended:
        return
    fit = [
        peer
        for peer in recipients(record)
        if peer not in known or why_no_deputy(record, known[peer].advert, trust) is None
    ]
    live = [peer for peer in fit if peer not in lost]
    if len(live) >= record.spec.deputies:
        _replace(transitions, tuple(fit), lost, now)
        return
    wanted = record.spec.deputies - len(live)
    chosen = (*live, *_candidates(transitions, known, lost, trust, now)[:wanted])
    silent = [peer for peer in fit if peer in lost]
    kept = (*chosen, *silent[: max(0, record.spec.deputies - len(chosen))])
    _replace(transitions, kept, lost, now)
    if now >= shortage_told_at(record, lost):
        _tell_shortage(transitions, known, lost, trust, now)


def keep_at_most(transitions: JobTransitions, count: int, lost: Collection[str], now: float) -> None:
    """Take deputies off the list of a job that wants fewer now."""
    _replace(transitions, tuple(recipients(transitions.record))[:count], lost, now)


def shortage_told_at(record: JobRecord, lost: Collection[str]) -> float:
    """When the history is to say that there are too few deputies: once for each version of the job's file."""
    told = record.ended or record.shortage_told == record.version
    return inf if told or not lacks_deputies(record, lost) else record.begun + SHORTAGE_TOLD_AFTER_S


def _candidates(
    transitions: JobTransitions, known: Mapping[str, Known], lost: Collection[str], trust: Trust, now: float
) -> list[str]:
    """The peers that may become deputies, the best first."""
    record = transitions.record
    runs = {one.peer for one in record.of(*LIVE)}
    parties = {record.owner, *record.deputies}
    candidates = [
        peer
        for peer, one in known.items()
        if peer not in parties and _why_not_chosen(transitions, one.advert, lost, trust, now) is None
    ]
    unreachable = out_of_reach(known, now)
    # Anybody can invent peers, which keep nothing. A node that runs nothing is often there for one command.
    candidates.sort(
        key=lambda peer: (
            peer in unreachable,
            known[peer].brought_by is not None,
            not known[peer].advert.capacity.engines,
            peer in runs,
            not known[peer].near,
            rendezvous_hash(record.id, 0, peer),
        )
    )
    return candidates


def _why_not_chosen(
    transitions: JobTransitions, advert: Advert, lost: Collection[str], trust: Trust, now: float
) -> str | None:
    record = transitions.record
    if advert.peer in lost:
        return "is silent"
    if advert.peer in record.declined:
        return "did not take its copy"
    if now < transitions.unneeded.get(advert.peer, -inf) + UNNEEDED_HOLDS_S:
        return "named others without need"
    if advert.capacity.scheduling is Scheduling.DRAINING:
        return "is being drained"
    return why_no_deputy(record, advert, trust)


def _replace(transitions: JobTransitions, kept: tuple[str, ...], lost: Collection[str], now: float) -> None:
    """Have these as deputies, as far as this node may say so, and tell who is concerned."""
    record = transitions.record
    removed: list[str] = []
    if record.owner == record.requester:
        if set(kept) == set(record.deputies):
            return
        removed = [peer for peer in record.deputies if peer not in kept]
        more = [peer for peer in kept if peer not in record.deputies]
        recharter(transitions, (record.owner, *kept))
    else:
        more = [peer for peer in kept if peer not in record.authority.members]
        extended = mandate.extended(transitions.keys, record.mandate, transitions.me, more)
        if extended is record.mandate:
            # No more may be named, or nobody is left.
            return
        record.mandate = extended
    for peer in more:
        # A new deputy need not have kept what it was told before, as a reader or a past member.
        record.synced.pop(peer, None)
    for peer in removed:
        record.synced.pop(peer, None)
        # The peer learns, some day, that its copy is wanted no more.
        transitions.actions.append(Send(peer, header(record, now)))
    for one in record.of(*LIVE):
        transitions.adopt(one)
    live = [peer for peer in recipients(record) if peer not in lost]
    if live:
        transitions.note("Ownership", f"Deputies, who would take over: {', '.join(live)}", now, urgent=True)


def recharter(
    transitions: JobTransitions, members: tuple[str, ...], controllers: tuple[str, ...] | None = None
) -> None:
    """Sign the requester's next charter; who is no member any more is a past one."""
    record = transitions.record
    removed = [peer for peer in record.authority.members if peer not in members]
    record.mandate = mandate.recharter(
        transitions.keys, record.mandate, members, record.version, record.spec_hash, controllers
    )
    record.past_members = tuple(dict.fromkeys((*removed, *record.past_members)))[:PEERS_NAMED_MAX]


def name_controllers(transitions: JobTransitions, controllers: tuple[str, ...], now: float) -> None:
    """Sign the requester's next charter with these controllers, and tell who is concerned."""
    record = transitions.record
    recharter(transitions, record.authority.members, controllers)
    # Whoever runs something shows it to controllers.
    for one in record.of(*LIVE):
        transitions.adopt(one)
    said = ", ".join(controllers) or "none but its requester"
    transitions.note("Ownership", f"Controllers, whose users may change it: {said}", now, urgent=True)


def answer_unneeded(transitions: JobTransitions, signers: Collection[str], now: float) -> None:
    """Sign the next charter, without those that heard members have named, nor a member that did so again."""
    recent = {peer: at for peer, at in transitions.unneeded.items() if now < at + UNNEEDED_HOLDS_S}
    again = [peer for peer in signers if peer in recent]
    recharter(transitions, tuple(one for one in transitions.record.authority.members if one not in again))
    transitions.unneeded = {**recent, **dict.fromkeys(signers, now)}
    for peer in again:
        transitions.record.synced.pop(peer, None)
        text = f"{peer} is a deputy no more: it named others again and again, though this node was heard"
        transitions.note("Ownership", text, now, urgent=True)
    transitions.tell_by = now


def _tell_shortage(
    transitions: JobTransitions, known: Mapping[str, Known], lost: Collection[str], trust: Trust, now: float
) -> None:
    """Say in the history how many deputies there are, and why no more."""
    record = transitions.record
    there = sum(peer not in lost for peer in recipients(record))
    others = [one.advert for peer, one in known.items() if peer not in {record.owner, transitions.me}]
    whys = (_why_not_chosen(transitions, one, lost, trust, now) for one in others)
    reasons = [reason for reason in whys if reason is not None]
    why = grouped(reasons, len(others)) or "no more peers are known"
    without = "" if there else f" ({WITHOUT_DEPUTIES})"
    text = f"{there} of {record.spec.deputies} deputies found{without}: {why}"
    record.shortage_told = record.version
    transitions.note("Ownership", text, now)


def tell_deputies(transitions: JobTransitions, lost: Collection[str], now: float) -> None:
    """Send what has changed to those that can hear it, if it is time."""
    record = transitions.record
    if transitions.tell_by > now:
        return
    _forget_readers(transitions, lost, now)
    for peer in (*recipients(record), *transitions.readers):
        if peer in lost and not record.ended:
            # A silent peer's outbox must not fill: it gets the whole when it is back, or at the end.
            record.synced.pop(peer, None)
            continue
        since = record.synced.get(peer)
        transitions.actions += told_to(peer, record, transitions.lines, since, now)
        record.synced[peer] = now
    transitions.lines, transitions.tell_by = [], inf


def begin_telling(transitions: JobTransitions, peer: str, now: float) -> None:
    """Tell all to a controller whose users look at the job, and for some time what changes."""
    transitions.readers[peer] = now + READER_S
    transitions.record.synced.pop(peer, None)
    transitions.tell_by = now


def go_on_telling(transitions: JobTransitions, peer: str, now: float) -> bool:
    """Tell a controller what changes for longer; false where it has not got the whole."""
    known = peer in transitions.readers and peer in transitions.record.synced
    if known:
        transitions.readers[peer] = now + READER_S
    return known


def _forget_readers(transitions: JobTransitions, lost: Collection[str], now: float) -> None:
    """Tell controllers no more that have not asked again, are silent, or have become members."""
    members = transitions.record.authority.members
    for peer, until in list(transitions.readers.items()):
        if now >= until or peer in lost or peer in members:
            del transitions.readers[peer]
            if peer not in members:
                transitions.record.synced.pop(peer, None)
