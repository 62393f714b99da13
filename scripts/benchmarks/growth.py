"""The cost of a network to each of its nodes as it grows: real cores of many nodes on a made-up clock.

Nodes are joined in a random graph of bounded degree. An advert goes from neighbour to neighbour as gossipsub
has it, on through those alone that take it; messages between two nodes take 1 to 20 ms. Where the network is
larger than a table of peers, each node begins with the sample that its neighbours would have brought it.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import json
import random
import time
import tracemalloc
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from p2pnode.core.job.asking import Asking
from p2pnode.core.node import Core
from p2pnode.core.placement.adverts import (
    ADVERT_TTL_INTERVALS,
    PEERS_MAX,
    AdvertTable,
    Known,
    advert_interval_s,
)
from p2pnode.core.records.events import (
    Action,
    AdvertHeard,
    Advertise,
    CapacityChanged,
    Event,
    Send,
    Start,
    Tick,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Advert, Capacity
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec, JobType, NetworkType, Resources, Task, WasmTask
from p2pnode.network.gossip import DEGREE
from tests.fake_keys import FakeKeys
from tests.sim.network import Node, Simulation
from tests.sim.weather import EPOCH, Weather

from .figures import NOW, options, percentile
from .growth_picture import draw

NODES = (10, 100, 1_000, 10_000)
JOBS = (1, 100, 1_000)
NEIGHBOURS = 12
DELAY_S = (0.001, 0.02)
WHOLE = Resources(cpu_millis=4_000, memory_bytes=8_000_000_000, disk_bytes=100_000_000_000)
ASKED = Resources(cpu_millis=500, memory_bytes=100_000_000)
# By then all have heard of all that they will.
SETTLED_S = 5.0
# A program takes 5 s on average, eight fit on a node: half of the network is busy.
BUSY_JOBS_PER_S = 0.8
DRAINED_S = 120.0
# Adverts that are followed on all their ways, in a large network.
FOLLOWED_MAX = 40
TTL_MS = int(advert_interval_s(PEERS_MAX) * ADVERT_TTL_INTERVALS * 1000)
LOOKS = 50
# Whole nodes, their shells too, all of which connect with all: more take very long.
SHELLS, SHELL_JOBS = (10, 30), 100
PICTURE = NOW.with_name("growth.svg")


def offer(number: int) -> Capacity:
    return Capacity(
        engines=("docker", "wasm"),
        publishers=("ipfs",),
        sources=("ipfs", "urldownload", "s3"),
        networks=(NetworkType.NONE,),
        labels={"os": "linux", "arch": "amd64", "zone": "abc"[number % 3], "rack": str(number // 40)},
        total=WHOLE,
        free=WHOLE,
    )


def job() -> JobSpec:
    return JobSpec(type=JobType.BATCH, task=Task(engine=WasmTask(entry_module="/m"), resources=ASKED))


def graph(nodes: int, rng: random.Random) -> list[list[int]]:
    """The neighbours of each: a random graph, in which nobody has many more than the others."""
    neighbours: list[set[int]] = [set() for _ in range(nodes)]
    wanted = min(NEIGHBOURS, nodes - 1)
    for one in range(nodes):
        while len(neighbours[one]) < wanted:
            other = rng.randrange(nodes)
            if other != one:
                neighbours[one].add(other)
                neighbours[other].add(one)
    return [sorted(some) for some in neighbours]


@dataclass
class Counts:
    """The traffic of a network: adverts, their copies, and messages about jobs."""

    adverts: int = 0
    copies: int = 0
    copied_bytes: int = 0
    messages: int = 0
    message_bytes: int = 0
    core_s: float = 0.0
    gossip_core_s: float = 0.0
    started: dict[str, float] = field(default_factory=dict)


class Network(Simulation):
    """The cores of many nodes, without trouble; what is only for finding faults is left out."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes, 0, Weather(failures=0.0, delay_s=DELAY_S))
        self.counts = Counts()
        self.peers = tuple(f"peer{index:05}" for index in range(nodes))
        self.neighbours = graph(nodes, self.random)
        self.index = {peer: index for index, peer in enumerate(self.peers)}
        self.ticks: list[tuple[float, int, Node]] = []
        self.order_of_ticks = itertools.count()
        for peer in self.peers:
            core = Core(peer, lambda spec: None, FakeKeys(peer), trust=Trust())
            self.nodes[peer] = Node(peer, offer(self.index[peer]), core)

    def begin(self) -> None:
        """All nodes have an engine from now on, and have heard of the others."""
        if len(self.peers) > PEERS_MAX:
            self._fill_tables()
        else:
            for node in self.nodes.values():
                self.at(self.random.uniform(0, 1), self.give, node, 0, CapacityChanged(node.capacity))
        self.run(SETTLED_S)

    def _fill_tables(self) -> None:
        known = {}
        for node in self.nodes.values():
            heard = self._heard(node, Advertise(node.capacity, TTL_MS))
            known[node.peer] = Known(heard.advert, heard.signed, self.now + TTL_MS / 1000)
        for node in self.nodes.values():
            met = [self.peers[one] for one in self.neighbours[self.index[node.peer]]]
            sample = {*self.random.sample(self.peers, PEERS_MAX - len(met) - 1), *met, node.peer}
            table = node.core.table
            for peer in sample:
                table.known[peer] = known[peer]
            table.deadline = self.now + TTL_MS / 1000
            node.core.advertising.take(node.capacity, PEERS_MAX, self.random.random(), self.now)
            node.core.advertising.due += self.random.uniform(0, advert_interval_s(PEERS_MAX))
            self.give(node, 0, CapacityChanged(node.capacity))

    # In place of the simulation's own, which look at everything at each step.

    def run(self, until_s: float) -> None:
        end = EPOCH + until_s
        while True:
            next_s = self.queue[0][0] if self.queue else end
            due = self.ticks[0][0] if self.ticks else end
            if min(next_s, due) >= end:
                self.now = end
                return
            if next_s <= due:
                self.now, _, fn, args = heapq.heappop(self.queue)
                fn(*args)
                continue
            at, _, node = heapq.heappop(self.ticks)
            if at == node.due:
                self.now = max(self.now, at)
                self.give(node, 0, Tick())

    def give(self, node: Node, incarnation: int, event: Event) -> None:
        begun = time.perf_counter()
        actions = node.core.handle(event, self.now)
        took_s = time.perf_counter() - begun
        if isinstance(event, AdvertHeard):
            self.counts.gossip_core_s += took_s
        else:
            self.counts.core_s += took_s
        self.perform(node, actions)
        due = node.core.deadline
        if due != node.due:
            node.due = due
            heapq.heappush(self.ticks, (due, next(self.order_of_ticks), node))

    def perform(self, node: Node, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send) and action.peer != node.peer:
                self.counts.messages += 1
                self.counts.message_bytes += len(codec.encode(action.message))
            elif isinstance(action, Start):
                self.counts.started.setdefault(action.reservation.job, self.now)
        super().perform(node, actions)

    def _heard(self, node: Node, action: Advertise) -> AdvertHeard:
        node.number += 1
        advert = Advert(
            peer=node.peer,
            number=node.number,
            issued_ms=int(self.now * 1000),
            ttl_ms=action.ttl_ms,
            name=node.peer,
            version="0",
            capacity=action.capacity,
            addresses=("/ip4/192.0.2.1/tcp/4001",),
        )
        return AdvertHeard(Signed(body=codec.encode(advert), signature=bytes(64)), advert, action.ttl_ms)

    def advertise(self, node: Node, action: Advertise) -> None:
        """Spread it: to all neighbours of its sender, and on from each that takes it to those of its mesh."""
        heard = self._heard(node, action)
        size_bytes = len(codec.encode(heard.signed))
        self.counts.adverts += 1
        self.give(node, 0, heard)
        asked = {self.index[node.peer]}
        front = [(node, self.neighbours[self.index[node.peer]])]
        while front:
            sender, to = front.pop()
            for index in to:
                self.counts.copies += 1
                self.counts.copied_bytes += size_bytes
                if index in asked:
                    continue
                asked.add(index)
                other = self.nodes[self.peers[index]]
                if other.core.table.is_news(heard.advert, sender.peer):
                    self.give(other, 0, replace(heard, forwarder=sender.peer))
                    mesh = [one for one in self.neighbours[index] if self.peers[one] != sender.peer]
                    front.append((other, mesh[:DEGREE]))


