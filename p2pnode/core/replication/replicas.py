"""The copies that this node keeps of other owners' jobs, and when it takes one of them over.

A member whose owner is silent takes the job over: the one of lowest rank that lives at once, the next
a little later, should the first not do it; one that was away, and may have missed something, after those that
were not. One of lower rank than the owner that it hears takes it over at once. A member that hears none of
the job's peers waits longer: more likely it is itself cut off (Lifeguard's lesson).

This machine only decides and keeps copies; `core.handovers` makes a `Job` of what is taken over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.link.detection_times import CUT_OFF_WAIT_S, STAGGER_S
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, DropJob, SaveJob, SaveLines, Send
from p2pnode.core.records.lifecycle import LIVE, Claim, JobRecord
from p2pnode.core.wire.fields import PEERS_NAMED_MAX
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Command, Orphan, Owned, Replicate, WhoOwns

from .sync import applied

# A job of which nothing was heard for so long has its owner asked for: a backstop for what crossed on
# the way while owners changed.
ASK_OWNER_S = 60.0
# Its members are asked about each copy that a node has from before its restart: a burst for no link.
RESUMED_PER_S = 200.0
# A copy is some kilobytes, and a job has two: as many as this node might own itself.
COPIES_MAX = 10_000
COPIES_PER_PEER_MAX = 2_000
# Commands of users that wait for a job whose owner is silent; whoever takes over does them.
COMMANDS_WAITING_MAX = 16
# The owner that the copy of an ended job names may be it no more: it, or the one that it passes the command
# on to, answers within this time, dialling included. Users are told that nobody did after 15 s.
COMMAND_ANSWER_S = 6.0


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
    commands: dict[str, list[Command]] = field(default_factory=dict)
    # This node ends, and takes nothing over any more.
    leaving: bool = False
    # When each copy's owner is asked whether it is still so.
    ask_at: dict[str, float] = field(default_factory=dict)
    # Copies whose owner was asked and has not answered; that of an ended job is watched meanwhile.
    doubted: set[str] = field(default_factory=set)
    # Copies of which their owner may have told more than is here.
    behind: set[str] = field(default_factory=set)

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
        signed_number = 0
        newest = message.mandate
        if record is None:
            if self.me not in mandate.read(newest).members:
                return []
        else:
            newest = mandate.newest(record.mandate, message.mandate)
            if not self._obeys(record, newest, peer):
                unwatched = record.ended and record.id not in self.copies and len(self.copies) < COPIES_MAX
                if unwatched and peer in mandate.read(newest).members:
                    # Nobody has watched the owner of a job that has ended: it is asked whether it still is.
                    self.hold(record, now)
                    self.ask_at[record.id] = now
                return [Send(peer, self.answer(record))]
            number = message.acts_since_ms, message.revision
            if peer == record.owner and number <= (record.acts_since_ms, record.revision):
                return []
            claims, signed_number = record.claims, record.signed_number
        if self.me not in mandate.read(newest).members:
            self.forget(message.job)
            return [DropJob(message.job)] if record is not None else []
        if record is not None and not message.full:
            goes_on = peer == record.owner and message.acts_since_ms == record.acts_since_ms
            if not goes_on or not record.revision:
                # The message adds to what was not taken: that is asked for, whatever the sender believes.
                self._take_mandate(record, newest)
                record.owner, record.revision = peer, 0
                record.acts_since_ms = message.acts_since_ms
                if not record.ended:
                    self.hold(record, now)
                return [SaveJob(record), Send(peer, self._ask(record, whole=True))]
        missed = [] if record is None else self._commands_missed(record, message)
        record = applied(record, message, peer, now)
        if record is None:
            # A member of which the sender believes that it has the beginning, or the file, asks for them.
            return [Send(peer, WhoOwns(job=message.job, owner=peer, whole=True))]
        record.claims, record.signed_number, record.mandate = claims, signed_number, newest
        watched_until = self.ask_at.get(message.job) if message.job in self.doubted else None
        self.forget(message.job)
        if not record.ended:
            self.hold(record, now)
            self._outrank(record, now)
        elif watched_until is not None:
            self.copies[record.id], self.ask_at[record.id] = record, watched_until
            self.doubted.add(record.id)
        actions: list[Action] = [SaveJob(record), *(Send(peer, one) for one in missed)]
        if newest != message.mandate:
            actions.append(Send(peer, self.answer(record)))
        waiting = self.commands.pop(message.job, [])
        actions += [
            Send(peer, one) for one in waiting if not record.is_done(mandate.read_command(one.signed))
        ]
        if message.full or message.history:
            actions.append(SaveLines(message.job, message.history, anew=message.full))
        return actions

    def _obeys(self, record: JobRecord, newest: Mandate, peer: str) -> bool:
        silent = record.owner in self.lost or record.id in self.due
        return mandate.obeys(mandate.read(newest), record.owner, peer, owner_is_silent=silent)

    def _commands_missed(self, record: JobRecord, message: Replicate) -> list[Command]:
        """The commands that are known to be carried out here, and not to an owner that was away then."""
        if not message.full:
            return []
        done = {(one.controller, one.number) for one in map(mandate.read_command, message.commands)}
        missed = []
        for signed in record.commands:
            body = mandate.read_command(signed)
            later = any(body.controller == who and body.number <= number for who, number in done)
            if not later and body.spec_hash in (None, record.spec_hash):
                spec = None if body.spec_hash is None else record.spec
                missed.append(Command(job=record.id, signed=signed, spec=spec))
        return missed

    def _take_mandate(self, record: JobRecord, newest: Mandate) -> None:
        """Go on from a newer mandate, unless its charter names a file that this node has yet to be told."""
        if record.has_file(mandate.read(newest)):
            record.mandate = newest
        else:
            self.behind.add(record.id)

    def _outrank(self, record: JobRecord, now: float) -> None:
        """Take over at once from an owner of higher rank: it acted while this node was away."""
        authority = record.authority
        if authority.rank(self.me) < authority.rank(record.owner) and not self.leaving:
            self.due[record.id] = now

    def resume(self, record: JobRecord, now: float) -> None:
        """Keep a copy that is from before this node's restart: whether it is still wanted is asked soon."""
        self.hold(record, now)
        self.behind.add(record.id)
        self.ask_at[record.id] = now + len(self.copies) / RESUMED_PER_S

    def hold(self, record: JobRecord, now: float) -> None:
        """Keep a copy of a job that goes on."""
        self.copies[record.id] = record
        self.ask_at[record.id] = now + ASK_OWNER_S

    def ask_owners(self, now: float) -> list[Action]:
        """Ask for each copy that was not renewed for long."""
        actions: list[Action] = []
        for id in [id for id, at in self.ask_at.items() if at <= now]:
            record = self.copies[id]
            if record.ended and id in self.doubted:
                self.forget(id)
                continue
            if id in self.doubted and record.owner not in self.lost and not self.leaving:
                # An owner that is there and knows nothing of the job lost its disk while this node was away.
                self.due.setdefault(id, now + self._wait_s(record))
            if record.ended or record.owner not in self.lost:
                self.doubted.add(id)
            self.ask_at[id] = now + ASK_OWNER_S
            # A former owner may know nothing of it any more; any member knows whether the copy is wanted.
            asked = [peer for peer in record.authority.members if peer not in self.lost]
            actions += [Send(peer, self._ask(record)) for peer in asked if peer != self.me]
        return actions

    def _ask(self, record: JobRecord, *, whole: bool = False) -> WhoOwns:
        return WhoOwns(job=record.id, owner=record.owner, whole=whole)

    def owned(self, peer: str, owned: Owned, record: JobRecord, now: float) -> list[Action]:
        """Take in who owns a job, and who says so; `record` is the copy here, which may have ended."""
        newest = mandate.newest(record.mandate, owned.mandate)
        authority = mandate.read(newest)
        if self.me not in authority.members:
            self.forget(record.id)
            return [DropJob(record.id)]
        if peer not in authority.members or owned.owner not in authority.members:
            return []
        if owned.owner == peer == record.owner and not record.ended:
            self.doubted.discard(record.id)
            self.behind.discard(record.id)
        self._take_mandate(record, newest)
        if owned.owner == self.me:
            if peer != record.owner or self.leaving:
                return [SaveJob(record)]
            # The job was handed over, maybe when it had ended here: nothing is to be waited for.
            self.copies.setdefault(record.id, record)
            self.due[record.id] = -inf
            return [SaveJob(record)]
        if peer == record.owner and owned.owner != peer:
            record.owner, record.acts_since_ms, record.revision = owned.owner, 0, 0
            self.due.pop(record.id, None)
            self.doubted.discard(record.id)
            if owned.owner in self.lost and record.id in self.copies and not self.leaving:
                self.due[record.id] = now + self._wait_s(record)
        elif authority.rank(owned.owner) >= authority.rank(record.owner) or owned.owner in self.lost:
            return [SaveJob(record)]
        # The owner may not know of this copy: it says whether that is wanted.
        return [SaveJob(record), Send(owned.owner, self._ask(record, whole=True))]

    def answer(self, record: JobRecord) -> Owned:
        return Owned(job=record.id, owner=record.owner, mandate=record.mandate)

    def claimed(self, peer: str, orphan: Orphan) -> list[Action]:
        """A peer runs something of a job whose owner it does not hear."""
        record = self.copies[orphan.job]
        if len(record.claims) < len(record.executions) + PEERS_NAMED_MAX:
            record.claims[orphan.execution] = Claim(peer=peer, round=orphan.round)
        actions: list[Action] = [SaveJob(record)]
        if record.owner not in (self.me, orphan.owner, *self.lost):
            actions.append(Send(peer, self.answer(record)))
        return actions

    def command_owner(self, command: Command) -> list[Action]:
        """Pass a controller's command on to the owner of a job, or keep it for who takes over."""
        record = self.copies[command.job]
        if record.owner in self.lost or record.id in self.due:
            self._keep_command(command)
            return []
        return [Send(record.owner, command)]

    def _keep_command(self, command: Command) -> None:
        waiting = self.commands.setdefault(command.job, [])
        if len(waiting) < COMMANDS_WAITING_MAX and command not in waiting:
            waiting.append(command)

    def wanted(self, command: Command, record: JobRecord, brought_by: str, now: float) -> list[Action]:
        """Have a controller's command on a job that has ended here, of whose owner nobody took note since.

        It goes to the owner that is known here. A member that then hears nothing of the job takes it over.
        """
        if record.is_done(mandate.read_command(command.signed)):
            return []
        heard = record.owner not in (brought_by, *self.lost)
        actions: list[Action] = [Send(record.owner, command)] if heard else []
        if self.me not in record.authority.members:
            # Commands that others bring go round for ever among those that are not members any more. One
            # of a user here goes to all that may have to act: it is carried out once.
            told = [one for one in record.authority.members if one not in self.lost]
            return [Send(one, command) for one in told] if brought_by == self.me else []
        if self.leaving:
            return actions
        self.hold(record, now)
        self._keep_command(command)
        self.due[record.id] = now + self._wait_s(record) + (COMMAND_ANSWER_S if heard else 0.0)
        return actions

    def command_rejected(self, command: Command) -> None:
        """The owner is there, and does not take a command: nobody has to take the job over for it."""
        record = self.copies.get(command.job)
        if record is None or record.owner in self.lost or record.id not in self.due:
            return
        self.commands.pop(record.id, None)
        if record.ended:
            self.forget(record.id)
        else:
            del self.due[record.id]

    def peer_lost(self, peer: str, now: float, *, forgot: bool) -> None:
        """An owner is silent: note when its jobs are taken over."""
        for record in self.copies.values():
            if record.owner == peer and self.me in record.deputies and not self.leaving:
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
            actions += [Send(peer, command) for command in self.commands.pop(id, [])]
        return actions

    def take_over(self, now: float) -> list[tuple[JobRecord, str, list[Command]]]:
        """The jobs that are this node's now, the owner of each before, and what controllers want of them."""
        taken = []
        for id in [id for id, at in self.due.items() if at <= now]:
            record, before = self.copies[id], self.copies[id].owner
            self.forget(id)
            # Clocks may be set back, and what this node says then has to count as newer than before.
            record.acts_since_ms = max(int(now * 1000), record.acts_since_ms + 1)
            record.owner, record.revision = self.me, 0
            taken.append((record, before, self.commands.pop(id, [])))
        return taken

    def _wait_s(self, record: JobRecord) -> float:
        live = [peer for peer in record.deputies if peer == self.me or peer not in self.lost]
        turn = (live.index(self.me) + len(live) * (record.id in self.behind)) * STAGGER_S
        others = {*record.deputies, *(one.peer for one in record.of(*LIVE))} - {self.me, record.owner}
        cut_off = bool(others) and all(peer in self.lost for peer in others)
        return turn + (CUT_OFF_WAIT_S if cut_off else 0.0)

    def why_no_room(self, peer: str) -> str | None:
        """Why no copy of one more job of this owner is kept; None where there is room."""
        if len(self.copies) >= COPIES_MAX:
            return f"this node keeps copies of {len(self.copies)} jobs already, its limit"
        theirs = sum(record.owner == peer for record in self.copies.values())
        if theirs >= COPIES_PER_PEER_MAX:
            return f"this node keeps copies of {theirs} jobs of this owner already, its limit for one"
        return None

    def forget(self, job: str) -> None:
        """Hold no copy of the job any more."""
        self.copies.pop(job, None)
        self.due.pop(job, None)
        self.ask_at.pop(job, None)
        self.doubted.discard(job)
        self.behind.discard(job)
