"""The difference between what a job should have and what there is: what is missing, and what is too much.

    batch    Count replicas, each completed once
    ops      one execution on each peer that matched when the job began, each ended once
    service  Count replicas, always running
    daemon   one execution on each peer that matches, always running

A changed file moves a service replica by replica (the new one has to run before the old one
ends) and a daemon peer by peer (the old one ends first: both may want the same port or room).
Pure functions of the record and the table of peers; `core.job.machine` acts on what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2pnode.core.placement.adverts import Known
from p2pnode.core.placement.matching import infeasible_peer_reason, requirements_of
from p2pnode.core.records.lifecycle import (
    BROKEN,
    EVERYWHERE,
    LIVE,
    LONG_RUNNING,
    OWN_FAULTS,
    Execution,
    ExecutionState,
    JobRecord,
)
from p2pnode.core.records.membership import role_of
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.spec import REPLICAS_MAX, JobType
from p2pnode.core.wire.states import Scheduling

from .retries import is_given_up

Table = Mapping[str, Known]


@dataclass(frozen=True, slots=True)
class MissingPlacement:
    """A replica that nobody runs. `peer`: only there."""

    replica: int
    peer: str | None = None


def why_misplaced(
    record: JobRecord, advert: Advert, trust: Trust, price_micros: int | None = None
) -> str | None:
    """Why the policy of the job's requester places nothing on a peer; None where it may.

    `price_micros` is that of the peer's bid, where it differs from its advert's. On the requester's own node
    a job costs nothing.
    """
    price = advert.capacity.price_micros if price_micros is None else price_micros
    price = 0 if advert.peer == record.requester else price
    return trust.why_not_placed(advert.peer, role_of(advert) or "", advert.capacity.labels, price)


def placeable(record: JobRecord, known: Table, trust: Trust) -> Table:
    """The peers on which the job may be placed, by its requester's policy."""
    if not trust.places:
        return known
    return {peer: one for peer, one in known.items() if why_misplaced(record, one.advert, trust) is None}


def missing_placements(record: JobRecord, known: Table) -> list[MissingPlacement]:
    """The replicas to place, the one that is missing longest first."""
    match record.spec.type:
        case JobType.BATCH:
            held = _replicas(record.now_of(*LIVE, ExecutionState.COMPLETED))
            return [MissingPlacement(replica) for replica in range(record.spec.count) if replica not in held]
        case JobType.OPS:
            held = _replicas(record.now_of(*LIVE, ExecutionState.COMPLETED))
            return [
                MissingPlacement(replica, peer)
                for peer, replica in record.targets.items()
                if replica not in held and not is_given_up(record, replica)
            ]
        case JobType.SERVICE:
            return _missing_of_service(record, known)
        case JobType.DAEMON:
            held = _replicas(record.now_of(*LIVE))
            return [
                MissingPlacement(replica, peer)
                for peer, replica in record.targets.items()
                if replica not in held and _takes(record, known, peer)
            ]


def surplus(record: JobRecord, known: Table) -> list[tuple[Execution, str]]:
    """The executions that run and should not, each with the reason: a drained peer is one."""
    found: list[tuple[Execution, str]] = []
    seen: set[tuple[int | None, bool]] = set()
    for one in record.of(*LIVE):
        current = _is_wanted_there(record, known, one)
        if one.run != record.run:
            found.append((one, "the job was begun anew"))
        elif record.spec.type not in EVERYWHERE and (one.replica or 0) >= record.spec.count:
            found.append((one, f"the job was scaled to {record.spec.count}"))
        elif (one.replica, current) in seen:
            found.append((one, "another execution of this replica runs"))
        elif record.spec.type not in LONG_RUNNING and _is_completed(record, one.replica):
            found.append((one, "another execution of this replica has completed"))
        seen.add((one.replica, current))
    if record.spec.type is JobType.SERVICE:
        found += _replaced(record, known)
    if record.spec.type is JobType.DAEMON:
        found += _misplaced(record, known)
    return found


