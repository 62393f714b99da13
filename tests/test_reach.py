"""Whether a node is reached, by the evidence, and what follows from it."""

from __future__ import annotations

from itertools import count
from math import inf

import pytest

from p2pnode.core.link.reach import (
    FEW_WAIT_S,
    NOTHING_AGAIN_S,
    ROUND_AGAIN_S,
    DialBackAnswer,
    Reachability,
    ReachMode,
    ReachState,
    RelayMode,
)
from p2pnode.core.wire.addresses import OwnNetworks

PUBLIC, LAN, LOOPBACK, BY_RELAY = "8.8.8.8", "192.168.1.2", "127.0.0.1", ""
PUBLIC6, AT6 = "2001:4860:4860::8888", "/ip6/2001:4860::1/tcp/1"
DIRECT, RELAY = ReachState.DIRECT, ReachState.RELAY
REACHED, FAILED, NOTHING = DialBackAnswer


def _after(*met: tuple[str, bool]) -> Reachability:
    numbers = count()
    found = Reachability(ReachMode.AUTO, RelayMode.AUTO, lambda: next(numbers))
    for number, (host, inbound) in enumerate(met):
        found.met(f"peer{number}", host, 0, inbound=inbound)
    return found


def _state(found: Reachability, now: float) -> ReachState:
    return found.state(now, has_relays=False).state


@pytest.mark.parametrize("host", [PUBLIC, LAN])
def test_a_node_that_others_connect_to_is_reached_and_is_a_relay(host: str) -> None:
    found = _after((host, True))
    assert _state(found, 1000) is ReachState.DIRECT
    assert not found.needs_relays(1000) and found.is_relay(1000)


@pytest.mark.parametrize("host", [PUBLIC, LAN])
def test_a_node_that_one_of_those_it_asks_reaches_is_reached(host: str) -> None:
    found = _after(*[(host, False)] * 3)
    for peer, answer in zip(found.asks(0), (FAILED, FAILED, REACHED), strict=True):
        found.answered(peer, answer, "/ip4/8.8.4.4/tcp/1")
    assert _state(found, 0) is ReachState.DIRECT and found.asks(1) == []
    assert found.reached_at(1) == ("/ip4/8.8.4.4/tcp/1",)


def test_a_node_that_three_dial_in_vain_needs_relays_at_once_and_is_none() -> None:
    found = _after(*[(PUBLIC, False)] * 4)
    asked = found.asks(0)
    assert len(asked) == 3
    for peer in asked[:2]:
        found.answered(peer, FAILED)
    assert _state(found, 0) is ReachState.UNKNOWN
    found.answered(asked[2], FAILED)
    assert _state(found, 0) is ReachState.NONE and found.needs_relays(0) and not found.is_relay(0)
    assert found.state(0, has_relays=True).state is ReachState.RELAY


def test_fewer_are_believed_after_a_while_when_all_of_them_have_said_so() -> None:
    found = _after((PUBLIC, False), (PUBLIC, False))
    first, second = found.asks(0)
    found.answered(first, FAILED)
    assert not found.needs_relays(FEW_WAIT_S)
    found.answered(second, FAILED)
    assert not found.needs_relays(FEW_WAIT_S - 1) and found.deadline(0) == FEW_WAIT_S
    assert found.needs_relays(FEW_WAIT_S)
    # One who comes later may reach it yet.
    found.met("late", PUBLIC, 100, inbound=False)
    assert found.asks(100) == ["late"]
    found.answered("late", REACHED)
    assert _state(found, 100) is ReachState.DIRECT


def test_without_an_answer_nothing_is_known_and_another_is_asked() -> None:
    found = _after(*[(PUBLIC, False)] * 4)
    asked = found.asks(0)
    for peer in asked:
        found.answered(peer, NOTHING)
    assert found.asks(1) == [next(iter({f"peer{number}" for number in range(4)} - set(asked)))]
    assert _state(found, 1000) is ReachState.UNKNOWN and not found.needs_relays(1000)
    # All are asked again soon: they may have a place then.
    assert found.deadline(NOTHING_AGAIN_S - 1) == NOTHING_AGAIN_S
    assert len(found.asks(NOTHING_AGAIN_S)) == 3


def test_neighbours_of_different_ranges_are_asked_where_there_are() -> None:
    hosts = ["8.8.8.1", "8.8.8.2", "8.8.8.3", "9.9.9.1", "7.7.7.1"]
    found = _after(*[(host, False) for host in hosts])
    assert set(found.asks(0)) == {"peer0", "peer3", "peer4"}


