"""Asking peers for bids: the choice of peers, and the wait when there is none.

Peers with room are asked first. Where they are too few, peers without room are asked, too:
the ask waits there, and is bid for in the moment that there is room. A peer that refused is
asked again only when it has advertised anew: it said what it lacks, and until then nothing is
different. A peer that has what the job uses, and no room, is waited for as long as another would take to
fetch it, and no longer: so the job is late by that time at most, whatever runs there. A job for which
no known peer is suitable fails after a moment; one that only lacks room waits, as its QueueTimeout says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice, zip_longest
from math import inf

from p2pnode.core.placement.adverts import Known, KnownPeers, out_of_reach
from p2pnode.core.placement.arrival import PATIENCE_S_MAX, sizes_told, start_s, step
from p2pnode.core.placement.matching import Infeasible, favours, grouped, requirements_of, why_not_peer
from p2pnode.core.placement.ranking import asks_for, rank_candidates, rendezvous_hash, time_rank
from p2pnode.core.placement.reliance import Doubts
from p2pnode.core.records.events import Send
from p2pnode.core.records.lifecycle import (
    EVERYWHERE,
    LIVE,
    LONG_RUNNING,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
)
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire.messages import Advert, Ask, Requirements, execution_id
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import RefusalKind, Scheduling

from .desired import MissingPlacement, why_misplaced
from .doubting import doubts_of, with_proven
from .refusals import held_until, holds
from .retries import TRIES_PER_PEER_MAX, failures_by_peer

# A first answer over a fresh connection takes tenths of a second on a loaded machine.
BID_WINDOW_S = 3.0
# Where each peer has a replica of its own, nobody else is kept waiting by a slow answer.
BID_WINDOW_EVERYWHERE_S = 10.0
# With bids enough, the slower peers get this long to make a better one.
ENOUGH_WAIT_S = 0.25
# And so much longer those by whose adverts the job would begin sooner, or have more room, than with all that
# have bid: a node that is busy with jobs of its own answers itself first, and would keep them all.
BETTER_WAIT_S = 1.0
# A node that has just joined hears of the others within a second or two (a pull of the table).
DISCOVERY_GRACE_S = 3.0
# For a batch or ops job that sets no QueueTimeout and only lacks room.
QUEUE_TIMEOUT_S = 10 * 60.0
# Asks of a peer in one round, where peers are fewer than replicas: a bid holds resources until released.
ASKS_PER_PEER_MAX = 16
# Asks in one round of a job that runs everywhere: each is a message and a record.
ASKS_EVERYWHERE_MAX = 500
# Why a peer is not asked that could be.
FARTHER = "would have to fetch what a peer that is waited for has"
# Peers with room that a round chooses among, of so many that more would change little; a job of many replicas
# chooses among so many for each.
CONSIDERED_MAX = 100
CONSIDERED_PER_REPLICA = 4
# And these, that ran jobs of this node last.
PROVEN_CONSIDERED_MAX = 16


@dataclass
class Asking:
    """One look at a job and the peers: made anew for each decision, since both change."""

    record: JobRecord
    known: Mapping[str, Known]
    now: float
    # The requester's, as far as it is known here.
    trust: Trust = ANYBODY

    @cached_property
    def need(self) -> Requirements:
        return requirements_of(self.record.spec)

    @cached_property
    def considered(self) -> Mapping[str, Known]:
        """The peers that a round chooses among: all of a small table; else holders of its data, and others.

        A look at thousands of peers costs more than what the best of them is better by. Each round of each
        job begins at another one.
        """
        record, known = self.record, self.known
        enough = max(CONSIDERED_MAX, CONSIDERED_PER_REPLICA * record.spec.count)
        if len(known) <= enough or record.spec.type in EVERYWHERE or not isinstance(known, KnownPeers):
            return known
        near = (peer for peer, one in known.items() if one.near)
        proven = known.reliance.proven_last(PROVEN_CONSIDERED_MAX)
        first = {record.owner, *known.holders(self.need.cache_keys), *self._open, *near, *proven}
        found = {peer: known[peer] for peer in sorted(first) if peer in known}
        begin = rendezvous_hash(record.id, record.round + 1, "") % len(known)
        for peer in islice(cycle(known), begin, begin + len(known)):
            if enough <= 0:
                break
            if peer not in found:
                found[peer] = known[peer]
                enough -= self._infeasible(peer) is None
        return found

    @cached_property
    def sizes(self) -> dict[int, int]:
        """The sizes of what the job uses, by cache key."""
        own = self.known.get(self.record.owner)
        others = [one.advert.capacity for one in self.considered.values()]
        return sizes_told(self.need, self.record.spec.task, own.advert.capacity if own else None, others)

    @cached_property
    def used(self) -> dict[str, int]:
        """How many of the job's replicas each peer runs or has completed."""
        done = () if self.record.spec.type in LONG_RUNNING else (ExecutionState.COMPLETED,)
        return dict(Counter(one.peer for one in self.record.now_of(*LIVE, *done)))

    @cached_property
    def failures(self) -> dict[str, int]:
        """How often each peer has failed the job."""
        return failures_by_peer(self.record, self.now)

    def begin_round(self, wanted: Sequence[MissingPlacement]) -> list[Send]:
        """Ask the best candidates, one bid a peer; two or more only where the peers are too few."""
        record = self.record
        if record.spec.type in EVERYWHERE:
            peers = {missing.peer: missing.replica for missing in wanted if missing.peer is not None}
            able = [one for one in self._rooms_first() if one.peer in peers][:ASKS_EVERYWHERE_MAX]
            return self._ask([(one, 0, peers[one.peer]) for one in able])
        ranked = self.whom_to_ask(len(wanted))
        if not ranked:
            return []
        slots = min(-(-len(wanted) // len(ranked)), ASKS_PER_PEER_MAX)
        return self._ask([(advert, slot, None) for slot in range(slots) for advert in ranked])

    def whom_to_ask(self, needed: int) -> list[Advert]:
        """The peers that a round for `needed` replicas asks, the best first."""
        held_back = self._held_back(needed)
        ranked = [one for one in self._rooms_first() if one.peer not in held_back]
        roomy = sum(not self._group(one.peer, roomy=self.why_not(one) is None) for one in ranked)
        most = asks_for(needed) if roomy < needed else min(roomy, asks_for(needed))
        return with_proven(ranked, most, needed, self.free & self.doubts.proven)

    @cached_property
    def free(self) -> frozenset[str]:
        """The peers with room that could be asked now, and that nothing speaks against."""
        able = frozenset(peer for peer in self.considered if self._infeasible(peer) is None)
        return able - self._out_of_reach - self.doubts.strangers

    def _rooms_first(self) -> list[Advert]:
        """All who can be asked, in the order in which to ask them.

        Anybody can invent peers with the best of offers, so of two that are asked one was heard before.
        """
        record = self.record
        infeasible = {peer: self._infeasible(peer) for peer in self.considered}
        groups: tuple[list[Known], ...] = ([], [], [], [])
        for peer, reason in infeasible.items():
            if reason is None or reason.askable:
                group = self._group(peer, roomy=reason is None)
                groups[group].append(self.known[peer])
        return [
            advert
            for group in groups
            for advert in self._alternating(self._ranked(record.round + 1, group, self.used))
        ]

    def _ranked(self, round: int, peers: Sequence[Known], used: Mapping[str, int]) -> list[Advert]:
        """These peers in the order in which to ask them."""
        record = self.record
        of_job = self.failures, record.deputies, self.sizes, self.doubts
        return rank_candidates(record.id, round, self.need, peers, used, *of_job)

    def _alternating(self, ranked: Sequence[Advert]) -> list[Advert]:
        met = [one for one in ranked if self.known[one.peer].brought_by is None]
        unmet = [one for one in ranked if self.known[one.peer].brought_by is not None]
        pairs = zip_longest(met, unmet)
        return [one for pair in pairs for one in pair if one is not None]

    def _held_back(self, needed: int) -> frozenset[str]:
        """The peers that are not asked yet, where others suffice: they lack more than who is waited for."""
        later = {peer for peer, at in self._asked_from.items() if at > self.now}
        able = len(self._asked_from) - len(later)
        return frozenset(later) if able >= needed else frozenset()

    @cached_property
    def _asked_from(self) -> dict[str, float]:
        """From when on peers are asked, of those that may be or whose asks wait, where that differs."""
        if self.record.spec.type in EVERYWHERE or not any(self.sizes.values()):
            return {}
        ranks = {
            peer: (-favours(self.need, one.advert.capacity), one.advert.capacity.price_micros)
            for peer, one in self.considered.items()
            if self._is_waited_for(peer) or self._may_be_asked(peer)
        }
        starts = {peer: start_s(self.sizes, self.known[peer].advert.capacity) for peer in ranks}
        near = {(ranks[peer], starts[peer]): peer for peer in ranks if self._is_trusted(peer)}
        if not near:
            return {}
        best, soonest = min(near)
        since = min(
            self._open[peer].created if peer in self._open else self.now
            for peer in ranks
            if (ranks[peer], starts[peer]) == (best, soonest) and self._is_trusted(peer)
        )
        return {
            peer: since + self._patience_s(starts[peer], soonest) if ranks[peer] >= best else self.now
            for peer in ranks
        }

    def _patience_s(self, start_s: float, soonest_s: float) -> float:
        """How long the soonest peer is waited for before one that starts later is asked."""
        if step(start_s) == step(soonest_s):
            return 0.0
        queue_s = self.record.spec.task.timeouts.queue_s
        return min(start_s - soonest_s, PATIENCE_S_MAX, inf if queue_s is None else queue_s / 2)

    def _is_waited_for(self, peer: str) -> bool:
        opened = self._open.get(peer)
        return opened is not None and opened.state is ExecutionState.QUEUED

    def _may_be_asked(self, peer: str) -> bool:
        infeasible = self._infeasible(peer)
        return infeasible is None or infeasible.askable

    def _is_trusted(self, peer: str) -> bool:
        """Is it worth a wait? It was heard itself, answers, and has neither failed the job nor a replica."""
        spent = self.failures.get(peer, 0) or self.used.get(peer, 0)
        return not spent and self._group(peer, roomy=True) == 0 and self.known[peer].brought_by is None

    @cached_property
    def _out_of_reach(self) -> frozenset[str]:
        return out_of_reach(self.known, self.now) | self.doubts.failing

    @cached_property
    def doubts(self) -> Doubts:
        return doubts_of(self.record, self.known, lambda advert: self.why_not(advert) is None, self.now)

    def _group(self, peer: str, *, roomy: bool) -> int:
        """The peers of a lower number are asked before: with room, without, doubted, and failing."""
        if peer in self._out_of_reach:
            return 3
        return 2 if peer in self.doubts.strangers else int(not roomy)

    def _ask(self, asks: Sequence[tuple[Advert, int, int | None]]) -> list[Send]:
        """Each is a peer's advert, which of several asks to it this is, and the replica, if it is given."""
        record, now = self.record, self.now
        if not asks:
            return []
        record.round += 1
        record.window_ends = None
        window_s = BID_WINDOW_EVERYWHERE_S if record.spec.type in EVERYWHERE else BID_WINDOW_S
        sends: list[Send] = []
        since_ms = record.acts_since_ms
        for advert, slot, replica in asks:
            id = execution_id(record.id, since_ms, record.owner, record.round, advert.peer, slot)
            record.executions[id] = Execution(
                id=id,
                peer=advert.peer,
                round=record.round,
                version=record.version,
                run=record.run,
                replica=replica,
                deadline=now + window_s,
                created=now,
                modified=now,
            )
            sends.append(self._send(record.executions[id]))
        return sends

    def again(self) -> list[Send]:
        """Ask once more where an ask waits: its peer may have dropped it, as this node was away."""
        return [self._send(one) for one in self.record.of(ExecutionState.QUEUED)]

    def _send(self, execution: Execution) -> Send:
        record = self.record
        ask = Ask(
            execution=execution.id,
            job=record.id,
            round=execution.round,
            spec_hash=record.spec_hash,
            priority=record.spec.priority,
            requirements=self.need,
            sizes=tuple(self.sizes.values()),
        )
        return Send(execution.peer, ask)

    def _best_has_bid(self) -> bool:
        """Has the peer to whose bid all others' would lose bid as it advertised? One replica has no zones."""
        record = self.record
        bids = {one.peer: one.bid for one in record.of(ExecutionState.BID)}
        peers = [self.known.get(one.peer) for one in record.of(ExecutionState.ASKED, ExecutionState.BID)]
        if self.used or record.spec.count > 1 or None in peers:
            return False
        asked = [one for one in peers if one is not None]
        first = self._ranked(record.round, asked, {})[0]
        bid = bids.get(first.peer)
        return bid is not None and not bid.start_ms and bid.price_micros <= first.capacity.price_micros

    def waits_for_answers(self, window_ends: float) -> bool:
        """Are more answers worth a wait, with bids enough? None is that of a peer that may be invented."""
        if self._best_has_bid():
            return False
        asked = [self.known.get(one.peer) for one in self.record.of(ExecutionState.ASKED)]
        heard = [one for one in asked if one is not None and one.brought_by is None]
        if self.now < window_ends or not heard:
            return bool(heard)
        bidders = [self.known.get(one.peer) for one in self.record.of(ExecutionState.BID)]
        best = min((self._promise(one) for one in bidders if one is not None), default=None)
        better = best is not None and any(self._promise(one) < best for one in heard)
        return better and self.now < window_ends + BETTER_WAIT_S

    def _promise(self, peer: Known) -> tuple[int, ...]:
        id = peer.advert.peer
        spent = self.failures.get(id, 0), self.used.get(id, 0)
        return (*spent, *time_rank(self.need, peer, self.sizes))

    def give_up_waiting(self) -> str | None:
        """Note that there is nobody to ask; the reason to fail the job, once it has waited long enough."""
        if self.record.waiting_since is None:
            self.record.waiting_since = self.now
        if self.now < self.waits_until():
            return None
        set_it = "; a QueueTimeout has the job wait" if self.record.spec.task.timeouts.queue_s is None else ""
        return f"{self.why_waiting()} (after {self.now - self.record.waiting_since:.0f} s{set_it})"

    def waits_until(self) -> float:
        record = self.record
        since = record.waiting_since
        if since is None or record.spec.type is JobType.DAEMON:
            return inf
        served = record.spec.type is JobType.SERVICE
        if served and record.now_of(*(set(ExecutionState) - OPEN)):
            # A service that has run waits for what is missing as long as it takes.
            return inf
        queue_s = record.spec.task.timeouts.queue_s
        if queue_s is not None:
            return since + queue_s
        busy = any(infeasible.refusal_kind is RefusalKind.BUSY for infeasible in self._all_infeasible())
        return since + ((inf if served else QUEUE_TIMEOUT_S) if busy else DISCOVERY_GRACE_S)

    def wakes(self) -> float:
        """When a job with nobody to ask looks again, should nothing happen before."""
        refused = (held_until(one) for one in self.record.refusals.values())
        times = (at for at in (*refused, *self._asked_from.values()) if at > self.now)
        return min(self.waits_until(), *times, inf)

    def why_waiting(self) -> str:
        """Why nobody can be asked, grouped over all known peers."""
        if not self.known:
            return "no compute peer is known: is this node connected to any?"
        reasons = [infeasible.reason for infeasible in self._all_infeasible()]
        reasons += [FARTHER for _ in self._held_back(1)]
        return f"no peer can take it: {grouped(reasons, len(self.known))}" if reasons else "waits for a peer"

    def _all_infeasible(self) -> list[Infeasible]:
        return [one for one in map(self._infeasible, self.known) if one is not None]

    @cached_property
    def _open(self) -> dict[str, Execution]:
        return {one.peer: one for one in self.record.of(*OPEN)}

    def _infeasible(self, peer: str) -> Infeasible | None:
        """Why a peer is not asked; found out once for each look."""
        if peer not in self._infeasible_of:
            self._infeasible_of[peer] = self._find_infeasible(peer)
        return self._infeasible_of[peer]

    @cached_property
    def _infeasible_of(self) -> dict[str, Infeasible | None]:
        return {}

    def _find_infeasible(self, peer: str) -> Infeasible | None:
        advert, record = self.known[peer].advert, self.record
        infeasible = self.why_not(advert)
        if infeasible is not None and infeasible.refusal_kind is RefusalKind.UNSUITABLE:
            return infeasible
        tries = self.failures.get(peer, 0)
        if record.spec.type is JobType.BATCH and tries >= TRIES_PER_PEER_MAX:
            return Infeasible(RefusalKind.UNSUITABLE, f"failed this job {TRIES_PER_PEER_MAX} times")
        opened = self._open.get(peer)
        if opened is not None:
            return Infeasible(RefusalKind.BUSY, opened.reason or "is being asked")
        refused = record.refusals.get(peer)
        if refused is not None and holds(refused, advert.number, self.now):
            return Infeasible(refused.refusal_kind, refused.reason)
        if infeasible is not None and advert.capacity.scheduling is Scheduling.SCHEDULABLE:
            return Infeasible(infeasible.refusal_kind, infeasible.reason, askable=True)
        return infeasible

    def why_not(self, advert: Advert) -> Infeasible | None:
        """Why a peer gets nothing of the job, or not now, by its advert and its requester's policy."""
        reason = why_misplaced(self.record, advert, self.trust)
        return Infeasible(RefusalKind.UNSUITABLE, reason) if reason else why_not_peer(self.need, advert)
