"""Two nodes with one identity and their common neighbour, by seed: both are told, and the right one stays.

The rules of all three are the core's; what lies between them (connections that end and come back when
they like, tables that are not answered, a copy whose clock is ahead) is made up here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from p2pnode.core.placement.twins import Doubles, OwnNumbers
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire.signing import Signed

PEER = "twin"
STEP_S = 0.25
COPY_COMES_S, COPY_GOES_S, END_S = 5.0, 60.0, 120.0
TOLD_WITHIN_S = 40.0
# As nodes have it (p2pnode.node.advertiser).
ADVERT_GAP_S = 20.0
PULL_AGAIN_S, PULLS_BURST = 30.0, 6
# A process that is asked for its table may be slow, or its connection gone.
ANSWERS = 0.8
SEEDS = 400


@dataclass
class Said:
    """An advert: its number, whose it is, and whether it is a farewell."""

    number: int
    author: bytes
    leaving: bool = False

    def signed(self) -> Signed:
        body = self.number.to_bytes(8, "big") + self.author + bytes([self.leaving])
        return Signed(body=body, signature=b"")

    @classmethod
    def of(cls, signed: Signed) -> Said:
        return cls(int.from_bytes(signed.body[:8], "big"), signed.body[8:9], bool(signed.body[9]))


@dataclass
class Twin:
    key: bytes
    clock_s: float
    own: OwnNumbers = field(default_factory=OwnNumbers)
    said: Said | None = None
    alive: bool = True
    connected: bool = False
    back: float = 0.0
    advertises: float = 0.0
    pulls: TokenBucket = field(default_factory=lambda: TokenBucket(1 / PULL_AGAIN_S, PULLS_BURST))
    told: float | None = None


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.right = Twin(b"r", clock_s=0.0)
        self.copy = Twin(b"c", clock_s=self.random.choice((-50.0, 0.0, 50.0)), back=COPY_COMES_S)
        self.twins = (self.right, self.copy)
        self.doubles = Doubles()
        self.newest: Said | None = None
        self.parts_at: float | None = None
        self.neighbour_told: float | None = None
        self.leaves = self.random.random() < 0.5
        self.now = 0.0

    def run(self, until: float) -> None:
        while self.now < until:
            self.now += STEP_S
            for twin in self.random.sample(self.twins, 2):
                self.step(twin)
            if self.parts_at is not None and self.now >= self.parts_at:
                self.part()

    def step(self, twin: Twin) -> None:
        if not twin.alive:
            return
        if not twin.connected and self.now >= twin.back:
            self.connect(twin)
        if twin.connected and self.now >= twin.advertises:
            self.advertise(twin)

    def connect(self, twin: Twin) -> None:
        twin.connected = True
        keys = {one.key for one in self.twins if one.connected}
        parts, tells = self.doubles.connected(PEER, keys, self.now)
        if tells and self.neighbour_told is None:
            self.neighbour_told = self.now
        if parts and self.parts_at is None:
            self.parts_at = self.now + self.random.uniform(STEP_S, 5.0)
        if twin.said is None:
            self.advertise(twin)
        else:
            self.heard_by_neighbour(twin.said)
        if not twin.pulls.take(1, self.now):
            self.pull(twin)

    def pull(self, twin: Twin) -> None:
        """Read the neighbour's table."""
        entries = [Said.of(one) for one in self.doubles.said(PEER, self.now)]
        for one in (*entries, *([self.newest] if self.newest else [])):
            if not twin.own.is_foreign(one.number):
                continue
            tells, answers = twin.own.heard(one.number, self.now, leaving=one.leaving)
            if tells and twin.told is None:
                twin.told = self.now
            if answers:
                self.advertise(twin)

    def advertise(self, twin: Twin, *, leaving: bool = False) -> None:
        twin.said = Said(twin.own.next(int((1_000 + self.now + twin.clock_s) * 1000)), twin.key, leaving)
        twin.advertises = self.now + ADVERT_GAP_S
        self.heard_by_neighbour(twin.said)

    def heard_by_neighbour(self, said: Said) -> None:
        if self.newest is None or said.number > self.newest.number:
            self.newest = said
            self.doubles.heard(PEER, None, said.signed())

    def part(self) -> None:
        """The neighbour has asked each of them, and ends the connections of all."""
        self.parts_at = None
        for twin in self.twins:
            if twin.connected and twin.said and self.random.random() < ANSWERS:
                self.doubles.heard(PEER, twin.key, twin.said.signed())
        self.disconnect(*(twin for twin in self.twins if twin.connected))

    def disconnect(self, *twins: Twin) -> None:
        for twin in twins:
            twin.connected = False
            twin.back = self.now + self.random.uniform(STEP_S, 5.0)

    def copy_goes(self) -> None:
        if self.leaves and self.copy.connected:
            self.advertise(self.copy, leaving=True)
        was_connected = self.copy.connected
        self.copy.alive = self.copy.connected = False
        left = {self.right.key} if self.right.connected else set[bytes]()
        if was_connected and self.doubles.disconnected(PEER, self.copy.key, left):
            self.disconnect(self.right)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_are_told_and_the_right_one_is_listed_when_the_copy_has_gone(seed: int) -> None:
    world = World(seed)
    world.run(COPY_GOES_S)
    for twin in world.twins:
        assert twin.told is not None and twin.told <= COPY_COMES_S + TOLD_WITHIN_S, twin
    assert world.neighbour_told is not None
    world.copy_goes()
    world.run(END_S)
    assert world.right.connected
    assert world.newest is not None
    assert (world.newest.author, world.newest.leaving) == (world.right.key, False)
