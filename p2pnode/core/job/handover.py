"""A job changes hands: what its new owner does first, and its former one last.

When that happens is `core.replication.replicas`'s part; that two who act for one job come to agree,
`core.handovers` sees to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from p2pnode.core.records import history, mandate
from p2pnode.core.records.events import (
    Action,
    SaveJob,
    SaveLines,
    Send,
)
from p2pnode.core.records.lifecycle import (
    ENDED,
    LIVE,
    OPEN,
)
from p2pnode.core.replication import sync
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Owned, Replicate

from . import deputies, incoming
from .transitions import TELL_DEPUTIES_S, JobTransitions

# A peer answers its new owner at once; one that is away is noticed in this time, too.
ADOPT_CONFIRM_S = 10.0
# Longer than a member needs to notice that the owner which it obeys is gone.
END_TOLD_AGAIN_S = 10.0


def take_over(transitions: JobTransitions, before: str, lost: Collection[str], now: float) -> None:
    """This node has become the owner: adopt what runs, and settle what peers said of it meanwhile."""
    record = transitions.record
    why = "is silent" if before in lost else "is of higher rank, has handed it over, or does not answer"
    transitions.note("Ownership", f"{transitions.me} took over from {before}, which {why}", now, urgent=True)
    _adopt_all(transitions, lost, "its peer was lost together with the owner", now)
    record.synced, transitions.tell_by = {}, now
    for execution, claim in record.claims.items():
        incoming.claimed(transitions, claim.peer, execution, claim.round)
    record.claims = {}


def _adopt_all(transitions: JobTransitions, lost: Collection[str], why_lost: str, now: float) -> None:
    for one in transitions.record.of(*LIVE):
        one.unconfirmed, one.deadline = True, now + ADOPT_CONFIRM_S
        transitions.adopt(one)
        if one.peer in lost:
            transitions.give_up(one, why_lost, now)


def owned(transitions: JobTransitions, peer: str, owned: Owned, now: float) -> None:
    """A member says who looks after the job: it gets the whole anew if that is another than this node."""
    if not _take_mandate(transitions, owned.mandate, now):
        _dismiss(transitions, mandate.read(owned.mandate).members, now)
        for one in transitions.record.of(*LIVE):
            transitions.adopt(one)
    if owned.owner == transitions.me:
        transitions.away.discard(peer)
        return
    # The member has missed something, or lost its disk.
    transitions.record.synced.pop(peer, None)
    # Others than this owner are named again and again, until that is noticed to be gone.
    transitions.tell_by = min(transitions.tell_by, now + TELL_DEPUTIES_S)


def owned_at_end(transitions: JobTransitions, peer: str, owned: Owned, now: float) -> None:
    """A member says who looks after a job that has ended: it is told of the end until it takes that."""
    if owned.owner != transitions.me:
        transitions.record.synced.pop(peer, None)
        transitions.tell_by = min(transitions.tell_by, now + END_TOLD_AGAIN_S)


def _take_mandate(transitions: JobTransitions, given: Mandate, now: float) -> bool:
    """Go on from a newer mandate; False: the requester has answered it by its next charter.

    So it does if who has signed an extension was there all the time. Whoever brings it may be honest.
    """
    record = transitions.record
    newest = mandate.newest(record.mandate, given)
    if newest is record.mandate or not record.has_file(mandate.read(newest)):
        # A member that has the file which a newer charter names tells the command that brought it.
        return True
    before = record.authority.members
    unneeded = [
        signer
        for signer in mandate.signers_since(record.mandate, given)
        if signer in before and signer not in transitions.away
    ]
    if transitions.me == record.requester and unneeded:
        deputies.answer_unneeded(transitions, unneeded, now)
        return False
    # Members that one has named while it acted may have acted, too.
    transitions.away.update(set(mandate.read(newest).members) - {*before, transitions.me})
    record.mandate = newest
    return True


def _dismiss(transitions: JobTransitions, peers: Iterable[str], now: float) -> None:
    """Tell those of these peers that are no members that their copies of the job are nobody's."""
    record = transitions.record
    strangers = list(dict.fromkeys(one for one in peers if one not in record.authority.members))
    record.past_members = tuple(dict.fromkeys((*strangers, *record.past_members)))[:PEERS_NAMED_MAX]
    header = sync.header(record, now)
    transitions.actions += [Send(one, header) for one in strangers]


def merge(
    transitions: JobTransitions, peer: str, message: Replicate, lost: Collection[str], now: float
) -> None:
    """Take in what another that acted for this job knows: count its results, and tell it how things are.

    Of one that had no need to act, as this node was to be heard, nothing new counts, and nothing that goes on
    is disturbed. Commands of controllers that it has carried out, and this node not, are to be carried out
    first.
    """
    record = transitions.record
    before = len(record.of(*ENDED))
    theirs = mandate.read(message.mandate).members
    taken = _take_mandate(transitions, message.mandate, now)
    acted = peer in transitions.away
    transitions.away.discard(peer)
    for stray in sync.merge(record, message, now, acted=acted):
        # Its peer answers if it runs for this job, and then is told to end it: a cancel names no job, and
        # the sender might have named what runs for another.
        transitions.send_adopt(stray.peer, stray.id, stray.round)
    if acted:
        _adopt_all(transitions, lost, "its peer was lost meanwhile", now)
        # Peers drop the asks of a silent owner.
        transitions.cancel_all(record.of(*OPEN), "another has acted for the job meanwhile", now)
        news = len(record.of(*ENDED)) - before
        brought = f", and brings {news} that ended there" if news else ""
        transitions.note("Ownership", f"{peer} has acted for the job meanwhile{brought}", now)
    elif not taken:
        for one in record.of(*LIVE):
            transitions.adopt(one)
    at_once = acted or record.ended
    transitions.tell_by = min(transitions.tell_by, now if at_once else now + TELL_DEPUTIES_S)
    record.synced.pop(peer, None)
    # Members that it has named, or knows from an older charter, hold copies that are nobody's now. Names cost
    # nothing, and each is written to: of one that had no need to act those count that somebody has signed.
    _dismiss(transitions, (*theirs, *(message.past_members if acted else ())), now)


def yield_to(transitions: JobTransitions, owner: str, now: float) -> list[Action]:
    """Another looks after the job now: tell it all that is known here, and act for the job no more."""
    record = transitions.record
    transitions.cancel_all(record.of(*OPEN), "another owner looks after the job", now)
    transitions.actions += sync.told_to(owner, record, transitions.lines, None, now)
    transitions.lines = []
    # The peers that run something, and the other members, obey the new owner by the word of this one;
    # controllers that look at the job ask it.
    told = Owned(job=record.id, owner=owner, mandate=record.mandate)
    runs = (one.peer for one in record.of(*LIVE))
    hear = dict.fromkeys((*runs, *deputies.recipients(record), *transitions.readers))
    transitions.actions += [Send(peer, told) for peer in hear if peer != owner]
    record.owner, record.acts_since_ms, record.revision, record.synced = owner, 0, 0, {}
    note = history.line("Ownership", f"{owner} looks after the job now", record.state, now)
    transitions.actions.append(SaveLines(record.id, (note,)))
    actions, transitions.actions = transitions.actions, []
    return [SaveJob(record), *actions]
