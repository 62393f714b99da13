"""Whether a node is reached, by the evidence, and what follows from it."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.link.reach import (
    UNREACHED_WAIT_S,
    Reachability,
    ReachMode,
    ReachState,
    RelayMode,
)

PUBLIC, LAN, LOOPBACK, BY_RELAY = "8.8.8.8", "192.168.1.2", "127.0.0.1", ""


def _after(*met: tuple[str, bool]) -> Reachability:
    found = Reachability(ReachMode.AUTO, RelayMode.AUTO)
    for host, inbound in met:
        found.met(host, 0, inbound=inbound)
    return found


@pytest.mark.parametrize("host", [PUBLIC, LAN])
def test_a_node_that_others_connect_to_is_reached_and_is_a_relay(host: str) -> None:
    found = _after((host, True))
    assert found.state(1000, has_relays=False) is ReachState.DIRECT
    assert not found.needs_relays(1000) and found.is_relay(1000)


@pytest.mark.parametrize("host", [PUBLIC, LAN])
def test_a_node_that_nobody_has_connected_to_needs_relays_after_a_while_and_is_none(host: str) -> None:
    found = _after((host, False))
    assert not found.needs_relays(UNREACHED_WAIT_S - 1)
    assert found.deadline == UNREACHED_WAIT_S
    assert found.needs_relays(found.deadline) and not found.is_relay(found.deadline)
    assert found.state(found.deadline, has_relays=False) is ReachState.NONE
    assert found.state(found.deadline, has_relays=True) is ReachState.RELAY


def test_a_node_that_is_reached_late_needs_relays_no_more() -> None:
    found = _after((PUBLIC, False))
    assert found.needs_relays(100)
    found.met(PUBLIC, 101, inbound=True)
    assert not found.needs_relays(101) and found.state(101, has_relays=False) is ReachState.DIRECT


@pytest.mark.parametrize("host", [LOOPBACK, BY_RELAY])
@pytest.mark.parametrize("inbound", [True, False])
def test_peers_on_this_machine_and_by_relays_show_nothing(host: str, inbound: bool) -> None:
    found = _after((host, inbound))
    assert found.deadline == inf and not found.needs_relays(1e9)
    assert found.state(1e9, has_relays=False) is ReachState.UNKNOWN


def test_the_settings_override_the_evidence() -> None:
    direct, relay = (Reachability(mode, RelayMode.AUTO) for mode in (ReachMode.DIRECT, ReachMode.RELAY))
    for found in (direct, relay):
        found.met(PUBLIC, 0, inbound=found is relay)
    assert not direct.needs_relays(1000) and direct.state(1000, has_relays=False) is ReachState.DIRECT
    assert relay.needs_relays(0) and relay.state(0, has_relays=True) is ReachState.RELAY
    assert Reachability(ReachMode.RELAY, RelayMode.ON).is_relay(0)
    assert not Reachability(ReachMode.DIRECT, RelayMode.OFF).is_relay(0)