def learn_targets(record: JobRecord, known: Table) -> None:
    """Give each peer that matches a replica number, for a job that runs everywhere.

    The targets of ops are those of its beginning; a daemon's grow with the network.
    """
    if record.spec.type is JobType.OPS and record.targets:
        return
    need = requirements_of(record.spec)
    numbers = iter(range(max(record.targets.values(), default=-1) + 1, REPLICAS_MAX))
    for peer in sorted(known):
        advert = known[peer].advert
        scheduling = advert.capacity.scheduling is Scheduling.SCHEDULABLE
        if peer not in record.targets and scheduling and infeasible_peer_reason(need, advert) is None:
            number = next(numbers, None)
            if number is None:
                return
            record.targets[peer] = number


def _missing_of_service(record: JobRecord, known: Table) -> list[MissingPlacement]:
    live = record.now_of(*LIVE)
    held = _replicas(live)
    missing = [replica for replica in range(record.spec.count) if replica not in held]
    if missing:
        return [MissingPlacement(replica) for replica in missing]
    current = [one for one in live if _is_wanted_there(record, known, one)]
    behind = sorted(held - _replicas(current))
    moving = any(one.state is not ExecutionState.RUNNING for one in current)
    return [MissingPlacement(replica) for replica in behind[:1] if not moving]


def _replaced(record: JobRecord, known: Table) -> list[tuple[Execution, str]]:
    live = record.now_of(*LIVE)
    current = [one for one in live if _is_wanted_there(record, known, one)]
    running = _replicas([one for one in current if one.state is ExecutionState.RUNNING])
    old = [one for one in live if one not in current and one.replica in running]
    return [(one, _why_moved(record, one)) for one in old]


def _why_moved(record: JobRecord, one: Execution) -> str:
    if record.is_current(one):
        return "moved, as its peer is being drained"
    return f"replaced by version {record.version}"


def _misplaced(record: JobRecord, known: Table) -> list[tuple[Execution, str]]:
    need = requirements_of(record.spec)
    found: list[tuple[Execution, str]] = []
    behind: list[Execution] = []
    live = record.now_of(*LIVE)
    for one in live:
        # Nothing is known of a peer that is only silent: its loss is told by other means.
        advert = known[one.peer].advert if one.peer in known else None
        reason = infeasible_peer_reason(need, advert) if advert else None
        if reason is not None:
            found.append((one, f"its peer does not match any more: {reason}"))
        elif advert and advert.capacity.scheduling is Scheduling.DRAINING:
            found.append((one, "its peer is being drained"))
        elif not record.is_current(one):
            behind.append(one)
    current = [one for one in live if record.is_current(one)]
    moving = any(one.state is not ExecutionState.RUNNING for one in current) or _new_version_breaks(record)
    if behind and not moving and not _moves_now(record, known):
        found.append((behind[0], f"replaced by version {record.version}"))
    return found


def _moves_now(record: JobRecord, known: Table) -> bool:
    """Is a peer between the end of the old version and the start of the new one?"""
    newest = {one.peer: one for one in record.now_of(*ExecutionState)}
    return any(
        one.state is ExecutionState.CANCELLED and not record.is_current(one) and _takes(record, known, peer)
        for peer, one in newest.items()
    )


def _new_version_breaks(record: JobRecord) -> bool:
    newest = {one.peer: one for one in record.now_of(*ExecutionState)}
    return any(
        one.state in BROKEN and one.fault in OWN_FAULTS and record.is_current(one) for one in newest.values()
    )


def _takes(record: JobRecord, known: Table, peer: str) -> bool:
    if peer not in known:
        return False
    advert = known[peer].advert
    return (
        advert.capacity.scheduling is Scheduling.SCHEDULABLE
        and infeasible_peer_reason(requirements_of(record.spec), advert) is None
    )


def _is_wanted_there(record: JobRecord, known: Table, one: Execution) -> bool:
    draining = one.peer in known and known[one.peer].advert.capacity.scheduling is Scheduling.DRAINING
    return record.is_current(one) and not draining


def _is_completed(record: JobRecord, replica: int | None) -> bool:
    return any(one.replica == replica for one in record.now_of(ExecutionState.COMPLETED))


def _replicas(executions: list[Execution]) -> set[int]:
    return {one.replica for one in executions if one.replica is not None}
