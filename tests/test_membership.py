"""Memberships of private networks: what is refused and why, what roles may, tokens as people copy them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pnode.core.records import membership
from p2pnode.core.records.membership import Right
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX
from p2pnode.core.wire.membership import InvitationBody, InvitationToken, MemberBody, Membership, Role
from p2pnode.core.wire.signing import INVITATION_DOMAIN, MEMBER_DOMAIN, Signed
from p2pnode.identity import Identity

OPERATOR, INVITED, PEER, OTHER = (Identity(bytes([n]) * 32) for n in range(1, 5))
NOW_MS = 1_800_000_000_000
END_MS = NOW_MS + 1_000
ADDRESS = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER.peer_id}"


def body(**changed: Any) -> InvitationBody:
    made = InvitationBody(
        network="acme",
        operator=OPERATOR.peer_id,
        key=INVITED.peer_id,
        role=Role.MEMBER,
        expires_ms=END_MS,
        member_for_ms=END_MS - NOW_MS,
        number=7,
    )
    return codec.replace(made, **changed)


def entry(**changed: Any) -> MemberBody:
    made = MemberBody(network="acme", operator=OPERATOR.peer_id, peer=PEER.peer_id, joined_ms=NOW_MS)
    return codec.replace(made, **changed)


def signed(keys: Identity, domain: bytes, record: Any) -> Signed:
    encoded = codec.encode(record)
    return Signed(body=encoded, signature=keys.sign(domain, encoded))


def made(
    invitation: InvitationBody | None = None,
    member: MemberBody | None = None,
    operator: Identity = OPERATOR,
    invited: Identity = INVITED,
) -> Membership:
    return Membership(
        invitation=signed(operator, INVITATION_DOMAIN, invitation or body()),
        member=signed(invited, MEMBER_DOMAIN, member or entry()),
    )


def vetted(given: Membership, now_ms: int = NOW_MS) -> membership.Member:
    return membership.vet_untrusted(given, "acme", OPERATOR.peer_id, PEER.peer_id, now_ms, PEER)


def test_who_holds_an_invitation_s_key_makes_a_membership_that_others_check_alone() -> None:
    invitation = membership.invite(OPERATOR, body(role=Role.GUEST))
    found = vetted(membership.enter(INVITED, invitation, PEER.peer_id, NOW_MS))
    assert (found.network, found.operator, found.peer) == ("acme", OPERATOR.peer_id, PEER.peer_id)
    assert (found.role, found.expires_ms, found.joined_ms, found.invitation) == (
        Role.GUEST,
        END_MS,
        NOW_MS,
        7,
    )


_PLAIN = made()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param(made(body(network="other")), "network other, not acme", id="network"),
        pytest.param(made(body(operator=OTHER.peer_id), operator=OTHER), "another operator", id="operator"),
        pytest.param(made(operator=OTHER), "not signed by " + OPERATOR.peer_id, id="forged invitation"),
        pytest.param(made(invited=PEER), "not signed by " + INVITED.peer_id, id="the joiner's own word"),
        pytest.param(made(invited=OPERATOR), "not signed by " + INVITED.peer_id, id="the operator's word"),
        pytest.param(made(body(key=OTHER.peer_id)), "not signed by " + OTHER.peer_id, id="another key"),
        pytest.param(made(body(key="no key")), "not a peer id", id="no key at all"),
        pytest.param(made(member=entry(peer=OTHER.peer_id)), "another peer", id="peer"),
        pytest.param(made(member=entry(network="other")), "another network", id="entry's network"),
        pytest.param(made(member=entry(operator=OTHER.peer_id)), "another network", id="entry's operator"),
        pytest.param(made(member=entry(joined_ms=END_MS)), "had expired", id="joined too late"),
        pytest.param(made(body(extensions={"must-pay": b""})), "must-pay", id="must in invitation"),
        pytest.param(made(member=entry(extensions={"must-pay": b""})), "must-pay", id="must in entry"),
        pytest.param(
            codec.replace(_PLAIN, member=_PLAIN.invitation), "not a memberbody", id="two invitations"
        ),
        pytest.param(
            codec.replace(_PLAIN, invitation=_PLAIN.member), "not a invitationbody", id="two entries"
        ),
        pytest.param(
            Membership(invitation=signed(OPERATOR, MEMBER_DOMAIN, body()), member=_PLAIN.member),
            "not signed",
            id="another domain",
        ),
        pytest.param(
            made(body(extensions={f"x{n}": bytes(4096) for n in range(3)})), "over the limit", id="too long"
        ),
    ],
)
def test_what_is_no_membership_is_refused_with_what_is_wrong(given: Membership, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        vetted(given)


def test_a_membership_lasts_as_its_invitation_says_and_not_as_long_as_that() -> None:
    assert vetted(made(), END_MS - 1).expires_ms == END_MS
    with pytest.raises(Untimely, match="the membership has expired"):
        vetted(made(), END_MS)
    assert vetted(made(body(member_for_ms=1)), NOW_MS).expires_ms == NOW_MS + 1
    for lasts_ms in (None, MOMENT_MS_MAX):
        found = vetted(made(body(member_for_ms=lasts_ms)), 2 * END_MS)
        assert found.expires_ms == MOMENT_MS_MAX and found.expires is None


def test_each_role_may_all_that_a_lower_one_may() -> None:
    may = {role: {right for right in Right if right in membership.RIGHTS[role]} for role in Role}
    assert may[Role.GUEST] == {Right.SUBMIT}
    assert may[Role.MEMBER] == {Right.SUBMIT, Right.COMPUTE, Right.LOOK_AFTER}
    assert may[Role.OPERATOR] == may[Role.MEMBER] | {Right.CONTROL_OTHERS}
    assert vetted(made()).may(Right.COMPUTE)
    assert not vetted(made()).may(Right.CONTROL_OTHERS)


def a_token(**changed: Any) -> InvitationToken:
    token = InvitationToken(
        invitation=membership.invite(OPERATOR, body()),
        seed=INVITED.seed,
        network_key=bytes(range(32)),
        addresses=(ADDRESS,),
    )
    return codec.replace(token, **changed)


TEXT = membership.write_token(a_token())


def test_a_token_is_one_line_that_is_read_also_when_a_mail_has_wrapped_it() -> None:
    assert TEXT.startswith("p2pnet1-")
    assert TEXT.isascii() and len(TEXT.split()) == 1
    wrapped = "\n ".join(TEXT[at : at + 60] for at in range(0, len(TEXT), 60))
    assert membership.read_token_untrusted(TEXT) == membership.read_token_untrusted(wrapped) == a_token()


def test_a_token_cut_anywhere_is_told_as_cut() -> None:
    for end in range(len(membership.TOKEN_PREFIX), len(TEXT)):
        with pytest.raises(BadMessage, match="cut off"):
            membership.read_token_untrusted(TEXT[:end])


def test_a_token_with_a_character_changed_is_never_read_as_another() -> None:
    prefix = len(membership.TOKEN_PREFIX)
    for at in range(prefix, len(TEXT) - 1):
        changed = TEXT[:at] + ("A" if TEXT[at] != "A" else "B") + TEXT[at + 1 :]
        with pytest.raises(BadMessage, match=r"damaged|cut off"):
            membership.read_token_untrusted(changed)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no token"),
        ("hello", "network invite"),
        ("p2pnet2-" + TEXT[8:], "no token"),
        (TEXT + "AAAA", "damaged"),
        (TEXT + "A", "damaged"),
        (TEXT[:40] + "*" + TEXT[41:], "damaged"),
        (TEXT[:40] + "ä" + TEXT[41:], "damaged"),
        ("p2pnet1-" + "A" * membership.TOKEN_LENGTH_MAX, "more than"),
        (membership.write_token(a_token(addresses=("/ip4/192.0.2.1/tcp/1",))), "wrong address"),
        (membership.write_token(a_token(extensions={"must-x": b""})), "must-x"),
    ],
)
def test_what_is_no_token_is_refused_with_what_to_do(text: str, why: str) -> None:
    with pytest.raises(BadMessage, match=why) as refused:
        membership.read_token_untrusted(text)
    assert TEXT[20:60] not in str(refused.value)


@pytest.mark.parametrize("show", [repr, str, lambda token: f"{token!r}"])
def test_a_token_does_not_show_its_secrets(show: Callable[[InvitationToken], str]) -> None:
    assert show(a_token()) == "InvitationToken(...)"
