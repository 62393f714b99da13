"""The roster of a private network: who has proven to be in it, as what and until when, and who is expelled.

One node's knowledge, filled by what others show. Clock and streams are the shell's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX, SIGNED_WILL_SIZE_BYTES_MAX
from p2pnode.core.wire.mandates import Charter, CommandBody, Mandate
from p2pnode.core.wire.membership import (
    EXPELLED_MAX,
    EXPULSION_BODY_SIZE_BYTES_MAX,
    ExpulsionBody,
    KeyringGiven,
    Membership,
    MemberShown,
)
from p2pnode.core.wire.messages import Adopt, Advert, Ask, Award, Bid, Command, Message, Owned, Replicate
from p2pnode.core.wire.signing import EXPULSION_DOMAIN, Keys, Signed

from . import membership as memberships
from .keyring import Keyring
from .membership import Member, Right

# As many as a table of adverts has, and those that went lately; who is forgotten shows its membership again.
PROVEN_MAX = 4_000
_NOT_SHOWN = "has shown no membership of this network"
_EXPELLED = "was expelled from this network"


@dataclass(slots=True)
class Roster:
    """The members of the network of `own`, a checked membership, as this node knows them."""

    me: str
    own: Membership
    keys: Keys
    # The network's keys.
    keyring: Keyring
    # The newest record of those expelled, and what is in it.
    expulsion: Signed | None = None
    _expelled: ExpulsionBody | None = None
    _expelled_peers: frozenset[str] = frozenset()
    _expelled_numbers: frozenset[int] = frozenset()
    # Peers that the records since the last `drop_ended` name for the first time.
    _newly_expelled: set[str] = field(default_factory=set)
    _proven: dict[str, tuple[Membership, Member]] = field(default_factory=dict)
    _member: Member = field(init=False)

    def __post_init__(self) -> None:
        self._member = memberships.read(self.own)

    @property
    def member(self) -> Member:
        """This node's own membership."""
        return self._member

    @property
    def expelled(self) -> ExpulsionBody | None:
        """The newest record of those expelled, read; None: nobody ever was."""
        return self._expelled

    @property
    def shown(self) -> MemberShown:
        """The frame that this node shows its neighbours."""
        return MemberShown(membership=self.own, expulsion=self.expulsion, keyring_serial=self.keyring.serial)

    @property
    def keyring_given(self) -> KeyringGiven | None:
        """The frame by which this node gives the network's keys to a member; None: it gives none.

        Where the record of those expelled is lost, the keys might be given to them.
        """
        signed = self.keyring.signed
        if signed is None or self._expulsion_serial < self.keyring.expulsion_serial:
            return None
        return KeyringGiven(keyring=signed, expulsion=self.expulsion)

    @property
    def _expulsion_serial(self) -> int:
        return self._expelled.serial if self._expelled else 0

    def take_own_keyring(self, signed: Signed) -> bool:
        """Take in the network's keys as they lie on this machine; whether they are newer."""
        return self.keyring.hear_untrusted(signed, self._member, MOMENT_MS_MAX, self.keys)

    def hear_keyring_untrusted(self, signed: Signed) -> bool:
        """Take in the network's keys; whether they are newer. Raises `BadMessage`.

        Those expelled when they were made have to be known before: else they would be given on to them.
        """
        return self.keyring.hear_untrusted(signed, self._member, self._expulsion_serial, self.keys)

    def prove_untrusted(self, peer: str, shown: Membership, now_ms: int) -> Member:
        """Note a peer's membership; raises `BadMessage`, `Untimely` where it has ended or is expelled."""
        held = self._proven.get(peer)
        if held is not None and held[0] == shown and now_ms < held[1].expires_ms:
            member = held[1]
        else:
            own = self._member
            member = memberships.vet_untrusted(shown, own.network, own.operator, peer, now_ms, self.keys)
        if self._is_expelled(member):
            raise Untimely(f"{peer} {_EXPELLED}")
        self._proven.pop(peer, None)
        self._proven[peer] = shown, member
        while len(self._proven) > PROVEN_MAX:
            del self._proven[next(iter(self._proven))]
        return member

    def hear_untrusted(self, signed: Signed) -> bool:
        """Take in a record of those expelled; whether it is newer. Raises `BadMessage`."""
        if signed == self.expulsion:
            return False
        body = vet_expulsion_untrusted(signed, self._member.network, self._member.operator, self.keys)
        if self._expelled is not None and body.serial <= self._expelled.serial:
            return False
        self.expulsion, self._expelled = signed, body
        self._newly_expelled.update(set(body.peers) - self._expelled_peers)
        self._expelled_peers, self._expelled_numbers = frozenset(body.peers), frozenset(body.invitations)
        return True

    def lifetime_ms_untrusted(self, advert: Advert, now_ms: int) -> int:
        """For how long its membership lets a signed advert count; raises `BadMessage` if it shows none."""
        shown = memberships.advertised(advert)
        if shown is None:
            raise BadMessage(f"an advert without the membership of {advert.peer}")
        return self.prove_untrusted(advert.peer, shown, now_ms).expires_ms - now_ms

    def why_out(self, peer: str, now_ms: int) -> str | None:
        """Why a peer is no member as far as is known; None where it is one."""
        if peer == self.me:
            return None
        if self.is_expelled(peer):
            return _EXPELLED
        held = self._proven.get(peer)
        if held is None:
            return _NOT_SHOWN
        return None if now_ms < held[1].expires_ms else "has a membership that has expired"

    def role_of(self, peer: str) -> str:
        """The role that a peer has proven; "": none that is known."""
        if peer == self.me:
            return self._member.role
        held = self._proven.get(peer)
        return "" if held is None else held[1].role

    def is_expelled(self, peer: str) -> bool:
        """Whether the operator's newest record names the peer, or the invitation that it is known by."""
        held = self._proven.get(peer)
        return peer in self._expelled_peers or (held is not None and self._is_expelled(held[1]))

    def _is_expelled(self, member: Member) -> bool:
        return member.peer in self._expelled_peers or member.invitation in self._expelled_numbers

    def why_may_not(self, peer: str, right: Right, now_ms: int) -> str | None:
        """Why a peer may not do something in this network; None where it may."""
        if (out := self.why_out(peer, now_ms)) is not None:
            return out
        role = self._member.role if peer == self.me else self._proven[peer][1].role
        return memberships.why_role_may_not(role, right)

    def drop_ended(self, now_ms: int) -> list[str]:
        """Forget those that are members no more; who they are, with all that were expelled since."""
        gone = [peer for peer in self._proven if self.why_out(peer, now_ms) is not None]
        for peer in gone:
            del self._proven[peer]
        unknown = sorted(self._newly_expelled.difference(gone))
        self._newly_expelled.clear()
        return [*gone, *unknown]

    def vet_message_untrusted(self, peer: str, message: Message, now_ms: int) -> None:
        """Raises `Untimely` for a message that its sender, or a command's controller, may not send."""
        right = _right_for(peer, message)
        why = self.why_out(peer, now_ms) if right is None else self.why_may_not(peer, right, now_ms)
        if why is not None:
            raise Untimely(f"{peer}: {why}")
        if isinstance(message, Command):
            controller = codec.decode_untrusted(
                message.signed.body, CommandBody, SIGNED_WILL_SIZE_BYTES_MAX
            ).controller
            # A controller that is not known here may come by way of one that is; the charter names it.
            if self.is_expelled(controller):
                raise Untimely(f"{controller} {_EXPELLED}")


