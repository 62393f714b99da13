"""Whom a job asks for bids, and for how long it waits when there is nobody to ask.

A peer that refused is asked again only when it has advertised anew: it said what it
lacks, and until then nothing is different. A job for which no known peer is suitable
fails after a moment; one that only lacks room waits, as its QueueTimeout says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf

from .adverts import Known
from .events import Action, Note, Send
from .lifecycle import LIVE, Execution, ExecutionState, JobRecord
from .matching import Unfit, grouped, requirements_of, why_not
from .messages import Advert, Ask, Refusing, Requirements, execution_id
from .ranking import asks_for, rank_candidates

# A first answer over a fresh connection takes tenths of a second on a loaded machine.
BID_WINDOW_S = 3.0
# With bids enough, the slower peers get this long to make a better one.
ENOUGH_WAIT_S = 0.25
# A node that has just joined hears of the others within a second or two (a pull of the table).
DISCOVERY_GRACE_S = 3.0
# For a job that sets no QueueTimeout and only lacks room.
QUEUE_TIMEOUT_S = 10 * 60.0
# Tries of one job on one peer that failed there.
TRIES_PER_PEER_MAX = 2
# Of one round, where there are fewer peers than replicas: each bid holds resources until it is released.
ASKS_PER_PEER_MAX = 16
# A silent peer's advert may stay the same for as long as it lives: after a while it is asked again.
REFUSAL_HOLDS_S = 60.0


@dataclass
class Asking:
    """One look at a job and the peers: made anew for each decision, since both change."""

    record: JobRecord
    known: Mapping[str, Known]

    @cached_property
    def need(self) -> Requirements:
        return requirements_of(self.record.spec)

    @cached_property
    def used(self) -> dict[str, int]:
        """How many of the job's replicas each peer runs or has completed."""
        return dict(Counter(one.peer for one in self.record.of(*LIVE, ExecutionState.COMPLETED)))

    @cached_property
    def failures(self) -> dict[str, int]:
        """How often each peer has failed the job."""
        return dict(Counter(one.peer for one in self.record.of(ExecutionState.FAILED, ExecutionState.LOST)))

    def window_is_over(self, enough: bool, now: float) -> bool:
        record = self.record
        assert record.window_ends is not None
        if enough:
            record.window_ends = min(record.window_ends, now + ENOUGH_WAIT_S)
        return now >= record.window_ends

    def begin_round(self, needed: int, now: float) -> list[Action]:
        """Ask the best candidates, one bid a peer; two or more only where the peers are too few."""
        record, need = self.record, self.need
        ranked = self.whom_to_ask(needed, now)
        if not ranked:
            return []
        record.round += 1
        slots = min(-(-needed // len(ranked)), ASKS_PER_PEER_MAX)
        actions: list[Action] = []
        for slot in range(slots):
            for advert in ranked:
                id = execution_id(record.id, record.round, advert.peer, slot)
                record.executions[id] = Execution(
                    id=id, peer=advert.peer, round=record.round, created=now, modified=now
                )
                actions.append(Send(advert.peer, self._ask(id, need)))
        record.window_ends = now + BID_WINDOW_S
        peers = f"{len(ranked)} peer{'s' if len(ranked) > 1 else ''}"
        return [*actions, Note(record.id, "Asking", f"Asked {peers}")]

    def whom_to_ask(self, needed: int, now: float) -> list[Advert]:
        """The peers that a round for `needed` replicas asks, the best first."""
        record, need = self.record, self.need
        candidates = [
            known.advert for peer, known in self.known.items() if self._unfit(peer, need, now) is None
        ]
        ranked = rank_candidates(record.id, record.round + 1, need, candidates, self.used, self.failures)
        return ranked[: asks_for(needed)]

    def _ask(self, id: str, need: Requirements) -> Ask:
        record = self.record
        return Ask(
            execution=id,
            job=record.id,
            round=record.round,
            spec_hash=record.spec_hash,
            priority=record.spec.priority,
            requirements=need,
        )

    def give_up_waiting(self, now: float) -> str | None:
        """Note that there is nobody to ask; the reason to fail the job, once it has waited long enough."""
        if self.record.waiting_since is None:
            self.record.waiting_since = now
        return self.why_waiting() if now >= self.waits_until() else None

    def waits_until(self) -> float:
        since = self.record.waiting_since
        if since is None:
            return inf
        queue_s = self.record.spec.task.timeouts.queue_s
        if queue_s is not None:
            return since + max(queue_s, DISCOVERY_GRACE_S)
        busy = any(unfit.refusing is Refusing.BUSY for unfit in self._all_unfit(since))
        return since + (QUEUE_TIMEOUT_S if busy else DISCOVERY_GRACE_S)

    def wakes(self, now: float) -> float:
        """When a job with nobody to ask looks again, should nothing happen before."""
        holds = (refused.at + REFUSAL_HOLDS_S for refused in self.record.refusals.values())
        return min(self.waits_until(), *(at for at in holds if at > now), inf)

    def why_waiting(self) -> str:
        """Why nobody can be asked, grouped over all known peers."""
        if not self.known:
            return "no compute peer is known: is this node connected to any?"
        since = self.record.waiting_since or 0.0
        reasons = [unfit.reason for unfit in self._all_unfit(since)]
        return "no peer can take it: " + grouped(reasons, len(self.known))

    def _all_unfit(self, now: float) -> list[Unfit]:
        need = self.need
        unfit = (self._unfit(peer, need, now) for peer in self.known)
        return [one for one in unfit if one is not None]

    def _unfit(self, peer: str, need: Requirements, now: float) -> Unfit | None:
        advert = self.known[peer].advert
        unfit = why_not(need, advert.offer)
        if unfit is not None:
            return unfit
        if self.failures.get(peer, 0) >= TRIES_PER_PEER_MAX:
            return Unfit(Refusing.UNSUITABLE, f"failed this job {TRIES_PER_PEER_MAX} times")
        refused = self.record.refusals.get(peer)
        if refused is None or advert.number > refused.number or now >= refused.at + REFUSAL_HOLDS_S:
            return None
        return Unfit(refused.refusing, refused.reason)
