"""The life of a job and of its executions, as its owner sees it: states, legal moves, records.

    Pending --asked--> Queued <--> Running --> Completed | Failed | Stopped
    any of these --rerun, or a changed file--> Pending

    Asked --> Queued (no room yet) --> Bid --> Awarded --> Preparing --> Running --> Publishing
      what leads to nothing is forgotten; an awarded one --> Completed | Failed
      an awarded one --> Cancelled (not needed any more)
      an awarded one --> Lost (its peer is silent) --> Completed | Failed (it came back after all)

A stage may be skipped: what a peer did between two reports is not always told.
The records are what the journal keeps; nothing else about a job is state. A deputy keeps
the same record, as the owner tells it (`core.replication.sync`).
"""

from __future__ import annotations

from p2pnode.core.values.places import Place
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import Record, State
from p2pnode.core.wire.fields import COMMANDS_TOLD_MAX, REASON_LENGTH_MAX
from p2pnode.core.wire.mandates import CommandBody, Mandate
from p2pnode.core.wire.messages import Bid
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec, JobType
from p2pnode.core.wire.states import ExecutionState as ExecutionState
from p2pnode.core.wire.states import Fault, RefusalKind
from p2pnode.core.wire.states import JobState as JobState
from p2pnode.core.wire.states import Outcome as Outcome

from . import mandate as mandates
from .mandate import Authority

_J, _E = JobState, ExecutionState

JOB_ENDED = frozenset({_J.COMPLETED, _J.FAILED, _J.STOPPED})
JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    # Completed: nothing was wanted (Count 0), or a lost peer's result came before anybody was asked anew.
    _J.PENDING: frozenset({_J.PENDING, _J.QUEUED, _J.RUNNING, *JOB_ENDED}),
    _J.QUEUED: frozenset({_J.PENDING, _J.RUNNING, *JOB_ENDED}),
    _J.RUNNING: frozenset({_J.PENDING, _J.QUEUED, *JOB_ENDED}),
    _J.COMPLETED: frozenset({_J.PENDING}),
    _J.FAILED: frozenset({_J.PENDING}),
    _J.STOPPED: frozenset({_J.PENDING}),
}

