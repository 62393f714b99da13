"""Which relays a node asks, what it gives others as their relay, and the messages between them."""

from __future__ import annotations

import random
from math import inf

import pytest

from p2pnode.core.link.relay_places import (
    CIRCUITS_MAX,
    CIRCUITS_PER_PEER_MAX,
    RESERVATION_S,
    RESERVATIONS_MAX,
    RESERVATIONS_PER_HOST_MAX,
    RelayPlaces,
)
from p2pnode.core.link.relays import (
    REFUSED_AGAIN_S,
    RELAYS_WANTED,
    AskRelay,
    RelayGone,
    RelayMet,
    RelayRefused,
    Relays,
    RelaysNeeded,
    RelayTick,
    Reserved,
)
from p2pnode.core.wire.circuits import (
    CircuitKind,
    CircuitLimit,
    CircuitMessage,
    CircuitStatus,
    decode_hop_untrusted,
    decode_stop_untrusted,
    encode_hop,
    encode_stop,
)
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.dial_backs import decode_request_untrusted, decode_response_untrusted
from p2pnode.core.wire.hole_punching import decode_punch_untrusted


def _asked(actions: list[AskRelay]) -> list[str]:
    return [action.peer for action in actions]


def _needing(*peers: str) -> tuple[Relays, list[str]]:
    relays = Relays()
    for peer in peers:
        assert not relays.handle(RelayMet(peer, public=True), 0)
    return relays, _asked(relays.handle(RelaysNeeded(True), 0))


def test_two_are_asked_at_once_and_no_more() -> None:
    relays, asked = _needing("a", "b", "c")
    assert asked == ["a", "b"]
    assert not relays.handle(RelayTick(), 1)


def test_relays_at_public_addresses_are_asked_first() -> None:
    relays = Relays()
    relays.handle(RelayMet("near", public=False), 0)
    relays.handle(RelayMet("far", public=True), 0)
    assert _asked(relays.handle(RelaysNeeded(True), 0)) == ["far", "near"]


def test_relays_of_the_family_in_which_the_node_is_not_reached_are_asked_first() -> None:
    relays = Relays()
    for peer, family in (("six", "ip6"), ("four", "ip4")):
        relays.handle(RelayMet(peer, public=True, family=family), 0)
    assert _asked(relays.handle(RelaysNeeded(True, frozenset({"ip4"})), 0)) == ["four", "six"]


def test_another_is_asked_at_once_where_one_refuses_or_goes() -> None:
    relays, _ = _needing("a", "b", "c", "d")
    assert _asked(relays.handle(RelayRefused("a"), 1)) == ["c"]
    relays.handle(Reserved("b", 100), 1)
    relays.handle(Reserved("c", 100), 1)
    assert relays.held(2) == ["b", "c"]
    assert _asked(relays.handle(RelayGone("b"), 2)) == ["d"]
    assert relays.held(2) == ["c"]


def test_a_reservation_is_renewed_before_its_end_and_is_none_after_it() -> None:
    relays, _ = _needing("a")
    relays.handle(Reserved("a", 100), 0)
    assert relays.deadline == 75
    assert _asked(relays.handle(RelayTick(), 75)) == ["a"]
    assert relays.held(99) == ["a"]
    assert relays.held(100) == []
    relays.handle(Reserved("a", 100), 99)
    assert relays.held(150) == ["a"]


def test_who_has_refused_is_asked_again_later_and_later() -> None:
    relays, _ = _needing("a")
    waits, now = [], 0.0
    for _ in range(3):
        relays.handle(RelayRefused("a"), now)
        waits.append(relays.deadline - now)
        now = relays.deadline
        assert _asked(relays.handle(RelayTick(), now)) == ["a"]
    assert waits == [REFUSED_AGAIN_S, 2 * REFUSED_AGAIN_S, 4 * REFUSED_AGAIN_S]


def test_nobody_is_asked_while_none_is_needed() -> None:
    relays, _ = _needing("a")
    relays.handle(Reserved("a", 100), 0)
    relays.handle(RelaysNeeded(False), 1)
    assert relays.held(1) == [] and relays.deadline == inf
    assert not relays.handle(RelayTick(), 80)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_time_goes_on_and_relays_that_answer_are_held(seed: int) -> None:
    chance = random.Random(seed)
    relays = Relays()
    asks = relays.handle(RelaysNeeded(True), 0)
    now, there, good = 0.0, set[str](), {"0", "1", "2"}
    for step in range(400):
        peer = str(chance.randrange(8))
        if step > 300 or chance.random() < 0.5:
            # The last hundred steps nobody comes or goes, but all good ones are there.
            asks += [one for name in good - there for one in relays.handle(RelayMet(name, True), now)]
            there |= good
        elif peer in there:
            there.discard(peer)
            asks = [one for one in asks if one.peer != peer] + relays.handle(RelayGone(peer), now)
        else:
            there.add(peer)
            asks += relays.handle(RelayMet(peer, chance.random() < 0.5), now)
        while asks:
            asked = asks.pop().peer
            if asked in there:
                answer = Reserved(asked, 100) if asked in good else RelayRefused(asked)
                asks += relays.handle(answer, now)
        assert relays.deadline > now
        now = min(relays.deadline, now + chance.random() * 50)
        asks += relays.handle(RelayTick(), now)
    assert len(relays.held(now)) == RELAYS_WANTED and set(relays.held(now)) <= good


