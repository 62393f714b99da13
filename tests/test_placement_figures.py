"""Figures of a scheduler, of real cores in simulated networks: makespan, spread, and bytes that move."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from .sim.placing import LINE_BYTES_PER_S, PlacingSimulation, optimum_s

GB = 10**9
FETCH_10_GB_S = 10 * GB / LINE_BYTES_PER_S


@pytest.mark.parametrize("nodes", [3, 8])
def test_a_thousand_small_jobs_given_to_one_node_use_the_whole_network(nodes: int) -> None:
    sim = PlacingSimulation(1, nodes, {"module": 60}, {0: ["module"]}, slots=4)
    for index in range(1_000):
        # Two thirds of the slots are taken on average.
        sim.order_at(5 + index / (nodes * 2.7), 0, 1.0, "module")
    sim.run(300)
    assert sim.finished() == 1_000
    fair = 1_000 / nodes
    assert len(sim.ran) == nodes
    assert min(sim.ran.values()) > fair / 1.5 and max(sim.ran.values()) < fair * 1.5, sim.ran


@pytest.mark.parametrize("requester", [0, 1, 2])
def test_a_job_with_much_input_runs_where_that_lies(requester: int) -> None:
    sim = PlacingSimulation(2, 5, {"data": 10 * GB}, {2: ["data"]})
    sim.order_at(5, requester, 20.0, "data")
    sim.run(100)
    assert (dict(sim.ran), sim.moved_bytes, sim.finished()) == ({"peer02": 1}, 0, 1)
    assert sim.makespan_s < 27


@pytest.mark.parametrize(
    ("busy_s", "size_bytes", "moved", "ends_s"),
    [
        (60.0, 10 * GB, False, 60 + 20),
        (60.0, 1 * GB, False, 60 + 20),
        (3000.0, 1 * GB, True, 2 * 80 + 20),
        (60.0, GB // 10, True, 2 * 8 + 20),
        (3000.0, 10 * GB, True, 300 + FETCH_10_GB_S + 20),
        (60.0, 60, True, 20),
    ],
    ids=[
        "much, busy for a moment",
        "some, busy for less than it takes to fetch",
        "some, busy for long",
        "little, busy for longer than it takes to fetch",
        "much, busy for hours",
        "next to nothing",
    ],
)
def test_a_job_whose_data_lie_on_a_busy_node_waits_or_moves_by_what_is_sooner(
    busy_s: float, size_bytes: int, moved: bool, ends_s: float
) -> None:
    sim = PlacingSimulation(3, 4, {"data": size_bytes, "own": 10 * GB}, {1: ["data", "own"]})
    sim.order_at(5, 1, busy_s, "own")
    sim.order_at(6, 0, 20.0, "data")
    sim.run(3600)
    assert sim.finished() == 2
    assert sim.moved_bytes == (size_bytes if moved else 0)
    (took_s,) = (one.modified - one.created for one in sim.records() if one.spec.meta == {"runs_s": "20.0"})
    assert abs(took_s - ends_s) < 0.2 * ends_s + 2


def test_makespans_of_small_cases_are_near_the_best_that_there_are() -> None:
    ratios = []
    for seed in range(40):
        rng = random.Random(seed)
        sizes = {"a": rng.choice([60, GB // 10, GB, 5 * GB]), "b": rng.choice([60, GB // 4, 2 * GB])}
        held = [{"a"}, {"b"}, set[str]()]
        jobs = [(rng.choice([5.0, 20.0, 80.0, 300.0]), rng.choice("ab")) for _ in range(6)]
        sim = PlacingSimulation(seed, 3, sizes, {0: ["a"], 1: ["b"]})
        for index, (run_s, content) in enumerate(jobs):
            sim.order_at(5 + index / 10, rng.randrange(3), run_s, content)
        sim.run(10_000)
        assert sim.finished() == len(jobs), seed
        ratios.append((sim.makespan_s - 5) / optimum_s(jobs, sizes, held))
    assert max(ratios) < 2.2 and mean(ratios) < 1.4, (max(ratios), mean(ratios), sorted(ratios))
