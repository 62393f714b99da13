"""Real hosts on loopback, and a journal in memory, for the tests of the network."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from p2pnode.core.link.events import LinkRecord
from p2pnode.core.link.failure_detector import LinkEvent, OutboxEmptied
from p2pnode.core.wire.compartments import Compartment
from p2pnode.faults.guards import Guards
from p2pnode.identity import Identity
from p2pnode.network.host import Host, open_host
from p2pnode.network.links import Links
from p2pnode.network.private_network import NetworkKeys
from p2pnode.network.strangers import Strangers

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
WAIT_S = 15.0  # Much longer than anything here takes, on a busy machine too.


def new_identity() -> Identity:
    return Identity(secrets.token_bytes(32))


def keys_of(*keys: bytes | None) -> NetworkKeys | None:
    """The keys of a private network, the newest first; None: the open network."""
    found = [one for one in keys if one is not None]
    return (lambda: found) if found else None


async def until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> float:
    """Waits for the condition; returns how long it took. What it looks at has no event of its own."""
    started = trio.current_time()
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)
    return trio.current_time() - started


class MemoryJournal:
    """A `LinkJournal` that outlives the `Links` that use it, as a disk does."""

    def __init__(self) -> None:
        self.store = secrets.token_hex(16)
        self.records: dict[str, LinkRecord] = {}
        self.outboxes: dict[str, dict[int, bytes]] = {}
        self.fails = False

    def load_link(self, peer: str) -> tuple[LinkRecord, Sequence[tuple[int, bytes]]]:
        return self.records.get(peer, LinkRecord()), sorted(self.outboxes.get(peer, {}).items())

    def peers_waiting(self) -> list[str]:
        return [peer for peer, outbox in self.outboxes.items() if outbox]

    def save_link(self, peer: str, record: LinkRecord) -> None:
        self._check()
        self.records[peer] = record

    def add_message(self, peer: str, sequence: int, payload: bytes) -> None:
        self._check()
        self.outboxes.setdefault(peer, {})[sequence] = payload
        record = self.records.get(peer, LinkRecord())
        self.records[peer] = LinkRecord(record.peer_store, record.received, sequence)

    def forget_messages(self, peer: str, sequence: int) -> None:
        self._check()
        outbox = self.outboxes.get(peer, {})
        self.outboxes[peer] = {number: data for number, data in outbox.items() if number > sequence}

    def replace_messages(self, peer: str, record: LinkRecord, outbox: Sequence[tuple[int, bytes]]) -> None:
        self._check()
        self.records[peer], self.outboxes[peer] = record, dict(outbox)

    def mark_received(self, peer: str, sequence: int) -> None:
        self._check()
        record = self.records.get(peer, LinkRecord())
        self.records[peer] = LinkRecord(record.peer_store, sequence, record.sent)

    def _check(self) -> None:
        if self.fails:
            raise OSError("the disk is full")


@dataclass
class Node:
    """A host with links, and what came over them."""

    host: Host
    links: Links
    journal: MemoryJournal
    got: list[tuple[str, bytes]] = field(default_factory=list)
    events: list[LinkEvent] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    on_event: Callable[[LinkEvent], object] | None = None
    on_message: Callable[[str, bytes], Awaitable[None]] | None = None
    finds: Callable[[str], Awaitable[Sequence[str]]] | None = None

    @property
    def id(self) -> str:
        return self.host.peer_id

    @property
    def comings(self) -> list[LinkEvent]:
        """The events but those of outboxes, of which there is one for every few messages."""
        return [event for event in self.events if not isinstance(event, OutboxEmptied)]

    def meet(self, other: Node) -> None:
        self.known[other.id] = other.host.addresses()


class NoStrangers(Strangers):
    """Nobody waits."""

    def _has_to_wait(self, peer: str) -> bool:
        return False


@asynccontextmanager
async def open_node(
    identity: Identity | None = None, journal: MemoryJournal | None = None, listen: str = LOOPBACK
) -> AsyncIterator[Node]:
    journal = journal or MemoryJournal()
    async with open_host(identity or new_identity(), [listen]) as host:

        async def deliver(peer: str, sequence: int, payload: bytes) -> None:
            if node.on_message is not None:
                await node.on_message(peer, payload)
            journal.mark_received(peer, sequence)
            node.got.append((peer, payload))

        events: list[LinkEvent] = []
        failures: list[Exception] = []

        def notify(event: LinkEvent) -> None:
            events.append(event)
            if node.on_event is not None:
                node.on_event(event)

        async def find(peer: str) -> Sequence[str]:
            return () if node.finds is None else await node.finds(peer)

        def note(kind: Compartment, subject: str, error: Exception) -> None:
            node.problems.append((kind, subject, repr(error)))

        links = Links(
            host,
            journal.store,
            journal,
            deliver=deliver,
            notify=notify,
            addresses_of=lambda peer: node.known.get(peer, []),
            guards=Guards(note, failures.append),
            strangers=NoStrangers(),
            find=find,
        )
        node = Node(host, links, journal, events=events)
        async with trio.open_nursery() as nursery:
            await nursery.start(links.run)
            yield node
            nursery.cancel_scope.cancel()
