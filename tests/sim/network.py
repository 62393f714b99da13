"""A whole network of nodes' cores in one thread, on a made-up clock (after TigerBeetle's VOPR).

The production core runs unchanged. What is made up is time, the network, the disk and the
engines, all from one seed: one seed, one history. Messages go over links as `core.link`
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

from p2pnode.core import wire
from p2pnode.core.events import (
    AdvertHeard,
    Advertise,
    DropLoan,
    Finished,
    JobStopped,
    JobSubmitted,
    Kill,
    Note,
    OfferChanged,
    PeerLost,
    Progressed,
    Received,
    SaveJob,
    SaveLoan,
    Send,
    Start,
    Tick,
)
from p2pnode.core.lending_records import Loan
from p2pnode.core.lifecycle import LIVE, ExecutionState, JobRecord, JobState
from p2pnode.core.matching import RESOURCE_NAMES
from p2pnode.core.messages import (
    Advert,
    Award,
    Ended,
    Fault,
    Offer,
    Receipt,
    Signed,
    Stage,
    decode_message_untrusted,
    job_id,
)
from p2pnode.core.participant import Participant
from p2pnode.core.spec import (
    Constraint,
    JobSpec,
    JobType,
    NetworkType,
    Operator,
    Resources,
    Task,
    Timeouts,
    WasmEngine,
)

EPOCH = 1_700_000_000.0
# After this long without a sign a peer is given up, as core.link does.
LOST_AFTER_S = 6.0
RETRANSMIT_S = 1.0


@dataclass(frozen=True)
class Weather:
    """What goes wrong, and how often."""

    loss: float = 0.0
    replay: float = 0.0
    delay_s: tuple[float, float] = (0.001, 0.2)
    # Lost messages are really lost; otherwise the link sends them again.
    lossy: bool = False
    crashes: int = 0
    # Of the crashes, how many lose the disk, or never come back.
    disk_loss: float = 0.0
    final: float = 0.0
    partitions: int = 0
    failures: float = 0.1


@dataclass
class Node:
    peer: str
    offer: Offer
    core: Participant
    alive: bool = True
    incarnation: int = 0
    # Changes when the disk is lost, as a link's store id does.
    store: int = 0
    number: int = 0
    due: float = float("inf")
    down_since: float = 0.0
    jobs: dict[str, bytes] = field(default_factory=dict)
    loans: dict[str, bytes] = field(default_factory=dict)
    running: dict[str, tuple[Loan, Award]] = field(default_factory=dict)


def sim_offer(rng: random.Random) -> Offer:
    total = Resources(
        cpu_millis=rng.choice([1000, 2000, 4000]), memory_bytes=2_000_000_000, disk_bytes=10_000_000_000
    )
    return Offer(
        engines=("wasm",) if rng.random() < 0.9 else ("docker",),
        publishers=("ipfs",),
        sources=("ipfs",),
        networks=(NetworkType.NONE,),
        labels={"os": "linux", "zone": rng.choice("abc")},
        total=total,
        free=total,
    )


class Simulation:
    def __init__(self, seed: int, nodes: int, weather: Weather) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.now = EPOCH
        self.queue: list[Any] = []
        self.count = itertools.count()
        self.trace = hashlib.sha256()
        self.steps = 0
        self.messages = 0
        self.awards: set[str] = set()
        self.blocked: set[frozenset[str]] = set()
        self.notes: dict[str, list[tuple[float, str]]] = {}
        self.submitted: dict[str, Node] = {}
        self.lost_jobs: set[str] = set()
        self.nodes: dict[str, Node] = {}
        for index in range(nodes):
            peer = f"peer{index:02}"
            node = Node(peer, sim_offer(self.random), Participant(peer, lambda spec: None))
            self.nodes[peer] = node
            self.at(self.random.uniform(0, 1), self.give, node, 0, OfferChanged(node.offer))
        self._plan_trouble()

    def _plan_trouble(self) -> None:
        peers = list(self.nodes.values())
        for _ in range(self.weather.crashes):
            self.at(self.random.uniform(2, 40), self.crash, self.random.choice(peers))
        for _ in range(self.weather.partitions):
            self.at(self.random.uniform(2, 40), self.cut)

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

    def submit(self, node: Node, spec: JobSpec) -> None:
        if not node.alive:
            return
        nonce = next(self.count).to_bytes(8, "big")
        id = job_id(wire.digest(spec), node.peer, nonce)
        self.submitted[id] = node
        self.give(node, node.incarnation, JobSubmitted(id, spec))

    def stop(self, id: str) -> None:
        node = self.submitted[id]
        self.give(node, node.incarnation, JobStopped(id, "the user stopped it"))

    def give(self, node: Node, incarnation: int, event: Any) -> None:
        if not node.alive or node.incarnation != incarnation:
            return
        self.steps += 1
        self.trace.update(f"{self.now:.6f} {node.peer} {event}\n".encode())
        self.perform(node, node.core.handle(event, self.now))
        node.due = node.core.deadline
        self.check(node)

    def crash(self, node: Node) -> None:
        if not node.alive:
            return
        node.alive, node.down_since = False, self.now
        node.incarnation += 1
        node.running.clear()
        down_since = self.now
        for other in self.nodes.values():
            self.at(LOST_AFTER_S, self.notice, other, node, down_since)
        chance = self.random.random()
        if chance < self.weather.final:
            self.lose_disk(node)
        else:
            if chance < self.weather.final + self.weather.disk_loss:
                self.lose_disk(node)
            self.at(self.random.uniform(0.1, 20), self.restart, node)

    def lose_disk(self, node: Node) -> None:
        self.lost_jobs |= {id for id, owner in self.submitted.items() if owner is node}
        node.jobs.clear()
        node.loans.clear()
        node.store += 1

    def notice(self, other: Node, node: Node, down_since: float) -> None:
        if not node.alive and node.down_since == down_since:
            self.give(other, other.incarnation, PeerLost(node.peer, "its link has been down for 6 s"))

    def restart(self, node: Node) -> None:
        node.alive = True
        node.core = Participant(node.peer, lambda spec: None)
        jobs = [wire.decode(data, JobRecord) for data in node.jobs.values()]
        loans = [wire.decode(data, Loan) for data in node.loans.values()]
        live = [job for job in jobs if not job.ended]
        for other in self.nodes.values():
            if other.alive and other is not node:
                for signed, remaining_ms in other.core.table.entries(self.now):
                    advert = wire.decode(signed.body, Advert)
                    node.core.table.learn(signed, advert, remaining_ms, self.now)
                if node.store:
                    self.give(other, other.incarnation, PeerLost(node.peer, "it has lost its journal"))
        # Whom it misses it gives up in its own time: it was down when the others did.
        for other in self.nodes.values():
            if not other.alive:
                self.at(LOST_AFTER_S, self.notice, node, other, other.down_since)
        self.perform(node, node.core.resume(live, loans, self.now))
        self.give(node, node.incarnation, OfferChanged(node.offer))

    def cut(self) -> None:
        """Separate two halves for a while; sides that were apart for long give each other up."""
        peers = list(self.nodes)
        half = set(self.random.sample(peers, len(peers) // 2))
        pairs = {frozenset((a, b)) for a in peers for b in peers if (a in half) != (b in half)}
        self.blocked |= pairs
        length = self.random.uniform(1, 20)
        self.at(length, self.blocked.difference_update, pairs)
        if length > LOST_AFTER_S:
            for pair in sorted(tuple(sorted(one)) for one in pairs):
                for me, them in (pair, pair[::-1]):
                    node = self.nodes[me]
                    lost = PeerLost(them, "its link has been down for 6 s")
                    self.at(LOST_AFTER_S, lambda n=node, e=lost: self.give(n, n.incarnation, e))

    # Actions

    def perform(self, node: Node, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Send(to, message):
                    self.messages += 1
                    if isinstance(message, Award):
                        assert message.execution not in self.awards, "a bid is used once"
                        self.awards.add(message.execution)
                    data = wire.encode(message)
                    self.transmit(node, node.store, self.nodes[to], self.nodes[to].store, data)
                case SaveJob(record):
                    node.jobs[record.id] = wire.encode(record)
                case SaveLoan(loan):
                    node.loans[loan.execution] = wire.encode(loan)
                case DropLoan(execution):
                    node.loans.pop(execution, None)
                case Start(loan, award):
                    assert loan.execution not in node.running, "a program is started once"
                    node.running[loan.execution] = (loan, award)
                    self.execute(node, loan, award)
                case Kill(execution, reason, fault, _):
                    self.at(
                        self.random.uniform(0, 0.3),
                        self.finish,
                        node,
                        node.incarnation,
                        execution,
                        None,
                        fault,
                        reason,
                    )
                case Advertise() as advertise:
                    self.advertise(node, advertise)
                case Note(job, _, text):
                    self.notes.setdefault(job, []).append((self.now, text))

    def transmit(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        delay = self.random.uniform(*self.weather.delay_s)
        if self.random.random() < self.weather.loss:
            if self.weather.lossy and to is not sender:
                return
            delay += RETRANSMIT_S
        self.at(delay, self.arrive, sender, from_store, to, to_store, data)
        if self.random.random() < self.weather.replay:
            self.at(self.random.uniform(0, 30), self.arrive, sender, from_store, to, to_store, data)

    def arrive(self, sender: Node, from_store: int, to: Node, to_store: int, data: bytes) -> None:
        if sender.store != from_store or to.store != to_store:
            return  # Outboxes and numbering end with the disk.
        apart = not to.alive or not sender.alive or frozenset((sender.peer, to.peer)) in self.blocked
        if apart and to is not sender:
            if not self.weather.lossy:
                self.at(RETRANSMIT_S, self.arrive, sender, from_store, to, to_store, data)
            return
        message = decode_message_untrusted(data)
        receipt = wire.decode(message.receipt.body, Receipt) if isinstance(message, Ended) else None
        self.give(
            to, to.incarnation, Received(sender.peer, message, receipt, "receipt-cid" if receipt else None)
        )

    def advertise(self, node: Node, action: Advertise) -> None:
        node.number += 1
        advert = Advert(
            peer=node.peer,
            number=node.number,
            issued_ms=int(self.now * 1000),
            ttl_ms=action.ttl_ms,
            name=node.peer,
            version="0",
            offer=action.offer,
            addresses=(),
            leaving=action.leaving,
        )
        heard = AdvertHeard(Signed(body=wire.encode(advert), signature=bytes(64)), advert, action.ttl_ms)
        for other in self.nodes.values():
            if other is node or self.random.random() >= self.weather.loss:
                delay = self.random.uniform(*self.weather.delay_s)
                self.at(delay, self.hear, node, other, heard)

    def hear(self, node: Node, other: Node, heard: AdvertHeard) -> None:
        if frozenset((node.peer, other.peer)) not in self.blocked:
            self.give(other, other.incarnation, heard)

    # Engines

    def execute(self, node: Node, loan: Loan, award: Award) -> None:
        rng, id, life = self.random, loan.execution, node.incarnation
        prepared = rng.uniform(0, 1)
        ran = prepared + rng.expovariate(1 / 5)
        published = ran + rng.uniform(0, 0.5)
        self.at(prepared, self.progress, node, life, id, Stage.RUNNING)
        chance = rng.random() / max(self.weather.failures, 1e-9)
        if chance < 0.3:
            self.at(ran, self.finish, node, life, id, 3, Fault.JOB, "exit status 3")
        elif chance < 1:
            self.at(ran, self.finish, node, life, id, None, Fault.PEER, "the engine failed")
        else:
            self.at(ran, self.progress, node, life, id, Stage.PUBLISHING)
            self.at(published, self.finish, node, life, id, 0, None, "")

    def progress(self, node: Node, life: int, id: str, stage: Stage) -> None:
        if node.incarnation == life and id in node.running:
            self.give(node, life, Progressed(id, stage, ""))

    def finish(
        self, node: Node, life: int, id: str, exit_code: int | None, fault: Fault | None, reason: str
    ) -> None:
        if node.incarnation != life or id not in node.running:
            return
        loan, award = node.running.pop(id)
        receipt = Receipt(
            job=loan.job,
            execution=id,
            round=loan.round,
            replica=award.replica,
            peer=node.peer,
            requester=loan.owner,
            spec_hash=loan.spec_hash,
            program="",
            inputs=(),
            exit_code=exit_code,
            fault=fault,
            reason=reason,
            result_cid=None if exit_code is None else "bafy",
            started_ms=0,
            ended_ms=0,
            cpu_ms=0,
            memory_bytes=0,
        )
        signed = Signed(body=wire.encode(receipt), signature=bytes(64))
        self.give(node, life, Finished(id, signed, receipt, "receipt-cid"))

    # What must always hold

    def check(self, node: Node) -> None:
        loans = node.core.lending.loans
        for name in RESOURCE_NAMES:
            held = sum(getattr(one.requirements.resources, name) for one in loans.values())
            assert held <= getattr(node.offer.total, name), f"{node.peer} has lent more {name} than it has"
        assert set(node.running) <= set(loans), "a program runs on resources that nobody holds"
        for job in node.core.jobs.values():
            self.check_job(job.record)

    def check_job(self, record: JobRecord) -> None:
        live = [one.replica for one in record.of(*LIVE)]
        assert len(live) == len(set(live)), f"{record.id}: a replica is run twice"
        assert all(one is not None and one < record.spec.count for one in live)
        for one in record.executions.values():
            assert one.state not in (ExecutionState.FAILED, ExecutionState.LOST) or one.reason, one

    def check_end(self) -> None:
        """After the trouble: every job has ended for a stated reason, and nobody holds or runs anything."""
        for node in self.nodes.values():
            if node.alive:
                assert not node.running, (node.peer, node.running)
                assert not node.core.lending.loans, (node.peer, node.core.lending.loans)
                assert not node.core.jobs, (node.peer, node.core.jobs)
        for id, node in self.submitted.items():
            if id in self.lost_jobs or not node.alive:
                continue
            record = wire.decode(node.jobs[id], JobRecord)
            assert record.ended, (id, record.state)
            assert record.reason or record.state is JobState.COMPLETED
            assert not record.of(*LIVE, ExecutionState.ASKED, ExecutionState.BID)
            if record.state is JobState.COMPLETED:
                done = sorted(one.replica or 0 for one in record.of(ExecutionState.COMPLETED))
                assert sorted(set(done)) == list(range(record.spec.count)) and len(done) == record.spec.count

    def records(self) -> list[JobRecord]:
        return [
            wire.decode(node.jobs[id], JobRecord)
            for id, node in self.submitted.items()
            if id not in self.lost_jobs and node.alive
        ]


def sim_spec(rng: random.Random, total_s: int | None = None) -> JobSpec:
    constraints = (Constraint(key="os", operator=Operator.EQUALS, values=("linux",)),)
    return JobSpec(
        type=JobType.BATCH,
        count=rng.choice([1, 1, 2, 3]),
        priority=rng.choice([0, 0, 100]),
        constraints=constraints,
        task=Task(
            engine=WasmEngine(entry_module="/m"),
            resources=Resources(cpu_millis=rng.choice([250, 500, 1000]), memory_bytes=100_000_000),
            timeouts=Timeouts(execution_s=rng.choice([4, 30]), total_s=total_s, queue_s=rng.choice([5, 60])),
        ),
    )