@dataclass(frozen=True)
class Figures:
    """One row: what so many jobs in a network of so many nodes came to."""

    nodes: int
    jobs: int
    placed: int
    messages_per_job: float
    message_bytes_per_job: float
    placed_p50_s: float
    placed_p99_s: float
    core_ms_per_job: float
    # Each node's part of the adverts of an idle network.
    copies_per_node_s: float
    gossip_bytes_per_node_s: float
    gossip_core_us_per_node_s: float
    rank_ms: float
    table_bytes: int

    def row(self) -> str:
        return (
            f"{self.nodes:>6} {self.jobs:>7} {self.placed:>7}"
            f" {self.messages_per_job:>9.1f} {self.message_bytes_per_job:>10.0f}"
            f" {self.placed_p50_s * 1000:>5.0f} ms {self.placed_p99_s * 1000:>5.0f} ms"
            f" {self.core_ms_per_job:>6.1f} ms"
            f" {self.copies_per_node_s:>10.2f} {self.gossip_bytes_per_node_s:>10.0f}"
            f" {self.gossip_core_us_per_node_s:>9.0f}"
            f" {self.rank_ms:>5.2f} ms {self.table_bytes / 1e6:>5.1f} MB"
        )


def measured(nodes: int, jobs: int) -> Figures:
    network = Network(nodes)
    network.begin()
    gossip = gossiped(network)
    begun = placed(network, jobs)
    waits = [network.counts.started[id] - at for id, at in begun.items() if id in network.counts.started]
    node = network.submitted[next(iter(begun))]
    record = network.record(node, next(iter(begun)))
    counts = network.counts
    return Figures(
        nodes,
        jobs,
        len(waits),
        counts.messages / jobs,
        counts.message_bytes / jobs,
        percentile(waits, 50),
        percentile(waits, 99),
        counts.core_s * 1000 / jobs,
        *gossip,
        rank_ms=rank_s(record, node.core.table, network.now) * 1000,
        table_bytes=table_bytes(min(nodes, PEERS_MAX)),
    )


