"""The DHT without a network: its messages, what a node keeps of it, and whom a search asks."""

from __future__ import annotations

import hashlib
import random

import pytest

from p2pnode.core.link import contacts, lookup
from p2pnode.core.link.contacts import Contact, ContactTable, ProviderTable, closest, distance
from p2pnode.core.link.lookup import AskCloser, CloserTold, DhtLookup, PeerMute
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.kad import (
    CLOSEST_MAX,
    PEERS_NAMED_MAX,
    KadKind,
    KadMessage,
    KadPeer,
    decode_kad_untrusted,
    encode_kad,
    place_of,
)

ME = "me"
TARGET = place_of(b"content")


def contact(name: str, *addresses: str) -> Contact:
    return Contact(name, place_of(name.encode()), addresses)


def test_a_message_is_read_as_it_was_written() -> None:
    peer = KadPeer(b"id", (b"one", b"two"))
    message = KadMessage(KadKind.GET_PROVIDERS, b"key", (peer,), (peer, KadPeer(b"other")))
    assert decode_kad_untrusted(encode_kad(message)) == message


def test_an_answer_of_kubo_is_read() -> None:
    # GET_PROVIDERS for b"k", with a provider and its address 127.0.0.1, port 4001.
    data = bytes.fromhex("0803" + "12016b" + "4a0e" + "0a02abcd" + "1208047f000001060fa1" + "5001")
    assert decode_kad_untrusted(data) == KadMessage(
        KadKind.GET_PROVIDERS, b"k", (), (KadPeer(b"\xab\xcd", (bytes.fromhex("047f000001060fa1"),)),)
    )


def test_any_bytes_are_a_message_or_are_refused() -> None:
    chance = random.Random(7)
    good = encode_kad(KadMessage(KadKind.FIND_NODE, b"key", (KadPeer(b"id", (b"a",)),)))
    for _ in range(5_000):
        data = bytearray(good)
        data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode_kad_untrusted(bytes(data[: chance.randrange(len(data) + 1)]))
        except BadMessage:
            continue


def test_a_message_names_so_many_peers_and_no_more() -> None:
    many = tuple(KadPeer(bytes([n])) for n in range(100))
    assert (
        len(decode_kad_untrusted(encode_kad(KadMessage(KadKind.PING, closer=many))).closer) == PEERS_NAMED_MAX
    )


@pytest.mark.parametrize("data", [b"\x08\x63", b"\x12\x81\x01" + bytes(129), b"\x42\x02\x0a\x00"])
def test_a_message_of_no_kind_or_with_a_long_key_or_a_nameless_peer_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_kad_untrusted(data)


def test_a_table_keeps_those_that_were_there_first_and_forgets_those_that_fail() -> None:
    table = ContactTable(TARGET)
    names = [f"peer{n}" for n in range(2_000)]
    for name in names:
        table.answered(contact(name))
    far = list(filter(_is_far, table.all()))
    assert len(far) == CLOSEST_MAX
    assert {one.peer for one in far} <= set(names[:60])
    assert len(table) < 300
    table.failed(far[0].peer)
    assert far[0] not in table.all()
    late = next(one for one in map(contact, names[100:]) if one not in table.all() and _is_far(one))
    assert table.answered(late), "there is a place for another"
    assert not table.answered(Contact(ME, TARGET))


def _is_far(one: Contact) -> bool:
    return distance(one.place, TARGET).bit_length() == 256


def test_few_of_one_range_of_public_addresses_are_kept() -> None:
    table = ContactTable(TARGET)
    for n in range(200):
        table.answered(contact(f"peer{n}", f"/ip4/5.6.{n}.1/tcp/1"))
    assert len(table) <= contacts.TABLE_PER_RANGE_MAX
    for n in range(20):
        table.answered(contact(f"near{n}", f"/ip4/192.168.0.{n}/tcp/1"))
    assert len(table) >= 20


