"""One job, as its owner looks after it: asks for bids, awards, watches, tries again, ends.

A reconciler: every event first changes what is known, then `_reconcile` compares what the
job wants (`core.job.desired`) with what there is, and acts on the difference. Nothing polls: it is
called when something happened, or when `deadline` passes.

A round of asking goes: ask up to `asks_for(needed)` peers; weigh the bids when all have
answered, or shortly after there are enough, or when the window ends; award the best; keep
the others until the awards are confirmed (the next best is then at hand), and release them.
A job that runs everywhere awards each bid as it comes: there is nothing to choose.

What peers say is taken in by `core.job.incoming`, a change of owner by `core.job.handover`. Who else
may come to own the job is the part of `core.replication.replicas`, and what deputies are told that of
`core.replication.sync`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf

from p2pnode.core.placement.adverts import Known
from p2pnode.core.placement.matching import listed
from p2pnode.core.records import mandate
from p2pnode.core.records.events import (
    Action,
    Event,
    PeerBack,
    PeerLost,
    ReceiptRefused,
    Received,
    Rejected,
    SaveJob,
    Send,
    Tick,
)
from p2pnode.core.records.lifecycle import (
    BROKEN,
    EVERYWHERE,
    LIVE,
    LONG_RUNNING,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
)
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import CommandAction, CommandBody
from p2pnode.core.wire.messages import Bid, Command, Ended, Orphan, Owned, Refusal, Replicate, Update, WhoOwns
from p2pnode.core.wire.signing import Keys, Signed
from p2pnode.core.wire.spec import JobSpec, JobType

from . import changing, conclusion, deputies, handover, incoming
from .asking import BETTER_WAIT_S, ENOUGH_WAIT_S, Asking
from .desired import MissingPlacement, learn_targets, missing_placements, placeable, surplus
from .disbelieving import disbelieved, late
from .limits import excuse
from .retries import hopeless
from .transitions import JobTransitions
from .trusting import trust_in

# A node that was away asks its deputies whether a job is still its own before it acts for it.
HOLD_S = 5.0


class Job:
    def __init__(
        self,
        record: JobRecord,
        me: str,
        keys: Keys,
        known: Mapping[str, Known],
        lost: Collection[str] = (),
        trust: Trust = ANYBODY,
    ) -> None:
        """`known` and `lost` are the owner's live table of peers, and those that are silent.

        `trust` is this node's own, which counts for its own jobs.
        """
        self.record = record
        self.deadline = inf
        # Does news of peers concern this job?
        self.waits = False
        self._known = known
        self._lost = lost
        self._trust = trust_in(record, me, trust)
        self._steps = JobTransitions(record, me, known, keys)
        self._hold_until = 0.0

    def look_at(self, now: float) -> None:
        """Have the next tick tell the deputies of all, and see what there is to do."""
        self.record.synced = {}
        self.deadline = self._steps.tell_by = now

    def begin(self, now: float) -> list[Action]:
        self._steps.note("Submission", "Job submitted", now, urgent=True)
        return self._settle(now)

    def resume(self, now: float) -> list[Action]:
        """After a restart: a deputy may have taken over; until one has answered, nothing new is begun."""
        record = self.record
        record.synced = {}
        self._steps.tell_by = now
        excuse(record, now)
        if record.deputies:
            self._hold_until = now + HOLD_S
            ask = WhoOwns(job=record.id, owner=record.owner, whole=False)
            self._steps.actions += [Send(peer, ask) for peer in record.deputies]
        self._steps.actions += Asking(record, self._known, now, self._trust).again()
        return self._settle(now)

    def is_held(self, now: float) -> bool:
        """Whether this node still asks the deputies if the job is its own."""
        return now < self._hold_until and not self.record.ended

    def name_controllers(self, controllers: tuple[str, ...], now: float) -> list[Action]:
        deputies.name_controllers(self._steps, controllers, now)
        return self._settle(now)

    def heard_all_the_time(self, peers: Iterable[str]) -> None:
        """These had no need to act for the job, which is taken from the journal anew."""
        self._steps.away.difference_update(peers)

    @property
    def partners(self) -> set[str]:
        """The peers whose silence concerns the job."""
        runs = (one.peer for one in self.record.of(*LIVE))
        return {*deputies.recipients(self.record), *self._steps.readers, *runs}

    def take_over(self, before: str, now: float) -> list[Action]:
        handover.take_over(self._steps, before, self._lost, now)
        return self._settle(now)

    def merge(self, peer: str, message: Replicate, now: float) -> list[Action]:
        """Take in what `peer` did for the job: commands of controllers first, then results."""
        done = sorted(message.commands, key=lambda one: mandate.read_command(one).number)
        for signed in done:
            body = mandate.read_command(signed)
            spec = message.spec if body.spec_hash == codec.digest(message.spec) else None
            self._carry_out(signed, body, spec, now)
        self._hold_until = 0.0
        handover.merge(self._steps, peer, message, self._lost, now)
        return self._settle(now)

    def read_by(self, peer: str, now: float) -> list[Action]:
        """Users of a controller look at the job: tell it all, and for some time what changes."""
        deputies.begin_telling(self._steps, peer, now)
        return self._settle(now)

    def goes_on_telling(self, peer: str, now: float) -> bool:
        """Go on to tell a controller what changes; False where it has not got the whole."""
        return deputies.go_on_telling(self._steps, peer, now)

    def yield_to(self, owner: str, now: float) -> list[Action]:
        return handover.yield_to(self._steps, owner, now)

    def command(self, command: Command, now: float) -> list[Action]:
        """Carry out what a controller has signed, once."""
        self._carry_out(command.signed, mandate.read_command(command.signed), command.spec, now)
        return self._settle(now)

    def _carry_out(self, signed: Signed, body: CommandBody, spec: JobSpec | None, now: float) -> None:
        record, untold = self.record, body.action is CommandAction.UPDATE and spec is None
        if untold or record.is_done(body) or not record.authority.may_command(body.controller):
            return
        record.note_done(signed)
        match body.action:
            case CommandAction.STOP if not record.ended:
                self._steps.end(JobState.STOPPED, Outcome.STOPPED, body.reason, now)
            case CommandAction.RERUN:
                text = f"Job begun anew{': ' * bool(body.reason)}{body.reason}"
                changing.begin_anew(self._steps, text, now)
            case CommandAction.UPDATE if spec is not None:
                changing.update(self._steps, spec, self._lost, now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in an event that concerns this job, or a `Tick`, or news of peers."""
        match event:
            case Received(peer, Orphan(execution=id, round=round)):
                incoming.claimed(self._steps, peer, id, round)
            case Tick() if self.deadline <= now:
                # The deputies of a job that has ended may have to hear.
                pass
            case Received(peer, Owned() as owned) if self.record.ended and peer in self.record.deputies:
                handover.owned_at_end(self._steps, peer, owned, now)
            case _ if self.record.ended and not self._is_late_end(event):
                return []
            case Received(peer, Ended() as ended, receipt=receipt):
                assert receipt is not None
                incoming.ended(self._steps, peer, ended, receipt, now)
            case Received(peer, message):
                self._received(peer, message, now)
            case Rejected(peer, message, reason):
                incoming.rejected(self._steps, peer, message, reason, now)
            case ReceiptRefused(peer, id, reason):
                incoming.receipt_refused(self._steps, peer, id, reason, now)
            case PeerLost(peer, reason):
                incoming.peer_lost(self._steps, peer, reason, now)
            case PeerBack(peer):
                self.record.refusals.pop(peer, None)
                if peer in deputies.recipients(self.record):
                    self._steps.tell_by = now
            case _:
                pass
        return self._settle(now)

    def _is_late_end(self, event: Event) -> bool:
        """Is it of what was cancelled, whose output may be wanted all the same?"""
        match event:
            case Received(_, Ended(execution=id)):
                one = self.record.executions.get(id)
                return one is not None and one.awaits_receipt
            case _:
                return False

    def _received(self, peer: str, message: object, now: float) -> None:
        match message:
            case Bid() as bid:
                incoming.bid(self._steps, self._trust, peer, bid, now)
            case Refusal() as refusal:
                incoming.refused(self._steps, peer, refusal, now)
            case Update() as update:
                incoming.updated(self._steps, peer, update, now)
            case Owned() as owned if peer in self.record.deputies:
                self._hold_until = 0.0
                handover.owned(self._steps, peer, owned, now)

    # The steps that the record calls for

    def _settle(self, now: float) -> list[Action]:
        record, transitions = self.record, self._steps
        held = self.is_held(now)
        if not record.ended and not held:
            self._reconcile(now)
            conclusion.forget_old(record)
        if not held:
            deputies.name_deputies(transitions, self._known, self._lost, self._trust, now)
        deputies.tell_deputies(transitions, self._lost, now)
        missing = [] if record.ended else self._missing()
        self.waits = not record.ended and (
            bool(missing)
            or record.spec.type in EVERYWHERE | LONG_RUNNING
            or deputies.lacks_deputies(record, self._lost)
        )
        later = min(self._next_deadline(missing, now), deputies.shortage_told_at(record, self._lost))
        self.deadline = min(self._hold_until if held else later, transitions.tell_by)
        actions, transitions.actions = transitions.actions, []
        return [SaveJob(record), *actions]

    def _reconcile(self, now: float) -> None:
        record, transitions = self.record, self._steps
        conclusion.end_overdue(transitions, now)
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None and record.spec.type not in LONG_RUNNING and now >= record.begun + total_s:
            transitions.end(
                JobState.FAILED, Outcome.TIMEOUT, f"its TotalTimeout of {total_s} s has passed", now
            )
            return
        if record.spec.type in EVERYWHERE:
            learn_targets(record, placeable(record, self._known, self._trust))
        for execution, reason in surplus(record, placeable(record, self._known, self._trust)):
            if execution.state in LIVE:
                transitions.cancel(execution, reason, now)
        missing = self._missing()
        failed = self._hopeless(missing, now)
        if failed:
            conclusion.wind_up(transitions, failed, now)
            return
        ready = [one for one in missing if record.retry_at.get(one.replica, 0.0) <= now]
        if ready or self._lacks_targets():
            self._place(ready, now)
        elif not record.of(ExecutionState.AWARDED):
            record.waiting_since = None
            transitions.cancel_all(record.of(*OPEN), "not needed", now)
        if not missing and not record.ended:
            conclusion.end_if_done(transitions, now)
        if record.ended:
            return
        if record.now_of(*LIVE):
            if record.state is not JobState.RUNNING:
                record.move(JobState.RUNNING, now)
        elif missing and not ready:
            transitions.queue(f"waits before another try: {self._why_again(missing)}", now)

    def _missing(self) -> list[MissingPlacement]:
        return missing_placements(self.record, placeable(self.record, self._known, self._trust))

    def _why_again(self, missing: list[MissingPlacement]) -> str:
        replicas = {one.replica for one in missing}
        ended = self.record.now_of(*BROKEN, ExecutionState.COMPLETED)
        last = next((one for one in reversed(ended) if one.replica in replicas), None)
        return (last.reason if last else "") or "the program has ended"

    def _hopeless(self, missing: list[MissingPlacement], now: float) -> list[Execution]:
        if self.record.spec.type is not JobType.BATCH:
            return []
        replicas = {one.replica for one in missing}
        asking = Asking(self.record, self._known, now, self._trust)
        return hopeless(self.record, replicas) and hopeless(self.record, replicas, disbelieved(asking))

    def _lacks_targets(self) -> bool:
        return self.record.spec.type is JobType.OPS and not self.record.targets

    def _place(self, wanted: list[MissingPlacement], now: float) -> None:
        record, transitions = self.record, self._steps
        asking = Asking(record, self._known, now, self._trust)
        bound = {one.peer: one for one in wanted if one.peer is not None}
        if record.spec.type in EVERYWHERE:
            for bid in record.of(ExecutionState.BID):
                missing = bound.pop(bid.peer, None)
                if missing is not None:
                    transitions.award(missing, [bid], now)
                    wanted.remove(missing)
        else:
            bids = record.of(ExecutionState.BID)
            if record.of(ExecutionState.ASKED):
                if len(bids) < len(wanted):
                    record.window_ends = None
                    return
                record.window_ends = record.window_ends or now + ENOUGH_WAIT_S
                if asking.waits_for_answers(record.window_ends):
                    return
                transitions.cancel_all(record.of(ExecutionState.ASKED), "there are bids enough", now)
            transitions.cancel_all(late(asking, bids), "others are asked before it", now)
            if bids := record.of(ExecutionState.BID):
                bidders = list(dict.fromkeys(one.peer for one in bids))
                transitions.note("Bids", f"{len(bids)} bid{'s' * (len(bids) > 1)} of {listed(bidders)}", now)
            while wanted and (bids := record.of(ExecutionState.BID)):
                transitions.award(wanted.pop(0), bids, now)
        if not wanted and not self._lacks_targets():
            return
        round = Asking(record, self._known, now, self._trust).begin_round(wanted)
        if round:
            record.waiting_since = None
            transitions.actions += round
            transitions.note("Asking", f"Asked {listed(list(dict.fromkeys(one.peer for one in round)))}", now)
            return
        if not record.of(ExecutionState.ASKED, ExecutionState.BID):
            self._wait(asking, now)

    def _wait(self, asking: Asking, now: float) -> None:
        record, transitions = self.record, self._steps
        refused = asking.give_up_waiting()
        if refused is not None:
            begun = record.now_of(ExecutionState.COMPLETED, *LIVE, *BROKEN)
            first = f"{record.first_failure}; then " if record.first_failure else ""
            outcome = Outcome.EXECUTION if begun else Outcome.NO_PEER
            transitions.end(JobState.FAILED, outcome, first + refused, now)
        elif not record.now_of(*LIVE):
            transitions.queue(asking.why_waiting(), now)

    def _next_deadline(self, missing: list[MissingPlacement], now: float) -> float:
        record = self.record
        if record.ended:
            return inf
        times = [one.deadline for one in record.of(*OPEN, *LIVE) if one.deadline is not None]
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None and record.spec.type not in LONG_RUNNING:
            times.append(record.begun + total_s)
        if self._hopeless(missing, now):
            return min(times, default=inf)
        if record.of(ExecutionState.ASKED) and record.window_ends is not None:
            ends = (record.window_ends, record.window_ends + BETTER_WAIT_S)
            times += [at for at in ends if at > now]
        later = [record.retry_at.get(one.replica, 0.0) for one in missing]
        times += [at for at in later if at > now]
        waits = any(at <= now for at in later) or self._lacks_targets()
        if waits and not record.of(ExecutionState.ASKED, ExecutionState.BID):
            times.append(Asking(record, self._known, now, self._trust).wakes())
        return min(times, default=inf)
