"""Places for connections that others open: a crowd from few addresses shares few of them."""

from __future__ import annotations

from random import Random

import pytest

from p2pnode.core.link.inbound import (
    INBOUND_MAX,
    LATELY_USED_KEPT,
    PER_HOST_MAX,
    PER_NEAR_MAX,
    PER_SCOPE_MAX,
    PER_WIDE_MAX,
    Inbound,
    admit,
)
from p2pnode.core.link.knocking import (
    HANDSHAKES_MAX,
    PER_RANGE_MAX,
    RANGE_PER_S,
    WAIT_S_MAX,
    Knocking,
)
from p2pnode.core.values.ranges import LOOPBACK, PRIVATE, UNKNOWN, ranges_of


class Door:
    """A node's inbound connections while others come, one after the other."""

    def __init__(self) -> None:
        self.held: dict[str, Inbound] = {}
        self.now = 0.0
        self.refused: list[str] = []

    def come(self, peer: str, host: str, *, acquainted: bool = False, used_at: float = 0.0) -> bool:
        self.now += 1
        verdict = admit(host, acquainted, self.held.values())
        if verdict.refused:
            self.refused.append(verdict.refused)
            return False
        self.held.pop(verdict.goes, None)
        self.held[peer] = Inbound(peer, host, self.now, used_at, acquainted)
        return True

    def count(self, start: str) -> int:
        return sum(one.host.startswith(start) for one in self.held.values())


@pytest.mark.parametrize(
    ("host", "near", "wide"),
    [
        ("8.8.4.5", "8.8.4.0/24", "8.8.0.0/16"),
        ("::ffff:8.8.4.5", "8.8.4.0/24", "8.8.0.0/16"),
        ("2a00:1450:4001:80b::200e", "2a00:1450:4001:80b::/64", "2a00:1450:4001::/48"),
        ("127.9.9.9", LOOPBACK, LOOPBACK),
        ("::1", LOOPBACK, LOOPBACK),
        ("10.1.2.3", PRIVATE, PRIVATE),
        ("fd00::1", PRIVATE, PRIVATE),
        ("fe80::1%eth0", PRIVATE, PRIVATE),
        ("", UNKNOWN, UNKNOWN),
        ("node.example", "node.example", "node.example"),
    ],
)
def test_an_address_is_in_ranges(host: str, near: str, wide: str) -> None:
    found = ranges_of(host)
    assert (found.near, found.wide) == (near, wide)


@pytest.mark.parametrize(
    ("host_of", "most"),
    [
        (lambda number: "8.8.4.5", PER_HOST_MAX),
        (lambda number: f"8.8.4.{number % 250}", PER_NEAR_MAX),
        (lambda number: f"8.8.{number % 250}.{number // 250}", PER_WIDE_MAX),
        (lambda number: f"127.0.{number // 250}.{number % 250}", PER_SCOPE_MAX),
    ],
)
def test_a_range_has_so_many_places_whatever_ids_come_from_it(host_of, most: int) -> None:  # type: ignore[no-untyped-def]
    door = Door()
    for number in range(1_000):
        door.come(f"stranger {number}", host_of(number))
    assert len(door.held) == most
    assert door.come("honest", "9.9.9.9")


def test_a_lab_on_one_machine_and_a_lan_meet_no_limit() -> None:
    door = Door()
    assert all(door.come(f"lab {number}", "127.0.0.1") for number in range(50))
    door = Door()
    assert all(door.come(f"lan {number}", f"10.0.0.{number}") for number in range(200))
    assert len(door.held) == 200


def test_a_crowd_of_many_ranges_takes_no_place_of_those_that_were_there_or_are_of_use() -> None:
    door, rng = Door(), Random(1)
    for number in range(50):
        door.come(f"old {number}", f"20.{number}.1.1")
    assert door.come("partner", "30.1.1.1", acquainted=True)
    for number in range(5_000):
        door.come(f"stranger {number}", f"{rng.choice([40, 41, 42])}.{number % 250}.1.{number // 250}")
    assert len(door.held) == INBOUND_MAX
    assert {f"old {number}" for number in range(50)} | {"partner"} <= door.held.keys()
    assert door.come("honest", "50.1.1.1"), "a newcomer still gets in"
    door.held["honest"] = Inbound("honest", "50.1.1.1", door.now, door.now, False)
    for number in range(LATELY_USED_KEPT * 100):
        door.come(f"late {number}", f"60.{number % 250}.1.{number // 250}")
    assert "honest" in door.held, "of whom something came stays before those of whom nothing did"


def test_acquainted_peers_are_refused_only_where_the_node_has_no_place_at_all() -> None:
    door = Door()
    assert all(door.come(str(number), "8.8.4.5", acquainted=True) for number in range(INBOUND_MAX))
    assert not door.come("one more", "8.8.4.5", acquainted=True)
    assert not door.come("stranger", "9.9.9.9")
    assert door.refused == ["8.8.4.5 has no place left", "this node has no place left"]


def test_silent_handshakes_of_one_range_give_way_to_each_other_and_leave_others_their_places() -> None:
    knocking = Knocking[int]()
    ended = []
    for number in range(300):
        oldest = knocking.gives_way(f"8.8.4.{number % 250}")
        if oldest is not None:
            ended.append(oldest)
            knocking.end(oldest)
        knocking.begin(number, f"8.8.4.{number % 250}")
    assert ended == list(range(300 - PER_RANGE_MAX))
    for number in range(HANDSHAKES_MAX - PER_RANGE_MAX):
        assert knocking.gives_way(f"9.{number}.1.1") is None
        knocking.begin(1_000 + number, f"9.{number}.1.1")
    assert knocking.gives_way("7.7.7.7") == ended[-1] + 1, "the greediest range gives way"


def test_a_flood_of_one_range_is_sent_away_and_others_do_not_wait_for_it() -> None:
    knocking = Knocking[int]()
    let_in = sum(knocking.wait_s("8.8.4.5", 100.0 + number / 1_000) is not None for number in range(10_000))
    assert let_in < 50 + RANGE_PER_S * (10 + WAIT_S_MAX) + 2
    assert knocking.wait_s("9.9.9.9", 110.0) == 0.0
