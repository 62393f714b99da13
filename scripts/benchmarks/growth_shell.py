"""The cost of a job on whole nodes: their shells, too, on a mock clock, with all that goes over the wires.

A message is counted here when a link has brought it; bytes are all of the streams, frames, acknowledgements
and heartbeats too, beyond what the same network sends in the same time without jobs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import trio

from p2pnode.core.records.events import CapacityChanged, Received, Start
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import JobSpec
from tests.sim.shell import ShellNode, ShellSimulation, run_shell
from tests.sim.specs import valid
from tests.sim.weather import Weather

from .figures import percentile
from .growth import BUSY_JOBS_PER_S, DELAY_S, DRAINED_S, job, offer

# All have connected, told each other who they are, and chosen deputies of nothing yet.
SETTLED_S = 40.0


@dataclass(frozen=True)
class ShellFigures:
    """One row: what so many jobs in a network of so many whole nodes came to."""

    nodes: int
    jobs: int
    placed: int
    messages_per_job: float
    wire_bytes_per_job: float
    placed_p50_s: float
    placed_p99_s: float
    process_ms_per_job: float

    def row(self) -> str:
        return (
            f"{self.nodes:>6} {self.jobs:>7} {self.placed:>7}"
            f" {self.messages_per_job:>9.1f} {self.wire_bytes_per_job:>10.0f}"
            f" {self.placed_p50_s * 1000:>5.0f} ms {self.placed_p99_s * 1000:>5.0f} ms"
            f" {self.process_ms_per_job:>6.1f} ms  whole nodes, all bytes of their streams"
        )


@dataclass
class Counted:
    """Messages and times of a network while its jobs run."""

    messages: int = 0
    begun: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)

    def listen(self, sim: ShellSimulation, node: ShellNode) -> None:
        assert node.shell is not None
        apply, start = node.shell.driver.apply, node.shell.executor.start

        def counted(event: Any, delivered: tuple[str, int] | None = None) -> None:
            if isinstance(event, Received):
                self.messages += event.peer != node.peer
            apply(event, delivered)

        def started(action: Start) -> None:
            self.started.setdefault(action.reservation.job, sim.now)
            start(action)

        node.shell.driver.apply = counted  # type: ignore[method-assign]
        node.shell.executor.start = started  # type: ignore[method-assign]

    async def submit(self, sim: ShellSimulation, node: ShellNode, spec: JobSpec) -> None:
        begun = sim.now
        await sim.submit(node, spec)
        self.begun[next(reversed(sim.submitted))] = begun


def measured(nodes: int, jobs: int) -> ShellFigures:
    counted = Counted()
    idle_bytes = busy_bytes = 0
    process_s = 0.0
    length_s = jobs / (BUSY_JOBS_PER_S * nodes)

    async def happen(sim: ShellSimulation) -> None:
        nonlocal idle_bytes, busy_bytes, process_s
        for number, node in enumerate(sim.nodes.values()):
            assert node.shell is not None
            node.capacity = codec.replace(offer(number), engines=("wasm",), sources=("inline",))
            node.shell.tell(CapacityChanged(node.capacity))
        await trio.sleep(SETTLED_S)
        before = sim.wires.sent_bytes
        await trio.sleep(length_s + DRAINED_S)
        idle_bytes = sim.wires.sent_bytes - before
        for node in sim.nodes.values():
            counted.listen(sim, node)
        before, begun_s = sim.wires.sent_bytes, time.process_time()
        start = trio.current_time()
        for number in range(jobs):
            await trio.sleep_until(start + length_s * number / jobs)
            chosen = sim.random.choice(list(sim.nodes.values()))
            sim.nursery.start_soon(counted.submit, sim, chosen, valid(job(), sim.random))
        await trio.sleep_until(start + length_s + DRAINED_S)
        busy_bytes, process_s = sim.wires.sent_bytes - before, time.process_time() - begun_s

    run_shell(0, nodes, Weather(failures=0.0, delay_s=DELAY_S), happen)
    waits = [counted.started[id] - at for id, at in counted.begun.items() if id in counted.started]
    return ShellFigures(
        nodes,
        jobs,
        len(waits),
        counted.messages / jobs,
        (busy_bytes - idle_bytes) / jobs,
        percentile(waits, 50),
        percentile(waits, 99),
        process_s * 1000 / jobs,
    )
