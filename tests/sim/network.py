"""A whole network of nodes' cores in one thread, on a made-up clock (after TigerBeetle's VOPR).

The production core runs unchanged. What is made up is time, the network, the disk and the
engines, all from one seed: one seed, one history. Messages go over links as `core.link.machine`
promises them (in the end delivered, perhaps late, twice, or out of order with others), or
over a lossy network that promises nothing, which is worse than production ever is.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

from p2pnode.core.node import Core
from p2pnode.core.records import vetting
from p2pnode.core.records.events import (
    AdvertHeard,
    Advertise,
    CapacityChanged,
    DropJob,
    DropReservation,
    JobRerun,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    Kill,
    Leaving,
    PeerBack,
    PeerLost,
    Received,
    SaveJob,
    SaveLines,
    SaveReservation,
    Send,
    Start,
    Tick,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import CONTROLLERS_MAX
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, job_id
from p2pnode.core.wire.messages import Advert, Award, Capacity, Ended, Receipt
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec
from tests.fake_keys import FakeKeys

from .engines import SimEngines
from .invariants import check_node
from .specs import changed, sim_offer
from .weather import EPOCH, Weather

# After this long without a sign a peer is given up, as core.link.machine does.
LOST_AFTER_S = 6.0
RETRANSMIT_S = 1.0


@dataclass
class Node:
    peer: str
    capacity: Capacity
    core: Core
    alive: bool = True
    incarnation: int = 0
    # Changes when the disk is lost, as a link's store id does.
    store: int = 0
    # Stores of other nodes, as their links say.
    stores: dict[str, int] = field(default_factory=dict)
    number: int = 0
    due: float = float("inf")
    down_since: float = 0.0
    jobs: dict[str, bytes] = field(default_factory=dict)
    reservations: dict[str, bytes] = field(default_factory=dict)
    running: dict[str, tuple[Reservation, Award]] = field(default_factory=dict)


class Simulation:
    def __init__(self, seed: int, nodes: int, weather: Weather) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.now = EPOCH
        self.queue: list[Any] = []
        self.count = itertools.count()
        self.trace = hashlib.sha256()
        self.lines: list[str] | None = None
        self.steps = 0
        self.messages = 0
        self.awards: set[str] = set()
        self.blocked: set[frozenset[str]] = set()
        # Arrivals of each link's newest message: a link keeps the order.
        self.outboxes: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
        self.arrivals: dict[tuple[str, str], float] = {}
        self.submitted: dict[str, Node] = {}
        # Peers that lie are in simulations of whole nodes only.
        self.liars: dict[str, object] = {}
        # From then on programs run until they are told to end.
        self.quiet_from = EPOCH + 150.0
        self.engines = SimEngines(self)
        self.nodes: dict[str, Node] = {}
        self.peers = tuple(f"peer{index:02}" for index in range(nodes))
        for peer in self.peers:
            node = Node(peer, sim_offer(self.random), self._core(peer))
            self.nodes[peer] = node
            node.stores = {f"peer{other:02}": 0 for other in range(nodes)}
            self.at(self.random.uniform(0, 1), self.give, node, 0, CapacityChanged(node.capacity))
        self._plan_trouble()

    def _plan_trouble(self) -> None:
        peers = list(self.nodes.values())
        for _ in range(self.weather.crashes):
            self.at(self.random.uniform(2, 40), self.crash, self.random.choice(peers))
        for _ in range(self.weather.partitions):
            self.at(self.random.uniform(2, 40), self.cut)
        for _ in range(self.weather.leaves):
            self.at(self.random.uniform(2, 40), self.leave, self.random.choice(peers))

    # Time

    def at(self, delay: float, fn: Any, *args: Any) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.count), fn, args))

    def run(self, until_s: float) -> None:
        end = EPOCH + until_s
        while True:
            node = min((n for n in self.nodes.values() if n.alive), key=lambda n: n.due, default=None)
            due = node.due if node else end
            if self.queue and self.queue[0][0] <= min(due, end):
                self.now, _, fn, args = heapq.heappop(self.queue)
                fn(*args)
            elif due <= end and node is not None:
                self.now = max(self.now, due)
                self.give(node, node.incarnation, Tick())
                assert node.due > self.now, f"{node.peer} would tick for ever at {due}"
            else:
                self.now = end
                return

    # Nodes

    def _core(self, peer: str) -> Core:
        trust = Trust(operators=self.peers[:CONTROLLERS_MAX])
        return Core(peer, lambda spec: None, FakeKeys(peer), trust=trust)

    def submit(self, node: Node, spec: JobSpec) -> None:
        if not node.alive:
            return
        nonce = next(self.count).to_bytes(NONCE_SIZE_BYTES, "big")
        id = job_id(node.peer, nonce)
        self.submitted[id] = node
        self.give(node, node.incarnation, JobSubmitted(id, spec, nonce))

    def holders(self, id: str) -> list[Node]:
        """The living nodes that have a copy of a job, and may speak of it."""
        found = [node for node in self.nodes.values() if node.alive and id in node.jobs]
        return [node for node in found if node.peer in self.record(node, id).members]

    def record(self, node: Node, id: str) -> JobRecord:
        return codec.decode(node.jobs[id], JobRecord)

    def order(self, id: str, what: str) -> None:
        """A user of any node that has the job, and may, wants something of it."""
        users = [one for one in self.holders(id) if self.record(one, id).authority.may_command(one.peer)]
        if not users:
            return
        node = self.random.choice(users)
        stored = self.record(node, id)
        held = id in node.core.jobs or id in node.core.replication.copies
        record = None if held else stored
        events = {
            "stop": JobStopped(id, "the user stopped it"),
            "rerun": JobRerun(id, "", record),
            "update": JobUpdated(id, changed(stored.spec), record),
        }
        self.give(node, node.incarnation, events[what])

    def stop(self, id: str) -> None:
        self.order(id, "stop")

    def stop_all(self, id: str) -> None:
        """Stop a job that goes on."""
        if any(not self.record(node, id).ended for node in self.holders(id)):
            self.stop(id)

    def give(self, node: Node, incarnation: int, event: Any) -> None:
        if not node.alive or node.incarnation != incarnation:
            return
        self.steps += 1
        line = f"{self.now - EPOCH:.6f} {node.peer} {event}\n"
        self.trace.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)
        self.perform(node, node.core.handle(event, self.now))
        node.due = node.core.deadline
        check_node(node)

    def crash(self, node: Node, keeps_disk: bool = False) -> None:
        if not node.alive:
            return
        node.alive, node.down_since = False, self.now
        node.incarnation += 1
        node.running.clear()
        for other in self.nodes.values():
            self.at(LOST_AFTER_S, self.notice, other, node, self.now)
        chance = 1.0 if keeps_disk else self.random.random()
        if chance < self.weather.final:
            self.lose_disk(node)
        else:
            if chance < self.weather.final + self.weather.disk_loss:
                self.lose_disk(node)
            self.at(self.random.uniform(0.1, 20), self.restart, node)

    def leave(self, node: Node) -> None:
        """A node is shut down, says what it has to say, and is started again later."""
        if not node.alive:
            return
        self.give(node, node.incarnation, Leaving())
        self.at(1.0, self.crash, node, True)

    def lose_disk(self, node: Node) -> None:
        node.jobs.clear()
        node.stores.clear()
        node.reservations.clear()
        node.store += 1

    def notice(self, other: Node, node: Node, down_since: float) -> None:
        if not node.alive and node.down_since == down_since:
            self.give(other, other.incarnation, PeerLost(node.peer, "its link has been down for 6 s"))

    def heard_again(self, one: Node, other: Node) -> None:
        for me, them in ((one, other), (other, one)):
            if self.are_apart(me, them):
                continue
            if me.stores.setdefault(them.peer, them.store) != them.store:
                me.stores[them.peer] = them.store
                lost = PeerLost(them.peer, "it has lost its journal", forgot=True)
                self.give(me, me.incarnation, lost)
            if them.peer in me.core.lost:
                self.give(me, me.incarnation, PeerBack(them.peer))

    def restart(self, node: Node) -> None:
        node.alive = True
        node.core = self._core(node.peer)
        jobs = [codec.decode(data, JobRecord) for data in node.jobs.values()]
        reservations = [codec.decode(data, Reservation) for data in node.reservations.values()]
        node.incarnation += 1
        others = [other for other in self.nodes.values() if other.alive and other is not node]
        self.learn_tables(node, others)
        for other in others:
            self.at(0.01, self.heard_again, node, other)
        # The node gives up whom it misses in its own time: it was down when the others did.
        for other in self.nodes.values():
            if not other.alive:
                self.at(LOST_AFTER_S, self.notice, node, other, other.down_since)
        self.perform(node, node.core.resume([job for job in jobs if not job.ended], reservations, self.now))
        self.give(node, node.incarnation, CapacityChanged(node.capacity))

    def learn_tables(self, node: Node, others: list[Node]) -> None:
        for signed, remaining_ms in [one for other in others for one in other.core.table.entries(self.now)]:
            node.core.table.learn(signed, codec.decode(signed.body, Advert), remaining_ms, self.now)

    def cut(self) -> None:
        """Separate two halves for a while; sides that were apart for long give each other up."""
        peers = list(self.nodes)
        half = set(self.random.sample(peers, len(peers) // 2))
        pairs = {frozenset((a, b)) for a in half for b in peers if b not in half}
        self.blocked |= pairs
        length = self.random.uniform(1, 20)
        self.at(length, self.heal, pairs)
        if length > LOST_AFTER_S:
            for pair in sorted(tuple(sorted(one)) for one in pairs):
                for me, them in (pair, pair[::-1]):
                    self.at(LOST_AFTER_S, self.notice_cut, self.nodes[me], them)

    def notice_cut(self, node: Node, other: str) -> None:
        if frozenset((node.peer, other)) in self.blocked:
            self.give(node, node.incarnation, PeerLost(other, "its link has been down for 6 s"))

    def heal(self, pairs: set[frozenset[str]]) -> None:
        self.blocked -= pairs
        for one, other in sorted(tuple(sorted(pair)) for pair in pairs):
            self.at(self.random.uniform(0.01, 2), self.heard_again, self.nodes[one], self.nodes[other])

    # Actions

    def perform(self, node: Node, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Send(to, message):
                    self.messages += 1
                    if isinstance(message, Award):
                        assert message.execution not in self.awards, "a bid is used once"
                        self.awards.add(message.execution)
                    data = codec.encode(message)
                    self.transmit(node, node.store, self.nodes[to], self.nodes[to].store, data)
                case SaveJob(record):
                    node.jobs[record.id] = codec.encode(record)
                case DropJob(job):
                    node.jobs.pop(job, None)
                case SaveLines():
                    pass
                case SaveReservation(reservation):
                    node.reservations[reservation.execution] = codec.encode(reservation)
                case DropReservation(execution):
                    node.reservations.pop(execution, None)
                case Start(reservation, award):
                    assert reservation.execution not in node.running, "a program is started once"
                    node.running[reservation.execution] = (reservation, award)
                    self.engines.execute(node, reservation, award)
                case Kill(execution, ending):
                    self.engines.end(node, action, execution, ending.reason, ending.fault)
                case Advertise() as advertise:
                    self.advertise(node, advertise)

    def transmit(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        delay = self.random.uniform(*self.weather.delay_s)
        if self.random.random() < self.weather.loss:
            if self.weather.lossy and to is not sender:
                return
            delay += RETRANSMIT_S
        if not self.weather.lossy:
            line = sender.peer, to.peer
            arrives = max(self.now + delay, self.arrivals.get(line, 0.0) + 1e-6)
            self.arrivals[line] = arrives
            delay = arrives - self.now
        self.at(delay, self.arrive, sender, from_store, to, to_store, data)
        if self.random.random() < self.weather.replay:
            # Never before the message itself: what is between the two is not overtaken.
            self.at(delay + self.random.uniform(0, 30), self.deliver, sender, from_store, to, to_store, data)

    def arrive(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        if self.weather.lossy:
            self.deliver(sender, from_store, to, to_store, data)
            return
        outbox = self.outboxes.setdefault((sender.peer, to.peer), [])
        outbox.append((from_store, to_store, data))
        if len(outbox) == 1:
            self.flush(sender, to)

    def flush(self, sender: Node, to: Node) -> None:
        """Deliver what waits on a link, in its order, or try again later."""
        outbox = self.outboxes[sender.peer, to.peer]
        if self.are_apart(sender, to):
            self.at(RETRANSMIT_S, self.flush, sender, to)
            return
        while outbox:
            self.deliver(sender, outbox[0][0], to, *outbox[0][1:])
            outbox.pop(0)

    def are_apart(self, one: Node, other: Node) -> bool:
        if one is other:
            return not one.alive
        return not one.alive or not other.alive or frozenset((one.peer, other.peer)) in self.blocked

    def deliver(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        if sender.store != from_store or to.store != to_store:
            return  # Outboxes and numbering end with the disk.
        if self.are_apart(sender, to):
            return
        message = vetting.message_untrusted(data, lambda peer: None)
        receipt = codec.decode(message.receipt.body, Receipt) if isinstance(message, Ended) else None
        job = receipt.job if receipt else getattr(message, "job", None)
        held = job in to.core.jobs or job in to.core.replication.copies
        record = None if held or job not in to.jobs else self.record(to, job)
        self.give(to, to.incarnation, Received(sender.peer, message, receipt, record))

    def advertise(self, node: Node, action: Advertise) -> None:
        node.number += 1
        advert = Advert(
            peer=node.peer,
            number=node.number,
            issued_ms=int(self.now * 1000),
            ttl_ms=action.ttl_ms,
            name=node.peer,
            version="0",
            capacity=action.capacity,
            addresses=(),
            leaving=action.leaving,
        )
        heard = AdvertHeard(Signed(body=codec.encode(advert), signature=bytes(64)), advert, action.ttl_ms)
        for other in self.nodes.values():
            if other is node or self.random.random() >= self.weather.loss:
                delay = self.random.uniform(*self.weather.delay_s)
                self.at(delay, self.hear, node, other, heard)

    def hear(self, node: Node, other: Node, heard: AdvertHeard) -> None:
        if frozenset((node.peer, other.peer)) not in self.blocked:
            self.give(other, other.incarnation, heard)

    def records(self) -> list[JobRecord]:
        """Each job as its owner has it, if that one lives."""
        found = []
        for id in self.submitted:
            records = [self.record(node, id) for node in self.holders(id)]
            found += [record for record in records[:1] if self.nodes[record.owner].alive]
        return found
