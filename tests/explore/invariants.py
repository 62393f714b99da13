"""Invariants of every world that an exploration visits."""

from __future__ import annotations

from functools import cache

from p2pnode.core.link.detection_times import LOST_AFTER_SILENCE_S, STAGGER_S
from p2pnode.core.records.lifecycle import ExecutionState, JobRecord, JobState
from tests.sim.invariants import check_job

from .enemy import LIE
from .nodes import EPOCH, REQUESTER, WORKER, Node
from .world import World, Worlds

# Whoever is away is back in less, and a job that is taken over ends soon after.
ENDS_WITHIN_S = 240
# A deputy takes over when the owner is lost, and the second one a little later.
TAKEN_OVER_S = LOST_AFTER_SILENCE_S + 2 * STAGGER_S
# One again, from the moment when all hear each other.
ONE_AGAIN_S = 10


def check(worlds: Worlds, world: World) -> None:
    """Raises `AssertionError` for a world that must not be."""
    up = [worlds.nodes[number] for number in worlds.up(world).values()]
    for node in up:
        assert (wrong := _wrong(node)) is None, wrong
    assert world.now - EPOCH <= ENDS_WITHIN_S, "the job has not ended"
    if not world.cut and not world.down and world.now > world.calm_since + ONE_AGAIN_S:
        owners = [node.peer for node in up if node.owns]
        assert len(owners) <= 1, f"{owners} act {world.now - world.calm_since} s after all was well again"
    if world.down and not world.cut and not worlds.is_busy(world):
        silent_s = world.now - max(since for _, since, _ in world.down)
        waits = [node.peer for node in up if not node.has_ended]
        taken = any(node.owns for node in up) or silent_s <= TAKEN_OVER_S
        assert taken or not waits, f"nobody has taken the job over in {silent_s} s; {waits} have it"
    if worlds.limits.liar:
        # One that has not heard of the job yet believes a member, until it hears the requester.
        _check_lies([node for node in up if node.peer == REQUESTER or not worlds.is_busy(world)])


def check_end(worlds: Worlds, world: World) -> None:
    """Raises `AssertionError` where nothing is left to happen, and the job is not as it must be."""
    up = [worlds.nodes[number] for number in worlds.up(world).values()]
    for node in up:
        assert not node.programs, f"{node.peer} runs {node.programs} for nobody"
    records = [(node.peer, node.record) for node in up]
    held = [(peer, record) for peer, record in records if record and peer in record.members]
    assert held, "nobody has the job any more"
    assert all(record.ended for _, record in held), [(peer, record.state) for peer, record in held]
    # One that is a member by an older charter, which nobody who is there can know of, keeps what it has.
    serial = max(record.authority.charter.serial for _, record in held)
    views = {_view(record) for _, record in held if record.authority.charter.serial == serial}
    assert len(views) == 1, f"{len(views)} views of how the job ended: {views}"
    (record, *_) = [record for _, record in held if record.authority.charter.serial == serial]
    if record.state is not JobState.STOPPED and "failed this job 2 times" not in record.reason:
        # The only worker, to which two troubles came, is not asked a third time.
        assert record.state is JobState.COMPLETED, f"{record.state}: {record.reason}"


def _view(record: JobRecord) -> tuple[object, ...]:
    done = sorted((one.replica or 0, one.id) for one in record.now_of(ExecutionState.COMPLETED))
    return record.state, record.version, record.run, tuple(done)


@cache
def _wrong(node: Node) -> str | None:
    """The fault of a node's record of the job, taken by itself; None: it has none."""
    record = node.record
    if record is None or not node.owns:
        return None
    try:
        check_job(record)
    except AssertionError as exc:
        return f"{node.peer}: {exc}"
    return None


def _check_lies(nodes: list[Node]) -> None:
    """While the requester is there, a deputy changes, stops, takes and ends nothing of its job."""
    for node in nodes:
        assert node.owns is False or node.peer == REQUESTER, f"{node.peer} took the job from its requester"
        for program in node.programs:
            assert LIE not in program.reason, f"a program is ended, as it was {program.reason}"
        record = node.record
        if record is not None:
            assert record.owner == REQUESTER, f"{node.peer} obeys {record.owner}"
            assert record.state is not JobState.STOPPED, f"the job of {REQUESTER} was stopped at {node.peer}"
            strangers = [one.id for one in record.executions.values() if one.peer != WORKER]
            assert not strangers, f"{strangers} count at {node.peer}"
