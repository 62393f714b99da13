"""Two ends of a link on one clock, from one seed: streams that are cut at any time, crashes
with and without the disk, old streams that come back, a stranger's bytes.

Each message that an end accepts is delivered once and in order to a peer that keeps its
disk, whatever happens; and when the trouble is over, everything has arrived.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from p2pnode.core.link import machine as link
from p2pnode.core.link.events import (
    Accepted,
    Action,
    Deliver,
    Delivered,
    Discarded,
    Drop,
    Event,
    ForgetMessages,
    Forgot,
    FrameReceived,
    LinkRecord,
    LinkTick,
    Opened,
    Post,
    Refuse,
    ReplaceMessages,
    SaveMessage,
    SaveRecord,
    SendFrame,
    StreamEnded,
)
from p2pnode.core.link.frames import Hello, decode_frame_untrusted

SEEDS = 400
TROUBLE_S = 25.0
HEALING_S = 12.0
DELAY_S_MAX = 0.4
STEP_S = 0.05
# Some messages are refused by whoever gets them; they hold up nothing.
POISON_EVERY = 7


@dataclass
class Disk:
    """The remains of a crash. `log` is what the messages did: (sender's store, number of the post)."""

    store: str
    record: LinkRecord = field(default_factory=LinkRecord)
    outbox: dict[int, bytes] = field(default_factory=dict)
    log: list[tuple[str, int]] = field(default_factory=list)
    posted: int = 0


@dataclass
class Stream:
    """Bytes under way both ways, in order, each frame with the time at which it arrives."""

    opener: str
    frames: dict[str, list[tuple[float, bytes]]]
    open_at: dict[str, bool] = field(default_factory=dict)


class Network:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.streams: dict[int, Stream] = {}
        self.opened = 0
        self.disks = {name: Disk(self._store()) for name in "ab"}
        self.old_disks: dict[str, list[Disk]] = {"a": [], "b": []}
        self.machines: dict[str, link.Link] = {}
        self.delivering: dict[str, int | None] = {"a": None, "b": None}
        self.poison: dict[str, tuple[str, int] | None] = {"a": None, "b": None}
        self.hellos: list[bytes] = []
        for name in "ab":
            self.start(name)

    def _store(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def start(self, name: str) -> None:
        disk = self.disks[name]
        self.machines[name] = link.Link(
            own=name, peer=other(name), store=disk.store, record=disk.record, outbox=disk.outbox.items()
        )
        self.delivering[name] = self.poison[name] = None

    def crash(self, name: str, *, with_disk: bool) -> None:
        for number in [n for n, stream in self.streams.items() if stream.open_at.get(name)]:
            self.close(number, name)
        if with_disk:
            self.old_disks[name].append(self.disks[name])
            self.disks[name] = Disk(self._store())
        self.start(name)

    def close(self, number: int, name: str) -> None:
        """One end lets go of the stream: the other gets what is under way and then sees its end, or less."""
        stream = self.streams[number]
        stream.open_at[name] = False
        stream.frames[name].clear()
        if self.random.random() < 0.5:
            stream.frames[other(name)].clear()

    def give(self, name: str, event: Event) -> None:
        self.perform(name, self.machines[name].handle(event, self.now))

    def perform(self, name: str, actions: list[Action]) -> None:
        disk = self.disks[name]
        for action in actions:
            match action:
                case SendFrame(number, data):
                    stream = self.streams[number]
                    if isinstance(decode_frame_untrusted(data), Hello):
                        self.hellos.append(data)
                    if stream.open_at.get(other(name), True):
                        queue = stream.frames[other(name)]
                        earliest = queue[-1][0] if queue else self.now
                        queue.append((max(earliest, self.now + self.random.uniform(0, DELAY_S_MAX)), data))
                case Drop(number):
                    self.close(number, name)
                case Deliver(sequence, payload):
                    store, index = payload[:32].decode(), int(payload[32:])
                    assert self.delivering[name] is None
                    self.delivering[name] = sequence
                    if index % POISON_EVERY == 0:
                        # Nothing of it is committed; that it was refused is, once the machine hears of it.
                        self.poison[name] = (store, index)
                        continue
                    # Effects and number in one commit; the machine hears of it some time later.
                    disk.log.append((store, index))
                    record = self.machines[name].record
                    disk.record = LinkRecord(record.peer_store, sequence, disk.record.sent)
                case SaveMessage(sequence, payload):
                    disk.outbox[sequence] = payload
                    disk.record = LinkRecord(disk.record.peer_store, disk.record.received, sequence)
                case ForgetMessages(sequence):
                    disk.outbox = {n: p for n, p in disk.outbox.items() if n > sequence}
                case SaveRecord(record):
                    disk.record = record
                case ReplaceMessages(record, outbox):
                    disk.record, disk.outbox = record, dict(outbox)
                case Refuse():
                    disk.posted -= 1
                case Forgot():
                    assert self.old_disks[other(name)]

    def post(self, name: str) -> None:
        disk = self.disks[name]
        disk.posted += 1
        self.give(name, Post(f"{disk.store}{disk.posted}".encode()))

    def open(self, name: str) -> None:
        if self.machines[name].has_stream:
            return
        number = self.opened = self.opened + 1
        self.streams[number] = Stream(name, {"a": [], "b": []}, open_at={name: True})
        self.give(name, Opened(number))

    def step(self) -> None:
        """Make happen what is due: frames arrive, ends are noticed, ticks come."""
        self.now += STEP_S
        for name in "ab":
            if self.delivering[name] is not None and self.random.random() < 0.5:
                sequence, self.delivering[name] = self.delivering[name], None
                assert sequence is not None
                poison, self.poison[name] = self.poison[name], None
                if poison is not None:
                    self.disks[name].log.append(poison)
                    self.give(name, Discarded(sequence, "poison"))
                else:
                    self.give(name, Delivered(sequence))
            for number, stream in list(self.streams.items()):
                self._arrive(name, number, stream)
            if self.now >= self.machines[name].deadline:
                self.give(name, LinkTick())
        self.streams = {n: s for n, s in self.streams.items() if any(s.open_at.values())}

    def _arrive(self, name: str, number: int, stream: Stream) -> None:
        queue = stream.frames[name]
        while queue and queue[0][0] <= self.now and self.delivering[name] is None:
            _, data = queue.pop(0)
            if name != stream.opener and name not in stream.open_at:
                stream.open_at[name] = True
                self.give(name, Accepted(number, data))
            elif stream.open_at.get(name):
                self.give(name, FrameReceived(number, data))
        if not queue and stream.open_at.get(name) and stream.open_at.get(other(name)) is False:
            stream.open_at[name] = False
            self.give(name, StreamEnded(number, "the peer is gone"))

    def trouble(self) -> None:
        chance = self.random.random
        for name in "ab":
            if chance() < 0.10:
                self.post(name)
            if chance() < 0.05:
                self.open(name)
            if chance() < 0.004:
                self.crash(name, with_disk=False)
            if chance() < 0.0015:
                self.crash(name, with_disk=True)
        living = [n for n, s in self.streams.items() if any(s.open_at.values())]
        if living and chance() < 0.02:
            number, name = self.random.choice(living), self.random.choice("ab")
            self.close(number, name)
            self.give(name, StreamEnded(number, "cut"))
        if living and chance() < 0.01:
            self._forge(self.random.choice(living))

    def _forge(self, number: int) -> None:
        """Frames that a faulty peer may send: noise, nothing, a hello where none is due."""
        stream, name = self.streams[number], self.random.choice("ab")
        forged = self.random.choice([self.random.randbytes(20), b"", self.random.choice(self.hellos)])
        if self.machines[name].is_up and stream.open_at.get(name) and self.delivering[name] is None:
            self.give(name, FrameReceived(number, forged))


def other(name: str) -> str:
    return "b" if name == "a" else "a"


def run(seed: int) -> Network:
    network = Network(seed)
    while network.now < TROUBLE_S:
        network.trouble()
        network.step()
    for name in "ab":
        network.post(name)
    while network.now < TROUBLE_S + HEALING_S:
        if network.random.random() < 0.1:
            network.open(network.random.choice("ab"))
        network.step()
    check_order(network)
    return network


def check_order(network: Network) -> None:
    """Messages that one disk got from another are a run without a gap, a repetition or a step back."""
    for name in "ab":
        for disk in [*network.old_disks[name], network.disks[name]]:
            last: dict[str, int] = {}
            for store, index in disk.log:
                assert index == last.get(store, index - 1) + 1
                last[store] = index


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_message_arrives_once_and_in_order(seed: int) -> None:
    network = run(seed)
    for name in "ab":
        sender, machine = network.disks[name], network.machines[name]
        receivers = [*network.old_disks[other(name)], network.disks[other(name)]]
        arrived = {index for disk in receivers for store, index in disk.log if store == sender.store}
        assert arrived == set(range(1, sender.posted + 1))
        assert machine.is_up
        assert machine.waiting == 0
        # A disk that was never lost has each message once, and all of them.
        if len(receivers) == 1:
            assert [index for store, index in receivers[0].log if store == sender.store] == sorted(arrived)


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = run(7), run(7)
    assert [first.disks[name].log for name in "ab"] == [second.disks[name].log for name in "ab"]
