"""Made-up surroundings of a whole node: gossip, content of other nodes, and the engine's programs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.wire.spec import NetworkType
from p2pnode.core.wire.states import Fault
from p2pnode.engines.workload import ProgramEnd, Workload, failed, not_begun
from p2pnode.ipfs.blocks import BlockUnavailable

if TYPE_CHECKING:
    from .shell import ShellSimulation


class SimGossip:
    """Brings an advert to every node that the publisher can reach."""

    def __init__(self, sim: ShellSimulation, peer: str) -> None:
        self._sim = sim
        self._peer = peer

    async def publish(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for other in self._sim.wires.hosts:
            if other != self._peer and other not in self._sim.liars:
                self._sim.wires.carry(self._peer, other, partial(self._arrive, other, data))

    def _arrive(self, other: str, data: bytes) -> None:
        node = self._sim.nodes[other]
        if node.alive and node.shell is not None:
            node.shell.adverts.heard(data, self._peer)


class SimBitswap:
    """No other node has any content: results are not fetched here."""

    def blocks_added(self) -> None: ...

    async def fetch_dag(self, cid: str, peers: Sequence[str], **limits: Any) -> int:
        raise BlockUnavailable(cid, "nobody has it")


class SimPrograms:
    """An engine whose programs take the time and come to the ends that the seed says."""

    name = "wasm"

    def __init__(self, sim: ShellSimulation) -> None:
        self._sim = sim
        # Programs that this machine ran to their end: a restarted node runs those of before again.
        self._random = random.Random(sim.random.random())

    async def available(self) -> str | None:
        return None

    async def networks(self) -> frozenset[NetworkType]:
        return frozenset({NetworkType.NONE})

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> ProgramEnd:
        rng, sim = self._random, self._sim
        await trio.sleep(rng.uniform(0, 1))
        if workload.stopping.asked.is_set():
            return not_begun()
        started()
        long = sim.types.get(workload.job_id) in LONG_RUNNING
        runs_s = rng.expovariate(1 / 60) if long else rng.expovariate(1 / 5)
        if long and sim.now + runs_s > sim.quiet_from:
            runs_s = float("inf")
        chance = rng.random() / max(sim.weather.failures, 1e-9)
        ends = rng.choice([None, 0, 143])
        took_s = rng.uniform(0, rng.choice([0.3, 30.0]))
        with trio.move_on_after(runs_s):
            await workload.stopping.asked.wait()
            with trio.move_on_after(workload.stopping.grace_s):
                await trio.sleep(took_s)
                return ProgramEnd(
                    exit_code=ends, reason="" if ends == 0 else "was stopped", fault=_fault(ends)
                )
            return failed(Fault.JOB, "was killed")
        if chance < 0.3:
            return ProgramEnd(exit_code=3, reason="exit status 3", fault=Fault.JOB)
        if chance < 1:
            return failed(Fault.PEER, "the engine failed")
        return ProgramEnd(exit_code=0, reason="", fault=None)


def _fault(exit_code: int | None) -> Fault | None:
    return None if exit_code == 0 else Fault.JOB
