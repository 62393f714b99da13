"""Jobs of others that users of this node look at: it is a controller of them, and no member.

Whoever holds such a job tells it to a controller that asks, and its owner goes on to tell what changes. It is
asked for again from time to time, and forgotten when nobody looks any more: nobody relies on what is here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.placement.adverts import Known, out_of_reach
from p2pnode.core.placement.ranking import rendezvous_hash
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Action, DropJob, JobSought, SaveJob, SaveLines, Send
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire import protocols
from p2pnode.core.wire.messages import Owned, Replicate, WhoOwns

from .sync import applied

# A follower of a job looks again three times in it; a person's next command mostly comes within it.
READING_S = 60.0
# An owner goes on telling for so long (`core.job.deputies`): twice, should one be lost.
RENEW_S = 60.0
# While no owner tells what changes: a take-over takes some 10 s, and a person waits.
ASK_AGAIN_S = 3.0
# A question's answer may be large, and programs may look many times a second.
ASK_GAP_S = 1.0
# People look at a few jobs at once; a script may look at all that there are.
READINGS_MAX = 1_000
# A peer costs a dial, and the network a question. A network of a workgroup is asked whole; in a larger one a
# controller knows its requester, which is asked first.
PEERS_ASKED_MAX = 64


@dataclass(slots=True)
class Reading:
    # Nobody looks any more.
    until: float
    ask_at: float = inf
    asked_at: float = -inf
    # As it is known here; "" and none before the first answer.
    owner: str = ""
    members: tuple[str, ...] = ()
    # Peers that were asked for a job of which nothing is known.
    asked: set[str] = field(default_factory=set)
    # Whether the owner tells what changes.
    live: bool = False
    ended: bool = False
    # The requester of a job of which this node is no controller.
    requester: str = ""


@dataclass(slots=True)
class Readings:
    me: str
    # The peers that are silent; kept by the participant.
    lost: Collection[str]
    by_job: dict[str, Reading] = field(default_factory=dict)

    @property
    def deadline(self) -> float:
        return min((min(one.until, one.ask_at) for one in self.by_job.values()), default=inf)

    @property
    def partners(self) -> set[str]:
        """The peers whose silence concerns this node."""
        return {peer for one in self.by_job.values() if not one.ended for peer in one.members}

    def of(self, job: str, record: JobRecord | None) -> bool:
        """Whether a job is only looked at here, be it that it is sought."""
        return job in self.by_job and (record is None or self.is_read(record))

    def is_read(self, record: JobRecord) -> bool:
        """Whether this node may know a job that it is no member of."""
        authority = record.authority
        return self.me not in authority.members and authority.may_command(self.me)

    def seek(self, event: JobSought, others: Sequence[str], now: float) -> list[Action]:
        """A user looks at a job: ask its members, or else `others`, unless its owner tells of it anyway."""
        record = event.record
        if record is not None and not self.is_read(record):
            return []
        if event.job not in self.by_job and len(self.by_job) >= READINGS_MAX:
            return []
        reading = self.by_job.setdefault(event.job, Reading(now))
        reading.until = now + READING_S
        if record is not None and not reading.members:
            self._learn(reading, record)
        if reading.live:
            return []
        if reading.members:
            return self._ask(event.job, reading, now) if now >= reading.asked_at + ASK_GAP_S else []
        if not event.wide:
            reading.asked, reading.requester = set(), ""
        asked = [peer for peer in others if peer not in (self.me, *reading.asked, *self.lost)]
        reading.asked.update(asked)
        return [Send(peer, WhoOwns(job=event.job, owner=peer, whole=True)) for peer in asked]

    def _learn(self, reading: Reading, record: JobRecord) -> None:
        reading.owner, reading.members = record.owner, record.authority.members
        reading.ended, reading.requester = record.ended, ""

    def _ask(self, job: str, reading: Reading, now: float) -> list[Action]:
        """Ask who looks after it now; or, where that is known, have it go on to tell."""
        reading.asked_at = now
        if reading.live:
            reading.ask_at = now + RENEW_S
            return [Send(reading.owner, WhoOwns(job=job, owner=reading.owner, whole=False))]
        # Nothing changes of itself in a job that has ended.
        reading.ask_at = inf if reading.ended else now + ASK_AGAIN_S
        there = [peer for peer in reading.members if peer not in self.lost]
        return [Send(peer, WhoOwns(job=job, owner=reading.owner, whole=True)) for peer in there]

    def replicate(self, peer: str, message: Replicate, record: JobRecord | None, now: float) -> list[Action]:
        """Take in what a member says of a job that is looked at; `record` is the journal's."""
        reading = self.by_job[message.job]
        newest = mandate.newest(record.mandate, message.mandate) if record else message.mandate
        authority = mandate.read(newest)
        if not authority.may_command(self.me):
            reading.requester = authority.requester
            return []
        owner = record.owner if record else peer
        if not mandate.obeys(authority, owner, peer, owner_is_silent=owner in self.lost):
            return []
        if not message.full:
            if record is None or not record.revision:
                return []
            if peer != record.owner or message.acts_since_ms != record.acts_since_ms:
                reading.live, reading.ask_at = False, min(reading.ask_at, now + ASK_AGAIN_S)
                return []
            if message.revision <= record.revision:
                return []
        signed_number = record.signed_number if record else 0
        record = applied(record, message, peer, now)
        if record is None:
            return []
        record.mandate, record.signed_number = newest, signed_number
        self._learn(reading, record)
        reading.live = not record.ended
        reading.ask_at = now + RENEW_S if reading.live else inf
        actions: list[Action] = [SaveJob(record)]
        if message.full or message.history:
            actions.append(SaveLines(message.job, message.history, anew=message.full))
        return actions

    def owned(self, peer: str, owned: Owned, record: JobRecord | None, now: float) -> list[Action]:
        """Take in who looks after it: what `peer` has told before was its copy, or it has handed over."""
        reading = self.by_job[owned.job]
        newest = mandate.newest(record.mandate, owned.mandate) if record else owned.mandate
        authority = mandate.read(newest)
        if not authority.may_command(self.me):
            reading.requester = authority.requester
            return []
        if peer not in authority.members or owned.owner not in authority.members:
            return []
        if record is None:
            asked = [one for one in authority.members if one not in (self.me, *reading.asked, *self.lost)]
            reading.asked.update(asked)
            return [Send(one, WhoOwns(job=owned.job, owner=owned.owner, whole=True)) for one in asked]
        if peer != record.owner or owned.owner == peer:
            return []
        record.mandate, record.owner, record.acts_since_ms, record.revision = newest, owned.owner, 0, 0
        self._learn(reading, record)
        reading.live = False
        reading.ask_at = inf if record.ended else now + ASK_AGAIN_S
        ask = WhoOwns(job=owned.job, owner=owned.owner, whole=True)
        asked_now = [] if owned.owner in (self.me, *self.lost) else [Send(owned.owner, ask)]
        return [SaveJob(record), *asked_now]

    def peer_lost(self, peer: str, now: float) -> None:
        """An owner is silent, or has lost its disk: another member may look after its jobs."""
        for reading in self.by_job.values():
            if reading.owner == peer and not reading.ended:
                reading.live, reading.ask_at = False, now

    def ask_owners(self, now: float) -> list[Action]:
        """Ask again for what is looked at, and forget what is not."""
        actions: list[Action] = []
        for job, reading in list(self.by_job.items()):
            if reading.until <= now:
                del self.by_job[job]
                # The end of a job stays: it is history.
                actions += [DropJob(job)] if reading.members and not reading.ended else []
            elif reading.ask_at <= now:
                actions += self._ask(job, reading, now)
        return actions


def whom_to_ask(
    event: JobSought, operators: Sequence[str], known: Mapping[str, Known], now: float
) -> list[str]:
    """The peers that may know a job of which nothing is known here, the nodes of its own operator first."""
    own = [peer for peer in operators if peer in known]
    if not event.wide:
        return own
    unreachable = out_of_reach(known, now)
    others = [peer for peer in known if peer not in own and peer not in unreachable]
    # Anybody can invent peers; and members of a job look after others' jobs, as a rule.
    others.sort(
        key=lambda peer: (
            known[peer].brought_by is not None,
            protocols.DEPUTY not in known[peer].advert.protocols,
            rendezvous_hash(event.job, 0, peer),
        )
    )
    return [*own, *others][:PEERS_ASKED_MAX]
