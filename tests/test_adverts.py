"""The table of adverts, and when a node sends its own."""

from __future__ import annotations

from random import Random

import pytest

from p2pnode.core.placement import adverts
from p2pnode.core.placement.advertising import ROOM_LASTS_S, Advertising
from p2pnode.core.placement.adverts import (
    ADVERT_INTERVAL_S_MIN,
    ADVERT_TTL_MS_MAX,
    ANSWER_S_MAX,
    CLOCK_SKEW_MS_MAX,
    PEERS_MAX,
    SILENT_FOR_S,
    SILENT_PER_FORWARDER_MAX,
    AdvertTable,
    advert_interval_s,
    out_of_reach,
)
from p2pnode.core.placement.hearsay import (
    UNMET_PER_FORWARDER_MAX,
    UNMET_PER_HOST_MAX,
    UNMET_PER_NEAR_MAX,
    UNMET_PER_WIDE_MAX,
)
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import replace
from p2pnode.core.wire.messages import Advert

from .core_support import ROOM, advert, capacity, signed

NOW = 1_700_000_000.0
NOW_MS = int(NOW * 1000)


def learn(table: AdvertTable, one: Advert, remaining_ms: int = 10**9, now: float = NOW) -> bool:
    return table.learn(signed(one), one, remaining_ms, now)


