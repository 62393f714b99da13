"""Churn: a simulated network of which half leaves and comes back every minute, while jobs are submitted.

Nodes crash or are shut down in good order, and keep their disks. `scripts/simulate --churn MINUTES`
runs it for as long as one likes; a day of fifty nodes takes a quarter of an hour of one core.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from p2pnode.core.records.events import Tick
from p2pnode.core.records.lifecycle import JobState
from p2pnode.core.wire.spec import JobType

from .invariants import check_end, check_node, check_steady
from .network import Node, Simulation
from .scenarios import HORIZON_S, STEADY_S
from .specs import sim_spec
from .weather import EPOCH, Weather

NODES = 50
MINUTE_S = 60.0
JOB_GAP_S = 10.0
# A service, or the like, that users do not stop before would fill the network.
LONG_RUNNING_S = 300.0
LONG_RUNNING_SHARE = 0.1
# A joiner has the tables of its first neighbours.
TABLES_PULLED = 3
# Every event of some peers is looked at; of a day's, all would take a day.
NODES_CHECKED_SHARE = 0.1
WEATHER = Weather(loss=0.01, replay=0.01, delay_s=(0.001, 0.2))


@dataclass(frozen=True)
class Outcome:
    """The ends of the jobs, and how much the cores hold when all is over."""

    jobs: int
    states: Counter[str]
    # Reasons of the jobs that failed.
    reasons: Counter[str]
    leaves: int
    steps: int
    # Things that all cores remember in the end, by kind.
    held: Counter[str]


class Churn(Simulation):
    """A network whose nodes come and go."""

    def __init__(self, seed: int, nodes: int, minutes: int) -> None:
        super().__init__(seed, nodes, WEATHER)
        self.leaves = 0
        self.ends_at = EPOCH + minutes * MINUTE_S
        # Programs end by themselves for as long as nodes come and go.
        self.quiet_from = self.ends_at
        for minute in range(minutes):
            self.at(minute * MINUTE_S, self._half_leaves)
        self.at(self.random.uniform(1, JOB_GAP_S), self._submit_one)

    def _half_leaves(self) -> None:
        peers = list(self.nodes.values())
        for node in self.random.sample(peers, len(peers) // 2):
            away = self.leave if self.random.random() < 0.5 else self._crash
            self.at(self.random.uniform(0, MINUTE_S), away, node)

    def _crash(self, node: Node) -> None:
        self.crash(node, keeps_disk=True)

    def crash(self, node: Node, keeps_disk: bool = False) -> None:
        self.leaves += node.alive
        super().crash(node, keeps_disk)

    def _submit_one(self) -> None:
        if self.now >= self.ends_at:
            return
        kind = JobType.SERVICE if self.random.random() < LONG_RUNNING_SHARE else JobType.BATCH
        before = set(self.submitted)
        self.submit(self.random.choice(list(self.nodes.values())), sim_spec(self.random, None, kind))
        for id in self.submitted.keys() - before:
            if kind is JobType.SERVICE:
                self.at(LONG_RUNNING_S, self._stop_at_last, id)
        self.at(self.random.uniform(0, 2 * JOB_GAP_S), self._submit_one)

    def _stop_at_last(self, id: str) -> None:
        """A user stops a job, again later where nobody who may is there."""
        self.stop_all(id)
        if not any(self.record(node, id).ended for node in self.holders(id)):
            self.at(MINUTE_S, self._stop_at_last, id)

    def learn_tables(self, node: Node, others: list[Node]) -> None:
        """As a node that comes back does, of some neighbours."""
        super().learn_tables(node, self.random.sample(others, min(TABLES_PULLED, len(others))))

    def give(self, node: Node, incarnation: int, event: Any) -> None:
        """As in the simulation, without its trace: that takes longer than all else."""
        if not node.alive or node.incarnation != incarnation:
            return
        self.steps += 1
        self.perform(node, node.core.handle(event, self.now))
        node.due = node.core.deadline
        if not isinstance(event, Tick) and self.random.random() < NODES_CHECKED_SHARE:
            check_node(node)


def run_churn(seed: int, minutes: int, nodes: int = NODES) -> Outcome:
    """The network for so long, and then in peace; raises AssertionError where an invariant breaks."""
    sim = Churn(seed, nodes, minutes)
    over_s = minutes * MINUTE_S
    sim.run(over_s + STEADY_S)
    check_steady(sim)
    for id in sim.submitted:
        sim.at(0.0, sim.stop_all, id)
    sim.run(over_s + HORIZON_S)
    check_end(sim)
    records = [sim.record(sim.holders(id)[0], id) for id in sim.submitted]
    reasons = Counter(record.reason for record in records if record.state is JobState.FAILED)
    states = Counter(record.state for record in records)
    return Outcome(
        len(records), Counter(map(str, states.elements())), reasons, sim.leaves, sim.steps, _held(sim)
    )


def _held(sim: Churn) -> Counter[str]:
    held: Counter[str] = Counter()
    for node in sim.nodes.values():
        core = node.core
        held["jobs"] += len(core.jobs)
        held["copies"] += len(core.replication.copies)
        held["reservations"] += len(core.worker.reservations)
        held["known"] += len(core.table.known)
    return held