def test_the_own_network_says_nothing_of_the_public_one() -> None:
    found = _after((LAN, True), (PUBLIC, False))
    assert found.asks(0) == ["peer1"]
    found.answered("peer1", FAILED)
    assert _state(found, FEW_WAIT_S) is ReachState.NONE
    found.gone("peer1", FEW_WAIT_S)
    assert _state(found, FEW_WAIT_S) is ReachState.DIRECT


def test_a_node_that_is_reached_late_needs_relays_no_more() -> None:
    found = _after((PUBLIC, False))
    found.answered(*found.asks(0), FAILED)
    assert found.needs_relays(100)
    found.met("other", PUBLIC, 101, inbound=True)
    assert not found.needs_relays(101) and _state(found, 101) is ReachState.DIRECT


def test_a_neighbour_that_is_gone_is_not_waited_for() -> None:
    found = _after((PUBLIC, False), (PUBLIC, False))
    first, second = found.asks(0)
    found.answered(first, FAILED)
    found.gone(second, 1)
    assert found.needs_relays(FEW_WAIT_S)


def test_all_is_asked_again_after_a_while_and_until_then_the_last_answers_count() -> None:
    found = _after((PUBLIC, False))
    found.answered(*found.asks(0), REACHED, "/ip4/8.8.4.4/tcp/1")
    assert found.asks(ROUND_AGAIN_S - 1) == []
    assert found.deadline(ROUND_AGAIN_S - 1) == ROUND_AGAIN_S
    assert found.asks(ROUND_AGAIN_S) == ["peer0"]
    assert _state(found, ROUND_AGAIN_S) is ReachState.DIRECT and found.reached_at(ROUND_AGAIN_S)
    found.answered("peer0", FAILED)
    settled = ROUND_AGAIN_S + FEW_WAIT_S
    assert _state(found, settled) is ReachState.NONE and not found.reached_at(settled)
    found.moved(OwnNetworks(frozenset()), ROUND_AGAIN_S + 60)
    assert found.asks(ROUND_AGAIN_S + 60) == ["peer0"] and found.needs_relays(ROUND_AGAIN_S + 60)


@pytest.mark.parametrize("answer", [FAILED, NOTHING])
def test_what_is_known_stays_so_while_a_later_neighbour_is_asked(answer: DialBackAnswer) -> None:
    found = _after((PUBLIC, False))
    found.answered(*found.asks(0), FAILED)
    assert found.needs_relays(FEW_WAIT_S)
    found.met("late", PUBLIC, 100, inbound=False)
    assert found.needs_relays(100) and found.asks(100) == ["late"]
    assert found.needs_relays(100) and found.state(100, has_relays=True).state is ReachState.RELAY
    found.answered("late", answer)
    assert found.needs_relays(100)


def test_the_address_where_it_was_reached_stays_until_enough_have_failed_there() -> None:
    found = _after(*[(PUBLIC, False)] * 3)
    asked = found.asks(0)
    found.answered(asked[0], REACHED, "/ip4/8.8.4.4/tcp/1")
    before = found.reached_at(0)
    asked = found.asks(ROUND_AGAIN_S)
    for peer in asked[:2]:
        found.answered(peer, FAILED)
        assert found.reached_at(ROUND_AGAIN_S) == before and _state(found, ROUND_AGAIN_S) is ReachState.DIRECT
    found.answered(asked[2], FAILED)
    assert found.reached_at(ROUND_AGAIN_S) == () and found.needs_relays(ROUND_AGAIN_S)


@pytest.mark.parametrize("host", [LOOPBACK, BY_RELAY])
@pytest.mark.parametrize("inbound", [True, False])
def test_peers_on_this_machine_and_by_relays_show_nothing(host: str, inbound: bool) -> None:
    found = _after((host, inbound))
    assert found.asks(0) == [] and found.deadline(0) == inf and not found.needs_relays(1e9)
    assert _state(found, 1e9) is ReachState.UNKNOWN


def test_the_settings_override_the_evidence() -> None:
    direct, relay = (
        Reachability(mode, RelayMode.AUTO, lambda: 0.0) for mode in (ReachMode.DIRECT, ReachMode.RELAY)
    )
    for found in (direct, relay):
        found.met("peer", PUBLIC, 0, inbound=found is relay)
    # A router's address is learned by asking; by relays alone it would be told to nobody.
    assert direct.asks(0) == ["peer"] and relay.asks(0) == []
    assert not direct.needs_relays(1000) and direct.state(1000, has_relays=False).state is ReachState.DIRECT
    assert relay.needs_relays(0) and relay.state(0, has_relays=True).state is ReachState.RELAY
    assert Reachability(ReachMode.RELAY, RelayMode.ON, lambda: 0.0).is_relay(0)
    assert not Reachability(ReachMode.DIRECT, RelayMode.OFF, lambda: 0.0).is_relay(0)


