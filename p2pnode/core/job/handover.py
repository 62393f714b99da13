"""A job changes hands: what its new owner does first, and its former one last.

When that happens is `core.replication.replicas`'s part; that two who believe to own a job come to agree,
`core.handovers` sees to.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.records import history
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
    JobState,
    Outcome,
)
from p2pnode.core.replication import sync
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.messages import Owned, Replicate

from . import deputies, incoming
from .transitions import JobTransitions

# A peer answers its new owner at once; one that is away is noticed in this time, too.
ADOPT_CONFIRM_S = 10.0


def take_over(transitions: JobTransitions, before: str, lost: Collection[str], now: float) -> None:
    """This node has become the owner: adopt what runs, and settle what peers said of it meanwhile."""
    record = transitions.record
    why = "is silent" if before in lost else "has handed it over"
    transitions.note("Ownership", f"{transitions.me} took over from {before}, which {why}", now, urgent=True)
    for one in record.of(*LIVE):
        one.unconfirmed, one.deadline = True, now + ADOPT_CONFIRM_S
        transitions.adopt(one)
        if one.peer in lost:
            transitions.give_up(one, "its peer was lost together with the owner", now)
    record.synced, transitions.tell_by = {}, now
    for execution, claim in record.claims.items():
        incoming.claimed(transitions, claim.peer, execution, claim.round)
    record.claims = {}


def raise_epoch(transitions: JobTransitions, peer: str, epoch: int, now: float) -> None:
    """A former owner has handed the job over, which this node had taken over by itself before."""
    record = transitions.record
    record.epoch, record.synced, transitions.tell_by = epoch, {}, now
    for one in record.of(*LIVE):
        transitions.adopt(one)
    if peer not in deputies.recipients(record):
        transitions.actions.append(Send(peer, sync.header(record, now)))


def merge(transitions: JobTransitions, peer: str, message: Replicate, now: float) -> None:
    """Take in what a former owner knows of this job: count its results, and have it told how things are."""
    record = transitions.record
    before = len(record.of(*ENDED))
    for stray in sync.merge(record, message, now):
        transitions.send_adopt(stray.peer, stray.id, stray.round)
        transitions.send_cancel(stray.peer, stray.id, stray.round, "another owner has taken over the job")
    if not record.ended and message.run == record.run and message.state == JobState.STOPPED:
        transitions.end(JobState.STOPPED, Outcome.STOPPED, message.reason, now)
    news = len(record.of(*ENDED)) - before
    if news or peer not in record.deputies:
        brought = f", and brings {news} that ended there" if news else ""
        transitions.note("Ownership", f"{peer}, a former owner, is back{brought}", now)
    transitions.tell_by = now
    record.synced.pop(peer, None)
    # Its deputies hold copies, too, that are nobody's now.
    strangers = [
        one
        for one in (*message.deputies, *message.past_members)
        if one not in {*record.members, transitions.me}
    ]
    if peer not in record.deputies:
        record.deputies = (*record.deputies, peer)
        strangers += record.deputies[: -deputies.DEPUTIES_MAX]
        record.deputies = record.deputies[-deputies.DEPUTIES_MAX :]
    record.past_members = tuple(dict.fromkeys((*strangers, *record.past_members)))[:PEERS_NAMED_MAX]
    header = sync.header(record, now)
    transitions.actions += [Send(one, header) for one in strangers]


def yield_to(transitions: JobTransitions, owner: str, epoch: int, now: float) -> list[Action]:
    """Another owns the job now: tell it all that is known here, and act for the job no more."""
    record = transitions.record
    transitions.cancel_all(record.of(*OPEN), "another owner looks after the job", now)
    transitions.actions += [
        Send(owner, message) for message in sync.replicates(record, transitions.lines, None, now)
    ]
    transitions.lines = []
    # The peers that run something may not obey the new owner: they hear of it from the one that they obey.
    told = Owned(job=record.id, epoch=epoch, owner=owner)
    transitions.actions += [Send(peer, told) for peer in {one.peer: 0 for one in record.of(*LIVE)}]
    record.past_members = tuple(dict.fromkeys((record.owner, *record.past_members)))[:PEERS_NAMED_MAX]
    record.owner, record.epoch, record.revision, record.synced = owner, epoch, 0, {}
    line = history.line("Ownership", f"{owner} looks after the job now", record.state, now)
    transitions.actions.append(SaveLines(record.id, (line,)))
    actions, transitions.actions = transitions.actions, []
    return [SaveJob(record), *actions]
