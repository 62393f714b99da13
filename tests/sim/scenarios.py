"""Seeded scenarios: what a seed stands for, in one place for tests and for `scripts/simulate`."""

from __future__ import annotations

import random

from .network import Simulation, Weather, sim_spec

# Long enough for every timeout of a job and every trouble to be over.
HORIZON_S = 420.0


def weather_of(seed: int, rng: random.Random) -> Weather:
    kind = seed % 4
    if kind == 0:
        return Weather(failures=0.0)
    if kind == 1:
        return Weather(loss=0.2, replay=0.1, delay_s=(0.001, 2.0))
    if kind == 2:
        crashes = rng.randint(1, 3)
        return Weather(loss=0.05, replay=0.05, crashes=crashes, disk_loss=0.3, final=0.2, partitions=1)
    return Weather(loss=0.2, replay=0.2, lossy=True, delay_s=(0.001, 1.0), crashes=1)


def run_scenario(seed: int) -> Simulation:
    """A network of 3 to 50 nodes with a handful of jobs; raises AssertionError where an invariant breaks."""
    rng = random.Random(-seed - 1)
    nodes = 50 if seed % 100 == 99 else rng.choice([3, 3, 4, 5, 6, 8, 12])
    weather = weather_of(seed, rng)
    sim = Simulation(seed, nodes, weather)
    peers = list(sim.nodes.values())
    for _ in range(rng.randint(1, 8)):
        # Where messages may be lost for good, only a job's own limit ends every wait.
        total_s = 200 if weather.lossy else rng.choice([None, 20, 200])
        sim.at(rng.uniform(0, 15), sim.submit, rng.choice(peers), sim_spec(rng, total_s))
    if rng.random() < 0.3:
        sim.at(16, lambda: [sim.stop(id) for id in list(sim.submitted)[:1]])
    sim.run(HORIZON_S)
    sim.check_end()
    return sim
