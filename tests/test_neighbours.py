"""Few connections hold a network together: whom a node dials, and which connections it lets go."""

from __future__ import annotations

import pytest

from p2pnode.core.link.neighbours import (
    ATTEMPTS_MAX,
    CASUAL_DIALS_BURST,
    DIALS_MAX,
    HIGH,
    IDLE_S,
    LOW,
    OWN,
    WANTED,
    Neighbours,
)

from .sim.neighbours import Crowd

# From the last joiner's first look until each node has at most `HIGH` connections.
SETTLED_S = 120
HEALED_S = 100
CROWD = [f"p{number}" for number in range(40)]


def joined(seed: int, size: int) -> Crowd:
    crowd = Crowd(seed, size)
    for _ in crowd.run(size / 10 + 1):
        pass
    for _ in crowd.run(SETTLED_S):
        assert crowd.is_one()
    return crowd


@pytest.mark.parametrize("size", [3, 16, 50, 200])
def test_a_network_that_joins_through_one_peer_is_one_of_few_connections_and_then_quiet(size: int) -> None:
    crowd = joined(0, size)
    assert min(crowd.degrees()) >= min(LOW, size - 1)
    assert max(crowd.degrees()) <= HIGH
    done = crowd.dials + crowd.closes
    for _ in crowd.run(300):
        assert crowd.is_one()
    assert crowd.dials + crowd.closes == done


@pytest.mark.parametrize("size", [3, 16])
def test_a_small_network_closes_nothing(size: int) -> None:
    crowd = joined(1, size)
    assert min(crowd.degrees()) >= min(WANTED, size - 1)
    assert crowd.closes == 0


@pytest.mark.parametrize("seed", range(3))
def test_those_that_are_left_and_those_that_come_back_are_one_network(seed: int) -> None:
    crowd = joined(seed, 60)
    victims = crowd.random.sample(crowd.names, 25)
    for name in victims:
        crowd.kill(name)
    for _ in crowd.run(DIAL_AGAIN_S):
        pass
    for _ in crowd.run(100):
        assert crowd.is_one()
    for name in victims:
        crowd.start(name)
    for _ in crowd.run(DIAL_AGAIN_S):
        pass
    for _ in crowd.run(SETTLED_S):
        assert crowd.is_one()
    assert min(crowd.degrees()) >= LOW
    assert max(crowd.degrees()) <= HIGH


# Dials of the dead, of 5 s each, before others are found.
DIAL_AGAIN_S = 15