def _right_for(peer: str, message: Message) -> Right | None:
    """The right that a message needs; None: being a member."""
    match message:
        case Ask():
            return Right.SUBMIT
        case Bid():
            return Right.COMPUTE
        case Award(mandate=given) | Adopt(mandate=given) | Owned(mandate=given) | Replicate(mandate=given):
            return Right.SUBMIT if _requester(given) == peer else Right.LOOK_AFTER
        case _:
            return None


def _requester(mandate: Mandate) -> str:
    """The requester that an unchecked mandate names."""
    return codec.decode_untrusted(mandate.charter.body, Charter, SIGNED_WILL_SIZE_BYTES_MAX).members[0]


def expel(
    operator: Keys,
    own: Member,
    before: ExpulsionBody | None,
    peers: Collection[str],
    invitations: Collection[int],
    now_ms: int,
) -> Signed:
    """The next record of those expelled, signed by the operator; raises `ValueError` if they are too many."""
    all_peers = tuple(dict.fromkeys((*(before.peers if before else ()), *peers)))
    numbers = tuple(dict.fromkeys((*(before.invitations if before else ()), *invitations)))
    if max(len(all_peers), len(numbers)) > EXPELLED_MAX:
        raise ValueError(f"{EXPELLED_MAX} are expelled already, the most that can be: make a new network")
    body = codec.encode(
        ExpulsionBody(
            network=own.network,
            operator=own.operator,
            serial=min(MOMENT_MS_MAX, max(now_ms, before.serial + 1 if before else 0)),
            peers=all_peers,
            invitations=numbers,
        )
    )
    return Signed(body=body, signature=operator.sign(EXPULSION_DOMAIN, body))


def vet_expulsion_untrusted(signed: Signed, network: str, operator: str, keys: Keys) -> ExpulsionBody:
    """Read a record of those expelled; raises `BadMessage` for one of another network or operator."""
    body = codec.decode_untrusted(signed.body, ExpulsionBody, EXPULSION_BODY_SIZE_BYTES_MAX)
    extensions.vet(body, "the record of those expelled")
    if (body.network, body.operator) != (network, operator):
        raise BadMessage("a record of those expelled from another network")
    keys.verify_untrusted(operator, EXPULSION_DOMAIN, signed)
    return body
