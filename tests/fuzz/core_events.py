"""Random well-formed events of hostile peers, given to real cores in the midst of honest work.

A case is a seeded network (`tests.sim`) into which events are put, one by one, that any peer could bring
about: messages made up out of the jobs, executions, peers and epochs that there are, or honest ones with a
few fields changed, in the name of a stranger or of one of the parties. After each the node's invariants
hold, and nothing is raised but `BadMessage`. Now and then a step is undone as if the journal had failed:
then memory has to be what the journal says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from p2pnode.core import recovery
from p2pnode.core.records import vetting
from p2pnode.core.records.events import (
    AdvertHeard,
    PeerBack,
    PeerLost,
    Received,
    Rejected,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec, messages
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Advert, Ended, Message
from p2pnode.core.wire.signing import Signed
from tests.sim.network import Node, Simulation
from tests.sim.specs import KINDS, sim_offer, sim_spec
from tests.sim.weather import Weather

from .made_up_messages import MessageMaker

STRANGERS = ("stranger0", "stranger1", "stranger2")
RUN_S = 60.0
EVENTS_PER_CASE = 150
# Honest messages that are kept, as hostile ones are made from them.
CAPTURED_MAX = 400
UNDONE_SHARE = 0.05


class Finding(Exception):
    """Something that no word of a peer may lead to."""


@dataclass
class Counts:
    events: int = 0
    refused: int = 0
    undone: int = 0


class HostileNetwork(Simulation):
    """`kept`: which of the case's hostile events take place, by number; None: all."""

    def __init__(self, seed: int, kept: frozenset[int] | None = None) -> None:
        rng = random.Random(f"network {seed}")
        super().__init__(seed, rng.choice([3, 4, 6]), Weather(crashes=rng.choice([0, 0, 1]), loss=0.02))
        self.seed = seed
        # Nobody lies in the name of a party, so that no honest peer has a reason to refuse another's word.
        self.strangers_only = seed % 3 == 0
        self.counts = Counts()
        self.captured: list[tuple[str, str, Message]] = []
        self.told: list[str] = []
        self.maker = MessageMaker(
            lambda: [record for node in self.nodes.values() for record in self.live(node)],
            lambda: [*STRANGERS, *self.nodes, *self.nodes],
        )
        for node in self.nodes.values():
            node.core.preempts = node.core.worker.preempts = rng.random() < 0.5
        for _ in range(rng.randint(2, 5)):
            node = rng.choice(list(self.nodes.values()))
            self.at(rng.uniform(2, 20), self.submit, node, sim_spec(rng, None, rng.choice(KINDS)))
        for number in range(EVENTS_PER_CASE):
            if kept is None or number in kept:
                self.at(rng.uniform(3, RUN_S), self.attack, number)

    def give(self, node: Node, incarnation: int, event: Any) -> None:
        node.core.jobs.touched = set()
        try:
            super().give(node, incarnation, event)
        except BadMessage as exc:
            honest = isinstance(event, Received) and event.peer in self.nodes
            if self.strangers_only and honest and not isinstance(exc, codec.Untimely):
                raise Finding(f"{node.peer} at {self.now:.3f} refused {event.peer}: {event}: {exc}") from exc
            # A word that was refused, be it of an honest peer that believed a hostile one.
            node.due = node.core.deadline
        except Exception as exc:
            raise Finding(f"{node.peer} at {self.now:.3f}: {event}: {exc!r} {exc.__cause__!r}") from exc

    def perform(self, node: Node, actions: list[Any]) -> None:
        to_nodes = [one for one in actions if getattr(one, "peer", node.peer) in self.nodes]
        for one in to_nodes:
            if hasattr(one, "message"):
                self.captured.append((node.peer, one.peer, _copy(one.message)))
        del self.captured[:-CAPTURED_MAX]
        super().perform(node, to_nodes)

    def attack(self, number: int) -> None:
        """One hostile event; a draw of its own for each, so that leaving one out changes no other."""
        rng = random.Random(f"attack {self.seed} {number}")
        peer, victim = rng.choice([*STRANGERS, *self.nodes]), rng.choice(sorted(self.nodes))
        pattern = None
        if self.captured and rng.random() < 0.75:
            # Another of the kinds that matter most, in the name of the party that sent it to that node.
            kind = rng.choice(get_args(Message))
            alike = [one for one in self.captured if isinstance(one[2], kind)]
            sender, to, pattern = rng.choice(alike or self.captured)
            if rng.random() < 0.7:
                peer, victim = sender, to
        if self.strangers_only:
            peer = rng.choice(STRANGERS)
        node = self.nodes[victim]
        if not node.alive or peer == victim:
            return
        event = self.event(rng, peer, node, pattern)
        if event is None:
            self.counts.refused += 1
            return
        self.counts.events += 1
        self.told.append(f"#{number} to {victim}: {event}")
        if rng.random() < UNDONE_SHARE:
            self.undo(node, event)
        self.give(node, node.incarnation, event)

    def event(self, rng: random.Random, peer: str, node: Node, pattern: Message | None) -> Any:
        chance = rng.random()
        if chance < 0.06 and peer != node.peer:
            return rng.choice(
                [PeerLost(peer, "silent"), PeerBack(peer), PeerLost(peer, "it forgot", forgot=True)]
            )
        if chance < 0.09:
            return self.advert(rng, peer)
        if chance < 0.12 and self.captured and not self.strangers_only:
            sent = [one for one in self.captured if one[0] == node.peer and one[1] != node.peer]
            if not sent:
                return None
            _, to, message = rng.choice(sent)
            return Rejected(to, message, "refused")
        message = self.maker.message(rng, pattern)
        return self.received(peer, node, message) if message is not None else None

    def advert(self, rng: random.Random, peer: str) -> AdvertHeard:
        capacity = sim_offer(rng)
        advert = Advert(
            peer=peer,
            number=rng.choice([0, 1, 10, 2**40]),
            issued_ms=int(self.now * 1000) + rng.choice([0, 10**6]),
            ttl_ms=rng.choice([0, 1, 60_000, 2**47]),
            name="",
            version="0",
            capacity=codec.replace(capacity, labels={**capacity.labels, "x": rng.choice("ab")}),
            addresses=(),
            leaving=rng.random() < 0.2,
        )
        signed = Signed(body=codec.encode(advert), signature=bytes(64))
        return AdvertHeard(signed, advert, 2**50, rng.choice(STRANGERS))

    def received(self, peer: str, node: Node, message: Message) -> Received | None:
        receipt = None
        if isinstance(message, Ended):
            try:
                receipt = vetting.receipt_untrusted(message.receipt.body)
            except BadMessage:
                return None
            if receipt.peer != peer or receipt.execution != message.execution:
                return None
        job = getattr(message, "job", None)
        held = job in node.core.jobs or job in node.core.replication.copies
        record = None if held or job not in node.jobs else self.record(node, job)
        return Received(peer, message, receipt, record)

    def live(self, node: Node) -> list[JobRecord]:
        return [*(job.record for job in node.core.jobs.values()), *node.core.replication.copies.values()]

    # Undoing

    def undo(self, node: Node, event: Any) -> None:
        """A step whose journal failed: what it touched is as the journal has it, the rest as before."""
        core = node.core
        before = {record.id: codec.encode(record) for record in self.live(node)}
        core.jobs.touched = set()
        try:
            core.handle(event, self.now)
        except BadMessage:
            return
        except Exception as exc:
            raise Finding(f"{node.peer}: {event}: {exc!r} {exc.__cause__!r}") from exc
        self.counts.undone += 1
        touched = set(core.jobs.touched)
        reservations = {id: codec.decode(data, Reservation) for id, data in node.reservations.items()}
        recovery.restore(
            core,
            lambda id: self.record(node, id) if id in node.jobs else None,
            reservations.values(),
            self.now,
        )
        after = {record.id: codec.encode(record) for record in self.live(node)}
        if core.worker.reservations != reservations:
            raise Finding(f"{node.peer}: reservations differ from the journal after {event}")
        for id in set(before) | set(after) | touched:
            stored = self.record(node, id) if id in node.jobs else None
            wanted = before.get(id)
            if id in touched:
                wanted = None if stored is None or stored.ended else _as_restored(stored, core.me)
            if after.get(id) != wanted:
                raise Finding(f"{node.peer}: {id} (touched: {id in touched}) is not restored after {event}")


