"""Deadlines for a simulation in which nothing goes wrong any more, looked at each second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2pnode.core.job.desired import missing_placements
from p2pnode.core.job.retries import is_last
from p2pnode.core.placement.constraints import matches, requirements
from p2pnode.core.placement.matching import requirements_of, why_not
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import Scheduling

from .invariants import standing

if TYPE_CHECKING:
    from .shell import ShellNode, ShellSimulation

LOOK_INTERVAL_S = 1.0
# A silent owner is lost after 8 s; a deputy that hears nobody waits 30 s more, the second 3 s. A redial takes
# up to 15 s, an answer 2 s in the worst weather.
OWNED_WITHIN_S = 60.0
# A deputy that was lost is replaced as soon as that is known, and has its copy a message later.
DEPUTIES_WITHIN_S = 75.0
# From when there is room on a peer for what is missing: asks go out with the next news, one that waits there
# is bid for at once, and a failed replica has had its back-off.
PLACED_WITHIN_S = 30.0


class Deadlines:
    """Keeps since when each thing is not as it should be."""

    def __init__(self, sim: ShellSimulation) -> None:
        self._sim = sim
        self._since: dict[tuple[str, str], float] = {}

    async def watch(self) -> None:
        """Look until cancelled; raises AssertionError for what is late."""
        while True:
            await trio.sleep(LOOK_INTERVAL_S)
            self._look()

    def _look(self) -> None:
        sim = self._sim
        late: set[tuple[str, str]] = set()
        for id in sim.submitted:
            records = [(sim.record(node, id), node) for node in sim.holders(id)]
            live = [(record, node) for record, node in records if not record.ended]
            if not live or len(live) < len(records):
                # The job has ended, as one of them knows; the others hear of it by `check_end`.
                continue
            newest = min((record for record, _ in live), key=standing)
            for what, limit_s in self._missing(newest):
                key = id, what
                late.add(key)
                since = max(self._since.setdefault(key, sim.now), sim.troubled_at)
                assert sim.now - since <= limit_s, f"{id}: {what} for more than {limit_s:.0f} s"
        self._since = {key: at for key, at in self._since.items() if key in late}

    def _missing(self, record: JobRecord) -> list[tuple[str, float]]:
        sim = self._sim
        owner = sim.nodes.get(record.owner)
        if owner is None or not owner.alive or record.id not in owner.core.jobs:
            return [(f"no living owner, {record.owner[-6:]} was", OWNED_WITHIN_S)]
        found = []
        own = owner.core.jobs[record.id].record
        alive = [peer for peer in own.deputies if peer in sim.nodes and sim.nodes[peer].alive]
        candidates = [
            node
            for node in sim.nodes.values()
            if node.alive
            and node is not owner
            and node.peer not in own.declined
            and node.core.deputy
            and node.core.worker.scheduling is not Scheduling.DRAINING
            and all(matches(one, node.capacity.labels) for one in requirements(own.spec.constraints))
        ]
        if len(alive) < min(own.spec.deputies, len(candidates)):
            found.append((f"{len(alive)} living deputies", DEPUTIES_WITHIN_S))
        if own.spec.type is not JobType.OPS:
            found += self._unplaced(own, owner)
        return found

    def _unplaced(self, record: JobRecord, owner: ShellNode) -> list[tuple[str, float]]:
        sim = self._sim
        need = requirements_of(record.spec)
        for missing in missing_placements(record, owner.core.table.known):
            waits = record.retry_at.get(missing.replica, 0.0) > sim.now - 5
            room = [
                node.peer
                for node in sim.nodes.values()
                if node.alive and missing.peer in (None, node.peer)
                # Strangers' bids share half of a peer, so only an idle one is sure to have room.
                if not node.core.worker.held
                # Nor while bids that were of no use, as over slow lines, are held against the owner.
                if node.core.worker.standing.better_at(record.owner, sim.now) is None
                if (capacity := node.core.worker.available) and why_not(need, capacity) is None
            ]
            # A replica that is tried no more ends its job when the others have ended, also those on liars.
            if room and not waits and not is_last(record, missing.replica):
                return [(f"replica {missing.replica} is missing, room on {room[0][-6:]}", PLACED_WITHIN_S)]
        return []
