"""One job, as its owner looks after it: asks for bids, awards, watches, tries again, ends.

A reconciler: every event first changes what is known, then `_reconcile` compares what the
job wants (`core.wanted`) with what there is, and acts on the difference. Nothing polls: it is
called when something happened, or when `deadline` passes.

A round of asking goes: ask up to `asks_for(needed)` peers; weigh the bids when all have
answered, or shortly after there are enough, or when the window ends; award the best; keep
the others until the awards are confirmed (the next best is then at hand), and release them.
A job that runs everywhere awards each bid as it comes: there is nothing to choose.

Who else may come to own the job is `core.custody`'s part, and what deputies are told
`core.copying`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

from . import copying, deputies, lifecycle
from .adverts import Known
from .asking import ENOUGH_WAIT_S, Asking
from .events import (
    Action,
    Event,
    JobRerun,
    JobStopped,
    JobUpdated,
    Note,
    PeerBack,
    PeerLost,
    Received,
    SaveJob,
    Send,
)
from .job_steps import AWARD_CONFIRM_S, JobSteps
from .lending import run_limit_s
from .lifecycle import (
    EVERYWHERE,
    LIVE,
    LONG_RUNNING,
    OPEN,
    VERSIONS_KEPT_MAX,
    Execution,
    ExecutionState,
    JobRecord,
    JobState,
    Outcome,
    job_version,
)
from .messages import (
    PEERS_NAMED_MAX,
    Bid,
    Command,
    Ended,
    Fault,
    Keep,
    Orphan,
    Owned,
    Receipt,
    Refusal,
    Refusing,
    Release,
    Stage,
    Update,
    WhoOwns,
)
from .retrying import hopeless
from .spec import JobSpec, JobType
from .wanted import Vacancy, learn_targets, surplus, vacancies

# A bid is not awarded in its last moments: the award has to travel, too.
BID_MARGIN_S = 1.0
# The peer itself ends what runs too long; this covers publishing and a slow link before we do it for it.
OVERDUE_GRACE_S = 60.0
# A peer answers its new owner at once; one that is away is noticed in this time, too.
ADOPT_CONFIRM_S = 10.0
# A node that was away asks its deputies whether a job is still its own before it acts for it.
HOLD_S = 5.0
# Ended executions of a job that runs for ever: enough to see what happened, and not more each time.
EXECUTIONS_ENDED_KEPT_MAX = 100

_STAGES = {
    Stage.PREPARING: ExecutionState.PREPARING,
    Stage.RUNNING: ExecutionState.RUNNING,
    Stage.PUBLISHING: ExecutionState.PUBLISHING,
}


class Job:
    def __init__(
        self, record: JobRecord, me: str, known: Mapping[str, Known], lost: Collection[str] = ()
    ) -> None:
        """`known` and `lost` are the owner's live table of peers, and those that are silent."""
        self.record = record
        self.deadline = inf
        # Does news of peers concern this job?
        self.waits = False
        self._known = known
        self._lost = lost
        self._steps = JobSteps(record, me, known)
        self._hold_until = 0.0

    def begin(self, now: float) -> list[Action]:
        self._steps.note("Submission", "Job submitted", now, urgent=True)
        return self._settle(now)

    def resume(self, now: float) -> list[Action]:
        """After a restart: a deputy may have taken over; until one has answered, nothing new is begun."""
        record = self.record
        record.synced = {}
        self._steps.tell_by = now
        if record.deputies:
            self._hold_until = now + HOLD_S
            asks: list[Action] = [
                Send(peer, WhoOwns(job=record.id, epoch=record.epoch)) for peer in record.deputies
            ]
            self._steps.actions += asks
        return self._settle(now)

    @property
    def partners(self) -> set[str]:
        """The peers whose silence concerns the job."""
        return {*deputies.told(self.record), *(one.peer for one in self.record.of(*LIVE))}

    def take_over(self, before: str, now: float) -> list[Action]:
        """This node has become the owner: adopt what runs, and settle what peers said of it meanwhile."""
        record, steps = self.record, self._steps
        why = "is silent" if before in self._lost else "has handed it over"
        steps.note("Ownership", f"Took over the job, as {before} {why}", now, urgent=True)
        for one in record.of(*LIVE):
            one.unconfirmed, one.deadline = True, now + ADOPT_CONFIRM_S
            steps.adopt(one)
            if one.peer in self._lost:
                steps.give_up(one, "its peer was lost together with the owner", now)
        record.synced, steps.tell_by = {}, now
        for execution, claim in record.claims.items():
            self._claimed(claim.peer, execution, claim.round)
        record.claims = {}
        return self._settle(now)

    def raise_epoch(self, peer: str, epoch: int, now: float) -> list[Action]:
        """A former owner has handed the job over, which this node had taken over by itself before."""
        record, steps = self.record, self._steps
        record.epoch, record.synced, steps.tell_by = epoch, {}, now
        for one in record.of(*LIVE):
            steps.adopt(one)
        if peer not in deputies.told(record):
            steps.actions.append(Send(peer, copying.header(record, now)))
        return self._settle(now)

    def merge(self, peer: str, keep: Keep, now: float) -> list[Action]:
        """What a former owner knows of this job: its results count, and it is told how things are."""
        record, steps = self.record, self._steps
        for stray in copying.merge(record, keep, now):
            steps.send_adopt(stray.peer, stray.id, stray.round)
            steps.send_cancel(stray.peer, stray.id, stray.round, "another owner has taken over the job")
        if not record.ended and keep.run == record.run and keep.state == JobState.STOPPED:
            steps.end(JobState.STOPPED, Outcome.STOPPED, keep.reason, now)
        steps.note("Ownership", "Learnt what a former owner knew", now, urgent=True)
        record.synced.pop(peer, None)
        # Its deputies hold copies, too, that are nobody's now.
        strangers = [one for one in (*keep.deputies, *keep.former) if one not in {*record.parties, steps.me}]
        if peer not in record.deputies:
            record.deputies = (*record.deputies, peer)
            strangers += record.deputies[: -deputies.DEPUTIES_MAX]
            record.deputies = record.deputies[-deputies.DEPUTIES_MAX :]
        record.former = tuple(dict.fromkeys((*strangers, *record.former)))[:PEERS_NAMED_MAX]
        header = copying.header(record, now)
        steps.actions += [Send(one, header) for one in strangers]
        return self._settle(now)

    def yield_to(self, owner: str, epoch: int, now: float) -> list[Action]:
        """Another owns the job now: tell it all that is known here, and act for the job no more."""
        record, steps = self.record, self._steps
        steps.cancel_all(record.of(*OPEN), "another owner looks after the job", now)
        steps.actions += [Send(owner, keep) for keep in copying.keeps(record, steps.lines, None, now)]
        steps.lines = []
        # It may be none that they would obey; so it is said by whom they do.
        told = Owned(job=record.id, epoch=epoch, owner=owner)
        steps.actions += [Send(peer, told) for peer in {one.peer: 0 for one in record.of(*LIVE)}]
        record.former = tuple(dict.fromkeys((record.owner, *record.former)))[:PEERS_NAMED_MAX]
        record.owner, record.epoch, record.revision, record.synced = owner, epoch, 0, {}
        steps.actions.append(Note(record.id, "Ownership", f"{owner} looks after the job now"))
        actions, steps.actions = steps.actions, []
        return [SaveJob(record), *actions]

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in an event that concerns this job, or a `Tick`, or news of peers."""
        match event:
            case JobUpdated(_, spec) | Received(_, Command(order="update", spec=JobSpec() as spec)):
                self._update(spec, now)
            case JobRerun(_, reason) | Received(_, Command(order="rerun", reason=reason)):
                self._begin_anew(f"Job begun anew{': ' * bool(reason)}{reason}", now)
            case Received(peer, Orphan(execution=id, round=round)):
                self._claimed(peer, id, round)
            case _ if self.record.ended:
                return []
            case Received(peer, message):
                self._received(peer, message, event, now)
            case PeerLost(peer, reason):
                self._peer_lost(peer, reason, now)
            case PeerBack(peer) if peer in deputies.told(self.record):
                self._steps.tell_by = now
            case JobStopped(_, reason):
                self._steps.end(JobState.STOPPED, Outcome.STOPPED, reason, now)
            case _:
                pass
        return self._settle(now)

    def _received(self, peer: str, message: object, event: Event, now: float) -> None:
        match message:
            case Bid() as bid:
                self._bid(peer, bid, now)
            case Refusal() as refusal:
                self._refused(peer, refusal, now)
            case Update() as update:
                self._updated(peer, update, now)
            case Ended(execution=id):
                assert isinstance(event, Received)
                assert event.receipt is not None and event.receipt_cid is not None
                self._ended(peer, id, event.receipt, event.receipt_cid, now)
            case Owned() as owned if peer in self.record.deputies:
                self._hold_until = 0.0
                if (owned.epoch, owned.owner) < self.record.authority:
                    # It has missed something, or lost its disk: it gets the whole anew.
                    self.record.synced.pop(peer, None)
                    self._steps.tell_by = now
            case Command(order="stop", reason=reason):
                self._steps.end(JobState.STOPPED, Outcome.STOPPED, reason, now)

    # What an event says

    def _of_peer(self, id: str, peer: str) -> Execution | None:
        execution = self.record.executions.get(id)
        return execution if execution is not None and execution.peer == peer else None

    def _bid(self, peer: str, bid: Bid, now: float) -> None:
        execution = self._of_peer(bid.execution, peer)
        if execution is None or execution.state not in (*OPEN, *LIVE):
            # It answers an ask that is over; until it hears so, it holds resources.
            self._steps.actions.append(Send(peer, Release(execution=bid.execution, round=bid.round)))
        elif execution.state in (ExecutionState.ASKED, ExecutionState.QUEUED):
            execution.move(ExecutionState.BID, now)
            execution.bid = bid
            execution.deadline = now + bid.valid_ms / 1000 - BID_MARGIN_S

    def _refused(self, peer: str, refusal: Refusal, now: float) -> None:
        execution = self._of_peer(refusal.execution, peer)
        if execution is None:
            return
        if refusal.refusing is Refusing.QUEUED:
            if execution.state is ExecutionState.ASKED:
                execution.move(ExecutionState.QUEUED, now, refusal.reason)
                self._steps.note("Queueing", refusal.reason, now, execution)
        elif execution.state in OPEN:
            self._steps.remember_refusal(peer, refusal.refusing, refusal.reason, now)
            self._steps.note("Refusal", refusal.reason, now, execution)
            del self.record.executions[execution.id]
        elif execution.state is ExecutionState.AWARDED and not execution.unconfirmed:
            self._steps.remember_refusal(peer, refusal.refusing, refusal.reason, now)
            self._steps.note("Refusal", refusal.reason, now, execution)
            execution.move(ExecutionState.CANCELLED, now, refusal.reason)
        elif execution.state in LIVE and execution.unconfirmed:
            self._steps.give_up(execution, refusal.reason, now)

    def _updated(self, peer: str, update: Update, now: float) -> None:
        execution = self._of_peer(update.execution, peer)
        if execution is None:
            return
        if execution.state is ExecutionState.CANCELLED:
            # It does not know yet; a cancel may have been lost with a disk.
            self._steps.send_cancel(peer, execution.id, execution.round, execution.reason)
        if execution.state not in LIVE or update.sequence <= execution.sequence:
            return
        execution.sequence = update.sequence
        if execution.unconfirmed:
            execution.unconfirmed, execution.deadline = False, None
        state = _STAGES[update.stage]
        if state in lifecycle.EXECUTION_MOVES[execution.state]:
            execution.move(state, now)
            self._steps.note("Execution", update.detail or state.value, now, execution)
        elif update.detail:
            self._steps.note("Execution", update.detail, now, execution)
        seconds = run_limit_s(self.record.spec)
        if execution.state is ExecutionState.RUNNING and seconds is not None and not execution.deadline:
            execution.deadline = now + seconds + OVERDUE_GRACE_S

    def _ended(self, peer: str, id: str, receipt: Receipt, receipt_cid: str, now: float) -> None:
        execution = self._of_peer(id, peer)
        if execution is None or execution.state not in (*LIVE, ExecutionState.LOST):
            return
        if execution.state is ExecutionState.LOST and self._is_replaced(execution):
            return
        if not self._receipt_fits(execution, receipt):
            self._steps.give_up(execution, "sent a receipt that is not about this execution", now)
            return
        execution.unconfirmed = False
        execution.exit_code, execution.fault = receipt.exit_code, receipt.fault
        execution.result_cid, execution.receipt_cid = receipt.result_cid, receipt_cid
        if receipt.fault is None and receipt.exit_code == 0:
            execution.move(ExecutionState.COMPLETED, now)
            self._steps.note("Execution", f"Completed, result {receipt.result_cid}", now, execution, True)
        else:
            execution.move(ExecutionState.FAILED, now, receipt.reason)
            execution.fault = receipt.fault or Fault.JOB
            topic = "Moved" if execution.fault is Fault.MOVED else "Failed"
            self._steps.note("Execution", f"{topic}: {receipt.reason}", now, execution, True)
        if execution.state is ExecutionState.FAILED or self.record.spec.type in LONG_RUNNING:
            self._steps.broke(execution, now)

    def _is_replaced(self, lost: Execution) -> bool:
        """Has what was given up for lost no more to bring?"""
        if self.record.spec.type in LONG_RUNNING or lost.run != self.record.run:
            return True
        return any(one.replica == lost.replica for one in self.record.now_of(ExecutionState.COMPLETED))

    def _receipt_fits(self, execution: Execution, receipt: Receipt) -> bool:
        record = self.record
        version = record.versions.get(execution.version)
        named = (receipt.job, receipt.execution, receipt.round, receipt.replica, receipt.peer)
        return (
            named == (record.id, execution.id, execution.round, execution.replica, execution.peer)
            and receipt.requester in record.parties
            and version is not None
            and receipt.spec_hash == version.spec_hash
        )

    def _claimed(self, peer: str, id: str, round: int) -> None:
        """A peer runs something for this job, and does not know for whom."""
        execution = self._of_peer(id, peer)
        self._steps.send_adopt(peer, id, round)
        if execution is None or execution.state not in LIVE:
            reason = execution.reason if execution else ""
            self._steps.send_cancel(peer, id, round, reason or "the owner of the job does not want it")

    def _peer_lost(self, peer: str, reason: str, now: float) -> None:
        record, steps = self.record, self._steps
        for execution in record.of(*OPEN):
            if execution.peer == peer:
                steps.cancel(execution, reason, now)
                steps.remember_refusal(peer, Refusing.BUSY, reason, now)
        for execution in record.of(*LIVE):
            if execution.peer == peer:
                steps.give_up(execution, reason, now)
        if record.synced.pop(peer, None) is not None:
            steps.tell_by = now

    def _update(self, spec: JobSpec, now: float) -> None:
        record = self.record
        if spec.type is not record.spec.type:
            self._steps.note("Submission", f"Change refused: the job's type stays {record.spec.type}", now)
            return
        record.version += 1
        record.spec = spec
        version = record.versions[record.version] = job_version(spec, now)
        record.spec_hash = version.spec_hash
        for old in sorted(record.versions)[:-VERSIONS_KEPT_MAX]:
            del record.versions[old]
        self._steps.cancel_all(record.of(*OPEN), "the job was changed", now)
        if record.ended or spec.type not in LONG_RUNNING:
            self._begin_anew(f"Job changed to version {record.version}", now)
            return
        record.refusals, record.retry_at, record.waiting_since = {}, {}, None
        record.modified = now
        self._steps.note("Submission", f"Job changed to version {record.version}", now, urgent=True)

    def _begin_anew(self, text: str, now: float) -> None:
        record = self.record
        self._steps.cancel_all(record.of(*OPEN), "the job was begun anew", now)
        record.run += 1
        record.begun = now
        record.refusals, record.retry_at, record.targets = {}, {}, {}
        record.waiting_since, record.first_failure = None, ""
        record.move(JobState.PENDING, now)
        self._steps.note("Submission", text, now, urgent=True)

    # What to do about it

    def _settle(self, now: float) -> list[Action]:
        record, steps = self.record, self._steps
        held = now < self._hold_until and not record.ended
        if not record.ended and not held:
            self._reconcile(now)
            self._forget_old()
        if not held:
            deputies.name_deputies(steps, self._known, self._lost, now)
        deputies.tell_deputies(steps, self._lost, now)
        vacant = [] if record.ended else self._vacant()
        self.waits = not record.ended and (
            bool(vacant)
            or record.spec.type in EVERYWHERE | LONG_RUNNING
            or deputies.lacks_deputies(record, self._lost)
        )
        self.deadline = self._hold_until if held else self._next_deadline(vacant, now)
        self.deadline = min(self.deadline, steps.tell_by)
        actions, steps.actions = steps.actions, []
        return [SaveJob(record), *actions]

    def _reconcile(self, now: float) -> None:
        record, steps = self.record, self._steps
        self._overdue(now)
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None and record.spec.type not in LONG_RUNNING and now >= record.begun + total_s:
            steps.end(JobState.FAILED, Outcome.TIMEOUT, f"its TotalTimeout of {total_s} s has passed", now)
            return
        if record.spec.type in EVERYWHERE:
            learn_targets(record, self._known)
        for execution, reason in surplus(record, self._known):
            if execution.state in LIVE:
                steps.cancel(execution, reason, now)
        vacant = self._vacant()
        failed = self._hopeless(vacant)
        if failed is not None:
            self._wind_up(failed, now)
            return
        ready = [one for one in vacant if record.retry_at.get(one.replica, 0.0) <= now]
        if ready or self._lacks_targets():
            self._place(ready, now)
        elif not record.of(ExecutionState.AWARDED):
            record.waiting_since = None
            steps.cancel_all(record.of(*OPEN), "not needed", now)
        if not vacant and not record.ended:
            self._end_if_done(now)
        if record.ended:
            return
        if record.now_of(*LIVE):
            if record.state is not JobState.RUNNING:
                record.move(JobState.RUNNING, now)
        elif vacant and not ready:
            steps.queue(f"waits before another try, after: {record.first_failure}", now)

    def _vacant(self) -> list[Vacancy]:
        return vacancies(self.record, self._known)

    def _hopeless(self, vacant: list[Vacancy]) -> Execution | None:
        if self.record.spec.type is not JobType.BATCH:
            return None
        return hopeless(self.record, {one.replica for one in vacant})

    def _lacks_targets(self) -> bool:
        return self.record.spec.type is JobType.OPS and not self.record.targets

    def _overdue(self, now: float) -> None:
        record, steps = self.record, self._steps
        for execution in record.of(*OPEN, *LIVE):
            if execution.deadline is None or execution.deadline > now:
                continue
            if execution.state is ExecutionState.ASKED:
                steps.cancel(execution, "did not answer in time", now)
                steps.remember_refusal(execution.peer, Refusing.BUSY, "did not answer in time", now)
                steps.note("Refusal", "did not answer in time", now, execution)
            elif execution.state is ExecutionState.BID:
                steps.cancel(execution, "its bid expired before it was needed", now)
            elif execution.unconfirmed:
                steps.give_up(execution, f"did not answer its new owner within {ADOPT_CONFIRM_S:.0f} s", now)
            elif execution.state is ExecutionState.AWARDED:
                steps.give_up(execution, f"did not confirm its award within {AWARD_CONFIRM_S:.0f} s", now)
            else:
                steps.give_up(execution, "is long past its timeout", now)

    def _end_if_done(self, now: float) -> None:
        """All has run that was wanted: how did it go?"""
        record, steps = self.record, self._steps
        done = len(record.now_of(ExecutionState.COMPLETED))
        match record.spec.type:
            case JobType.BATCH if done >= record.spec.count:
                steps.end(JobState.COMPLETED, Outcome.COMPLETED, "", now)
            case JobType.OPS if record.targets and not record.now_of(*LIVE):
                failed = len(record.targets) - done
                if not failed:
                    steps.end(JobState.COMPLETED, Outcome.COMPLETED, "", now)
                    return
                first = record.first_failure or "its peer left before it could run"
                total = len(record.targets)
                reason = first if total == 1 else f"{failed} of {total} executions failed; the first: {first}"
                steps.end(JobState.FAILED, self._failure_outcome(), reason, now)
            case JobType.SERVICE if record.spec.count == 0 and record.state is not JobState.RUNNING:
                record.move(JobState.RUNNING, now, "scaled to zero")
            case JobType.DAEMON if not record.now_of(*LIVE):
                steps.queue("no peer matches now", now)

    def _failure_outcome(self) -> Outcome:
        failed = self.record.now_of(ExecutionState.FAILED)
        program = any(one.exit_code not in (None, 0) for one in failed)
        return Outcome.PROGRAM if program else Outcome.EXECUTION

    def _wind_up(self, failed: Execution, now: float) -> None:
        """Nothing new is begun; what runs may end, since its result is wanted all the same."""
        self._steps.cancel_all(self.record.of(*OPEN), "the job has failed", now)
        if self.record.of(*LIVE):
            return
        program = failed.exit_code not in (None, 0)
        outcome = Outcome.PROGRAM if program else Outcome.EXECUTION
        self._steps.end(JobState.FAILED, outcome, failed.reason, now)

    def _place(self, wanted: list[Vacancy], now: float) -> None:
        record, steps = self.record, self._steps
        asking = Asking(record, self._known, now)
        bound = {one.peer: one for one in wanted if one.peer is not None}
        if record.spec.type in EVERYWHERE:
            for bid in record.of(ExecutionState.BID):
                vacancy = bound.pop(bid.peer, None)
                if vacancy is not None:
                    steps.award(vacancy, [bid], now)
                    wanted.remove(vacancy)
        else:
            bids = record.of(ExecutionState.BID)
            if record.of(ExecutionState.ASKED):
                if len(bids) < len(wanted):
                    record.window_ends = None
                    return
                record.window_ends = record.window_ends or now + ENOUGH_WAIT_S
                if now < record.window_ends:
                    return
                steps.cancel_all(record.of(ExecutionState.ASKED), "there are bids enough", now)
            if bids:
                steps.note("Bids", f"{len(bids)} bid{'s' if len(bids) > 1 else ''}", now)
            while wanted and (bids := record.of(ExecutionState.BID)):
                steps.award(wanted.pop(0), bids, now)
        if not wanted and not self._lacks_targets():
            return
        round = Asking(record, self._known, now).begin_round(wanted)
        if round:
            record.waiting_since = None
            for action in round:
                if isinstance(action, Note):
                    steps.note(action.topic, action.text, now)
                else:
                    steps.actions.append(action)
            return
        if not record.of(ExecutionState.ASKED, ExecutionState.BID):
            self._wait(asking, now)

    def _wait(self, asking: Asking, now: float) -> None:
        record, steps = self.record, self._steps
        refused = asking.give_up_waiting()
        if refused is not None:
            begun = record.now_of(ExecutionState.COMPLETED, *LIVE)
            steps.end(JobState.FAILED, Outcome.EXECUTION if begun else Outcome.NO_PEER, refused, now)
        elif not record.now_of(*LIVE):
            steps.queue(asking.why_waiting(), now)

    def _forget_old(self) -> None:
        record = self.record
        if record.spec.type not in LONG_RUNNING:
            return
        ended = [one.id for one in record.executions.values() if one.state not in (*LIVE, *OPEN)]
        for id in ended[:-EXECUTIONS_ENDED_KEPT_MAX]:
            del record.executions[id]

    def _next_deadline(self, vacant: list[Vacancy], now: float) -> float:
        record = self.record
        if record.ended:
            return inf
        times = [one.deadline for one in record.of(*OPEN, *LIVE) if one.deadline is not None]
        total_s = record.spec.task.timeouts.total_s
        if total_s is not None and record.spec.type not in LONG_RUNNING:
            times.append(record.begun + total_s)
        if self._hopeless(vacant) is not None:
            return min(times, default=inf)
        if record.of(ExecutionState.ASKED) and record.window_ends is not None and record.window_ends > now:
            times.append(record.window_ends)
        later = [record.retry_at.get(one.replica, 0.0) for one in vacant]
        times += [at for at in later if at > now]
        waits = any(at <= now for at in later) or self._lacks_targets()
        if waits and not record.of(ExecutionState.ASKED, ExecutionState.BID):
            times.append(Asking(record, self._known, now).wakes())
        return min(times, default=inf)