def _copy(message: Message) -> Message:
    """As it is now: what it holds may change."""
    return messages.decode_message_untrusted(codec.encode(message))


def _as_restored(record: JobRecord, me: str) -> bytes:
    if record.owner == me:
        record.synced = {}
    return codec.encode(record)


def run_case(seed: int, kept: frozenset[int] | None = None) -> Counts:
    """Raises `Finding`, or AssertionError where an invariant breaks."""
    network = HostileNetwork(seed, kept)
    try:
        network.run(RUN_S + 60)
    except BadMessage as exc:
        raise Finding(f"an honest node sent what is refused: {exc}") from exc
    return network.counts


def shortest(seed: int, fails: Callable[[int, frozenset[int]], bool]) -> list[int]:
    """As few of a failing case's events as still fail, by leaving out ever smaller parts."""
    kept = list(range(EVENTS_PER_CASE))
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if fails(seed, frozenset(fewer)):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def fails(seed: int, kept: frozenset[int] | None) -> str | None:
    try:
        run_case(seed, kept)
    except (Finding, AssertionError) as exc:
        return str(exc) or repr(exc)
    return None


def explained(seed: int) -> str:
    """The failing case with the shortest sequence of events that was found."""
    kept = shortest(seed, lambda seed, kept: fails(seed, kept) is not None)
    network = HostileNetwork(seed, frozenset(kept))
    reason = ""
    try:
        network.run(RUN_S + 60)
    except (Finding, AssertionError) as exc:
        reason = str(exc) or repr(exc)
    return "\n".join([f"core, seed {seed}: {reason}", *network.told])
