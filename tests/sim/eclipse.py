"""A joiner that strangers try to shut off from its network: a step each second, real decisions.

The strangers have many ids and few ranges of addresses. They dial the joiner as soon as it is there, accept
each dial, tell of each other and of peers that they invented, and never of the honest.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from p2pnode.core.link.inbound import Inbound, admit
from p2pnode.core.link.neighbours import Neighbours
from p2pnode.core.link.remembered import Remembered, public_range
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.wire.codec import replace
from tests.core_support import advert, signed

EPOCH = 1_700_000_000.0
ADVERT_S = 60
COMES_PER_S = 25
TOLD_PER_S = 50
SIGNED = signed(advert("any"))


class Eclipse:
    """`honest` nodes, each in a range of its own, one of them given; strangers share `ranges`.

    In a lab (`ranges` 0) all have one range.
    """

    def __init__(self, seed: int, honest: int = 24, strangers: int = 600, ranges: int = 4) -> None:
        self.random = random.Random(seed)
        self.now = EPOCH
        self.address = {f"honest {n}": f"{20 + n}.{self.random.randrange(250)}.1.1" for n in range(honest)}
        self.honest = list(self.address)
        self.strangers = [f"stranger {n}" for n in range(strangers)]
        for n, peer in enumerate(self.strangers):
            near = n % max(ranges, 1)
            self.address[peer] = f"9.{near % 250}.{near // 250}.{n // max(ranges, 1) % 250}"
        if not ranges:
            self.address = {peer: f"10.0.{n // 250}.{n % 250}" for n, peer in enumerate(self.address)}
        self.given_alive = True
        self.remembered = Remembered()
        self.begin()

    def begin(self) -> None:
        """The joiner starts, perhaps again: what it remembers is on its disk."""
        self.neighbours = Neighbours("me", frozenset({self.honest[0]}), self.random.random)
        self.remembered = Remembered.of(dict(reversed(self.remembered.peers.items())))
        self.table = AdvertTable()
        self.connected: dict[str, Inbound] = {}
        self.inbound: set[str] = set()
        self.invented = 0

    def step(self) -> None:
        self.now += 1
        self.table.expire(self.now)
        for peer in self.random.sample(self.strangers, COMES_PER_S):
            if peer not in self.connected:
                self._comes(peer)
        if int(self.now) % ADVERT_S == 0:
            # Adverts of the honest come while one of them is a neighbour.
            if any(peer in self.connected for peer in self.honest):
                self._hear_honest()
            for peer in [peer for peer in self.connected if peer in self.strangers]:
                self._learn(peer, peer)
        for peer in [one for one in self.connected if one in self.strangers][:4]:
            self._invent(peer)
        self._look()

    def _comes(self, peer: str) -> None:
        held = [self.connected[one] for one in self.inbound]
        verdict = admit(self.address[peer], False, held)
        if verdict.refused:
            return
        if verdict.goes:
            self._drop(verdict.goes)
        self.inbound.add(peer)
        self._connect(peer)

    def _connect(self, peer: str) -> None:
        host = self.address[peer]
        self.connected[peer] = Inbound(peer, host, self.now, self.now, False)
        self.table.connection_changed(peer, connected=True, host=host)
        self._learn(peer, peer)
        if peer in self.honest:
            self._hear_honest()

    def _drop(self, peer: str) -> None:
        del self.connected[peer]
        self.inbound.discard(peer)
        self.table.connection_changed(peer, connected=False)

    def _hear_honest(self) -> None:
        forwarder = next((one for one in self.honest if one in self.connected), "")
        for peer in self.honest:
            if forwarder and (peer != self.honest[0] or self.given_alive):
                self._learn(peer, forwarder)

    def _invent(self, forwarder: str) -> None:
        for _ in range(TOLD_PER_S // 4):
            self.invented += 1
            self._learn(f"invented {self.invented}", forwarder)

    def _learn(self, peer: str, forwarder: str) -> None:
        host = self.address.get(peer) or self.address[self.random.choice(self.strangers)]
        told = replace(
            advert(peer, int(self.now), int(self.now * 1000), ttl_ms=180_000),
            addresses=(f"/ip4/{host}/tcp/{4001 + self.invented % 1000}",),
        )
        self.table.learn(SIGNED, told, 180_000, self.now, forwarder)
        known = self.table.known.get(peer)
        if known is not None and known.brought_by is None:
            self.remembered.add(peer, told.addresses)

    def _look(self) -> None:
        known: dict[str, Sequence[str]] = dict(self.remembered.peers)
        known |= {peer: one.advert.addresses for peer, one in self.table.known.items()}
        known[self.honest[0]] = (f"/ip4/{self.address[self.honest[0]]}/tcp/4001",)
        look = self.neighbours.look(
            self.connected,
            known,
            self.table.known,
            lambda peer: self.now if peer in self.strangers else 0.0,
            (),
            self.now,
            reached=self.remembered.peers,
            range_of=lambda peer: public_range(known.get(peer, ())),
        )
        for peer in look.close:
            self._drop(peer)
        for peer in look.dial:
            dead = peer not in self.address or (peer == self.honest[0] and not self.given_alive)
            if not dead and peer not in self.connected:
                self._connect(peer)
                self.remembered.add(peer, known[peer])
            self.neighbours.dialled(peer, self.now, failed=dead)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.step()

    def lose_given(self) -> None:
        """The given peer is gone for good, and all honest connections break with it."""
        self.given_alive = False
        for peer in [one for one in self.connected if one in self.honest]:
            self._drop(peer)

    @property
    def honest_links(self) -> int:
        return sum(peer in self.connected for peer in self.honest)

    @property
    def honest_known(self) -> int:
        return sum(peer in self.table.known for peer in self.honest)
