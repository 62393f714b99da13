"""Everyone by role and by act: who is a member until when, what each may say, who is expelled for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pnode.core.records import mandate, membership, roster
from p2pnode.core.records.keyring import Keyring
from p2pnode.core.records.membership import Right
from p2pnode.core.records.roster import Roster
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec, messages
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX
from p2pnode.core.wire.mandates import CommandAction, CommandBody, Mandate
from p2pnode.core.wire.membership import EXPELLED_MAX, InvitationBody, Membership, Role
from p2pnode.core.wire.signing import EXPULSION_DOMAIN, Signed
from p2pnode.identity import Identity

from .core_support import JOB, NONCE, advert, spec

OPERATOR, ME, PEER, OTHER, STRANGER = (Identity(bytes([n]) * 32) for n in range(1, 6))
NOW_MS = 1_800_000_000_000
END_MS = NOW_MS + 10_000
NUMBERS = {Role.GUEST: 1, Role.MEMBER: 2, Role.OPERATOR: 3}


def joined(peer: Identity, role: Role, operator: Identity = OPERATOR) -> Membership:
    invited = Identity(bytes([100 + NUMBERS[role]]) * 32)
    body = InvitationBody(
        network="acme",
        operator=operator.peer_id,
        key=invited.peer_id,
        role=role,
        expires_ms=END_MS,
        member_for_ms=END_MS - NOW_MS,
        number=NUMBERS[role],
    )
    return membership.enter(invited, membership.invite(operator, body), peer.peer_id, NOW_MS)


def a_roster(**shown: Role) -> Roster:
    made = Roster(ME.peer_id, joined(ME, Role.MEMBER), ME, Keyring(bytes(32)))
    for name, role in shown.items():
        peer = {"peer": PEER, "other": OTHER}[name]
        made.prove_untrusted(peer.peer_id, joined(peer, role), NOW_MS)
    return made


def expelled(*peers: Identity, numbers: tuple[int, ...] = (), at_ms: int = NOW_MS) -> Signed:
    own = membership.read(joined(OPERATOR, Role.OPERATOR))
    return roster.expel(OPERATOR, own, None, [one.peer_id for one in peers], numbers, at_ms)


def mandate_of(requester: Identity) -> Mandate:
    charter = mandate.first_charter(JOB, NONCE, requester.peer_id, spec(), ANYBODY)
    return mandate.chartered(requester, charter)


def said(kind: type[Any], **fields: Any) -> Any:
    """A message of which nothing but these fields counts."""
    return kind(**dict.fromkeys(kind.__struct_fields__) | fields)


ASK = said(messages.Ask)
BID = said(messages.Bid)
UPDATE = said(messages.Update)
OF_ITS_OWN = [said(one, mandate=mandate_of(PEER)) for one in (messages.Award, messages.Adopt)]
OF_OTHERS = [
    said(one, mandate=mandate_of(OTHER)) for one in (messages.Award, messages.Adopt, messages.Replicate)
]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("said", "right"),
    [
        (ASK, Right.SUBMIT),
        (BID, Right.COMPUTE),
        *((one, Right.SUBMIT) for one in OF_ITS_OWN),
        *((one, Right.LOOK_AFTER) for one in OF_OTHERS),
        (UPDATE, None),
    ],
)
def test_what_each_role_says_is_heard_or_refused_with_what_to_ask_for(
    role: Role, said: Any, right: Right | None
) -> None:
    one = a_roster(peer=role)
    if right is None or right in membership.RIGHTS[role]:
        one.vet_message_untrusted(PEER.peer_id, said, NOW_MS)
        return
    with pytest.raises(Untimely, match=f"role guest may not {right}: ask the operator .* as member"):
        one.vet_message_untrusted(PEER.peer_id, said, NOW_MS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("said", [ASK, BID, UPDATE, *OF_ITS_OWN, *OF_OTHERS])
def test_nothing_is_heard_of_whom_is_no_member_has_ended_or_is_expelled(role: Role, said: Any) -> None:
    with pytest.raises(Untimely, match="has shown no membership"):
        a_roster().vet_message_untrusted(PEER.peer_id, said, NOW_MS)
    one = a_roster(peer=role)
    with pytest.raises(Untimely, match="expired"):
        one.vet_message_untrusted(PEER.peer_id, said, END_MS)
    assert one.hear_untrusted(expelled(PEER))
    with pytest.raises(Untimely, match="expelled"):
        one.vet_message_untrusted(PEER.peer_id, said, NOW_MS)


def test_a_command_of_an_expelled_controller_is_refused_whoever_brings_it() -> None:
    one = a_roster(peer=Role.MEMBER, other=Role.OPERATOR)
    body = CommandBody(
        job=JOB,
        controller=OTHER.peer_id,
        number=1,
        action=CommandAction.STOP,
        reason="",
        spec_hash=None,
    )
    signed = Signed(body=codec.encode(body), signature=bytes(64))
    command = messages.Command(job=JOB, signed=signed, spec=None)
    one.vet_message_untrusted(PEER.peer_id, command, NOW_MS)
    one.hear_untrusted(expelled(OTHER))
    with pytest.raises(Untimely, match="expelled"):
        one.vet_message_untrusted(PEER.peer_id, command, NOW_MS)


def test_who_shows_another_s_another_network_s_or_an_ended_membership_is_not_admitted() -> None:
    one = a_roster()
    for shown, now_ms, why in (
        (joined(OTHER, Role.MEMBER), NOW_MS, "another peer"),
        (joined(PEER, Role.MEMBER, STRANGER), NOW_MS, "another operator"),
        (joined(PEER, Role.MEMBER), END_MS, "expired"),
    ):
        with pytest.raises(BadMessage, match=why):
            one.prove_untrusted(PEER.peer_id, shown, now_ms)
        assert one.why_out(PEER.peer_id, NOW_MS) == "has shown no membership of this network"
    assert one.prove_untrusted(PEER.peer_id, joined(PEER, Role.GUEST), END_MS - 1).role is Role.GUEST
    assert one.why_out(PEER.peer_id, END_MS - 1) is None
    assert one.drop_ended(END_MS - 1) == [] and one.drop_ended(END_MS) == [PEER.peer_id]


def test_the_newest_record_counts_and_an_expelled_peer_or_invitation_never_comes_back_by_it() -> None:
    one = a_roster(peer=Role.GUEST, other=Role.MEMBER)
    newer = expelled(PEER, numbers=(NUMBERS[Role.MEMBER],), at_ms=NOW_MS + 1)
    assert one.hear_untrusted(newer) and not one.hear_untrusted(newer)
    assert not one.hear_untrusted(expelled(STRANGER)) and not one.is_expelled(STRANGER.peer_id)
    with pytest.raises(Untimely, match="expelled"):
        one.prove_untrusted(PEER.peer_id, joined(PEER, Role.GUEST), NOW_MS)
    assert sorted(one.drop_ended(NOW_MS)) == sorted([PEER.peer_id, OTHER.peer_id])
    with pytest.raises(Untimely, match="expelled"):
        one.prove_untrusted(PEER.peer_id, joined(PEER, Role.OPERATOR), NOW_MS)
    with pytest.raises(Untimely, match="expelled"):
        one.prove_untrusted(STRANGER.peer_id, joined(STRANGER, Role.MEMBER), NOW_MS)
    one.prove_untrusted(STRANGER.peer_id, joined(STRANGER, Role.GUEST), NOW_MS)


def test_a_record_that_the_operator_did_not_sign_expels_nobody() -> None:
    one = a_roster(peer=Role.MEMBER)
    good = expelled(PEER)
    forged = Signed(body=good.body, signature=STRANGER.sign(EXPULSION_DOMAIN, good.body))
    own = membership.read(joined(STRANGER, Role.OPERATOR, STRANGER))
    for bad in (forged, roster.expel(STRANGER, own, None, [PEER.peer_id], (), NOW_MS)):
        with pytest.raises(BadMessage):
            one.hear_untrusted(bad)
    assert one.why_out(PEER.peer_id, NOW_MS) is None and one.expulsion is None


def test_records_grow_in_serial_and_have_a_limit() -> None:
    own = membership.read(joined(OPERATOR, Role.OPERATOR))
    first = a_roster()
    first.hear_untrusted(expelled(PEER))
    second = roster.expel(OPERATOR, own, first.expelled, [OTHER.peer_id, PEER.peer_id], (), 0)
    assert first.hear_untrusted(second) and first.expelled is not None
    assert first.expelled.peers == (PEER.peer_id, OTHER.peer_id)
    with pytest.raises(ValueError, match="make a new network"):
        roster.expel(OPERATOR, own, first.expelled, (), range(EXPELLED_MAX + 1), NOW_MS)


@pytest.mark.parametrize("role", Role)
def test_an_advert_counts_as_long_as_the_membership_in_it_and_for_what_its_role_may(role: Role) -> None:
    plain = codec.replace(advert("a"), peer=PEER.peer_id)
    shown = codec.replace(plain, extensions=membership.in_advert(joined(PEER, role)))
    assert a_roster().lifetime_ms_untrusted(shown, NOW_MS) == END_MS - NOW_MS
    for bad in (plain, codec.replace(shown, peer=OTHER.peer_id)):
        with pytest.raises(BadMessage):
            a_roster().lifetime_ms_untrusted(bad, NOW_MS)
    for right in Right:
        assert (membership.why_may_not(shown, right) is None) == (right in membership.RIGHTS[role])
        assert membership.why_may_not(plain, right) is None


def test_a_membership_that_ends_soon_is_told_of_with_what_to_do() -> None:
    day_s, begun_s = 86_400, NOW_MS / 1000
    one = replace(membership.read(joined(PEER, Role.GUEST)), expires_ms=NOW_MS + 30 * day_s * 1000)
    assert membership.ends_soon(replace(one, expires_ms=MOMENT_MS_MAX), begun_s) is None
    for at_s, said in (
        (27 * day_s - 1, ""),
        (27 * day_s, "ends in 3 days: ask its operator"),
        (29 * day_s, "ends in 1 day: ask"),
        (30 * day_s - 7200, "ends in 2 hours: ask"),
        (30 * day_s - 60, "ends in 1 minute: ask"),
        (30 * day_s - 0.5, "ends in 1 second: ask"),
        (30 * day_s, "has ended: ask"),
    ):
        found = membership.ends_soon(one, begun_s + at_s)
        assert (found is None) if not said else said in (found or "")


def test_a_role_is_told_of_those_alone_that_have_proven_it() -> None:
    one = a_roster(peer=Role.GUEST)
    found = [one.role_of(peer.peer_id) for peer in (PEER, ME, OTHER)]
    assert found == ["guest", "member", ""]
