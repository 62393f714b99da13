"""A simulated network whose first node's policy places its jobs in the north, where they cost more."""

from __future__ import annotations

from p2pnode.core.node import Core
from p2pnode.core.records.events import CapacityChanged
from p2pnode.core.records.lifecycle import LIVE, Execution, JobRecord
from p2pnode.core.values.places import Place
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire.messages import Capacity
from p2pnode.core.wire.spec import JobSpec, JobType, NetworkType, Resources, Task, WasmTask
from tests.fake_keys import FakeKeys

from .network import Simulation
from .weather import EPOCH, Weather

NORTH_PEERS = 4
ROOM = Resources(cpu_millis=4000, memory_bytes=10**9)


class PlacedSimulation(Simulation):
    """The first node's, which runs nothing itself; who dies stays dead, disk and all."""

    def __init__(self, seed: int, nodes: int) -> None:
        super().__init__(seed, nodes, Weather(delay_s=(0.001, 0.05), failures=0.0, final=1.0))
        self.queue.clear()
        # A service runs until it is told to end.
        self.quiet_from = EPOCH
        self.requester, *others = self.nodes.values()
        self.north = {one.peer for one in others[:NORTH_PEERS]}
        for node in self.nodes.values():
            north = node.peer in self.north
            node.capacity = Capacity(
                engines=() if node is self.requester else ("wasm",),
                publishers=("ipfs",),
                sources=("ipfs",),
                networks=(NetworkType.NONE,),
                labels={"zone": "north" if north else "south"},
                total=ROOM,
                free=ROOM,
                price_micros=5 * north,
            )
            self.at(0, self.give, node, 0, CapacityChanged(node.capacity))
        task = Task(
            engine=WasmTask(entry_module="/m"), resources=Resources(cpu_millis=1000, memory_bytes=10**8)
        )
        self.at(2, self.submit, self.requester, JobSpec(type=JobType.SERVICE, task=task))

    def _core(self, peer: str) -> Core:
        # A policy counts where it is written.
        places = (Place("north", labels={"zone": "north"}, price_micros_max=5),)
        trust = Trust(places=places if peer == self.peers[0] else ())
        return Core(peer, lambda spec: None, FakeKeys(peer), trust=trust)

    @property
    def job(self) -> JobRecord:
        """The job as whoever looks after it has it."""
        (record,) = self.records()
        return record

    @property
    def live(self) -> list[Execution]:
        return self.job.of(*LIVE)
