"""Seeded scenarios: what a seed stands for, in one place for tests and for `scripts/simulate`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from p2pnode.core.wire.spec import JobSpec

from .invariants import check_end, check_steady
from .network import Simulation
from .specs import KINDS, sim_spec
from .weather import EPOCH, Weather

# All trouble is over long before; back-offs of a minute and waits for a lost peer are, too.
STEADY_S = 300.0
# Long enough for every timeout of a job after everything was stopped.
HORIZON_S = 420.0


def weather_of(seed: int, rng: random.Random) -> Weather:
    kind = seed % 5
    if kind == 0:
        return Weather(failures=0.0)
    if kind == 1:
        return Weather(loss=0.2, replay=0.1, delay_s=(0.001, 2.0))
    if kind == 2:
        # A job survives the death of any node for good, and any partition; not both at the same time.
        if rng.random() < 0.5:
            return Weather(loss=0.05, replay=0.05, crashes=rng.randint(1, 3), disk_loss=0.3, final=0.2)
        return Weather(loss=0.05, replay=0.05, crashes=rng.randint(1, 3), partitions=1)
    if kind == 3:
        if rng.random() < 0.5:
            return Weather(loss=0.05, partitions=2, delay_s=(0.001, 0.5))
        return Weather(loss=0.05, crashes=1, leaves=2, delay_s=(0.001, 0.5))
    return Weather(loss=0.2, replay=0.2, lossy=True, delay_s=(0.001, 1.0), crashes=1)


@dataclass(frozen=True)
class Scenario:
    """Jobs and wishes of a network, and its weather, which draws the troubles."""

    nodes: int
    weather: Weather
    # When, at which node, what.
    jobs: tuple[tuple[float, int, JobSpec], ...]
    # When, what users want of the first two jobs.
    wishes: tuple[tuple[float, str], ...]

    def smaller(self) -> Iterator[Scenario]:
        """Scenarios with one thing less each."""
        for index in range(len(self.jobs)):
            yield replace(self, jobs=self.jobs[:index] + self.jobs[index + 1 :])
        for index in range(len(self.wishes)):
            yield replace(self, wishes=self.wishes[:index] + self.wishes[index + 1 :])
        weather = self.weather
        for name in ("crashes", "partitions", "leaves"):
            if count := getattr(weather, name):
                yield replace(self, weather=replace(weather, **{name: count - 1}))
        for name in ("loss", "replay", "failures"):
            if getattr(weather, name):
                yield replace(self, weather=replace(weather, **{name: 0.0}))
        if self.nodes > 3:
            yield replace(self, nodes=self.nodes - 1)


def scenario_of(seed: int) -> Scenario:
    """A network of 3 to 50 nodes with a handful of jobs."""
    rng = random.Random(-seed - 1)
    nodes = 50 if seed % 100 == 99 else rng.choice([3, 3, 4, 5, 6, 8, 12])
    weather = weather_of(seed, rng)
    jobs = []
    for _ in range(rng.randint(1, 8)):
        # Where messages may be lost for good, only a job's own limit ends every wait.
        total_s = 200 if weather.lossy else rng.choice([None, 20, 200])
        kind = None if weather.lossy else rng.choice(KINDS)
        jobs.append((rng.uniform(0, 15), rng.randrange(nodes), sim_spec(rng, total_s, kind)))
    wishes = []
    for _ in range(0 if weather.lossy else rng.choice([0, 0, 1, 3])):
        what = rng.choice(["stop", "stop", "update", "rerun"])
        wishes.append((rng.uniform(16, 60), what))
    return Scenario(nodes, weather, tuple(jobs), tuple(wishes))


def run_scenario(seed: int, scenario: Scenario | None = None, lines: list[str] | None = None) -> Simulation:
    """A seed's scenario, or another, to its end; raises AssertionError where an invariant breaks.

    `lines` takes the trace.
    """
    scenario = scenario or scenario_of(seed)
    sim = Simulation(seed, scenario.nodes, scenario.weather)
    sim.lines = lines
    peers = list(sim.nodes.values())
    for at_s, index, spec in scenario.jobs:
        sim.at(at_s, sim.submit, peers[index % len(peers)], spec)
    for at_s, what in scenario.wishes:
        sim.at(at_s, lambda what=what: [sim.order(id, what) for id in list(sim.submitted)[:2]])
    sim.run(STEADY_S)
    if not scenario.weather.lossy:
        check_steady(sim)
    for id in sim.submitted:
        sim.at(0.0, sim.stop_all, id)
    assert sim.now == EPOCH + STEADY_S
    sim.run(HORIZON_S)
    check_end(sim)
    return sim
