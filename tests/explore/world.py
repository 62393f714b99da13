"""A few nodes and the links between them as one value, and what may happen to them next.

What a quiet network would do next is the `usual` choice: it hears who is back, delivers what is under way,
ends programs, lets time pass. Everything else that may happen is a deviation: another order of delivery,
time that passes first, a cut, a death with the disk or without it, a user's wish. From every world the usual
choices lead to the end of the job, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import inf
from typing import NamedTuple

from p2pnode.core.link.detection_times import LOST_AFTER_SILENCE_S

from .enemy import said_by
from .nodes import EPOCH, PEERS, REQUESTER, WORKER, Nodes, Told, next_second

# Long enough for a take-over by the second deputy, and for what it does to meet the return of who was away.
CUT_S = DOWN_S = 20
# A message on a link that is up takes no longer, or the link would be down.
DELAY_S_MAX = 6
# Nodes that have something to do still do it sooner.
SETTLES_S = 30
Pair = tuple[str, str]


class Choice(NamedTuple):
    """One thing that happens, as a trace says it."""

    what: str
    peer: str = ""
    other: str = ""
    detail: bytes | str = b""


class World(NamedTuple):
    now: int
    nodes: tuple[int, ...]
    # Messages under way, by sender and receiver: each link keeps its order.
    links: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    # Pairs that do not hear each other, since when.
    cut: tuple[tuple[str, str, int], ...] = ()
    # Nodes that are down, since when, and whether they come back.
    down: tuple[tuple[str, int, bool], ...] = ()
    # Disks of others as each link knows them: how often each was lost.
    disks: tuple[int, ...] = (0,) * len(PEERS)
    known_disks: tuple[tuple[int, ...], ...] = ((0,) * len(PEERS),) * len(PEERS)
    # Troubles that there may still be: cuts, deaths, lost disks, wishes of the user, lies.
    left: tuple[int, ...] = (0, 0, 0, 0, 0)
    # When the last trouble ended.
    calm_since: int = EPOCH


class Limits(NamedTuple):
    """How many troubles there may be at most."""

    cuts: int = 0
    deaths: int = 0
    lost_disks: int = 0
    wishes: int = 0
    lies: int = 0
    liar: str = ""


CUTS, DEATHS, DISKS, WISHES, LIES = range(5)


class Worlds:
    """Tells what may happen to worlds, and what comes of it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = Nodes(frozenset({limits.liar} - {""}))

    def first(self) -> World:
        """A job was submitted, and nothing of it has been told to anybody."""
        numbers = tuple(self.nodes.fresh(peer) for peer in PEERS)
        world = World(EPOCH, numbers, left=self.limits[:5])
        return self._told(world, REQUESTER, ("submit",))

    def usual(self, world: World) -> Choice | None:
        """The choice of a network that is left alone; None: nothing is left to happen."""
        for choice in self._heard_again(world):
            return choice
        for choice in self._deliveries(world):
            return choice
        for at, choice in sorted(self._dated(world), key=lambda one: (max(one[0], world.now), one[1])):
            if at <= world.now:
                return choice
            over = at > world.now + SETTLES_S and self.is_over(world)
            return None if over else Choice("time passes", detail=str(at))
        return None

    def deviations(self, world: World) -> Iterator[Choice]:
        """Everything else that may happen."""
        usual = self.usual(world)
        deliveries = list(self._deliveries(world))
        yield from (one for one in deliveries if one != usual)
        dated = list(self._dated(world))
        later = min((at for at, _ in dated if at > world.now), default=inf)
        if deliveries and later <= world.now + DELAY_S_MAX:
            yield Choice("time passes", detail=str(later))
        yield from (one for _, one in dated if one != usual and one.what in ("finish", "heal", "restart"))
        yield from self._troubles(world)

    def is_over(self, world: World) -> bool:
        """Whether the job has ended for all that are there, and nothing is under way or out of order."""
        if world.cut or any(back for *_, back in world.down) or any(self._deliveries(world)):
            return False
        up = [self.nodes[number] for number in self.up(world).values()]
        return all(not node.programs and not node.owns and node.has_ended for node in up)

    def up(self, world: World) -> dict[str, int]:
        """The nodes that are not down, by name."""
        down = {peer for peer, *_ in world.down}
        return {peer: one for peer, one in zip(PEERS, world.nodes, strict=True) if peer not in down}

    def is_busy(self, world: World) -> bool:
        """Whether something is on its way to somebody who is there."""
        return any(self._heard_again(world)) or any(self._deliveries(world))

    def after(self, world: World, choice: Choice) -> World:
        """The world after what happens."""
        match choice:
            case Choice("deliver", sender, receiver):
                return self._delivered(world, sender, receiver)
            case Choice("hear again", peer, other):
                return self._hears_again(world, peer, other)
            case Choice("time passes", detail=at):
                return world._replace(now=int(float(at)))
            case Choice("silent", peer, other):
                return self._told(world, peer, ("lost", other))
            case Choice("tick", peer):
                return self._told(world, peer, ("tick",))
            case Choice("finish", peer, detail=execution):
                return self._told(world, peer, ("finish", execution))
            case Choice("cut", peer, other):
                cut = {*world.cut, *((*pair, world.now) for pair in _pairs(peer, other))}
                return _less(world._replace(cut=tuple(sorted(cut))), CUTS)
            case Choice("heal"):
                return self._calmer(world._replace(cut=()))
            case Choice("restart", peer):
                down = tuple(one for one in world.down if one[0] != peer)
                return self._calmer(self._told(world._replace(down=down), peer, ("start",)))
            case Choice("die" | "die for ever" | "lose disk", peer):
                return self._died(world, peer, choice.what)
            case Choice("lie", peer, other, bytes(data)):
                return _less(_sent(world, peer, ((other, self.nodes.said(data)),)), LIES)
            case Choice(wish):
                return _less(self._told(world, REQUESTER, (wish,)), WISHES)

    # Choices

    def _heard_again(self, world: World) -> Iterator[Choice]:
        for peer in PEERS:
            for other in PEERS:
                if (
                    peer != other
                    and self._connected(world, peer, other)
                    and not self._hears(world, peer, other)
                ):
                    yield Choice("hear again", peer, other)

    def _deliveries(self, world: World) -> Iterator[Choice]:
        for sender, receiver, _ in world.links:
            if self._connected(world, sender, receiver) and self._hears(world, receiver, sender):
                yield Choice("deliver", sender, receiver)

    def _dated(self, world: World) -> Iterator[tuple[float, Choice]]:
        """Choices that have a time of their own."""
        for peer, number in self.up(world).items():
            node = self.nodes[number]
            for other in sorted(node.partners - node.lost):
                since = self._apart_since(world, peer, other)
                if since is not None:
                    yield since + LOST_AFTER_SILENCE_S, Choice("silent", peer, other)
            if node.deadline < inf:
                yield next_second(node.deadline), Choice("tick", peer)
            for program in node.programs:
                yield program.due, Choice("finish", peer, detail=program.execution)
        if world.cut:
            yield min(since for *_, since in world.cut) + CUT_S, Choice("heal")
        for peer, since, back in world.down:
            if back:
                yield since + DOWN_S, Choice("restart", peer)

    def _troubles(self, world: World) -> Iterator[Choice]:
        left, up = world.left, self.up(world)
        if left[CUTS] and not world.cut:
            yield from (Choice("cut", *pair) for pair in combinations(PEERS, 2))
            yield from (Choice("cut", peer) for peer in PEERS)
        if left[DEATHS] and not world.down:
            yield from (Choice("die", peer) for peer in up)
        if left[DISKS] and not world.down:
            # A job that nobody else has is lost with the disk of its requester, and nobody can help it.
            have = [peer for peer, number in up.items() if self.nodes[number].jobs]
            spared = have[0] if len(have) == 1 else ""
            yield from (Choice("lose disk", peer) for peer in up if peer != spared)
            # Without a worker the job waits for one, for ever.
            yield from (Choice("die for ever", peer) for peer in up if peer not in (spared, WORKER))
        if left[WISHES] and REQUESTER in up:
            node = self.nodes[world.nodes[0]]
            if node.jobs:
                yield from (Choice(wish) for wish in ("rerun", "update"))
                yield from [Choice("stop")] if not node.has_ended else []
        if left[LIES] and self.limits.liar in up:
            liar = self.nodes[world.nodes[PEERS.index(self.limits.liar)]]
            yield from (Choice("lie", self.limits.liar, to, data) for to, data in said_by(liar, world.now))

    # Effects

    def _told(self, world: World, peer: str, told: Told) -> World:
        index = PEERS.index(peer)
        number, sends = self.nodes.step(world.nodes[index], told, world.now)
        nodes = (*world.nodes[:index], number, *world.nodes[index + 1 :])
        return _sent(world._replace(nodes=nodes), peer, sends)

    def _delivered(self, world: World, sender: str, receiver: str) -> World:
        queues = {(one, other): queue for one, other, queue in world.links}
        data, *rest = queues.pop((sender, receiver))
        if rest:
            queues[sender, receiver] = tuple(rest)
        world = world._replace(links=_links(queues))
        return self._told(world, receiver, ("receive", sender, self.nodes.message(data)))

    def _hears_again(self, world: World, peer: str, other: str) -> World:
        one, two = PEERS.index(peer), PEERS.index(other)
        if world.known_disks[one][two] != world.disks[two]:
            known = (*world.known_disks[one][:two], world.disks[two], *world.known_disks[one][two + 1 :])
            all_known = (*world.known_disks[:one], known, *world.known_disks[one + 1 :])
            world = self._told(world._replace(known_disks=all_known), peer, ("forgot", other))
        if other in self.nodes[world.nodes[one]].lost:
            world = self._told(world, peer, ("back", other))
        return world

    def _died(self, world: World, peer: str, how: str) -> World:
        index = PEERS.index(peer)
        world = world._replace(down=(*world.down, (peer, world.now, how != "die for ever")))
        if how == "die":
            return _less(self._told(world, peer, ("crash",)), DEATHS)
        # Messages that wait on its links end with the disk.
        links = tuple(one for one in world.links if peer not in one[:2])
        disks = (*world.disks[:index], world.disks[index] + 1, *world.disks[index + 1 :])
        known = (*world.known_disks[:index], world.disks, *world.known_disks[index + 1 :])
        world = world._replace(links=links, disks=disks, known_disks=known)
        return _less(self._told(world, peer, ("lose disk",)), DISKS)

    def _calmer(self, world: World) -> World:
        return world._replace(calm_since=world.now)

    # Facts

    def _apart_since(self, world: World, peer: str, other: str) -> float | None:
        """Since when two do not hear each other; None: they do."""
        cuts = [since for *pair, since in world.cut if {peer, other} == set(pair)]
        downs = [since for one, since, _ in world.down if one == other]
        return min((*cuts, *downs), default=None)

    def _connected(self, world: World, peer: str, other: str) -> bool:
        down = {one for one, *_ in world.down}
        return not {peer, other} & down and self._apart_since(world, peer, other) is None

    def _hears(self, world: World, peer: str, other: str) -> bool:
        """Whether a node takes another for being there, and knows its present disk."""
        one, two = PEERS.index(peer), PEERS.index(other)
        if world.known_disks[one][two] != world.disks[two]:
            return False
        return other not in self.nodes[world.nodes[one]].lost


def _pairs(peer: str, other: str) -> list[Pair]:
    """A pair; or all pairs of a node, if it is alone."""
    pairs = [(peer, other)] if other else [(peer, one) for one in PEERS if one != peer]
    return [(min(pair), max(pair)) for pair in pairs]


def _sent(world: World, sender: str, sends: tuple[tuple[str, int], ...]) -> World:
    if not sends:
        return world
    queues = {(one, other): queue for one, other, queue in world.links}
    for to, data in sends:
        queues[sender, to] = (*queues.get((sender, to), ()), data)
    return world._replace(links=_links(queues))


def _links(queues: dict[Pair, tuple[int, ...]]) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    return tuple((one, other, queue) for (one, other), queue in sorted(queues.items()))


def _less(world: World, trouble: int) -> World:
    left = (*world.left[:trouble], world.left[trouble] - 1, *world.left[trouble + 1 :])
    return world._replace(left=left)