# An execution that a peer has been given and has not ended, as far as the owner knows.
LIVE = frozenset({_E.AWARDED, _E.PREPARING, _E.RUNNING, _E.PUBLISHING})
OPEN = frozenset({_E.ASKED, _E.QUEUED, _E.BID})
BROKEN = frozenset({_E.FAILED, _E.LOST})
# The states that people ask the reason of.
UNDONE = BROKEN | {_J.FAILED, _J.STOPPED}
NO_REASON = "no reason was given"
# Executions that ended by their peer's word, with a receipt.
ENDED = frozenset({_E.COMPLETED, _E.FAILED})
# Executions that ended by their owner's word: a receipt, and what was left, may come later.
GIVEN_UP = frozenset({_E.CANCELLED, _E.LOST})
# Failures that are the job's own: no other peer would do better.
OWN_FAULTS = (Fault.JOB, Fault.TIMEOUT)
# With these an exit code is the program's own word, and not how it took its end.
_BY_ITSELF = (Fault.JOB, Fault.PEER)
EXECUTION_MOVES: dict[ExecutionState, frozenset[ExecutionState]] = {
    _E.ASKED: frozenset({_E.BID, _E.QUEUED}),
    _E.QUEUED: frozenset({_E.BID}),
    _E.BID: frozenset({_E.AWARDED}),
    _E.AWARDED: frozenset(
        {_E.PREPARING, _E.RUNNING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}
    ),
    _E.PREPARING: frozenset({_E.RUNNING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.RUNNING: frozenset({_E.PREPARING, _E.PUBLISHING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.PUBLISHING: frozenset({_E.PREPARING, _E.COMPLETED, _E.FAILED, _E.CANCELLED, _E.LOST}),
    _E.LOST: frozenset({_E.COMPLETED, _E.FAILED, _E.CANCELLED}),
    _E.COMPLETED: frozenset(),
    _E.FAILED: frozenset(),
    _E.CANCELLED: frozenset(),
}

# Types that run until they are stopped.
LONG_RUNNING = frozenset({JobType.DAEMON, JobType.SERVICE})
# Types with one execution on each peer that matches.
EVERYWHERE = frozenset({JobType.OPS, JobType.DAEMON})
# Older versions of a job's file are forgotten beyond these; each may be as large as a file may be.
VERSIONS_KEPT_MAX = 20


def reason_for(state: ExecutionState | JobState, reason: str) -> str:
    """The reason as it is recorded: people are told one for each failure, also where a peer gave none."""
    return reason[:REASON_LENGTH_MAX] or (NO_REASON if state in UNDONE else "")


class Execution(State, kw_only=True):
    """One peer's part in a job, from the ask to its end."""

    id: str
    peer: str
    round: int
    # The version of the job's file and the run of the job that it is for.
    version: int = 1
    run: int = 1
    state: ExecutionState = ExecutionState.ASKED
    # Set by the award; with a job that runs everywhere, by the ask.
    replica: int | None = None
    # The peer that awarded it.
    owner: str = ""
    reason: str = ""
    bid: Bid | None = None
    # A new owner does not know yet whether its peer still has it.
    unconfirmed: bool = False
    # When the owner gives up waiting for what comes next; None: it does not.
    deadline: float | None = None
    sequence: int = -1
    exit_code: int | None = None
    fault: Fault | None = None
    result_cid: str | None = None
    # Its peer's word on its end, verified; whoever is told of the end is given it.
    receipt: Signed | None = None
    created: float
    modified: float
    # When its program was first reported to run.
    started: float | None = None

    @property
    def program_failed(self) -> bool:
        """Did its program end by itself, and badly?"""
        return self.exit_code not in (None, 0) and self.fault in _BY_ITSELF

    @property
    def is_peers_fault(self) -> bool:
        """Whether its peer has signed that it failed by the peer's own fault."""
        return self.state is ExecutionState.FAILED and self.fault is Fault.PEER

    @property
    def is_excuse(self) -> bool:
        """Whether its peer has signed that it failed by the fault of others: the job, or the network."""
        return self.state is ExecutionState.FAILED and self.fault not in (Fault.PEER, Fault.MOVED)

    @property
    def awaits_receipt(self) -> bool:
        """Whether it was given up, and its peer's word of its end, and what it left, may still come."""
        return self.state in GIVEN_UP and self.receipt is None

    @property
    def is_unbegun(self) -> bool:
        """Whether it was lost and its program never ran, so that it says nothing of the job."""
        return self.state is ExecutionState.LOST and self.started is None

    def move(self, state: ExecutionState, now: float, reason: str = "") -> None:
        assert state in EXECUTION_MOVES[self.state], (self.id, self.state, state)
        self.state, self.modified, self.deadline = state, now, None
        self.reason = reason_for(state, reason)
        if state is ExecutionState.RUNNING and self.started is None:
            self.started = now


class PastRefusal(Record, frozen=True):
    """A peer's refusal, and the number of its advert then: until a newer one, it is not asked again.

    One of an award was decided by the whole job, and holds whatever the peer advertises.
    """

    number: int
    refusal_kind: RefusalKind
    reason: str
    at: float
    of_award: bool = False


class Claim(Record, frozen=True):
    """A peer's word that it runs an execution, whose owner it does not hear."""

    peer: str
    round: int


class JobVersion(Record, frozen=True):
    """One version of a job's file. `spec` is None where it was not kept."""

    spec: JobSpec | None
    spec_hash: str
    # The digest of all that an execution depends on: another task or constraints need another execution.
    work: str
    submitted: float


class JobRecord(State, kw_only=True):
    """All there is to know of a job."""

    id: str
    # The members that may look after the job, by the requester's signature.
    mandate: Mandate
    spec: JobSpec
    spec_hash: str
    created: float
    modified: float
    # The member that looks after it: the acting owner, as far as is known here.
    owner: str
    # Peers that once were members, and may still believe that they are.
    past_members: tuple[str, ...] = ()
    # The last commands of controllers that were carried out.
    commands: tuple[Signed, ...] = ()
    # The number of the last command on it that this node has signed, carried out or not.
    signed_number: int = 0
    # Where its requester's policy places it, () for anywhere; None where nobody has told.
    places: tuple[Place, ...] | None = None
    # Peers that did not take a copy when they were made deputies.
    declined: tuple[str, ...] = ()
    # The version of the file of which the history says that there are too few deputies.
    shortage_told: int = 0
    # When its owner began to act, by the owner's clock, and the number of its newest message since.
    acts_since_ms: int = 0
    revision: int = 0
    # The deputies that were sent something, and when last.
    synced: dict[str, float] = {}
    # Executions that peers said to run for an owner that is silent; a deputy settles them if it takes over.
    claims: dict[str, Claim] = {}
    version: int = 1
    versions: dict[int, JobVersion] = {}
    # The job was begun so many times, and last then: timeouts count from it.
    run: int = 1
    begun: float
    state: JobState = JobState.PENDING
    reason: str = ""
    outcome: Outcome | None = None
    # The first thing that went wrong in this run: what people want to know.
    first_failure: str = ""
    executions: dict[str, Execution] = {}
    # The replica number of each peer, of a job that runs everywhere.
    targets: dict[str, int] = {}
    refusals: dict[str, PastRefusal] = {}
    # Rounds of asking so far.
    round: int = 0
    # When a replica that has failed may be tried again.
    retry_at: dict[int, float] = {}
    # When the answers of this round are weighed, at the latest.
    window_ends: float | None = None
    # Since when some replica has had nobody to ask; None while none waits.
    waiting_since: float | None = None

    def __post_init__(self) -> None:
        # The journal sorts keys, and ids say nothing of the order of asking; others are told milliseconds.
        order = sorted(
            (round(one.created * 1000), one.round, one.replica or 0, one.id)
            for one in self.executions.values()
        )
        self.executions = {id: self.executions[id] for *_, id in order}

    def move(self, state: JobState, now: float, reason: str = "", outcome: Outcome | None = None) -> None:
        assert state in JOB_MOVES[self.state], (self.id, self.state, state)
        assert (state in JOB_ENDED) == (outcome is not None), (self.id, state, outcome)
        self.state, self.modified, self.outcome = state, now, outcome
        self.reason = reason_for(state, reason)

    @property
    def ended(self) -> bool:
        return self.state in JOB_ENDED

    @property
    def authority(self) -> Authority:
        """The mandate as it is read."""
        return mandates.read(self.mandate)

    def has_file(self, authority: Authority) -> bool:
        """Whether a charter of the job is the one here, or names a file that is one of its versions here."""
        charter = authority.charter
        known = {one.spec_hash for one in self.versions.values()}
        return charter.serial == self.authority.charter.serial or charter.spec_hash in known

    @property
    def requester(self) -> str:
        return self.authority.requester

    @property
    def deputies(self) -> tuple[str, ...]:
        """The members beside the owner, by rank; each holds a copy of this record."""
        return tuple(peer for peer in self.authority.members if peer != self.owner)

    @property
    def members(self) -> frozenset[str]:
        """The members, past ones included."""
        return frozenset({*self.authority.members, *self.past_members})

    def is_done(self, body: CommandBody) -> bool:
        """Whether a controller's command, or a later one of it, was carried out."""
        done = (mandates.read_command(one) for one in self.commands)
        return any(one.controller == body.controller and one.number >= body.number for one in done)

    def note_done(self, command: Signed) -> None:
        """Remember a command that was carried out, in place of an old one that no rule needs any more."""
        self.commands = (*self.commands, command)
        if len(self.commands) > COMMANDS_TOLD_MAX:
            last = {mandates.read_command(one).controller: one for one in self.commands}
            needed = {*last.values(), self.changed_by}
            spare = next(one for one in self.commands if one not in needed)
            self.commands = tuple(one for one in self.commands if one is not spare)

    @property
    def changed_by(self) -> Signed | None:
        """The command that the newest file comes from; None where the charter names it."""
        if self.spec_hash == self.authority.charter.spec_hash:
            return None
        found = (one for one in self.commands if mandates.read_command(one).spec_hash == self.spec_hash)
        return next(found, None)

    def of(self, *states: ExecutionState) -> list[Execution]:
        """The executions in these states, in the order of asking."""
        return [one for one in self.executions.values() if one.state in states]

    def now_of(self, *states: ExecutionState) -> list[Execution]:
        """The executions of this run in these states, in the order of asking."""
        return [one for one in self.of(*states) if one.run == self.run]

    def is_current(self, execution: Execution) -> bool:
        """Does it run what the newest version of the job says?"""
        version = self.versions.get(execution.version)
        return version is not None and version.work == self.versions[self.version].work


def new_record(mandate: Mandate, spec: JobSpec, now: float) -> JobRecord:
    """A job as it is submitted."""
    authority = mandates.read(mandate)
    record = JobRecord(
        id=authority.charter.job,
        mandate=mandate,
        owner=authority.requester,
        spec=spec,
        spec_hash=codec.digest(spec),
        created=now,
        modified=now,
        begun=now,
        acts_since_ms=int(now * 1000),
    )
    record.versions[1] = job_version(spec, now)
    return record


def job_version(spec: JobSpec, now: float) -> JobVersion:
    work = codec.digest([codec.plain(spec.task), codec.plain(spec.constraints), spec.type])
    return JobVersion(spec=spec, spec_hash=codec.digest(spec), work=work, submitted=now)
