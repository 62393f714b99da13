"""Keys of a private network: which count when, which record of them is taken, and which is refused."""

from __future__ import annotations

import pytest

from p2pnode.core.records import keyring, membership
from p2pnode.core.records.keyring import Keyring
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX
from p2pnode.core.wire.membership import EARLIER_KEYS_MAX, KeyringBody, KeyringGiven, Role
from p2pnode.core.wire.signing import EXPULSION_DOMAIN, Signed
from p2pnode.identity import Identity

from .test_roster import ME, NOW_MS, OPERATOR, OTHER, a_roster, expelled, joined

KEYS = [bytes([n]) * 32 for n in range(20)]
OWN = membership.read(joined(OPERATOR, Role.OPERATOR))
GRACE_MS = 1_000


def rotated(
    before: KeyringBody | None = None,
    key: int = 1,
    grace_ms: int = GRACE_MS,
    at_ms: int = NOW_MS,
    operator: Identity = OPERATOR,
    expulsion_serial: int = 0,
) -> Signed:
    known = before or keyring.first(OWN, KEYS[0])
    return keyring.rotate(operator, OWN, known, KEYS[key], expulsion_serial, grace_ms, at_ms)


def body(signed: Signed) -> KeyringBody:
    return codec.decode(signed.body, KeyringBody)


def heard(*records: Signed) -> Keyring:
    made = Keyring(KEYS[0])
    for one in records:
        made.hear_untrusted(one, OWN, 0, ME)
    return made


def test_both_keys_count_for_the_grace_and_the_new_one_is_dialled_with() -> None:
    one = heard(rotated())
    assert one.counting(NOW_MS) == one.counting(NOW_MS + GRACE_MS - 1) == (KEYS[1], KEYS[0])
    assert one.counting(NOW_MS + GRACE_MS) == (KEYS[1],)
    assert heard(rotated(grace_ms=0)).counting(NOW_MS) == (KEYS[1],)
    assert heard().counting(MOMENT_MS_MAX) == (KEYS[0],)


def test_an_earlier_key_ends_when_it_was_to_whatever_comes_after_or_before() -> None:
    first = rotated()
    second = rotated(body(first), key=2, at_ms=NOW_MS + 500)
    one = heard(second)
    assert one.counting(NOW_MS + 999) == (KEYS[2], KEYS[1], KEYS[0])
    assert one.counting(NOW_MS + 1_000) == (KEYS[2], KEYS[1])
    at_once = heard(rotated(body(second), key=3, grace_ms=0, at_ms=NOW_MS + 600))
    assert at_once.counting(NOW_MS + 600) == (KEYS[3],)
    later = body(rotated(body(second), key=3, at_ms=NOW_MS + 1_200))
    assert [found.key for found in later.earlier] == [KEYS[2], KEYS[1]]


def test_the_newest_record_counts_in_whatever_order_they_come_also_if_the_clock_stands() -> None:
    first = rotated()
    second = rotated(body(first), key=2)
    assert body(second).serial == body(first).serial + 1
    assert heard(first, second).counting(NOW_MS) == heard(second, first).counting(NOW_MS)
    one = heard(second)
    assert not one.hear_untrusted(second, OWN, 0, ME)
    assert not one.hear_untrusted(first, OWN, 0, ME)


def test_too_many_keys_are_refused_until_those_before_end() -> None:
    last = rotated()
    for n in range(2, EARLIER_KEYS_MAX + 1):
        last = rotated(body(last), key=n)
    with pytest.raises(ValueError, match="--grace 0 ends them"):
        rotated(body(last), key=9)
    assert heard(rotated(body(last), key=9, grace_ms=0)).counting(NOW_MS) == (KEYS[9],)


@pytest.mark.parametrize(
    ("signed", "why"),
    [
        (rotated(operator=OTHER), "not signed by " + OPERATOR.peer_id),
        (
            Signed(body=rotated().body, signature=OPERATOR.sign(EXPULSION_DOMAIN, rotated().body)),
            "not signed",
        ),
        (codec.replace(rotated(), body=b"junk"), "not"),
    ],
    ids=["another's", "another domain", "junk"],
)
def test_what_the_operator_did_not_sign_changes_no_key(signed: Signed, why: str) -> None:
    one = heard()
    with pytest.raises(BadMessage, match=why):
        one.hear_untrusted(signed, OWN, 0, ME)
    other = codec.replace(body(rotated()), network="other")
    encoded = codec.encode(other)
    with pytest.raises(BadMessage, match="another network"):
        one.hear_untrusted(Signed(body=encoded, signature=bytes(64)), OWN, 0, ME)
    assert one.counting(NOW_MS) == (KEYS[0],)


def test_keys_are_taken_only_by_who_knows_whom_they_are_kept_from() -> None:
    one, record = a_roster(), expelled(OTHER)
    signed = rotated(expulsion_serial=NOW_MS)
    with pytest.raises(Untimely, match="those expelled"):
        one.hear_keyring_untrusted(signed)
    assert one.keyring_given is None and one.shown.keyring_serial == 0
    one.hear_untrusted(record)
    assert one.hear_keyring_untrusted(signed)
    assert one.keyring_given == KeyringGiven(keyring=signed, expulsion=record)
    assert one.shown.keyring_serial == body(signed).serial


def test_who_has_lost_the_record_of_those_expelled_keeps_its_keys_and_gives_them_to_nobody() -> None:
    one, signed = a_roster(), rotated(expulsion_serial=NOW_MS)
    assert one.take_own_keyring(signed) and not one.take_own_keyring(signed)
    assert one.keyring.counting(NOW_MS) == (KEYS[1], KEYS[0])
    assert one.keyring_given is None
    one.hear_untrusted(expelled(OTHER))
    assert one.keyring_given is not None


def test_no_key_is_shown_by_what_holds_it() -> None:
    signed = rotated()
    given = KeyringGiven(keyring=signed, expulsion=None)
    for shown in (heard(signed), body(signed), body(signed).earlier[0], given):
        assert repr(KEYS[1])[2:-1] not in repr(shown) and repr(KEYS[0])[2:-1] not in repr(shown)
