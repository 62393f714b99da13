"""A network of nodes that choose their neighbours: a step each second, adverts for whoever is in reach."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from p2pnode.core.link.neighbours import Neighbours
from p2pnode.core.placement.adverts import ADVERT_TTL_INTERVALS, advert_interval_s

# A dial of a peer that does not answer.
DIAL_S = 5.0


class Crowd:
    """`size` nodes, the first of which is given to all others; `per_s` of them join each second."""

    def __init__(self, seed: int, size: int, per_s: float = 10.0) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.names = [f"n{number}" for number in range(size)]
        self.deciding: dict[str, Neighbours] = {}
        self.connections: dict[str, set[str]] = {}
        self.used: dict[frozenset[str], float] = {}
        # When what each knows of each by advert expires.
        self.heard: dict[str, dict[str, float]] = {}
        # All with whom each was connected ever.
        self.met: dict[str, set[str]] = {}
        self.advert_at: dict[str, float] = {}
        self.dials_ending: list[tuple[float, str, str]] = []
        self.side: dict[str, int] = {}
        self.dials = self.closes = 0
        self.joins = {name: number / per_s for number, name in enumerate(self.names)}
        # Nodes that nobody can dial.
        self.hidden: set[str] = set()

    def start(self, name: str) -> None:
        given = frozenset({self.names[0]} - {name})
        self.deciding[name] = Neighbours(name, given, self.random.random)
        self.connections[name] = set()
        self.heard[name] = {}
        self.met.setdefault(name, set())
        self.advert_at[name] = self.now

    def kill(self, name: str) -> None:
        del self.deciding[name], self.heard[name], self.advert_at[name]
        for peer in self.connections.pop(name):
            self.connections[peer].discard(name)

    def cut(self, one: Callable[[str], bool]) -> None:
        """The network falls into two: those of which `one` is true, and the others."""
        self.side = {name: int(one(name)) for name in self.names}
        for name in self.connections:
            self.connections[name] = {peer for peer in self.connections[name] if self._reaches(name, peer)}

    def heal(self) -> None:
        self.side = {}

    def _reaches(self, one: str, other: str) -> bool:
        return self.side.get(one, 0) == self.side.get(other, 0)

    def use(self, one: str, other: str) -> None:
        """A job of one at the other: a connection is opened where there is none."""
        self._connect(one, other)

    def _connect(self, one: str, other: str) -> None:
        self.connections[one].add(other)
        self.connections[other].add(one)
        self.used[frozenset((one, other))] = self.now
        # Each hears the table of the other; and soon those behind it hear of it.
        for name, peer in ((one, other), (other, one)):
            self.met[name].add(peer)
            for known, expires in [*self.heard[peer].items(), (peer, self.now + 90)]:
                self.heard[name][known] = max(expires, self.heard[name].get(known, 0.0))
        for name in (one, other):
            if len(self.connections[name]) < 3:
                self.advert_at[name] = min(self.advert_at[name], self.now + 1)

    def step(self) -> None:
        self.now += 1
        for name, at in list(self.joins.items()):
            if at <= self.now:
                del self.joins[name]
                self.start(name)
        self._advertise()
        self._end_dials()
        for name in self.random.sample(sorted(self.deciding), len(self.deciding)):
            self._look(name)

    def _advertise(self) -> None:
        for name, at in list(self.advert_at.items()):
            if at > self.now:
                continue
            interval_s = advert_interval_s(len(self.heard[name]))
            self.advert_at[name] = self.now + interval_s * (0.75 + self.random.random() / 2)
            for peer in self.component(name):
                self.heard[peer][name] = self.now + ADVERT_TTL_INTERVALS * interval_s
        for table in self.heard.values():
            for peer in [peer for peer, expires in table.items() if expires <= self.now]:
                del table[peer]

    def _end_dials(self) -> None:
        waiting, self.dials_ending = self.dials_ending, []
        for at, name, peer in waiting:
            if at > self.now:
                self.dials_ending.append((at, name, peer))
            elif name in self.deciding:
                self.deciding[name].dialled(peer, self.now, failed=True)

    def _look(self, name: str) -> None:
        heard = self.heard[name]
        known = sorted({*heard, *self.met[name], *self.deciding[name].given})
        look = self.deciding[name].look(
            self.connections[name],
            known,
            heard,
            lambda peer: self.used.get(frozenset((name, peer)), 0.0),
            (),
            self.now,
        )
        for peer in look.close:
            self.closes += 1
            self.connections[name].discard(peer)
            self.connections[peer].discard(name)
        for peer in look.dial:
            self.dials += 1
            if peer in self.deciding and self._reaches(name, peer) and peer not in self.hidden:
                self._connect(name, peer)
                self.deciding[name].dialled(peer, self.now, failed=False)
            elif peer in self.deciding or self.random.random() < 0.5:
                self.dials_ending.append((self.now + DIAL_S, name, peer))
            else:
                self.deciding[name].dialled(peer, self.now, failed=True)

    # Questions

    def component(self, name: str) -> set[str]:
        found, pending = {name}, [name]
        while pending:
            for peer in self.connections[pending.pop()]:
                if peer not in found:
                    found.add(peer)
                    pending.append(peer)
        return found

    def is_one(self) -> bool:
        return len(self.component(next(iter(self.deciding)))) == len(self.deciding)

    def degrees(self) -> list[int]:
        return sorted(len(peers) for peers in self.connections.values())

    def run(self, seconds: float) -> Iterator[None]:
        until = self.now + seconds
        while self.now < until:
            self.step()
            yield
