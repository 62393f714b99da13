"""A simulated network in which data has a size and lines have a rate: where jobs run, and what that moves.

The cores are real. Each node fetches what it lacks over a line of its own, runs the program, and keeps what
it has fetched.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from p2pnode.core.placement.arrival import FetchRate, size_class
from p2pnode.core.placement.locality import cid_cache_key
from p2pnode.core.records.events import CapacityChanged, Kill
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Award, Capacity
from p2pnode.core.wire.spec import (
    InputSource,
    JobSpec,
    JobType,
    NetworkType,
    Resources,
    Source,
    Task,
    WasmTask,
)
from p2pnode.core.wire.states import Stage

from .engines import SimEngines
from .network import Simulation
from .weather import EPOCH, Weather

if TYPE_CHECKING:
    from .network import Node

LINE_BYTES_PER_S = 12_500_000
# Nodes say how much is fetched, if more often.
TOLD_EVERY_S = 60.0
SLOT = Resources(cpu_millis=1000, memory_bytes=100_000_000)
CALM = Weather(delay_s=(0.001, 0.01), failures=0.0)


class PlacingSimulation(Simulation):
    """Equal nodes that have nothing but `slots`, and what `held` says: contents by node."""

    def __init__(
        self,
        seed: int,
        nodes: int,
        sizes: Mapping[str, int],
        held: Mapping[int, Sequence[str]],
        slots: int = 1,
    ) -> None:
        super().__init__(seed, nodes, CALM)
        self.queue.clear()
        self.sizes = sizes
        self.engines = _Lines(self)
        # Programs that each node ran, and the bytes that all have fetched.
        self.ran: Counter[str] = Counter()
        self.moved_bytes = 0
        self.last_end = EPOCH
        room = Resources(cpu_millis=1000 * slots, memory_bytes=10**9 * slots)
        for index, node in enumerate(self.nodes.values()):
            node.capacity = Capacity(
                engines=("wasm",),
                publishers=("ipfs",),
                sources=("ipfs",),
                networks=(NetworkType.NONE,),
                labels={},
                total=room,
                free=room,
                cached=self.marks(held.get(index, ())),
            )
            self.at(0, self.give, node, 0, CapacityChanged(node.capacity))

    def marks(self, contents: Sequence[str]) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((cid_cache_key(one), size_class(self.sizes[one])) for one in contents))

    def order_at(self, at_s: float, node: int, run_s: float, *inputs: str, slots: int = 1) -> None:
        """Have a job submitted to a node that runs so long, once it has its inputs."""
        sources = tuple(
            InputSource(target=f"/{one}", source=Source(type="ipfs", params={"CID": one})) for one in inputs
        )
        wanted = codec.replace(SLOT, cpu_millis=1000 * slots)
        task = Task(engine=WasmTask(entry_module="/m"), inputs=sources, resources=wanted)
        spec = JobSpec(type=JobType.BATCH, task=task, deputies=0, meta={"runs_s": str(run_s)})
        self.at(EPOCH + at_s - self.now, self.submit, self.nodes[f"peer{node:02}"], spec)

    @property
    def makespan_s(self) -> float:
        return self.last_end - EPOCH

    def finished(self) -> int:
        return sum(record.ended for record in self.records())


class _Lines(SimEngines):
    def __init__(self, sim: PlacingSimulation) -> None:
        super().__init__(sim)
        self._placing = sim
        # When each node's line is free again.
        self._free_at: dict[str, float] = {}
        self._rates: dict[str, FetchRate] = {}

    def execute(self, node: Node, reservation: Reservation, award: Award) -> None:
        sim, id, life = self._placing, reservation.execution, node.incarnation
        task = award.spec.task
        lacks = [
            cid
            for cid in (str(one.source.params["CID"]) for one in task.inputs)
            if cid_cache_key(cid) not in dict(node.capacity.cached)
        ]
        size_bytes = sum(sim.sizes[one] for one in lacks)
        began = max(sim.now, self._free_at.get(node.peer, 0.0))
        here_at = self._free_at[node.peer] = began + size_bytes / LINE_BYTES_PER_S
        sim.moved_bytes += size_bytes
        sim.ran[node.peer] += 1
        prepared = here_at - sim.now
        ran = prepared + float(award.spec.meta["runs_s"])
        if lacks:
            sim.at(prepared, self._fetched, node, lacks, size_bytes, here_at - began)
        for told in range(int(prepared / TOLD_EVERY_S)):
            sim.at(TOLD_EVERY_S * (told + 1), self.progress, node, life, id, Stage.PREPARING)
        sim.at(prepared, self.progress, node, life, id, Stage.RUNNING)
        sim.at(ran, self._end, node, life, id)

    def _fetched(self, node: Node, contents: list[str], size_bytes: int, seconds: float) -> None:
        sim = self._placing
        rate = self._rates.setdefault(node.peer, FetchRate())
        rate.note(size_bytes, seconds)
        cached = tuple(sorted({*node.capacity.cached, *sim.marks(contents)}))
        node.capacity = codec.replace(node.capacity, cached=cached, fetch_rate=rate.told)
        sim.give(node, node.incarnation, CapacityChanged(node.capacity))

    def _end(self, node: Node, life: int, id: str) -> None:
        sim = self._placing
        sim.last_end = max(sim.last_end, sim.now)
        self.finish(node, life, id, 0, None, "")

    def end(self, node: Node, kill: Kill, id: str, reason: str, fault: object) -> None:
        raise AssertionError(f"nobody ends {id}: {reason}")


def optimum_s(jobs: Sequence[tuple[float, str]], sizes: Mapping[str, int], held: Sequence[set[str]]) -> float:
    """The least makespan of any placement, on nodes that do one thing at a time, with all known beforehand.

    Jobs are the time that each runs, and its one input.
    """
    best = float("inf")
    for placement in itertools.product(range(len(held)), repeat=len(jobs)):
        ends = [0.0] * len(held)
        here = [set(one) for one in held]
        for (run_s, content), node in zip(jobs, placement, strict=True):
            ends[node] += run_s + (content not in here[node]) * sizes[content] / LINE_BYTES_PER_S
            here[node].add(content)
        best = min(best, max(ends))
    return best