@pytest.mark.parametrize("cut_s", [5, 40, 80, 200])
@pytest.mark.parametrize("size", [32, 80])
def test_a_network_that_was_cut_in_two_is_one_again(size: int, cut_s: int) -> None:
    crowd = joined(2, size)
    half = set(crowd.random.sample(crowd.names, size // 2))
    crowd.cut(half.__contains__)
    for _ in crowd.run(cut_s):
        pass
    crowd.heal()
    for _ in crowd.run(HEALED_S):
        if crowd.is_one():
            break
    for _ in crowd.run(60):
        assert crowd.is_one()


def test_jobs_open_connections_that_are_gone_when_nobody_uses_them() -> None:
    crowd = joined(3, 60)
    submitter, *workers = crowd.random.sample(crowd.names, 41)
    for worker in workers:
        crowd.use(submitter, worker)
    assert len(crowd.connections[submitter]) >= 40
    for _ in crowd.run(SETTLED_S):
        assert crowd.is_one()
    assert max(crowd.degrees()) <= HIGH
    assert min(crowd.degrees()) >= LOW


def looking(neighbours: Neighbours, connected: list[str], now: float, **more: object):
    kinds = {"known": CROWD, "heard": CROWD, "used": lambda peer: 0.0, "needed": (), **more}
    return neighbours.look(connected, now=now, **kinds)  # type: ignore[arg-type]


def a_node(*given: str, chance: float = 0.5) -> Neighbours:
    return Neighbours("me", frozenset(given), lambda: chance)


def test_what_is_used_needed_or_new_is_kept() -> None:
    node = a_node()
    connected = CROWD[:30]
    assert looking(node, connected, 0.0).close == ()
    assert looking(node, connected, IDLE_S - 1).close == ()
    late = IDLE_S + 1
    assert looking(node, connected, late, used=lambda peer: late - 1).close == ()
    assert looking(node, connected, late, needed=connected).close == ()
    assert looking(node, connected, late, used=lambda peer: late - IDLE_S).close != ()


def test_whom_a_node_chose_it_keeps_however_many_connect_to_it() -> None:
    node = a_node()
    chosen = looking(node, [], 0.0).dial
    assert len(chosen) == LOW == DIALS_MAX
    for peer in chosen:
        node.dialled(peer, 0.0, failed=False)
    connected = [*chosen, *(f"liar{number}" for number in range(100))]
    looking(node, connected, 1.0)
    for second in range(200):
        gone = looking(node, connected, 1.0 + second).close
        connected = [peer for peer in connected if peer not in gone]
    assert len(connected) == HIGH
    assert set(chosen) <= set(connected)


def test_who_comes_back_after_it_was_let_go_may_stay_longer() -> None:
    node = a_node()
    others = CROWD[:HIGH]
    stays = []
    now = 0.0
    for _ in range(4):
        begun = now
        while "hidden" not in looking(node, [*others, "hidden"], now, needed=others).close:
            now += 1
        stays.append(now - begun)
        now += 1
        looking(node, others, now)
    assert stays == [IDLE_S, 2 * IDLE_S, 4 * IDLE_S, 8 * IDLE_S]


def test_a_given_peer_is_the_way_in_and_no_neighbour_for_ever() -> None:
    node = a_node("given")
    assert looking(node, [], 0.0, known=["given"], heard=()).dial == ("given",)
    node.dialled("given", 0.0, failed=False)
    full = CROWD[:LOW]
    for peer in full[:OWN]:
        node.choose(peer)
    assert looking(node, full, 1.0, known=[*CROWD, "given"], heard=[*CROWD, "given"]).dial == ()
    # Its adverts do not come any more: the network may have been cut.
    assert looking(node, full, 2.0, known=[*CROWD, "given"]).dial == ("given",)


def test_in_a_small_network_given_and_lost_peers_are_dialled_whatever_the_number() -> None:
    node = a_node("given")
    few = CROWD[:HIGH]
    assert looking(node, few, 0.0, known=[*few, "given"], heard=few).dial == ("given",)
    node.dialled("given", 0.0, failed=False)
    looking(node, [*few, "given"], 1.0, known=few, heard=few)
    assert set(looking(node, [*few[2:], "given"], 2.0, known=few, heard=few).dial) == set(few[:2])


def test_peers_that_are_only_heard_of_are_dialled_so_many_at_once_and_then_one_each_second() -> None:
    node = a_node()
    crowd = [f"invented{number}" for number in range(500)]
    dials = 0
    for step in range(100):
        found = looking(node, [], step / 10, known=crowd, heard=crowd).dial
        dials += len(found)
        for peer in found:
            node.dialled(peer, step / 10, failed=True)
    assert CASUAL_DIALS_BURST <= dials <= CASUAL_DIALS_BURST + 10


def test_two_nodes_choose_different_neighbours() -> None:
    numbers = iter(range(10_000))
    one, other = (
        looking(Neighbours("me", frozenset(), lambda: next(numbers) * 0.6180339887 % 1), [], 0.0).dial
        for _ in range(2)
    )
    assert set(one) != set(other)


def test_who_connects_fills_no_place_of_what_a_node_chooses_itself() -> None:
    node = a_node()
    strangers = [f"stranger {number}" for number in range(100)]
    dialled = looking(node, strangers, 0.0).dial
    assert len(dialled) == OWN and set(dialled) <= set(CROWD)
    for peer in dialled:
        node.dialled(peer, 0.0, failed=False)
    assert looking(node, [*strangers, *dialled], 1.0).dial == ()


def test_a_node_chooses_among_many_ranges_and_whom_it_has_reached_first() -> None:
    numbers = iter(range(10**6))
    node = Neighbours("me", frozenset(), lambda: next(numbers) * 0.6180339887 % 1)
    invented = [f"invented {number}" for number in range(1_000)]
    range_of = {**dict.fromkeys(invented, "8.8.4.0/24"), **{peer: f"range of {peer}" for peer in CROWD}}
    more = {"heard": CROWD, "reached": CROWD[-5:], "range_of": range_of.__getitem__}
    look = looking(node, [], 0.0, known=[*invented, *CROWD], **more)
    assert set(CROWD[-5:]) <= set(look.dial)
    assert len(set(look.dial) & set(invented)) <= 1
    assert len(look.dial) == LOW


def test_failures_of_so_many_peers_are_remembered() -> None:
    node = a_node("given")
    for number in range(2 * ATTEMPTS_MAX):
        looking(node, [f"stranger {number}"], float(number), known=["given"])
    assert len(node._attempts) <= ATTEMPTS_MAX