def _by_family(found: Reachability, now: float) -> dict[str, ReachState]:
    return dict(found.state(now, has_relays=True).by_family)


def _answer(found: Reachability, answers: dict[str, tuple[DialBackAnswer, str]], now: float) -> None:
    asked = found.asks(now)
    assert sorted(asked) == sorted(answers)
    for peer in asked:
        found.answered(peer, *answers[peer])


@pytest.mark.parametrize(
    ("reached", "at", "other"), [("ip6", AT6, "ip4"), ("ip4", "/ip4/8.8.4.4/tcp/1", "ip6")]
)
def test_a_node_reached_in_one_family_alone_keeps_relays_and_tells_its_address_of_that_one(
    reached: str, at: str, other: str
) -> None:
    found = _after(
        (PUBLIC if reached == "ip4" else PUBLIC6, False), (PUBLIC6 if reached == "ip4" else PUBLIC, False)
    )
    _answer(found, {"peer0": (REACHED, at), "peer1": (FAILED, "")}, 0)
    assert found.families(0, reached=True) == {reached} and not found.needs_relays(0)
    assert found.needs_relays(FEW_WAIT_S) and found.reached_at(FEW_WAIT_S) == (at,)
    assert _by_family(found, FEW_WAIT_S) == {reached: DIRECT, other: RELAY}
    assert found.state(FEW_WAIT_S, has_relays=True).state is RELAY
    # Peers of the family in which it is reached live by it.
    assert found.is_relay(FEW_WAIT_S)


def test_three_neighbours_of_each_family_are_asked() -> None:
    found = _after(*[(PUBLIC, False)] * 4, *[(PUBLIC6, False)] * 4)
    asked = found.asks(0)
    assert len(asked) == 6 and len({peer for peer in asked if int(peer[-1]) < 4}) == 3


def test_a_family_without_neighbours_is_not_judged_until_there_are_some() -> None:
    found = _after((PUBLIC, True))
    assert _by_family(found, 1000) == {"ip4": DIRECT}
    found.met("six", PUBLIC6, 1000, inbound=False)
    assert _by_family(found, 1000) == {"ip4": DIRECT}
    _answer(found, {"peer0": (NOTHING, ""), "six": (FAILED, "")}, 1000)
    assert _by_family(found, 1000 + FEW_WAIT_S) == {"ip4": DIRECT, "ip6": RELAY}


def test_neighbours_of_the_own_network_in_one_family_say_nothing_beside_public_ones_in_the_other() -> None:
    found = _after((LAN, True), (PUBLIC6, False))
    found.answered(*found.asks(0), FAILED)
    assert _by_family(found, FEW_WAIT_S) == {"ip6": RELAY}


def test_what_is_known_of_a_family_counts_for_a_while_after_its_last_neighbour_has_gone() -> None:
    found = _after((PUBLIC6, True), (PUBLIC, False))
    _answer(found, {"peer0": (NOTHING, ""), "peer1": (FAILED, "")}, 0)
    found.gone("peer1", 1000)
    _answer(found, {"peer0": (REACHED, AT6)}, 1100)
    lapses_at = 1000 + ROUND_AGAIN_S
    assert found.needs_relays(lapses_at - 1) and found.deadline(lapses_at - 1) == lapses_at
    assert not found.needs_relays(lapses_at) and _by_family(found, lapses_at) == {"ip6": DIRECT}
    # One that is back before is no change.
    found.met("peer1", PUBLIC, lapses_at - 1, inbound=False)
    assert found.needs_relays(lapses_at)


def test_a_neighbour_that_is_met_by_the_other_family_leaves_its_first_one() -> None:
    found = _after((PUBLIC, False))
    found.answered(*found.asks(0), FAILED)
    found.met("peer0", PUBLIC6, 100, inbound=True)
    assert found.needs_relays(100) and not found.needs_relays(100 + ROUND_AGAIN_S)


def test_a_family_that_the_network_has_not_to_which_a_node_moves_is_soon_forgotten() -> None:
    found = _after((PUBLIC6, False), (PUBLIC, True))
    _answer(found, {"peer0": (FAILED, ""), "peer1": (FAILED, "")}, 0)
    found.moved(OwnNetworks(frozenset()), 100, elsewhere=True)
    found.gone("peer0", 100)
    assert found.needs_relays(100) and not found.needs_relays(100 + NOTHING_AGAIN_S)


def test_who_says_that_it_has_dialled_another_family_than_its_own_shows_nothing() -> None:
    found = _after((PUBLIC, False))
    found.answered(*found.asks(0), REACHED, AT6)
    assert _by_family(found, FEW_WAIT_S) == {} and found.reached_at(FEW_WAIT_S) == ()
