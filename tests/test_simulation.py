"""The invariants of the design, over a thousand seeded networks."""

from __future__ import annotations

import random

import pytest

from p2pnode.core.records.lifecycle import JobState
from p2pnode.core.records.reservations import ReservationState

from .sim.invariants import check_end
from .sim.network import Simulation
from .sim.scenarios import run_scenario
from .sim.specs import sim_spec
from .sim.weather import EPOCH, Weather

GOOD_WEATHER = Weather(failures=0.0, delay_s=(0.001, 0.05))


@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_every_job_ends_and_nothing_is_held_in_any_of_fifty_networks(first):
    for seed in range(first, first + 50):
        try:
            run_scenario(seed)
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc


@pytest.mark.parametrize(
    "seed",
    [
        # An answer that was given twice, or for ever, while a job changed hands.
        *(2, 33, 59),
        # A message of an owner that was replaced came after the word of its successor.
        *(23, 88, 153, 192, 198, 222),
        # A deputy missed what was decided while it was cut off.
        *(78, 242, 353, 368, 763),
        # A deputy of another half of a network that was cut in two was forgotten by all.
        *(1467, 2166, 2218),
        # A deputy whose copy had ended took in nothing of a later owner.
        5717,
        # Two ended while an owner that had been away waited for its deputies' word.
        4952,
        # A result came from the other half, while its replica of an ops job was run again.
        *(6168, 8958),
        # A compute peer heard of an owner from two others, in turn.
        8768,
        # A slow peer was asked once a minute, and never had the time to answer.
        *(1821, 2482),
        # An owner that had lost its disk made the ids of executions again.
        513,
        # A deputy of a newer charter's past yielded to one that did not act.
        170855762,
        # An ask was dropped while its owner was away, and waited for ever.
        170856102,
        # Two owners numbered their changes alike, and what ran one of them counted as the other.
        3103,
        # A deputy asked an owner that had lost its disk for ever.
        3922,
        # A member that was dismissed while it was down revived a job that had ended.
        217,
        # Deputies did not learn of what their owner took over from another that had acted.
        *(3933, 12583),
        # A peer that had been told of a job as a reader was named a deputy, and told what changed only.
        3787,
        # A member that was down while the file was changed took over before those that knew the change.
        2887,
        # A result of a file that has no number at its owner counted as a later version.
        *(9138, 13332),
        # A worker was told late of an owner whose silence it had noticed long before.
        *(10532, 4512),
        # A deputy that missed the last results agreed with nobody on the end.
        10717,
        # A deputy was down for a change and the end, and the owner died with its disk.
        13562,
        # The job that the earlier design still ran after everything was stopped.
        170855808,
    ],
)
def test_a_seed_that_once_broke_an_invariant_holds(seed):
    run_scenario(seed)


def test_the_same_seed_gives_the_same_trace():
    for seed in (1, 2, 3):
        assert run_scenario(seed).trace.hexdigest() == run_scenario(seed).trace.hexdigest()


def good_network(nodes=8, jobs=4):
    sim = Simulation(5, nodes, GOOD_WEATHER)
    for node in sim.nodes.values():
        assert node.capacity.engines == ("wasm",)
    spec = sim_spec(random.Random(1))
    for _ in range(jobs):
        sim.at(2.0, sim.submit, sim.nodes["peer00"], spec)
    return sim


def test_in_good_weather_with_room_every_job_completes():
    sim = good_network()
    sim.run(400)
    check_end(sim)
    assert [record.state for record in sim.records()] == [JobState.COMPLETED] * 4


def test_losing_bids_are_released_long_before_they_expire():
    sim = good_network(jobs=1)
    sim.run(3.0)
    assert any(node.running for node in sim.nodes.values())
    held = [
        reservation for node in sim.nodes.values() for reservation in node.core.worker.reservations.values()
    ]
    assert not [reservation for reservation in held if reservation.state is ReservationState.BID]


def test_stopping_a_job_frees_its_peers_at_once():
    sim = good_network(jobs=1)
    sim.run(2.5)
    assert any(node.running for node in sim.nodes.values())
    sim.stop(next(iter(sim.submitted)))
    sim.run(sim.now - EPOCH + 1.0)
    assert not any(node.running or node.core.worker.held for node in sim.nodes.values())


def test_messages_per_job_do_not_grow_with_the_network():
    counts = {}
    for nodes in (8, 50):
        sim = Simulation(7, nodes, GOOD_WEATHER)
        spec = sim_spec(random.Random(1))
        sim.at(2.0, sim.submit, sim.nodes["peer00"], spec)
        sim.run(100)
        counts[nodes] = sim.messages
    assert counts[50] <= 1.3 * counts[8]
