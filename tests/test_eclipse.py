"""Strangers do not shut a joiner off from its network, nor keep its jobs from honest peers."""

from __future__ import annotations

from statistics import median

import pytest

from p2pnode.core.link.neighbours import OWN
from p2pnode.core.records.events import AdvertHeard
from p2pnode.core.wire.codec import replace
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.signing import Signed

from .core_support import signed
from .sim.eclipse import Eclipse
from .sim.placing import PlacingSimulation
from .sim.weather import EPOCH

MINUTES_S = 200


@pytest.mark.parametrize(("seed", "ranges"), [(0, 4), (1, 4), (2, 50), (3, 200)])
def test_a_joiner_keeps_honest_neighbours_among_strangers_that_connect_at_once(
    seed: int, ranges: int
) -> None:
    sim = Eclipse(seed, ranges=ranges)
    sim.run(MINUTES_S)
    assert sim.honest_links >= OWN
    assert sim.honest_known == len(sim.honest)


@pytest.mark.parametrize("ranges", [600, 0], ids=["a range for each", "one range for all"])
def test_whoever_has_as_many_ranges_as_ids_takes_its_links_and_not_its_knowledge_of_the_honest(
    ranges: int,
) -> None:
    sim = Eclipse(1, ranges=ranges)
    sim.run(60)
    known = []
    for _ in range(MINUTES_S - 60):
        sim.step()
        known.append(sim.honest_known)
    assert min(known) == len(sim.honest)


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_them_again_though_the_given_peer_is_gone_and_after_a_restart(seed: int) -> None:
    sim = Eclipse(seed)
    sim.run(60)
    sim.lose_given()
    sim.run(MINUTES_S)
    assert sim.honest_links >= OWN
    sim.begin()
    sim.run(MINUTES_S)
    assert sim.honest_links >= OWN
    assert sim.honest_known >= len(sim.honest) - 1


class Invented(PlacingSimulation):
    """Honest nodes, and adverts of peers that offer as much and answer nothing."""

    def __init__(self, seed: int, invented: int) -> None:
        super().__init__(seed, 8, {"module": 60}, {0: ["module"]}, slots=4)
        self.asked_in_vain = 0
        for number in range(invented):
            self.at(0.5 + number / 1000, self._tell, f"invented{number}")

    def _tell(self, peer: str) -> None:
        capacity = replace(self.nodes["peer01"].capacity, price_micros=0)
        told = Advert(
            peer=peer,
            number=1,
            issued_ms=int(self.now * 1000),
            ttl_ms=600_000,
            name=peer,
            version="0",
            capacity=capacity,
            addresses=(f"/ip4/8.{len(peer)}.{int(peer[8:]) % 250}.9/tcp/4001",),
        )
        record: Signed = signed(told)
        for node in self.nodes.values():
            self.give(node, 0, AdvertHeard(record, told, 600_000, "peer07" if node.peer != "peer07" else "x"))

    def transmit(self, sender, from_store, to, to_store, data):  # type: ignore[no-untyped-def]
        if not to:
            self.asked_in_vain += 1
        else:
            super().transmit(sender, from_store, to, to_store, data)


def median_s(seed: int, invented: int) -> float:
    sim = Invented(seed, invented)
    nodes = dict(sim.nodes)
    sim.nodes = _WithNobody(nodes)
    for index in range(60):
        sim.order_at(5 + index, index % 8, 1.0, "module")
    sim.run(200)
    assert sim.finished() == 60
    assert sim.now == EPOCH + 200
    return median(one.modified - one.created for one in sim.records())


class _WithNobody(dict):  # type: ignore[type-arg]
    """The nodes by their ids; nobody is behind an invented one."""

    def __missing__(self, peer: str) -> object:
        return _NOBODY


class _Nobody:
    store = 0

    def __bool__(self) -> bool:
        return False


_NOBODY = _Nobody()


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_invented_peers_double_the_time_of_honest_placement_at_most(seed: int) -> None:
    assert median_s(seed, 1_000) <= 2 * median_s(seed, 0)
