"""Any record of private networks that its type allows, drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from p2pnode.core.wire.fields import INTEGER_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.membership import (
    EarlierKey,
    ExpulsionBody,
    InvitationBody,
    InvitationToken,
    KeyringBody,
    KeyringGiven,
    MemberBody,
    Membership,
    MemberShown,
    Role,
)
from p2pnode.core.wire.signing import Signed

_SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_NATURALS = st.integers(0, INTEGER_MAX)
_MOMENTS = st.integers(0, MOMENT_MS_MAX)
_SIGNED = st.builds(Signed, body=st.binary(max_size=9), signature=st.binary(min_size=64, max_size=64))
_KEYS = st.binary(min_size=32, max_size=32)
_NETWORKS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)

# By the names of the schema's rules.
NETWORK_RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "invitation-body": st.builds(
        InvitationBody,
        network=_NETWORKS,
        operator=_SOME,
        key=_SOME,
        role=st.sampled_from(Role),
        expires_ms=_MOMENTS,
        member_for_ms=st.none() | (st.integers(1, MOMENT_MS_MAX)),
        number=_NATURALS,
    ),
    "member-body": st.builds(MemberBody, network=_NETWORKS, operator=_SOME, peer=_SOME, joined_ms=_MOMENTS),
    "membership": st.builds(Membership, invitation=_SIGNED, member=_SIGNED),
    "expulsion-body": st.builds(
        ExpulsionBody,
        network=_NETWORKS,
        operator=_SOME,
        serial=_MOMENTS,
        peers=st.lists(_SOME, max_size=3).map(tuple),
        invitations=st.lists(_NATURALS, max_size=3).map(tuple),
    ),
    "member-shown": st.builds(
        MemberShown,
        membership=st.builds(Membership, invitation=_SIGNED, member=_SIGNED),
        expulsion=st.none() | (_SIGNED),
        keyring_serial=_MOMENTS,
    ),
    "keyring-body": st.builds(
        KeyringBody,
        network=_NETWORKS,
        operator=_SOME,
        serial=_MOMENTS,
        expulsion_serial=_MOMENTS,
        key=_KEYS,
        since_ms=_MOMENTS,
        earlier=st.lists(
            st.builds(EarlierKey, key=_KEYS, since_ms=_MOMENTS, until_ms=_MOMENTS), max_size=7
        ).map(tuple),
    ),
    "keyring-given": st.builds(KeyringGiven, keyring=_SIGNED, expulsion=st.none() | (_SIGNED)),
    "invitation-token": st.builds(
        InvitationToken,
        invitation=_SIGNED,
        seed=_KEYS,
        network_key=_KEYS,
        addresses=st.lists(_SOME, max_size=8).map(tuple),
    ),
}