def gossiped(network: Network) -> tuple[float, float, float]:
    """Copies, bytes and microseconds of the core that each node's share of all adverts takes in a second."""
    counts = network.counts = Counts()
    some = network.random.sample(list(network.nodes.values()), min(FOLLOWED_MAX, len(network.nodes)))
    for node in some:
        network.advertise(node, Advertise(node.capacity, TTL_MS))
    known = min(len(network.nodes), PEERS_MAX)
    # A node's part of all adverts in a second, as so many times the mean of one advert's copies.
    per_s = len(network.nodes) / advert_interval_s(known) / len(some) / len(network.nodes)
    return counts.copies * per_s, counts.copied_bytes * per_s, counts.gossip_core_s * 1e6 * per_s


def placed(network: Network, jobs: int) -> dict[str, float]:
    """When each job was submitted, after all have had time to end."""
    network.counts = Counts()
    nodes = list(network.nodes.values())
    spec = job()
    begun: dict[str, float] = {}

    def submit() -> None:
        network.submit(network.random.choice(nodes), spec)
        begun[next(reversed(network.submitted))] = network.now

    length_s = jobs / (BUSY_JOBS_PER_S * len(nodes))
    start_s = network.now - EPOCH
    for number in range(jobs):
        network.at(length_s * number / jobs, submit)
    network.run(start_s + length_s + DRAINED_S)
    return begun


def rank_s(record: JobRecord, table: AdvertTable, now: float) -> float:
    """Seconds to choose whom to ask for one replica, of all in the table."""
    times = []
    for _ in range(LOOKS):
        start = time.perf_counter()
        Asking(record, table.known, now).whom_to_ask(1)
        times.append(time.perf_counter() - start)
    return percentile(times, 50)


def table_bytes(peers: int) -> int:
    """Memory of a table of so many peers, each heard over the network."""
    network = Network(1)
    (node,) = network.nodes.values()
    tracemalloc.start()
    table = AdvertTable()
    for number in range(peers):
        heard = network._heard(
            replace(node, peer=f"peer{number:05}", capacity=offer(number)), Advertise(offer(number), TTL_MS)
        )
        body = bytes(bytearray(heard.signed.body))
        advert = codec.decode(body, Advert)
        table.learn(
            Signed(body=body, signature=bytes(bytearray(64))), advert, TTL_MS, network.now, advert.peer
        )
    del heard, advert
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def main() -> None:
    parser = options("growth", __doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=NODES)
    parser.add_argument("--jobs", type=int, nargs="*", default=JOBS)
    parser.add_argument("--shells", type=int, nargs="*", default=SHELLS, help="networks of whole nodes")
    parser.add_argument(
        "--picture", type=Path, default=PICTURE, help="an SVG; its rows lie beside it as JSON"
    )
    arguments = parser.parse_args()
    head = (
        f"{'nodes':>6} {'jobs':>7} {'placed':>7} {'msgs/job':>9} {'bytes/job':>10} {'p50':>8} {'p99':>8} "
        f"{'core/job':>9} {'adverts/s':>10} {'gossip B/s':>10} {'core us/s':>9} {'rank':>8} {'table':>8}"
    )
    print(head)
    rows: list[dict[str, Any]] = []
    for nodes in arguments.nodes:
        for jobs in arguments.jobs:
            figures = measured(nodes, jobs)
            print(figures.row(), flush=True)
            # Kept as they come: the largest may be ended before its time.
            rows.append(asdict(figures))
            arguments.picture.parent.mkdir(parents=True, exist_ok=True)
            arguments.picture.with_suffix(".json").write_text(json.dumps(rows, indent=1))
            arguments.picture.write_text(draw(rows))
    print(f"drawn: {arguments.picture}")
    # The module imports this one: its jobs and offers are the same.
    from .growth_shell import measured as shells

    for nodes in arguments.shells:
        print(shells(nodes, SHELL_JOBS).row(), flush=True)


if __name__ == "__main__":
    main()
