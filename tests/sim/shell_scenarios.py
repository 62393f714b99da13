"""Seeded scenarios for the simulation of whole nodes: the jobs and troubles of `scenarios`, and more."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import trio

from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import Scheduling

from .invariants import check_end, check_steady
from .scenarios import HORIZON_S, STEADY_S, weather_of
from .shell import ShellNode, ShellSimulation, run_shell
from .specs import KINDS, sim_spec, valid
from .weather import Weather

NODES = (3, 3, 4, 5)
LIARS = (0, 0, 1, 2)


@dataclass(frozen=True)
class ShellScenario:
    """Troubles, jobs and wishes of a network of whole nodes."""

    nodes: int
    weather: Weather
    # When, what, to which node, and the seed of how.
    troubles: tuple[tuple[float, str, int, float], ...]
    jobs: tuple[tuple[float, int, JobSpec], ...]
    wishes: tuple[tuple[float, str], ...]
    # Peers besides that lie.
    liars: int = 0

    def smaller(self) -> Iterator[ShellScenario]:
        """Scenarios with one thing less each."""
        for name in ("troubles", "jobs", "wishes"):
            things = getattr(self, name)
            for index in range(len(things)):
                yield replace(self, **{name: things[:index] + things[index + 1 :]})
        if self.weather.failures:
            yield replace(self, weather=replace(self.weather, failures=0.0))
        if self.nodes > 3:
            yield replace(self, nodes=self.nodes - 1)
        if self.liars:
            yield replace(self, liars=self.liars - 1)


def shell_scenario_of(seed: int) -> ShellScenario:
    """A network of 3 to 5 whole nodes with some jobs, and perhaps with liars."""
    rng = random.Random(-seed - 1)
    weather = weather_of(seed, rng)
    nodes = rng.choice(NODES)
    names = ["crash"] * weather.crashes + ["cut"] * weather.partitions + ["leave"] * weather.leaves
    names += rng.choices(["drain", "cordon", "slow", "jump"], k=rng.choice([0, 1, 2]))
    troubles = [(rng.uniform(2, 40), name, rng.randrange(nodes), rng.random()) for name in names]
    jobs = []
    for _ in range(rng.randint(1, 6)):
        spec = valid(sim_spec(rng, rng.choice([None, 200]), rng.choice(KINDS)), rng)
        jobs.append((rng.uniform(0, 15), rng.randrange(nodes), spec))
    wishes = []
    for _ in range(rng.choice([0, 0, 1, 3])):
        wishes.append((rng.uniform(16, 60), rng.choice(["stop", "update", "rerun"])))
    liars = random.Random(f"liars {seed}").choice(LIARS)
    return ShellScenario(nodes, weather, tuple(troubles), tuple(jobs), tuple(wishes), liars)


def run_shell_scenario(
    seed: int, scenario: ShellScenario | None = None, lines: list[str] | None = None
) -> ShellSimulation:
    """A seed's scenario, or another, to its end; raises AssertionError where an invariant breaks.

    `lines` takes the trace.
    """
    plan = scenario or shell_scenario_of(seed)

    async def happen(sim: ShellSimulation) -> None:
        sim.lines = lines
        for liar in sim.liars.values():
            sim.nursery.start_soon(liar.run)
        peers = list(sim.nodes.values())
        for at_s, name, index, how in plan.troubles:
            node = peers[index % len(peers)]
            sim.nursery.start_soon(at, at_s, TROUBLES[name], sim, node, random.Random(how))
        for at_s, index, spec in plan.jobs:
            sim.nursery.start_soon(at, at_s, sim.submit, peers[index % len(peers)], spec)
        for at_s, what in plan.wishes:
            sim.nursery.start_soon(at, at_s, order, sim, what)
        await trio.sleep_until(STEADY_S)
        check_steady(sim)  # type: ignore[arg-type]
        for id in list(sim.submitted):
            if any(not sim.record(node, id).ended for node in sim.holders(id)):
                await sim.order(id, "stop")
        await trio.sleep_until(HORIZON_S)
        check_end(sim)  # type: ignore[arg-type]
        assert not sim.problems, sim.problems

    return run_shell(seed, plan.nodes, plan.weather, happen, plan.liars)


async def at(delay_s: float, fn: Callable[..., Awaitable[None]], *args: Any) -> None:
    await trio.sleep(delay_s)
    await fn(*args)


async def crash(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """A node crashes, and mostly comes back."""
    if not node.alive:
        return
    weather, chance = sim.weather, rng.random()
    final = chance < weather.final
    loses_disk = chance < weather.final + weather.disk_loss
    sim.crash(node, loses_disk=loses_disk, silent=rng.random() < 0.5)
    if not final:
        await trio.sleep(rng.uniform(0.1, 20))
        await sim.start(node)


async def leave(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """A node ends in good order, and is started again."""
    if node.shell is None:
        return
    sim.note(f"{node.peer} leaves")
    shell = node.shell
    await shell.say_goodbye()
    if node.shell is shell:
        sim.crash(node)
        await trio.sleep(rng.uniform(0.1, 20))
        await sim.start(node)


async def cut(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """Two halves hear nothing of each other for a while; some cuts are of one direction only."""
    peers = list(sim.nodes)
    half = set(rng.sample(peers, len(peers) // 2))
    cuts = {(a, b) for a in peers for b in peers if a in half and b not in half}
    if rng.random() < 0.7:
        cuts |= {(b, a) for a, b in cuts}
    sim.note(f"cut {sorted(cuts)}")
    sim.troubled_at = sim.now
    sim.wires.cuts |= cuts
    await trio.sleep(rng.uniform(1, 20))
    sim.wires.heal(cuts)
    sim.note("healed")
    sim.troubled_at = sim.now


async def drain(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """An operator drains a node, and has it take work again later."""
    await _schedule(sim, node, "draining", rng.choice([0.0, 5.0, None]), rng.uniform(5, 60))


async def cordon(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """An operator cordons a node, and takes that back later."""
    await _schedule(sim, node, "cordoned", None, rng.uniform(5, 60))


async def _schedule(
    sim: ShellSimulation, node: ShellNode, what: str, timeout_s: float | None, for_s: float
) -> None:
    if node.operator is None:
        return
    sim.note(f"{node.peer} is {what}")
    node.operator.set(Scheduling(what), timeout_s, leave=False)
    await trio.sleep(for_s)
    while node.operator is None:  # noqa: ASYNC110 - its start is no event of this
        await trio.sleep(1)
    node.operator.set(Scheduling.SCHEDULABLE, None, leave=False)
    sim.troubled_at = sim.now


async def slow(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """A node's lines are slow for a while: all that it sends and hears comes late."""
    sim.note(f"{node.peer} is slow")
    sim.wires.slow[node.peer] = rng.uniform(0.5, 5)
    await trio.sleep(rng.uniform(5, 30))
    sim.wires.slow.pop(node.peer, None)
    sim.troubled_at = sim.now


async def jump(sim: ShellSimulation, node: ShellNode, rng: random.Random) -> None:
    """The machines' clocks are set: an hour on, or back."""
    await trio.lowlevel.checkpoint()
    sim.clock_offset_s += rng.choice([3600.0, -3600.0])
    sim.note("the clocks are set")


async def order(sim: ShellSimulation, what: str) -> None:
    """Users want something of the first two jobs."""
    for id in list(sim.submitted)[:2]:
        await sim.order(id, what)


TROUBLES = {
    "crash": crash,
    "cut": cut,
    "leave": leave,
    "drain": drain,
    "cordon": cordon,
    "slow": slow,
    "jump": jump,
}