def bring(table: AdvertTable, forwarder: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        one = advert(f"{forwarder}'s {number}", 1, NOW_MS)
        table.learn(SIGNED, one, 10**9, NOW, forwarder)


SIGNED = signed(advert("a", 1, NOW_MS))


def test_one_neighbour_brings_so_many_peers_that_were_never_heard_and_others_as_many() -> None:
    table = AdvertTable()
    bring(table, "hostile", UNMET_PER_FORWARDER_MAX + 100)
    assert len(table.known) == UNMET_PER_FORWARDER_MAX
    bring(table, "friend", 5)
    table.met("hostile's 3")
    assert len(table.known) == UNMET_PER_FORWARDER_MAX + 5
    bring(table, "hostile", 100, UNMET_PER_FORWARDER_MAX)
    assert len(table.known) == UNMET_PER_FORWARDER_MAX + 6
    table.expire(NOW + 91)
    bring(table, "hostile", UNMET_PER_FORWARDER_MAX, 10_000)
    assert len(table.known) == UNMET_PER_FORWARDER_MAX


def test_a_full_table_takes_a_real_peer_in_place_of_the_invented() -> None:
    table = AdvertTable()
    for number in range(100):
        table.met(f"friend's {number}")
    bring(table, "friend", 120)
    for number in range(PEERS_MAX // UNMET_PER_FORWARDER_MAX):
        bring(table, f"hostile{number}", UNMET_PER_FORWARDER_MAX)
    assert len(table.known) == PEERS_MAX
    assert all(f"friend's {number}" in table.known for number in range(120))
    one = advert("real", 1, NOW_MS)
    assert table.learn(SIGNED, one, 10**9, NOW, "real")
    bring(table, "another", 50)
    assert len(table.known) == PEERS_MAX and "another's 49" in table.known
    assert all(f"friend's {number}" in table.known for number in range(120))


def test_a_peer_that_does_not_answer_is_out_of_reach_for_a_while_or_until_it_is_heard() -> None:
    table = AdvertTable()
    for peer in ("a", "b"):
        learn(table, advert(peer, 1, NOW_MS))
        table.asked(peer, NOW)
    assert not out_of_reach(table.known, NOW + ANSWER_S_MAX - 0.1)
    table.met("a")
    assert out_of_reach(table.known, NOW + ANSWER_S_MAX) == {"b"}
    learn(table, advert("b", 2, NOW_MS))
    assert out_of_reach(table.known, NOW + ANSWER_S_MAX) == {"b"}
    assert not out_of_reach(table.known, NOW + ANSWER_S_MAX + SILENT_FOR_S)


def test_all_that_a_neighbour_brought_is_out_of_reach_when_some_of_it_never_answers() -> None:
    table = AdvertTable()
    bring(table, "hostile", 50)
    bring(table, "friend", 2)
    for number in range(SILENT_PER_FORWARDER_MAX + 1):
        table.asked(f"hostile's {number}", NOW)
    table.met("hostile's 40")
    gone = out_of_reach(table.known, NOW + ANSWER_S_MAX)
    assert len(gone) == 49 and "hostile's 40" not in gone


def test_a_newer_advert_replaces_an_older_one_and_never_the_other_way() -> None:
    table = AdvertTable()
    news = [learn(table, advert("a", number, NOW_MS)) for number in (5, 5, 4, 6)]
    assert news == [True, False, False, False]
    assert learn(table, advert("a", 7, NOW_MS, price_micros=5))
    table = AdvertTable()
    for number in (5, 5, 4, 6):
        learn(table, advert("a", number, NOW_MS))
    assert table.known["a"].advert.number == 6


def test_an_advert_expires_by_our_own_clock() -> None:
    table = AdvertTable()
    learn(table, advert("a", 1, NOW_MS + 500_000, ttl_ms=90_000))
    assert table.deadline == NOW + 90
    assert not table.expire(NOW + 89)
    assert table.expire(NOW + 90) and not table.known


def test_a_pulled_advert_counts_for_no_longer_than_its_sender_would_keep_it() -> None:
    table = AdvertTable()
    learn(table, advert("a", 1, NOW_MS), remaining_ms=1000)
    assert table.known["a"].expires == NOW + 1
    assert [ms for _, ms in table.entries(NOW)] == [1000]
    assert list(table.entries(NOW + 1)) == []


@pytest.mark.parametrize("ends", ["goodbye", "expiry"])
def test_a_replayed_advert_does_not_bring_back_who_is_gone(ends: str) -> None:
    table = AdvertTable()
    old = advert("a", 7, NOW_MS)
    learn(table, old)
    if ends == "goodbye":
        assert learn(table, advert("a", 8, NOW_MS, leaving=True, ttl_ms=0))
    else:
        table.expire(NOW + 90)
    assert not learn(table, old, now=NOW + 91)
    assert not table.known
    assert learn(table, advert("a", 9, NOW_MS), now=NOW + 91)


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_advert_from_a_time_far_from_ours_is_not_taken(sign: int) -> None:
    most = CLOCK_SKEW_MS_MAX + 90_000
    assert learn(AdvertTable(), advert("a", 1, NOW_MS + sign * most, ttl_ms=90_000))
    assert not learn(AdvertTable(), advert("a", 1, NOW_MS + sign * (most + 1), ttl_ms=90_000))


@pytest.mark.parametrize("set_s", [3_600, -3_600])
def test_adverts_are_taken_by_the_machines_clock_though_it_was_set_since_the_start(set_s: int) -> None:
    one = advert("a", 1, NOW_MS + set_s * 1000, ttl_ms=90_000)
    assert not learn(AdvertTable(), one)
    assert AdvertTable().learn(signed(one), one, 90_000, NOW, clock_set_s=set_s)


def test_a_long_time_to_live_neither_keeps_an_advert_nor_lets_it_be_replayed() -> None:
    forever = 2**62
    table = AdvertTable()
    assert learn(table, advert("a", 1, NOW_MS, ttl_ms=forever), remaining_ms=forever)
    assert table.known["a"].expires == NOW + ADVERT_TTL_MS_MAX / 1000
    assert not learn(AdvertTable(), advert("a", 1, NOW_MS - 24 * 3_600_000, ttl_ms=forever))


def test_a_full_table_takes_no_newcomers_but_hears_of_those_it_knows() -> None:
    table = AdvertTable()
    entry = signed(advert("x"))
    for index in range(PEERS_MAX):
        table.learn(entry, advert(str(index), 1, NOW_MS), 90_000, NOW)
    assert not learn(table, advert("newcomer", 1, NOW_MS))
    assert learn(table, advert("7", 2, NOW_MS, price_micros=5))
    assert learn(table, advert("7", 3, NOW_MS, leaving=True))
    assert learn(table, advert("newcomer", 1, NOW_MS))


def test_the_interval_grows_with_the_network_so_that_a_topic_carries_it() -> None:
    assert [advert_interval_s(peers) for peers in (0, 30, 50, 1_000, 10_000)] == [30, 30, 50, 1_000, 1_200]


@pytest.mark.parametrize(("peers", "gap_s"), [(5, 2), (300, 20), (10_000, 80)])
def test_changes_wait_the_longer_the_more_hear_of_them(peers: int, gap_s: float) -> None:
    own = Advertising()
    own.take(capacity(), peers, 0.5, NOW)
    own.changed(capacity(engines=("docker",)), NOW + 0.1)
    assert own.due == NOW + gap_s


def test_the_first_offer_is_advertised_at_once_and_then_at_intervals() -> None:
    own = Advertising()
    own.changed(capacity(), NOW)
    assert own.due == NOW
    own.take(capacity(), 5, 0.5, NOW)
    assert own.due == NOW + 30


@pytest.mark.parametrize(
    ("changes", "soon"),
    [
        ({}, False),
        ({"free": codec.replace(ROOM, cpu_millis=3500)}, False),
        ({"engines": ("docker",)}, True),
        ({"labels": {"os": "linux", "zone": "b"}}, True),
        ({"total": codec.replace(ROOM, gpus=1)}, True),
    ],
)
def test_what_others_would_decide_by_is_advertised_soon(changes: dict[str, object], soon: bool) -> None:
    own = Advertising()
    own.take(capacity(), 5, 0.5, NOW)
    own.changed(capacity(**changes), NOW + 0.1)
    assert own.deadline == NOW + (adverts.advert_gap_s(5) if soon else ADVERT_INTERVAL_S_MIN)


@pytest.mark.parametrize("free", [{"cpu_millis": 3000}, {"memory_bytes": 1}])
def test_other_room_is_told_where_it_lasts(free: dict[str, int]) -> None:
    own = Advertising()
    own.take(capacity(), 5, 0.5, NOW)
    taken = capacity(free=codec.replace(ROOM, **free))
    own.changed(taken, NOW + 9)
    own.changed(taken, NOW + 10)
    assert own.deadline == NOW + 9 + ROOM_LASTS_S
    own.take(taken, 5, 0.5, own.deadline)
    assert own.deadline == NOW + 9 + ROOM_LASTS_S + ADVERT_INTERVAL_S_MIN


def test_room_that_short_jobs_take_and_give_back_is_not_told() -> None:
    own = Advertising()
    own.take(capacity(), 5, 0.5, NOW)
    taken = capacity(free=codec.replace(ROOM, cpu_millis=0))
    for step in range(100):
        own.changed(taken, NOW + 3 + step / 10)
        own.changed(capacity(), NOW + 3.05 + step / 10)
    assert own.deadline == NOW + ADVERT_INTERVAL_S_MIN
    own.due = NOW + 20
    own.changed(taken, NOW + 15)
    own.changed(capacity(), NOW + 15.05)
    assert own.deadline == NOW + 20, "what is due for another reason stays due"


def test_an_advert_outlives_a_missed_one() -> None:
    assert adverts.ADVERT_TTL_INTERVALS >= 2
    assert advert_interval_s(PEERS_MAX) * adverts.ADVERT_TTL_INTERVALS * 1000 <= ADVERT_TTL_MS_MAX


def test_an_advert_that_would_change_nothing_is_known_before_its_signature_is_checked() -> None:
    """Random adverts: what the table takes is news to it before, and what is old or too many is none."""
    rng, table, now = Random(1), AdvertTable(), NOW
    taken = refused = 0
    for step in range(3_000):
        one = replace(
            advert(f"peer {rng.randrange(40)}", step + rng.randrange(100), int(now * 1000)),
            leaving=rng.random() < 0.1,
        )
        forwarder = rng.choice(["", "friend", "hostile", one.peer])
        news, before = table.is_news(one, forwarder), (dict(table.known), dict(table.gone))
        table.learn(signed(one), one, 10**9, now, forwarder)
        changed = (table.known, table.gone) != before
        assert news or not changed
        taken, refused = taken + changed, refused + (not news)
        now += rng.random()
        table.expire(now)
    assert taken > 500 and refused > 500
    assert all(count > 0 for count in table._unmet.by_forwarder.values())
    table = AdvertTable()
    bring(table, "hostile", UNMET_PER_FORWARDER_MAX)
    assert not table.is_news(advert("one more", 1, NOW_MS), "hostile")
    assert table.is_news(advert("one more", 1, NOW_MS), "friend")


def test_a_peer_is_near_while_it_is_connected_whichever_is_known_first() -> None:
    table = AdvertTable()
    table.connection_changed("a", connected=True)
    for peer in ("a", "b", "c"):
        table.learn(SIGNED, advert(peer, 1, NOW_MS), 10**9, NOW, "c")
    table.connection_changed("b", connected=True)
    assert table.known["a"].near and table.known["b"].near
    table.connection_changed("a", connected=False)
    for peer in ("a", "b", "c"):
        table.learn(SIGNED, advert(peer, 2, NOW_MS), 10**9, NOW, "c")
    assert [table.known[peer].near for peer in "abc"] == [False, True, False]


@pytest.mark.parametrize(
    ("host_of", "most"),
    [
        (lambda number: "8.8.4.5", UNMET_PER_HOST_MAX),
        (lambda number: f"8.8.4.{number % 250}", UNMET_PER_NEAR_MAX),
        (lambda number: f"8.8.{number % 250}.{number // 250}", UNMET_PER_WIDE_MAX),
    ],
)
def test_peers_only_heard_of_share_the_places_of_their_addresses_and_those_that_answered_do_not(
    host_of,  # type: ignore[no-untyped-def]
    most: int,
) -> None:
    table = AdvertTable()
    for number in range(900):
        learn_at(table, f"invented {number}", f"/ip4/{host_of(number)}/tcp/{number + 1}", "hostile")
    assert len(table.known) == most
    for number in range(900):
        peer = f"answered {number}"
        learn_at(table, peer, f"/ip4/{host_of(number)}/tcp/{number + 1}", peer)
    assert len(table.known) == most + 900
    table.met("invented 0")
    learn_at(table, "one more", f"/ip4/{host_of(0)}/tcp/1", "hostile")
    assert "one more" in table.known, "whom was met gave its place back"


def test_who_names_the_addresses_of_others_takes_them_no_place() -> None:
    table = AdvertTable()
    for number in range(50):
        learn_at(table, f"invented {number}", "/ip4/8.8.4.5/tcp/1", "hostile")
    for number in range(UNMET_PER_HOST_MAX // 2 - 1):
        learn_at(table, f"honest {number}", "/ip4/8.8.4.5/tcp/2", "friend")
    assert sum(peer.startswith("honest") for peer in table.known) == UNMET_PER_HOST_MAX // 2 - 1
    assert len(table.known) == UNMET_PER_HOST_MAX


def test_who_was_heard_of_at_one_address_cannot_move_to_a_full_one() -> None:
    table = AdvertTable()
    for number in range(UNMET_PER_HOST_MAX):
        learn_at(table, f"invented {number}", "/ip4/8.8.4.5/tcp/1", "hostile")
    learn_at(table, "mover", "/ip4/9.9.9.9/tcp/1", "hostile")
    learn_at(table, "mover", "/ip4/8.8.4.5/tcp/1", "hostile", number=2)
    assert table.known["mover"].advert.number == 1
    learn_at(table, "invented 3", "/ip4/8.8.4.5/tcp/2", "hostile", number=2)
    assert table.known["invented 3"].advert.number == 2
    table.expire(NOW + 10_000)
    assert (table.known, table._unmet) == ({}, adverts.Hearsay())


def test_a_table_full_of_peers_that_were_heard_takes_a_new_one_for_the_longest_unheard_without_a_link() -> (
    None
):
    table = AdvertTable()
    for number in range(PEERS_MAX):
        table.connection_changed(str(number), connected=True, host="10.0.0.1")
        learn_at(table, str(number), "/ip4/10.0.0.1/tcp/1", str(number))
    assert not table.is_news(advert("newcomer", 1, NOW_MS), "newcomer")
    for number in (1, 2, 3):
        table.connection_changed(str(number), connected=False)
    learn_at(table, "1", "/ip4/10.0.0.1/tcp/1", "others", number=2)
    learn_at(table, "newcomer", "/ip4/10.0.0.2/tcp/1", "newcomer")
    assert "newcomer" in table.known and len(table.known) == PEERS_MAX
    assert [str(number) in table.known for number in (1, 2, 3)] == [True, False, True]


def test_ids_that_come_in_turn_from_one_range_take_each_others_places() -> None:
    table = AdvertTable()
    for number in range(PEERS_MAX // 2):
        visit(table, f"honest {number}", f"20.{number % 250}.{number // 250}.1")
    for number in range(2 * PEERS_MAX):
        visit(table, f"hostile {number}", f"8.8.4.{number % 250}")
    assert sum(peer.startswith("honest") for peer in table.known) == PEERS_MAX // 2


def visit(table: AdvertTable, peer: str, host: str) -> None:
    table.connection_changed(peer, connected=True, host=host)
    learn_at(table, peer, f"/ip4/{host}/tcp/1", peer)
    table.connection_changed(peer, connected=False)


def learn_at(table: AdvertTable, peer: str, address: str, forwarder: str, number: int = 1) -> None:
    one = replace(advert(peer, number, NOW_MS), addresses=(address,))
    table.learn(SIGNED, one, 10**9, NOW, forwarder)
