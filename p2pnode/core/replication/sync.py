"""Messages in which an owner tells deputies of a job, and how they and later owners take them in.

A deputy gets the whole record once (`full`), and then what has changed: links keep the order
and lose nothing, so the two never differ by more than what is on its way. Asks and bids are
not told: a new owner asks anew. Times of people's interest are Unix times of the owner's
clock; what timeouts count from is told as an age, since clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from p2pnode.core.records.events import Send
from p2pnode.core.records.lifecycle import (
    ENDED,
    EVERYWHERE,
    LIVE,
    LONG_RUNNING,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
    JobVersion,
    job_version,
    reason_for,
)
from p2pnode.core.wire import codec, places
from p2pnode.core.wire.fields import COPIES_PER_MESSAGE_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.messages import ExecutionCopy, Line, Receipt, Replicate, VersionCopy

# Copies in one message: beside them a frame may have to hold a spec of 256 KiB and 100 lines.
COPIES_SIZE_BYTES_MAX = 384 * 1024
# A copy without its reason and receipt; its CID and peers are the longest that the wire allows.
COPY_SIZE_BYTES = 1_024


def told_to(
    peer: str, record: JobRecord, lines: Sequence[Line], since: float | None, now: float
) -> list[Send]:
    """The messages that tell a peer what has changed since then; only members learn where the job may go."""
    messages = replicates(record, lines, since, now)
    if since is None and record.places is not None and peer in record.authority.members:
        told = {places.PLACES_EXTENSION: places.told(record.places)}
        messages[0] = codec.replace(messages[0], extensions=told)
    return [Send(peer, message) for message in messages]


def replicates(record: JobRecord, lines: Sequence[Line], since: float | None, now: float) -> list[Replicate]:
    """The messages that tell a deputy what has changed since then; None: everything."""
    full = since is None
    after = -inf if since is None else since
    changed = [
        _execution_copy(one)
        for one in record.executions.values()
        if one.state not in OPEN and one.modified >= after
    ]
    versions = tuple(
        VersionCopy(version=number, spec_hash=one.spec_hash, work=one.work, submitted_ms=_ms(one.submitted))
        for number, one in sorted(record.versions.items())
        if one.submitted >= after
    )
    pieces = _pieces(changed)
    record.revision += len(pieces)
    return [
        Replicate(
            job=record.id,
            mandate=record.mandate,
            acts_since_ms=record.acts_since_ms,
            revision=record.revision - len(pieces) + 1 + index,
            full=full and not index,
            past_members=record.past_members,
            commands=record.commands,
            state=record.state,
            reason=record.reason,
            outcome=record.outcome,
            first_failure=record.first_failure,
            version=record.version,
            run=record.run,
            round=record.round,
            age_ms=_ms(now - record.begun),
            created_ms=_ms(record.created),
            modified_ms=_ms(record.modified),
            spec=record.spec if versions and not index else None,
            versions=versions if not index else (),
            executions=piece,
            history=tuple(lines) if not index else (),
        )
        for index, piece in enumerate(pieces)
    ]


def header(record: JobRecord, now: float) -> Replicate:
    """The message that says who owns the job and who its deputies are, and nothing of what happened."""
    whole = replicates(record, (), now, now)[0]
    return codec.replace(
        whole, reason="", first_failure="", commands=(), spec=None, versions=(), executions=()
    )


def applied(record: JobRecord | None, message: Replicate, owner: str, now: float) -> JobRecord | None:
    """The copy after this message of its owner; None where its beginning was missed."""
    before = record.versions if record else {}
    told = places.heard_untrusted(message)
    # One that does not know the extension, or its sender, may have acted meanwhile.
    kept = told if told is not None or record is None else record.places
    if message.full or record is None:
        if not message.full or message.spec is None:
            return None
        record = JobRecord(
            id=message.job,
            mandate=message.mandate,
            spec=message.spec,
            spec_hash="",
            created=message.created_ms / 1000,
            modified=0,
            owner=owner,
            begun=0,
        )
    if message.version not in record.versions and message.spec is None:
        # The version that the message goes on from was missed.
        return None
    record.places = kept
    record.owner, record.acts_since_ms, record.revision = owner, message.acts_since_ms, message.revision
    # A header, which may reach who is a member after all, names none.
    record.past_members, record.commands = message.past_members, message.commands or record.commands
    record.modified, record.begun = message.modified_ms / 1000, now - message.age_ms / 1000
    record.state, record.outcome = message.state, message.outcome
    record.reason = reason_for(message.state, message.reason)
    record.first_failure, record.round = message.first_failure, message.round
    _take_versions(record, message, None)
    for number, known in before.items():
        # A whole copy brings the newest file only; members that missed it may tell one of before.
        if number in record.versions and record.versions[number].spec_hash == known.spec_hash:
            record.versions[number] = known
    record.version, record.run = message.version, message.run
    for copy in message.executions:
        record.executions[copy.id] = _execution(copy)
    return record


def merge(record: JobRecord, message: Replicate, now: float, *, acted: bool) -> list[ExecutionCopy]:
    """Take in what another knows of the job. The result: what has to be ended.

    Executions of its own count only if it `acted`. One result of each replica counts: that which is here
    already, or else theirs. An execution that still runs is taken over where its replica has none. What ran
    another file than its version here, or one that has no number here yet, does not count: two owners have
    numbered their changes in their own ways.
    """
    strays = []
    files = {one.version: one.spec_hash for one in message.versions}
    if message.spec is not None:
        files[message.version] = codec.digest(message.spec)
    for copy in message.executions:
        mine, theirs = record.executions.get(copy.id), _execution(copy)
        if mine is None and not acted:
            strays += [copy] if theirs.state in LIVE else []
            continue
        if theirs.version > record.version or _ran_other_file(record, theirs, files):
            strays += [copy] if mine is None and theirs.state in LIVE else []
            continue
        if mine is None and theirs.state in LIVE and _is_wanted(record, theirs):
            theirs.modified = now
            record.executions[copy.id] = theirs
            continue
        if mine is None and theirs.state in (*LIVE, ExecutionState.LOST):
            strays.append(copy)
            continue
        if mine is not None and mine.awaits_receipt and theirs.state is mine.state:
            mine.exit_code, mine.modified = copy.exit_code, now
            mine.result_cid, mine.receipt = copy.result_cid, copy.receipt
        if mine is not None and (mine.state in ENDED or theirs.state not in ENDED):
            continue
        if theirs.state is ExecutionState.COMPLETED and _is_done(record, theirs):
            theirs.state, theirs.reason = ExecutionState.CANCELLED, "another result of this replica counts"
        if theirs.state in ENDED and theirs.version not in record.versions:
            reason = f"version {theirs.version} of the job, which it ran, is not known"
            theirs.state, theirs.reason = ExecutionState.CANCELLED, reason
        theirs.modified = now
        record.executions[copy.id] = theirs
    return strays


def _is_wanted(record: JobRecord, one: Execution) -> bool:
    """Is its replica without an execution, and is it of the job as it is now?"""
    if record.ended or one.run != record.run or not record.is_current(one) or one.replica is None:
        return False
    if record.spec.type in EVERYWHERE or one.replica >= record.spec.count:
        return False
    return not any(other.replica == one.replica for other in record.now_of(*LIVE, ExecutionState.COMPLETED))


def _is_done(record: JobRecord, one: Execution) -> bool:
    if record.spec.type in LONG_RUNNING:
        return False
    done = record.of(ExecutionState.COMPLETED)
    return any((other.replica, other.run) == (one.replica, one.run) for other in done)


def _ran_other_file(record: JobRecord, one: Execution, files: Mapping[int, str]) -> bool:
    """Is its file, by its receipt or else by `files`, another than that which is its version here?"""
    version = record.versions.get(one.version)
    ran = files.get(one.version)
    if one.receipt is not None:
        ran = codec.decode(one.receipt.body, Receipt).spec_hash
    return version is not None and ran not in (None, version.spec_hash)


def _pieces(copies: Sequence[ExecutionCopy]) -> list[tuple[ExecutionCopy, ...]]:
    """The copies in as many messages as they need, one at least."""
    pieces: list[list[ExecutionCopy]] = [[]]
    size_bytes = 0
    for copy in copies:
        one_bytes = (
            COPY_SIZE_BYTES + len(copy.reason.encode()) + len(copy.receipt.body if copy.receipt else b"")
        )
        if len(pieces[-1]) == COPIES_PER_MESSAGE_MAX or size_bytes + one_bytes > COPIES_SIZE_BYTES_MAX:
            pieces.append([])
            size_bytes = 0
        pieces[-1].append(copy)
        size_bytes += one_bytes
    return [tuple(piece) for piece in pieces]


def _take_versions(record: JobRecord, message: Replicate, now: float | None) -> None:
    """`now`: the versions are as new to this node's own deputies; None: it has none."""
    for copy in message.versions:
        if copy.version not in record.versions:
            submitted = copy.submitted_ms / 1000 if now is None else now
            record.versions[copy.version] = JobVersion(
                spec=None, spec_hash=copy.spec_hash, work=copy.work, submitted=submitted
            )
    if message.spec is not None:
        known = record.versions.get(message.version)
        submitted = known.submitted if known else message.modified_ms / 1000
        record.spec = message.spec
        version = record.versions[message.version] = job_version(message.spec, submitted)
        record.spec_hash = version.spec_hash


