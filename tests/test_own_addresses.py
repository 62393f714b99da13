"""Changes of this machine's addresses, and what they have begun anew."""

from __future__ import annotations

import pytest

from p2pnode.core.link.neighbours import Neighbours
from p2pnode.core.link.own_addresses import CHANGE_AGAIN_S, CHANGES_BURST, AddressChange, OwnAddresses
from p2pnode.core.link.reach import DialBackAnswer, Reachability, ReachMode, RelayMode
from p2pnode.core.wire.addresses import OwnNetworks


def test_a_change_says_what_came_and_what_is_gone() -> None:
    own = OwnAddresses(frozenset({"10.0.0.1", "10.1.0.1"}))
    assert own.look({"10.1.0.1", "10.0.0.1"}, 0) is None
    assert own.look({"10.1.0.1", "10.2.0.1"}, 1) == AddressChange(
        frozenset({"10.2.0.1"}), frozenset({"10.0.0.1"})
    )
    assert own.look({"10.1.0.1", "10.2.0.1"}, 2) is None


@pytest.mark.parametrize(
    ("came", "gone", "bound", "connections", "is_move"),
    [
        ("10.2.0.1", "10.0.0.1", 2, 2, True),
        ("", "10.0.0.1", 1, 3, True),
        # The peers had noticed before.
        ("10.2.0.1", "10.0.0.1", 0, 0, True),
        # A container's bridge, or yesterday's temporary address of IPv6.
        ("2001:db8::2", "2001:db8::1", 0, 3, False),
        ("10.2.0.1", "", 0, 3, False),
        # The network is back: the place before was forgotten when it went.
        ("10.2.0.1", "", 0, 0, False),
    ],
)
def test_a_machine_is_elsewhere_once_no_connection_is_left_of_its_addresses_or_some_go_with_them(
    came: str, gone: str, bound: int, connections: int, is_move: bool
) -> None:
    change = AddressChange(frozenset(filter(None, [came])), frozenset(filter(None, [gone])))
    assert change.is_move(bound, connections) is is_move


def test_an_interface_that_flaps_is_heeded_now_and_then_and_its_last_state_in_the_end() -> None:
    own = OwnAddresses(frozenset())
    flaps = [own.look({"10.0.0.1"} if turn % 2 == 0 else (), turn * 0.01) for turn in range(21)]
    assert sum(one is not None for one in flaps) == CHANGES_BURST
    assert own.look({"10.0.0.1"}, 2 * CHANGE_AGAIN_S) and own.hosts == {"10.0.0.1"}


def test_who_was_dialled_in_vain_is_dialled_at_once_from_another_network() -> None:
    neighbours = Neighbours("me", frozenset({"peer"}), lambda: 0.5)

    def look(now: float) -> tuple[str, ...]:
        return neighbours.look((), ("peer",), (), lambda peer: 0.0, (), now).dial

    assert look(0) == ("peer",)
    neighbours.dialled("peer", 0, failed=True)
    assert look(0.01) == ()
    neighbours.moved()
    assert look(0.01) == ("peer",)


def test_where_the_node_was_reached_counts_no_more_once_it_is_elsewhere() -> None:
    found = Reachability(ReachMode.AUTO, RelayMode.AUTO, lambda: 0.0)
    found.met("peer", "8.8.8.8", 0, inbound=False)
    found.answered(*found.asks(0), DialBackAnswer.REACHED, "/ip4/8.8.4.4/tcp/1")
    found.moved(OwnNetworks(frozenset()), 1)
    assert found.reached_at(0)
    found.moved(OwnNetworks(frozenset()), 2, elsewhere=True)
    assert not found.reached_at(0)
