"""The invariants of the design over networks of whole nodes: driver, links, journal, failure detector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

import pytest

from p2pnode.core.wire.messages import Message

from .sim.shell_scenarios import run_shell_scenario, shell_scenario_of
from .sim.shrinking import failure_of, shrunk


@pytest.mark.parametrize("first", range(0, 20, 4))
def test_every_job_is_owned_placed_and_ended_in_time_in_any_of_four_networks(first: int) -> None:
    for seed in range(first, first + 4):
        failure = failure_of(lambda seed=seed: run_shell_scenario(seed))  # type: ignore[misc]
        assert failure is None, f"seed {seed}: {failure}"


@pytest.mark.parametrize(
    "seed",
    [
        # Nodes that were started before and after the machines' clocks were set
        # took none of each other's adverts.
        162,
    ],
)
def test_a_seed_that_once_broke_an_invariant_holds(seed: int) -> None:
    run_shell_scenario(seed, replace(shell_scenario_of(seed), liars=0))


def test_the_same_seed_gives_the_same_history() -> None:
    one, other = [], []
    scenario = replace(shell_scenario_of(7), liars=2)
    run_shell_scenario(7, scenario, one)
    run_shell_scenario(7, scenario, other)
    assert one == other
    assert len(one) > 100


def test_liars_say_things_of_every_kind_and_take_awards() -> None:
    lines: list[str] = []
    sim = run_shell_scenario(9, replace(shell_scenario_of(9), liars=2), lines)
    said = {found[1] for line in lines if (found := re.search(r" lies to \S+: (\w+)\(", line))}
    assert said == {kind.__name__ for kind in get_args(Message)}
    assert any(liar.awards for liar in sim.liars.values())


def test_every_kind_of_trouble_comes_up() -> None:
    names = {name for seed in range(200) for _, name, _, _ in shell_scenario_of(seed).troubles}
    assert names == {"crash", "cut", "leave", "drain", "cordon", "slow", "jump"}


@dataclass(frozen=True)
class Numbers:
    numbers: tuple[int, ...]

    def smaller(self) -> Iterator[Numbers]:
        for index in range(len(self.numbers)):
            yield Numbers(self.numbers[:index] + self.numbers[index + 1 :])


def test_a_scenario_is_shrunk_to_what_breaks_the_invariant() -> None:
    def run(scenario: Numbers) -> None:
        assert not {3, 5} <= set(scenario.numbers)

    assert shrunk(Numbers((1, 2, 3, 4, 5, 6)), run) == Numbers((3, 5))