def _execution_copy(one: Execution) -> ExecutionCopy:
    assert one.replica is not None
    return ExecutionCopy(
        id=one.id,
        peer=one.peer,
        round=one.round,
        version=one.version,
        run=one.run,
        state=one.state,
        replica=one.replica,
        owner=one.owner,
        reason=one.reason,
        exit_code=one.exit_code,
        fault=one.fault,
        result_cid=one.result_cid,
        receipt=one.receipt,
        created_ms=_ms(one.created),
        modified_ms=_ms(one.modified),
        started_ms=None if one.started is None else _ms(one.started),
    )


def _execution(copy: ExecutionCopy) -> Execution:
    return Execution(
        id=copy.id,
        peer=copy.peer,
        round=copy.round,
        version=copy.version,
        run=copy.run,
        state=copy.state,
        replica=copy.replica,
        owner=copy.owner,
        reason=reason_for(copy.state, copy.reason),
        exit_code=copy.exit_code,
        fault=copy.fault,
        result_cid=copy.result_cid,
        receipt=copy.receipt,
        created=copy.created_ms / 1000,
        modified=copy.modified_ms / 1000,
        started=None if copy.started_ms is None else copy.started_ms / 1000,
    )


def _ms(seconds: float) -> int:
    return min(MOMENT_MS_MAX, max(0, round(seconds * 1000)))
