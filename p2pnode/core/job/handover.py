"""A job changes hands: what its new owner does first, and its former one last.

When that happens is `core.replication.replicas`'s part; that two who believe to own a job come to agree,
`core.node` sees to.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pnode.core.records.events import (
    Action,
    Note,
    SaveJob,
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
from p2pnode.core.wire.messages import PEERS_NAMED_MAX, Keep, Owned

from . import deputies, incoming
from .transitions import JobSteps

# A peer answers its new owner at once; one that is away is noticed in this time, too.
ADOPT_CONFIRM_S = 10.0


def take_over(steps: JobSteps, before: str, lost: Collection[str], now: float) -> None:
    """This node has become the owner: adopt what runs, and settle what peers said of it meanwhile."""
    record = steps.record
    why = "is silent" if before in lost else "has handed it over"
    steps.note("Ownership", f"{steps.me} took over from {before}, which {why}", now, urgent=True)
    for one in record.of(*LIVE):
        one.unconfirmed, one.deadline = True, now + ADOPT_CONFIRM_S
        steps.adopt(one)
        if one.peer in lost:
            steps.give_up(one, "its peer was lost together with the owner", now)
    record.synced, steps.tell_by = {}, now
    for execution, claim in record.claims.items():
        incoming.claimed(steps, claim.peer, execution, claim.round)
    record.claims = {}


def raise_epoch(steps: JobSteps, peer: str, epoch: int, now: float) -> None:
    """A former owner has handed the job over, which this node had taken over by itself before."""
    record = steps.record
    record.epoch, record.synced, steps.tell_by = epoch, {}, now
    for one in record.of(*LIVE):
        steps.adopt(one)
    if peer not in deputies.told(record):
        steps.actions.append(Send(peer, sync.header(record, now)))


def merge(steps: JobSteps, peer: str, keep: Keep, now: float) -> None:
    """What a former owner knows of this job: its results count, and it is told how things are."""
    record = steps.record
    before = len(record.of(*ENDED))
    for stray in sync.merge(record, keep, now):
        steps.send_adopt(stray.peer, stray.id, stray.round)
        steps.send_cancel(stray.peer, stray.id, stray.round, "another owner has taken over the job")
    if not record.ended and keep.run == record.run and keep.state == JobState.STOPPED:
        steps.end(JobState.STOPPED, Outcome.STOPPED, keep.reason, now)
    news = len(record.of(*ENDED)) - before
    if news or peer not in record.deputies:
        brought = f", and brings {news} that ended there" if news else ""
        steps.note("Ownership", f"{peer}, a former owner, is back{brought}", now)
    steps.tell_by = now
    record.synced.pop(peer, None)
    # Its deputies hold copies, too, that are nobody's now.
    strangers = [one for one in (*keep.deputies, *keep.former) if one not in {*record.parties, steps.me}]
    if peer not in record.deputies:
        record.deputies = (*record.deputies, peer)
        strangers += record.deputies[: -deputies.DEPUTIES_MAX]
        record.deputies = record.deputies[-deputies.DEPUTIES_MAX :]
    record.former = tuple(dict.fromkeys((*strangers, *record.former)))[:PEERS_NAMED_MAX]
    header = sync.header(record, now)
    steps.actions += [Send(one, header) for one in strangers]


def yield_to(steps: JobSteps, owner: str, epoch: int, now: float) -> list[Action]:
    """Another owns the job now: tell it all that is known here, and act for the job no more."""
    record = steps.record
    steps.cancel_all(record.of(*OPEN), "another owner looks after the job", now)
    steps.actions += [Send(owner, keep) for keep in sync.keeps(record, steps.lines, None, now)]
    steps.lines = []
    # It may be none that they would obey; so it is said by whom they do.
    told = Owned(job=record.id, epoch=epoch, owner=owner)
    steps.actions += [Send(peer, told) for peer in {one.peer: 0 for one in record.of(*LIVE)}]
    record.former = tuple(dict.fromkeys((record.owner, *record.former)))[:PEERS_NAMED_MAX]
    record.owner, record.epoch, record.revision, record.synced = owner, epoch, 0, {}
    steps.actions.append(Note(record.id, "Ownership", f"{owner} looks after the job now", record.state))
    actions, steps.actions = steps.actions, []
    return [SaveJob(record), *actions]
