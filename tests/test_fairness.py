"""Hostile requesters and neighbours take little from others, in seeded networks."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from p2pnode.core.job.asking import BID_WINDOW_S
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records.events import (
    AdvertHeard,
    CapacityChanged,
    Progressed,
    Send,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Advert, Ask
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec, Resources
from p2pnode.core.wire.states import Stage
from p2pnode.core.worker.state import BID_VALID_S

from .sim.network import Node, Simulation
from .sim.specs import sim_spec
from .sim.weather import EPOCH, Weather

HOSTILE = 3
TOP = 2**53 - 1
# When the attack begins: its victims have worked with each other for a while.
ATTACK_S, END_S = 25.0, 40.0


def small_job(rng: random.Random) -> JobSpec:
    spec = sim_spec(rng)
    resources = Resources(cpu_millis=rng.choice([250, 500, 1000]), memory_bytes=100_000_000)
    task = codec.replace(spec.task, resources=resources)
    return codec.replace(spec, count=1, priority=0, constraints=(), task=task)


class Attacked(Simulation):
    """Three nodes of it ask everybody for all the room, at the top priority, and never award."""

    def __init__(self, seed: int, honest: int, large: bool) -> None:
        super().__init__(seed, honest + HOSTILE, Weather(failures=0.0, delay_s=(0.001, 0.05)))
        self.hostile = set(list(self.nodes)[honest:])
        self.large = large
        self.asked = 0
        self.submitted_at: dict[str, float] = {}
        self.placed_at: dict[str, float] = {}
        for node in self.nodes.values():
            total = codec.replace(node.capacity.total, cpu_millis=4000)
            node.capacity = codec.replace(node.capacity, engines=("wasm",), total=total, free=total)
            self.at(1.5, self.give, node, 0, CapacityChanged(node.capacity))

    def give(self, node: Node, incarnation: int, event: Any) -> None:
        if node.peer in self.hostile:
            return
        if isinstance(event, Progressed) and event.stage is Stage.RUNNING:
            self.placed_at.setdefault(node.core.worker.reservations[event.execution].job, self.now)
        super().give(node, incarnation, event)

    def flood(self) -> None:
        for peer in sorted(self.hostile):
            for node in self.nodes.values():
                for _ in range(0 if node.peer in self.hostile else 5):
                    self.asked += 1
                    cpu_millis = 4000 if self.large and self.asked % 2 else 500
                    spec = small_job(random.Random(1))
                    task = codec.replace(
                        spec.task, resources=Resources(cpu_millis=cpu_millis, memory_bytes=1)
                    )
                    ask = Ask(
                        execution=f"e-{self.asked:032x}",
                        job=f"j-{self.asked:032x}",
                        round=1,
                        spec_hash="0" * 64,
                        priority=TOP,
                        requirements=requirements_of(codec.replace(spec, task=task)),
                    )
                    self.transmit(self.nodes[peer], 0, node, 0, codec.encode(ask))
        self.at(1.0, self.flood)

    def submit_small(self, node: Node) -> None:
        before = set(self.submitted)
        self.submit(node, small_job(self.random))
        for id in set(self.submitted) - before:
            self.submitted_at[id] = self.now


def waits(
    seed: int, *, attacked: bool, large: bool = False, honest: int = 6, strangers: bool = False
) -> list[float]:
    """How long each job that is submitted during the attack waits until its program runs."""
    sim = Attacked(seed, honest, large)
    rng = random.Random(seed)
    owners = [node for node in sim.nodes.values() if node.peer not in sim.hostile]
    for number in range(0 if strangers else 100):
        sim.at(2 + number / 5, sim.submit_small, owners[number % len(owners)])
    for second in range(int(ATTACK_S), int(END_S)):
        sim.at(second + 0.5, sim.submit_small, rng.choice(owners))
    if attacked:
        sim.at(ATTACK_S, sim.flood)
    sim.run(END_S + 5)
    begun = {id: at for id, at in sim.submitted_at.items() if at - EPOCH > ATTACK_S}
    return [sim.placed_at.get(id, sim.now) - at for id, at in begun.items()]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("large", [False, True], ids=["small asks", "asks for whole machines"])
def test_jobs_of_those_who_awarded_before_are_placed_in_their_usual_time_while_three_only_ask(
    seed: int, large: bool
) -> None:
    usual, under_attack = waits(seed, attacked=False), waits(seed, attacked=True, large=large)
    assert len(usual) == len(under_attack) > 10
    assert max(under_attack) <= 2 * max(usual)
    assert sum(under_attack) <= 2 * sum(usual)


def test_a_newcomers_job_waits_for_one_bid_of_the_attackers_at_most() -> None:
    usual_s = attacked_s = 0.0
    for seed in range(4):
        usual = waits(seed, attacked=False, strangers=True)
        under_attack = waits(seed, attacked=True, strangers=True)
        assert max(under_attack) <= BID_VALID_S + 2 * max(usual)
        usual_s += sum(usual[-5:])
        attacked_s += sum(under_attack[-5:])
    # Afterwards they have misses, and newcomers come first. Of one network the last five vary fourfold.
    assert attacked_s <= 2 * usual_s


class Flooded(Attacked):
    """Its nodes hear 3,000 adverts of peers that are nowhere, with the best of offers, from one neighbour."""

    def invent(self, node: Node) -> None:
        capacity = codec.replace(node.capacity, labels={**node.capacity.labels, "fast": "yes"})
        for number in range(3_000):
            advert = Advert(
                peer=f"invented{number}",
                number=1,
                issued_ms=int(self.now * 1000),
                ttl_ms=3_600_000,
                name="",
                version="0",
                capacity=capacity,
                addresses=(),
            )
            signed = Signed(body=b"", signature=bytes(64))
            self.give(node, 0, AdvertHeard(signed, advert, 3_600_000, "peer06"))

    def perform(self, node: Node, actions: list[Any]) -> None:
        super().perform(
            node, [one for one in actions if not (isinstance(one, Send) and one.peer not in self.nodes)]
        )


@pytest.mark.parametrize("met_before", [True, False])
def test_three_thousand_invented_peers_cost_a_job_one_round_at_most(met_before: bool) -> None:
    sim = Flooded(3, 6, large=False)
    node = sim.nodes["peer00"]
    if met_before:
        sim.at(3, sim.submit_small, node)
    else:
        # The requester knows the real ones by another neighbour's word only.
        sim.run(10)
        table = node.core.table
        table._met.clear()
        for peer, known in table.known.items():
            table.known[peer] = replace(known, brought_by=None if peer == "peer00" else "peer01")
    sim.at(12, sim.invent, node)
    for second in range(20, 30):
        sim.at(second, sim.submit_small, node)
    sim.run(60)
    late = [sim.placed_at[id] - at for id, at in sim.submitted_at.items() if at > EPOCH + 15]
    assert len(late) == 10
    usual_s = 1.5
    assert max(late) <= usual_s + BID_WINDOW_S
    assert sum(one > usual_s for one in late) <= (0 if met_before else 4)
