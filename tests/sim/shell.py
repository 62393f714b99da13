"""A network of whole nodes in one thread: their shells, too, on a mock clock, tasks ordered by seed.

Each node is a `node.Node` with its driver, links, journal, failure detector, adverts and executor, on a data
directory. What is made up is the clock, the network below streams (`wires`), content of other nodes and the
engine's programs. One seed, one history: the trace is the same each time.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from p2pnode.api.shapes import ServiceError
from p2pnode.config.kinds import PEER_IDS_MAX
from p2pnode.config.policy import POLICY_FILE, PolicyFile
from p2pnode.config.settings import NodeConfig
from p2pnode.core.node import Core
from p2pnode.core.records.events import CapacityChanged, Received
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Capacity, Message
from p2pnode.core.wire.spec import JobSpec
from p2pnode.identity import Identity
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.network.protocols.adverts import serve_table
from p2pnode.network.streams import NetworkError
from p2pnode.node.engines import Engines
from p2pnode.node.journal import FILE_NAME, Journal
from p2pnode.node.node import Node
from p2pnode.node.scheduling import OperatorScheduling
from p2pnode.service.commands import Commands
from p2pnode.service.lookup import Lookup

from .deadlines import Deadlines
from .determined import determined
from .invariants import check_node
from .liars import Liar, out_of_reach
from .specs import changed, sim_offer
from .surroundings import SimBitswap, SimGossip, SimPrograms
from .weather import EPOCH, Weather
from .wires import SimHost, Wires

# A node's own connections: those that discovery would have made by then.
JOIN_INTERVAL_S = 1.0
# Honest messages that are remembered for liars.
SAID_MAX = 200


@dataclass
class ShellNode:
    """One machine: what is on its disk, and its node while that runs."""

    peer: str
    identity: Identity
    capacity: Capacity
    directory: Path
    shell: Node | None = None
    host: SimHost | None = None
    scope: trio.CancelScope | None = None
    commands: Commands | None = None
    operator: OperatorScheduling | None = None
    preempts: bool = False
    # As the simulation of cores alone has it: how often its disk was lost.
    store: int = 0
    life: int = 0

    @property
    def alive(self) -> bool:
        return self.shell is not None

    @property
    def core(self) -> Core:
        assert self.shell is not None
        return self.shell.driver.core

    @property
    def running(self) -> list[str]:
        return self.shell.executor.executions if self.shell is not None else []


class ShellSimulation:
    """The shells of some nodes; `scenario` drives it (see `run_shell`)."""

    def __init__(
        self, seed: int, nodes: int, weather: Weather, directory: Path, nursery: trio.Nursery, liars: int
    ) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.nursery = nursery
        self.trace = hashlib.sha256()
        self.steps = 0
        self.submitted: dict[str, ShellNode] = {}
        self.types: dict[str, Any] = {}
        self.quiet_from = EPOCH + 150.0
        self.wires = Wires(random.Random(self.random.random()), weather.delay_s, nursery)
        self.nodes: dict[str, ShellNode] = {}
        self.problems: list[str] = []
        # Honest messages, from which liars make theirs.
        self.said: deque[Message] = deque(maxlen=SAID_MAX)
        # When something went wrong, or was mended, last.
        self.troubled_at = EPOCH
        self.lines: list[str] | None = None
        # How far the machines' clocks are from the time that passes here.
        self.clock_offset_s = 0.0
        for index in range(nodes):
            me = Identity(self.random.randbytes(32))
            data = directory / f"{index}-0"
            capacity = codec.replace(sim_offer(self.random), sources=("inline", "ipfs"))
            if self.random.random() < 0.1:
                # A node that submits, and runs nothing for others.
                capacity = codec.replace(capacity, engines=())
            self.nodes[me.peer_id] = ShellNode(
                me.peer_id, me, capacity, data, preempts=self.random.random() < 0.3
            )
        made = (Liar(self, random.Random(f"{seed} {one}"), directory / f"liar{one}") for one in range(liars))
        self.liars = {liar.peer: liar for liar in made}

    @property
    def now(self) -> float:
        return EPOCH + trio.current_time()

    def note(self, text: str) -> None:
        self.steps += 1
        line = f"{trio.current_time():.6f} {text}\n"
        self.trace.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    # Nodes

    async def start(self, node: ShellNode) -> None:
        self.troubled_at = self.now
        await self.nursery.start(self._run, node)

    async def _run(self, node: ShellNode, task_status: Any) -> None:
        node.directory.mkdir(parents=True, exist_ok=True)
        config = NodeConfig(
            data_dir=node.directory,
            name=node.peer[-6:],
            mdns=False,
            preempt=node.preempts,
            operators=tuple(self.nodes)[:PEER_IDS_MAX],
        )
        journal = Journal(node.directory)
        blocks = BlockStore(node.directory / "blocks", 10**9)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                host = SimHost(self.wires, node.peer, nursery)
                shell = Node(
                    config,
                    node.identity,
                    journal,
                    host,  # type: ignore[arg-type]
                    blocks,
                    SimBitswap(),  # type: ignore[arg-type]
                    Engines(None, {"wasm": SimPrograms(self)}),  # type: ignore[dict-item]
                    nursery,
                    PolicyFile(node.directory / POLICY_FILE),
                    None,
                )
                # Turns are measured on the processor's clock, which no seed knows.
                shell.strangers._clock = lambda: 0.0
                shell.adverts.gossip = SimGossip(self, node.peer)  # type: ignore[assignment]
                serve_table(host, shell.adverts.table_for)  # type: ignore[arg-type]
                host.watch(shell.adverts.on_connection)
                self._listen(node, shell)
                self.wires.hosts[node.peer] = host
                node.shell, node.host, node.scope = shell, host, scope
                lookup = Lookup(journal, shell.driver.core.table, node.peer, config.name)
                node.commands = Commands(lookup, journal, shell.driver, shell.changes, shell.links)
                node.operator = shell.scheduling
                await nursery.start(shell.run)
                shell.tell(CapacityChanged(node.capacity))
                nursery.start_soon(self._join, host)
                task_status.started()
        if not scope.cancelled_caught:
            raise AssertionError(f"{node.peer} has ended by itself")
        journal.close()

    def _listen(self, node: ShellNode, shell: Node) -> None:
        """Have the trace hear of each event, and the invariants looked at after it."""
        apply = shell.driver.apply

        def listened(event: Any, delivered: tuple[str, int] | None = None) -> None:
            self.note(f"{node.peer} {event}")
            if isinstance(event, Received) and event.peer in self.nodes:
                self.said.append(event.message)
            if out_of_reach(node, event, self):
                raise BadMessage("left out of the simulation")
            apply(event, delivered)
            if node.shell is shell:
                check_node(node)  # type: ignore[arg-type]

        shell.driver.apply = listened  # type: ignore[method-assign]

    async def _join(self, host: SimHost) -> None:
        """Connect with all others, as discovery does."""
        while True:
            for peer in list(self.nodes):
                if peer != host.peer_id and peer not in host.connected():
                    try:
                        await host.connect(peer, (), JOIN_INTERVAL_S)
                    except NetworkError as exc:
                        self.note(f"{host.peer_id}: {exc}")
            await trio.sleep(JOIN_INTERVAL_S)

    def crash(self, node: ShellNode, *, loses_disk: bool = False, silent: bool = False) -> None:
        """End a node at once; what its journal and its directory hold now is all that is left."""
        shell, scope = node.shell, node.scope
        assert shell is not None and scope is not None and node.host is not None
        self.note(f"{node.peer} crashes, disk {'lost' if loses_disk else 'kept'}")
        found = shell.journal.problems.all()
        # A node without its journal does not know the adverts of its former life from those of a twin.
        self.problems += [
            f"{node.peer}: {one}" for one in found if not (node.store and one.subject == "identity")
        ]
        node.life += 1
        after = node.directory.with_name(f"{node.directory.name.partition('-')[0]}-{node.life}")
        if loses_disk:
            after.mkdir()
            node.store += 1
        else:
            shutil.copytree(node.directory, after, ignore=shutil.ignore_patterns(f"{FILE_NAME}*"))
            copy = sqlite3.connect(after / FILE_NAME)
            shell.journal._db.backup(copy)
            copy.close()
        node.directory = after
        self.wires.end(node.host, silent=silent)
        node.shell = node.host = node.scope = node.commands = node.operator = None
        self.troubled_at = self.now
        scope.cancel()

    # Questions of the invariants

    def holders(self, id: str) -> list[ShellNode]:
        """The living nodes that have a copy of a job, and may speak of it."""
        found = []
        for node in self.nodes.values():
            record = node.shell.journal.job(id) if node.shell is not None else None
            if record is not None and node.peer in record.members:
                found.append(node)
        return found

    def record(self, node: ShellNode, id: str) -> JobRecord:
        assert node.shell is not None
        record = node.shell.journal.job(id)
        assert record is not None
        return record

    # Users

    async def submit(self, node: ShellNode, spec: JobSpec) -> None:
        if node.commands is None:
            return
        answer = await node.commands.submit(spec, new=True)
        self.submitted[answer["id"]] = node
        self.types[answer["id"]] = spec.type

    async def order(self, id: str, what: str) -> None:
        """A user of any node that has the job wants something of it."""
        holders = self.holders(id)
        if not holders:
            return
        node = self.random.choice(holders)
        assert node.commands is not None
        try:
            if what == "stop":
                await node.commands.stop(id, "the user stopped it")
            elif what == "rerun":
                await node.commands.rerun(id, "")
            else:
                spec = self.record(node, id).spec
                if spec.name:
                    await node.commands.submit(changed(spec), new=False)
        except ServiceError as exc:
            self.note(f"{id} {what}: {exc}")


def run_shell(
    seed: int, nodes: int, weather: Weather, scenario: Callable[[ShellSimulation], Any], liars: int = 0
) -> ShellSimulation:
    """Run a scenario to its end; raises AssertionError where an invariant breaks."""
    found: list[ShellSimulation] = []
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="p2pnode-sim-", dir=base) as directory, determined(seed, found):

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                sim = ShellSimulation(seed, nodes, weather, Path(directory), nursery, liars)
                found.append(sim)
                for node in sim.nodes.values():
                    await sim.start(node)
                nursery.start_soon(Deadlines(sim).watch)
                await scenario(sim)
                nursery.cancel_scope.cancel()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return found[0]