def test_records_of_providers_end_and_are_bounded_by_key_and_by_peer() -> None:
    table = ProviderTable()
    for n in range(50):
        table.add(b"key", contact(f"peer{n}"), 0)
    assert len(table.of(b"key", 1)) == contacts.PROVIDERS_PER_KEY_MAX
    assert table.of(b"key", contacts.PROVIDER_RECORD_S) == []
    liar = contact("liar")
    taken = sum(table.add(str(n).encode(), liar, 0) for n in range(2_000))
    assert taken == contacts.KEYS_PER_PROVIDER_MAX
    assert table.add(b"0", liar, 1), "what it has said before it may say again"
    assert not table.add(b"new", liar, 1)
    assert table.add(b"new", liar, contacts.PROVIDER_RECORD_S + 1), "its records have ended"


def test_the_oldest_content_is_forgotten_for_want_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "PROVIDED_KEYS_MAX", 3)
    table = ProviderTable()
    for key in b"abcd":
        table.add(bytes([key]), contact("peer"), 0)
    assert not table.of(b"a", 0) and table.of(b"d", 0) and len(table) == 3


# Searches


def searched(search: DhtLookup, network: dict[str, list[str]], dead: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Plays all peers; gives who was asked, in order."""
    asked: list[str] = []
    waiting = search.begin()
    while waiting:
        assert len(waiting) <= lookup.ASKS_AT_ONCE_MAX
        action = waiting.pop(0)
        assert isinstance(action, AskCloser)
        peer = action.contact.peer
        asked.append(peer)
        if peer in dead:
            waiting += search.handle(PeerMute(peer))
        else:
            waiting += search.handle(CloserTold(peer, tuple(map(contact, network[peer]))))
    assert search.is_over
    return asked


def a_network(count: int) -> dict[str, list[str]]:
    """Peers each of which knows the twenty that are closest to the target of a random half."""
    chance = random.Random(3)
    names = [f"peer{n}" for n in range(count)]
    known = {}
    for name in names:
        some = chance.sample(names, min(count, 100))
        known[name] = [one.peer for one in closest(map(contact, some), TARGET)]
    return known


def test_a_search_finds_the_closest_peers_of_a_thousand_by_few_questions() -> None:
    network = a_network(1_000)
    search = DhtLookup(ME, TARGET, [contact("peer0")])
    asked = searched(search, network)
    assert len(asked) <= lookup.ASKED_MAX
    truly = closest(map(contact, network), TARGET, 10)
    assert len({one.peer for one in search.closest()} & {one.peer for one in truly}) >= 8


def test_peers_that_are_gone_are_passed_over() -> None:
    network = a_network(300)
    dead = {f"peer{n}" for n in range(1, 300, 2)}
    search = DhtLookup(ME, TARGET, [contact("peer0")])
    searched(search, network, dead)
    found = {one.peer for one in search.closest()}
    assert found and not found & dead


def test_a_search_ends_though_a_liar_names_ever_closer_peers() -> None:
    made = iter(range(10**9))

    def lies() -> tuple[Contact, ...]:
        return tuple(
            Contact(f"lie{n}", (int.from_bytes(TARGET, "big") ^ (2**255 >> (n % 250))).to_bytes(32, "big"))
            for n in (next(made) for _ in range(20))
        )

    search = DhtLookup(ME, TARGET, [contact("liar")])
    waiting, asked = search.begin(), 0
    while waiting:
        asked += 1
        waiting += search.handle(CloserTold(waiting.pop(0).contact.peer, lies()))
    assert asked <= lookup.ASKED_MAX


def test_few_peers_of_one_range_of_public_addresses_are_asked() -> None:
    crowd = [contact(f"peer{n}", f"/ip4/5.6.{n}.1/tcp/1") for n in range(20)]
    search = DhtLookup(ME, TARGET, [*crowd, contact("other", "/ip4/7.8.9.1/tcp/1")])
    network = {one.peer: list[str]() for one in crowd} | {"other": []}
    asked = searched(search, network)
    assert len(asked) == lookup.ASKED_PER_RANGE_MAX + 1 and "other" in asked


def test_this_node_itself_is_never_asked() -> None:
    search = DhtLookup(ME, TARGET, [contact("a"), contact(ME)])
    assert searched(search, {"a": [ME, "a"]}) == ["a"]


def test_a_place_is_the_hash_of_a_key() -> None:
    assert place_of(b"x") == hashlib.sha256(b"x").digest()
