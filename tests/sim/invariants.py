"""Invariants of every simulated network: after each step, when the trouble is over, and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pnode.core.job.conclusion import EXECUTIONS_ENDED_KEPT_MAX
from p2pnode.core.job.deputies import recipients
from p2pnode.core.job.desired import missing_placements
from p2pnode.core.placement.matching import RESOURCE_NAMES, requirements_of, why_not
from p2pnode.core.records.lifecycle import LIVE, LONG_RUNNING, OPEN, ExecutionState, JobRecord, JobState
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire.spec import JobType

if TYPE_CHECKING:
    from .network import Node, Simulation


def standing(record: JobRecord) -> tuple[int, int]:
    """The order of records of one job: the newest charter first, then the lowest rank of the owner."""
    authority = record.authority
    return -authority.charter.serial, authority.rank(record.owner)


def check_node(node: Node) -> None:
    """After each step of a node."""
    held = node.core.worker.held
    for name in RESOURCE_NAMES:
        lent = sum(getattr(one.requirements.resources, name) for one in held)
        assert lent <= getattr(node.capacity.total, name), f"{node.peer} has lent more {name} than it has"
        if (now := node.core.worker.available) is not None:
            free = max(0, getattr(now.total, name) - lent)
            assert getattr(now.free, name) == free, f"{node.peer} tells of {name} that it has not"
    assert set(node.running) <= {one.execution for one in held}, "a program runs on what nobody holds"
    for job in node.core.jobs.values():
        check_job(job.record)


def check_job(record: JobRecord) -> None:
    """Never more live executions than are wanted of a replica; every end has a reason."""
    seen: set[tuple[int | None, bool]] = set()
    for one in record.now_of(*LIVE):
        # While a service moves, the old execution runs until the new one does.
        current = record.is_current(one) or record.spec.type is not JobType.SERVICE
        moving = record.spec.type is JobType.SERVICE
        assert moving or (one.replica, current) not in seen, f"{record.id}: a replica is run twice"
        seen.add((one.replica, current))
        assert one.replica is not None
    for one in record.executions.values():
        assert one.state not in (ExecutionState.FAILED, ExecutionState.LOST) or one.reason, one
    done = [(one.replica, one.run) for one in record.of(ExecutionState.COMPLETED)]
    assert record.spec.type in LONG_RUNNING or len(done) == len(set(done)), f"{record.id}: two results count"
    assert not record.ended or record.reason or record.state is JobState.COMPLETED, record.id
    assert not record.ended or not record.of(*LIVE, *OPEN), f"{record.id} has ended, and something runs"


def check_steady(sim: Simulation) -> None:
    """When all is quiet, what must always run does run, where there is room for it."""
    for id in sim.submitted:
        records = sorted((sim.record(node, id) for node in sim.holders(id)), key=standing)
        owners = {record.owner for record in records if not record.ended}
        assert len(owners) <= 1, f"{id}: owners {owners}"
        for record in records[:1]:
            if record.ended or record.spec.type not in LONG_RUNNING:
                continue
            owner = sim.nodes[record.owner]
            assert owner.alive, f"{id}: its owner {owner.peer} is dead"
            record = sim.record(owner, id)
            for holder in (sim.nodes[peer] for peer in recipients(record)):
                if holder.alive:
                    assert holder in sim.holders(id), f"{id}: {holder.peer} has no copy"
                    assert _live(sim.record(holder, id)) == _live(record), f"{id}: {holder.peer} is behind"
            for one in record.of(*LIVE):
                assert one.peer in sim.liars or one.id in sim.nodes[one.peer].running, (
                    f"{id}: {one.id} does not run on {one.peer}"
                )
            need = requirements_of(record.spec)
            for missing in missing_placements(record, owner.core.table.known):
                room = [
                    node.peer
                    for node in sim.nodes.values()
                    if node.alive and missing.peer in (None, node.peer)
                    if (capacity := node.core.worker.available) and why_not(need, capacity) is None
                ]
                late = record.retry_at.get(missing.replica, 0.0) <= sim.now - 5
                assert not (room and late), f"{id}: replica {missing.replica} is missing, room on {room}"


def _live(record: JobRecord) -> set[tuple[str, str]]:
    return {(one.id, one.peer) for one in record.of(*LIVE)}


def check_end(sim: Simulation) -> None:
    """Every job has ended for a stated reason, all agree on it, and nobody holds or runs anything."""
    for node in sim.nodes.values():
        if node.alive:
            _check_idle(sim, node)
    for id, submitter in sim.submitted.items():
        holders = sim.holders(id)
        if submitter.alive and not submitter.store:
            assert holders, f"{id}: nobody has it"
        records = [sim.record(node, id) for node in holders]
        if sim.weather.lossy:
            # A copy may have missed the end.
            records = [one for node, one in zip(holders, records, strict=True) if one.owner == node.peer]
        for record in records:
            check_job(record)
            assert record.ended, (id, record.state)
            if record.state is JobState.COMPLETED and record.spec.type is JobType.BATCH:
                done = {one.replica for one in record.now_of(ExecutionState.COMPLETED)}
                assert done == set(range(record.spec.count)), (id, done)
        # A holder of a copy by the word of an owner that was replaced need not be known to the present one.
        newest = min(records, key=standing, default=None)
        concerned = {newest.owner, *recipients(newest)} if newest else set()
        told = [one for node, one in zip(holders, records, strict=False) if node.peer in concerned]
        if newest and sim.nodes[newest.owner] not in holders:
            # The owner died with its disk, and with it what a member that was down then was to hear.
            told = [one for one in told if standing(one) == standing(newest)]
        # A service that was begun again and again: each holder of it forgets the oldest by itself.
        is_cut = any(len(one.executions) >= EXECUTIONS_ENDED_KEPT_MAX for one in told)
        views = {_view(one)[: 2 if is_cut else 3] for one in told}
        assert sim.weather.lossy or len(views) <= 1, f"{id}: {len(views)} views of how it ended: {views}"


def _check_idle(sim: Simulation, node: Node) -> None:
    core = node.core
    # A liar's jobs may go on: nodes keep a stranger's copies, and take over from one that vanishes.
    jobs, copies = (
        [id for id in ids if not sim.liars or id in sim.submitted]
        for ids in (core.jobs, core.replication.copies)
    )
    held = [
        one
        for one in core.worker.reservations.values()
        if one.state is not ReservationState.ENDED
        if not sim.liars or (one.job in sim.submitted and one.owner not in sim.liars)
    ]
    assert sim.liars or not node.running, (node.peer, node.running)
    assert not held, (node.peer, held)
    assert not jobs, (node.peer, jobs)
    assert sim.weather.lossy or not copies, (node.peer, copies)


def _view(record: JobRecord) -> tuple[object, ...]:
    done = sorted((one.replica or 0, one.id) for one in record.now_of(ExecutionState.COMPLETED))
    return record.state, record.version, tuple(done)
