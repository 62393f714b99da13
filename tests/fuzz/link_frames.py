"""Real links between two honest nodes, while a third sends frames that are well formed and mean harm.

A case is one run on a made-up clock over streams in memory: the enemy opens streams, says hello with any
numbers, sends data, acks, rejects and beats in any order, noise, and falls silent; what it posts makes the
owner raise whatever comes to mind. The honest messages all arrive, once and in order, nothing but the
enemy's link and messages has failed, and the links still work.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from p2pnode.core.link.failure_detector import LinkEvent, LinkUp
from p2pnode.core.link.frames import (
    SEQUENCE_MAX,
    Ack,
    Beat,
    Data,
    Hello,
    Reject,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment
from p2pnode.faults.guards import Guards
from p2pnode.identity import Identity
from p2pnode.network.host import Unreachable
from p2pnode.network.links import Links
from p2pnode.network.strangers import Strangers
from p2pnode.network.streams import Stream
from tests.network_support import MemoryJournal

RUN_S = 240.0
ATTACKS_MAX = 60
HONEST_MESSAGES = 25
JUNK = b"junk"
A, B, ENEMY = (Identity(bytes([seed]) * 32).peer_id for seed in (1, 2, 3))


class _Inner:
    """One end of a stream in memory, as libp2p has them."""

    def __init__(self, peer: str, stream: trio.StapledStream[Any, Any]) -> None:
        self.muxed_conn = self
        self.peer_id = peer
        self._stream = stream

    def get_protocol(self) -> str:
        return "links"

    async def read(self, size_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(size_bytes))

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def close_write(self) -> None:
        await self._stream.send_eof()

    async def close(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        await self._stream.aclose()


@dataclass
class Net:
    """The peers that can be reached, and the tasks that serve them."""

    nursery: trio.Nursery
    rng: random.Random
    hosts: dict[str, FakeHost] = field(default_factory=dict)

    def open(self, opener: str, target: str) -> Stream:
        near, far = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.hosts[target].serve, Stream(_Inner(opener, far)))  # type: ignore[arg-type]
        return Stream(_Inner(target, near))  # type: ignore[arg-type]


class FakeHost:
    """The part of a host that links need."""

    def __init__(self, net: Net, peer: str) -> None:
        self.peer_id = peer
        self._net = net
        self._handler: Callable[[Stream], Awaitable[None]] | None = None
        net.hosts[peer] = self

    def watch(self, watcher: Any) -> None: ...

    def connected(self) -> list[str]:
        return list(self._net.hosts)

    def handle(self, protocol: str, handler: Any, **_: Any) -> None:
        self._handler = handler

    async def connect(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()
        if peer not in self._net.hosts or self._net.hosts[peer]._handler is None:
            raise Unreachable(f"no connection to {peer}")
        if peer == ENEMY and self._net.rng.random() < 0.3:
            raise ValueError("what nobody expects of a dial")

    async def disconnect(self, peer: str) -> None:
        await trio.lowlevel.checkpoint()

    async def open_stream(self, peer: str, protocols: Sequence[str], timeout_s: float) -> Stream:
        await trio.lowlevel.checkpoint()
        return self._net.open(self.peer_id, peer)

    async def serve(self, stream: Stream) -> None:
        """With the guard that a real host has."""
        assert self._handler is not None
        try:
            await self._handler(stream)
        except Exception:  # noqa: BLE001
            await stream.reset()


@dataclass
class Honest:
    peer: str
    links: Links
    journal: MemoryJournal
    got: list[bytes] = field(default_factory=list)
    failed: list[tuple[Compartment, str]] = field(default_factory=list)
    events: list[LinkEvent] = field(default_factory=list)


def honest(net: Net, peer: str, rng: random.Random) -> Honest:
    journal = MemoryJournal()

    async def deliver(sender: str, sequence: int, payload: bytes) -> None:
        if payload == JUNK:
            errors = (BadMessage("junk"), KeyError("x"), RecursionError(), ExceptionGroup("", [OSError()]))
            raise rng.choice(errors)
        journal.mark_received(sender, sequence)
        if sender != ENEMY:
            node.got.append(payload)

    def notify(event: LinkEvent) -> None:
        node.events.append(event)
        if isinstance(event, LinkUp) and event.peer == ENEMY:
            # Posts from within, to the enemy and to the friend.
            node.links.send(ENEMY, b"from within")

    links = Links(
        FakeHost(net, peer),  # type: ignore[arg-type]
        journal.store,
        journal,
        deliver=deliver,
        notify=notify,
        addresses_of=lambda peer: (),
        guards=Guards(lambda kind, subject, error: node.failed.append((kind, subject)), print),
        strangers=Strangers(),
    )
    node = Honest(peer, links, journal)
    return node


def frame(rng: random.Random, stores: Sequence[str]) -> bytes:
    """A frame, or what is none."""
    number = rng.choice([0, 1, 2, 3, 5, rng.randrange(100), 2**31, SEQUENCE_MAX])
    store = rng.choice([*stores, f"{rng.getrandbits(128):032x}"])
    hello = Hello(
        version=rng.choice([2, 2, 2, 2, 1, 3]),
        store=store,
        first=max(1, rng.choice([1, 1, number])),
        known=rng.choice(["", *stores]),
        received=rng.choice([0, number]),
    )
    made = rng.choice(
        [
            hello,
            Data(sequence=number, payload=rng.choice([JUNK, JUNK, b"fine", b""])),
            Ack(sequence=number),
            Reject(sequence=number, reason=rng.choice(["", "no", "\x1b[2J"])),
            Beat(),
            None,
        ]
    )
    data = codec.encode(made) if made is not None else rng.randbytes(rng.randrange(40))
    length = len(data) if rng.random() < 0.95 else rng.choice([0, 1, len(data) + 1, 2**32 - 1])
    return length.to_bytes(4, "big") + data


async def attack(net: Net, rng: random.Random, victims: Sequence[Honest]) -> int:
    """Opens streams and says what it should not; how often."""
    streams: list[tuple[Stream, str]] = []
    own = [f"{rng.getrandbits(128):032x}" for _ in range(2)]
    sequence = dict.fromkeys((A, B), 0)
    done = 0
    for number in range(ATTACKS_MAX):
        step = random.Random(f"{rng.random()} {number}")
        done += 1
        await trio.sleep(step.choice([0.0, 0.01, 0.5, 3.0, 7.0]))
        victim = step.choice(victims)
        if not streams or step.random() < 0.3:
            stream = net.open(ENEMY, victim.peer)
            streams.append((stream, victim.peer))
            # Half of them get as far as a link that is up, where the harm is.
            if step.random() < 0.6:
                hello = Hello(version=4, store=own[0], first=sequence[victim.peer] + 1, known="", received=0)
                await _write(stream, _framed(codec.encode(hello)) + _framed(codec.encode(Beat())))
            continue
        stream, peer = step.choice(streams)
        if step.random() < 0.4:
            sequence[peer] += 1
            payload = step.choice([JUNK, JUNK, b"fine"])
            await _write(stream, _framed(codec.encode(Data(sequence=sequence[peer], payload=payload))))
        elif step.random() < 0.15:
            await stream.reset()
        else:
            await _write(stream, frame(step, [*own, victim.journal.store]))
    for stream, _ in streams:
        await stream.reset()
    return done


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


async def _write(stream: Stream, data: bytes) -> None:
    try:
        await stream.write(data, 5.0)
    except Exception:  # noqa: BLE001  # The victim has dropped it, which is its right.
        await stream.reset()


async def _case(seed: int) -> int:
    rng = random.Random(seed)
    async with trio.open_nursery() as nursery:
        net = Net(nursery, rng)
        a, b = honest(net, A, rng), honest(net, B, rng)
        FakeHost(net, ENEMY).handle("", lambda stream: stream.reset())
        for node in (a, b):
            await nursery.start(node.links.run)
        done: list[int] = []

        async def enemy() -> None:
            done.append(await attack(net, random.Random(f"attack {seed}"), (a, b)))

        nursery.start_soon(enemy)
        for number in range(HONEST_MESSAGES):
            a.links.send(B, b"a%d" % number)
            b.links.send(A, b"b%d" % number)
            await trio.sleep(rng.uniform(0, 6))
        with trio.move_on_after(RUN_S):
            while not done or a.links.waiting(B) or b.links.waiting(A):  # noqa: ASYNC110
                await trio.sleep(1)
        check(a, b"b")
        check(b, b"a")
        nursery.cancel_scope.cancel()
    return done[0] if done else 0


def check(node: Honest, sender: bytes) -> None:
    assert node.got == [sender + b"%d" % number for number in range(HONEST_MESSAGES)], node.got
    wrong = [one for one in node.failed if one[1] != ENEMY]
    assert not wrong, wrong
    enemy = node.links._ends.get(ENEMY)
    assert enemy is None or len(enemy.streams) <= ATTACKS_MAX


def run_case(seed: int) -> int:
    """One case; how many things the enemy did. Raises what is found."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_case, seed, clock=clock)
