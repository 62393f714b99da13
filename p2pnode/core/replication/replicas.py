"""The copies that this node keeps of other owners' jobs, and when it takes one of them over.

A deputy whose owner is silent takes the job over: the first of those that live at once, the
next a little later, should the first not do it. Each has an epoch of its own, so two that do it
at the same time differ. A deputy that hears none of the job's peers waits longer: more likely
it is itself cut off (Lifeguard's lesson).

This machine only decides and keeps copies; `core.node` makes a `Job` of what is taken over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.link.detection_times import CUT_OFF_WAIT_S, STAGGER_S
from p2pnode.core.records.events import (
    Action,
    DropJob,
    JobRerun,
    JobStopped,
    JobUpdated,
    SaveJob,
    SaveLines,
    Send,
)
from p2pnode.core.records.lifecycle import LIVE, Claim, JobRecord
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.messages import Command, CommandAction, Orphan, Owned, Replicate, WhoOwns

from .sync import applied, replicates

# A job of which nothing was heard for so long has its owner asked for: a backstop for what crossed on
# the way while owners changed.
ASK_OWNER_S = 60.0
# A copy is some kilobytes, and a job has two: as many as this node might own itself.
COPIES_MAX = 10_000
COPIES_PER_PEER_MAX = 2_000
# Commands of users that wait for a job whose owner is silent; whoever takes over does them.
COMMANDS_WAITING_MAX = 16


JobCommand = JobStopped | JobUpdated | JobRerun


@dataclass(slots=True)
class Replication:
    me: str
    # The peers that are silent; kept by the participant.
    lost: Collection[str]
    copies: dict[str, JobRecord] = field(default_factory=dict)
    # When a job is taken over, should its owner stay silent.
    due: dict[str, float] = field(default_factory=dict)
    # Owners that came back without their journal: being heard is no sign that they go on.
    forgetful: set[str] = field(default_factory=set)
    commands: dict[str, list[JobCommand]] = field(default_factory=dict)
    # When each copy's owner is asked whether it is still so.
    ask_at: dict[str, float] = field(default_factory=dict)

    @property
    def deadline(self) -> float:
        return min((*self.due.values(), *self.ask_at.values()), default=inf)

    @property
    def take_over_due(self) -> float:
        return min(self.due.values(), default=inf)

    @property
    def owners(self) -> frozenset[str]:
        """The peers whose silence concerns this node."""
        return frozenset(record.owner for record in self.copies.values())

    def replicate(self, peer: str, message: Replicate, stored: JobRecord | None, now: float) -> list[Action]:
        """Take in what an owner says of its job. `stored` is the journal's record of one that has ended."""
        record = self.copies.get(message.job) or stored
        claims: dict[str, Claim] = {}
        if record is None:
            if self.me not in message.deputies or not self._has_room(peer):
                return []
        else:
            if (message.epoch, peer) < record.ballot:
                return [Send(peer, self.answer(record))]
            if peer not in record.members:
                return self.ask_members(record, peer)
            if (message.epoch, peer) == record.ballot and message.revision <= record.revision:
                return []
            claims = record.claims
        if self.me not in (*message.deputies, message.requester):
            self.forget(message.job)
            return [DropJob(message.job)] if record is not None else []
        if record is not None and not message.full:
            goes_on = (message.epoch, peer) == record.ballot and record.revision > 0
            if not goes_on:
                # The message adds to what was not taken: that is asked for, whatever the sender believes.
                record.epoch, record.owner, record.revision = message.epoch, peer, 0
                if not record.ended:
                    self.hold(record, now)
                return [SaveJob(record), Send(peer, WhoOwns(job=message.job, epoch=0))]
        record = applied(record, message, peer, now)
        if record is None:
            return []
        record.claims = claims
        self.forget(message.job)
        if not record.ended:
            self.hold(record, now)
        actions: list[Action] = [SaveJob(record)]
        if message.full or message.history:
            actions.append(SaveLines(message.job, message.history, anew=message.full))
        return actions

    def hold(self, record: JobRecord, now: float) -> None:
        """Keep a copy of a job that goes on."""
        self.copies[record.id] = record
        self.ask_at[record.id] = now + ASK_OWNER_S

    def ask_owners(self, now: float) -> list[Action]:
        """Ask for each copy that was not renewed for long."""
        actions: list[Action] = []
        for id in [id for id, at in self.ask_at.items() if at <= now]:
            record = self.copies[id]
            self.ask_at[id] = now + ASK_OWNER_S
            known = record.owner not in self.lost
            asked = [record.owner] if known else [one for one in record.deputies if one not in self.lost]
            ask = WhoOwns(job=id, epoch=record.epoch)
            actions += [Send(peer, ask) for peer in asked if peer != self.me]
        return actions

    def ask_members(self, record: JobRecord, stranger: str) -> list[Action]:
        """A stranger says that it owns a job: those whose word counts may know of it."""
        ask = WhoOwns(job=record.id, epoch=record.epoch)
        members = sorted(record.members - {self.me, stranger, *self.lost})
        return [Send(peer, ask) for peer in members]

    def owned(self, peer: str, owned: Owned, record: JobRecord, now: float) -> list[Action]:
        """Take in who owns a job, and who says so; `record` is the copy here, which may have ended."""
        if peer not in record.members:
            return []
        if record.ended and owned.owner == self.me:
            if (owned.epoch, owned.owner) <= record.ballot:
                return []
            # The job was handed over when another had brought it to its end: the other is to hear of that.
            record.past_members = tuple(dict.fromkeys((record.owner, *record.past_members)))[:PEERS_NAMED_MAX]
            record.epoch, record.owner, record.revision = owned.epoch, owned.owner, 0
            return [*(Send(peer, message) for message in replicates(record, (), None, now)), SaveJob(record)]
        if (owned.epoch, owned.owner) <= record.ballot:
            claims = owned.owner == peer and (owned.epoch, owned.owner) != record.ballot
            return [Send(peer, self.answer(record))] if claims else []
        self.due.pop(record.id, None)
        record.past_members = tuple(dict.fromkeys((record.owner, *record.past_members)))[:PEERS_NAMED_MAX]
        record.epoch, record.owner, record.revision = owned.epoch, owned.owner, 0
        if owned.owner == self.me:
            # The job was handed over: nothing is to be waited for.
            self.due[record.id] = -inf
            return [SaveJob(record)]
        # The owner may not know of this copy: it says whether that is wanted.
        return [SaveJob(record), Send(owned.owner, WhoOwns(job=record.id, epoch=0))]

    def answer(self, record: JobRecord) -> Owned:
        return Owned(job=record.id, epoch=record.epoch, owner=record.owner)

    def claimed(self, peer: str, orphan: Orphan) -> list[Action]:
        """A peer runs something of a job whose owner it does not hear."""
        record = self.copies[orphan.job]
        if len(record.claims) < len(record.executions) + PEERS_NAMED_MAX:
            record.claims[orphan.execution] = Claim(peer=peer, round=orphan.round)
        actions: list[Action] = [SaveJob(record)]
        if record.owner not in (self.me, orphan.owner, *self.lost):
            actions.append(Send(peer, self.answer(record)))
        return actions

    def command_owner(self, event: JobCommand) -> list[Action]:
        """Tell the owner of a job what a user wants of it, or keep that for who takes over."""
        record = self.copies[event.job]
        if record.owner in self.lost or record.id in self.due:
            waiting = self.commands.setdefault(record.id, [])
            if len(waiting) < COMMANDS_WAITING_MAX:
                waiting.append(event)
            return []
        return [Send(record.owner, command(event))]

    def peer_lost(self, peer: str, now: float, *, forgot: bool) -> None:
        """An owner is silent: note when its jobs are taken over."""
        for record in self.copies.values():
            if record.owner == peer and self.me in record.deputies:
                self.due[record.id] = now + self._wait_s(record)
        if forgot:
            self.forgetful.add(peer)

    def peer_back(self, peer: str) -> list[Action]:
        """Cancel take-overs from `peer`, unless it forgot its jobs, and send it the commands that waited."""
        if peer in self.forgetful:
            self.forgetful.discard(peer)
            return []
        actions: list[Action] = []
        for id in [id for id in self.due if self.copies[id].owner == peer]:
            del self.due[id]
            actions += [Send(peer, command(event)) for event in self.commands.pop(id, [])]
        return actions

    def take_over(self, now: float) -> list[tuple[JobRecord, str, list[JobCommand]]]:
        """The jobs that are this node's now, the owner of each before, and what users want of them."""
        taken = []
        for id in [id for id, at in self.due.items() if at <= now]:
            record = self.copies[id]
            self.forget(id)
            before = record.owner
            if before != self.me:
                record.past_members = tuple(dict.fromkeys((before, *record.past_members)))[:PEERS_NAMED_MAX]
                record.epoch += 1 + record.deputies.index(self.me)
                record.owner, record.revision = self.me, 0
            gone = [peer for peer in record.deputies if peer in (before, *self.lost)]
            record.past_members = tuple(dict.fromkeys((*gone, *record.past_members)))[:PEERS_NAMED_MAX]
            record.deputies = tuple(peer for peer in record.deputies if peer not in (self.me, *gone))
            taken.append((record, before, self.commands.pop(id, [])))
        return taken

    def _wait_s(self, record: JobRecord) -> float:
        live = [peer for peer in record.deputies if peer == self.me or peer not in self.lost]
        turn = live.index(self.me) * STAGGER_S
        others = {*record.deputies, *(one.peer for one in record.of(*LIVE))} - {self.me, record.owner}
        cut_off = bool(others) and all(peer in self.lost for peer in others)
        return turn + (CUT_OFF_WAIT_S if cut_off else 0.0)

    def _has_room(self, peer: str) -> bool:
        theirs = sum(record.owner == peer for record in self.copies.values())
        return len(self.copies) < COPIES_MAX and theirs < COPIES_PER_PEER_MAX

    def forget(self, job: str) -> None:
        """Hold no copy of the job any more."""
        self.copies.pop(job, None)
        self.due.pop(job, None)
        self.ask_at.pop(job, None)


def command(event: JobCommand) -> Command:
    """The message that tells an owner what a user wants of its job."""
    match event:
        case JobStopped(job, reason):
            return Command(job=job, action=CommandAction.STOP, reason=reason, spec=None)
        case JobRerun(job, reason):
            return Command(job=job, action=CommandAction.RERUN, reason=reason, spec=None)
        case JobUpdated(job, spec):
            return Command(job=job, action=CommandAction.UPDATE, reason="", spec=spec)