def test_a_relay_has_only_so_many_places_in_all_and_for_one_address() -> None:
    places = RelayPlaces()
    kept = [places.reserve(f"a{one}", "192.0.2.1", 0) for one in range(RESERVATIONS_PER_HOST_MAX + 1)]
    assert kept[-2:] == [CircuitStatus.OK, CircuitStatus.RESERVATION_REFUSED]
    assert places.reserve("a0", "192.0.2.1", 1) == CircuitStatus.OK
    for one in range(RESERVATIONS_MAX - RESERVATIONS_PER_HOST_MAX):
        assert places.reserve(f"b{one}", f"198.51.100.{one}", 1) == CircuitStatus.OK
    assert places.reserve("c", "203.0.113.1", 1) == CircuitStatus.RESERVATION_REFUSED
    assert places.reserve("c", "203.0.113.1", 1 + RESERVATION_S) == CircuitStatus.OK


def test_a_circuit_takes_a_reservation_and_a_place_of_both_ends() -> None:
    places = RelayPlaces()
    assert places.open("a", "b", 0) == CircuitStatus.NO_RESERVATION
    for one in range(CIRCUITS_MAX):
        places.reserve(f"b{one}", f"198.51.100.{one % 100}", 0)
    for _ in range(CIRCUITS_PER_PEER_MAX):
        assert places.open("a", "b1", 0) == CircuitStatus.OK
    assert places.open("a", "b2", 0) == CircuitStatus.RESOURCE_LIMIT_EXCEEDED
    assert places.open("c", "b1", 0) == CircuitStatus.RESOURCE_LIMIT_EXCEEDED
    places.close("a", "b1")
    assert places.open("c", "b1", 0) == CircuitStatus.OK
    for one in range(CIRCUITS_MAX - CIRCUITS_PER_PEER_MAX):
        assert places.open(f"d{one}", f"b{one % 64 + 2}", 0) == CircuitStatus.OK
    assert places.open("e", "b70", 0) == CircuitStatus.RESOURCE_LIMIT_EXCEEDED


def test_a_reservation_ends_with_its_time_or_its_peers_connection() -> None:
    places = RelayPlaces()
    places.reserve("b", "192.0.2.1", 0)
    assert places.open("a", "b", RESERVATION_S) == CircuitStatus.NO_RESERVATION
    places.reserve("b", "192.0.2.1", 0)
    places.release("b")
    assert places.open("a", "b", 1) == CircuitStatus.NO_RESERVATION


_LIMIT = CircuitLimit(120, 131_072)


def test_messages_are_read_as_they_were_written() -> None:
    hop = CircuitMessage(CircuitKind.STATUS, b"\0\1", 100, 1_700_000_000, (b"a", b"b"), _LIMIT)
    assert decode_hop_untrusted(encode_hop(hop)) == hop
    stop = CircuitMessage(CircuitKind.CONNECT, b"\0\1", limit=_LIMIT)
    assert decode_stop_untrusted(encode_stop(stop)) == stop


def test_messages_are_as_the_specification_has_them() -> None:
    assert encode_hop(CircuitMessage(CircuitKind.RESERVE)) == bytes.fromhex("0800")
    assert encode_hop(CircuitMessage(CircuitKind.CONNECT, b"\1")) == bytes.fromhex("0801 1203 0a0101")
    assert encode_stop(CircuitMessage(CircuitKind.STATUS, status=100)) == bytes.fromhex("0801 2064")


@pytest.mark.parametrize(
    "decode",
    [
        decode_hop_untrusted,
        decode_stop_untrusted,
        decode_request_untrusted,
        decode_response_untrusted,
        decode_punch_untrusted,
    ],
)
def test_bytes_that_are_no_message_are_refused(decode: object) -> None:
    assert callable(decode)
    for data in (b"", b"\x08\x09", b"\x08", b"\x12\x02\x10\x01", b"\x0a\x00"):
        with pytest.raises(BadMessage):
            decode(data)
    chance = random.Random(1)
    for _ in range(3000):
        try:
            decode(chance.randbytes(chance.randrange(40)))
        except BadMessage:
            continue
