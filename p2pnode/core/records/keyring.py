"""The keys of a private network: which count when, how a new one takes the place of those before.

The operator signs all of them as one record, and the one with the highest serial counts. Whoever has a
newer record gives it to members alone. Clock, streams and files are the shell's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.fields import MOMENT_MS_MAX
from p2pnode.core.wire.membership import (
    EARLIER_KEYS_MAX,
    KEYRING_BODY_SIZE_BYTES_MAX,
    EarlierKey,
    KeyringBody,
)
from p2pnode.core.wire.signing import KEYRING_DOMAIN, Keys, Signed

from .membership import Member


@dataclass(slots=True)
class Keyring:
    """A network's keys as one node knows them: the key that it joined with, until it hears of others."""

    first: bytes = field(repr=False)
    # The operator's newest record, and what is in it.
    signed: Signed | None = field(default=None, repr=False)
    _body: KeyringBody | None = None

    @property
    def serial(self) -> int:
        """The serial of the record; 0: none is known."""
        return self._body.serial if self._body else 0

    @property
    def expulsion_serial(self) -> int:
        """The serial of the record of those expelled that these keys came after; 0: of none."""
        return self._body.expulsion_serial if self._body else 0

    def counting(self, now_ms: int) -> tuple[bytes, ...]:
        """The keys that let a node in, the newest first: with that one others are dialled."""
        if self._body is None:
            return (self.first,)
        earlier = (one.key for one in self._body.earlier if now_ms < one.until_ms)
        return (self._body.key, *earlier)

    def hear_untrusted(self, signed: Signed, own: Member, expulsion_serial: int, keys: Keys) -> bool:
        """Take in a record; whether it is newer. Raises `BadMessage`.

        `expulsion_serial` is of the newest record of those expelled that is known here.
        """
        if signed == self.signed:
            return False
        body = vet_untrusted(signed, own.network, own.operator, keys)
        if body.serial <= self.serial:
            return False
        if body.expulsion_serial > expulsion_serial:
            raise Untimely("keys of a network without the record of those expelled before them")
        self.signed, self._body = signed, body
        return True


def vet_untrusted(signed: Signed, network: str, operator: str, keys: Keys) -> KeyringBody:
    """Read a record of keys; raises `BadMessage` for one of another network or operator."""
    body = codec.decode_untrusted(signed.body, KeyringBody, KEYRING_BODY_SIZE_BYTES_MAX)
    extensions.vet(body, "the record of keys")
    if (body.network, body.operator) != (network, operator):
        raise BadMessage("keys of another network")
    keys.verify_untrusted(operator, KEYRING_DOMAIN, signed)
    return body


def rotate(
    operator: Keys,
    own: Member,
    before: KeyringBody,
    key: bytes,
    expulsion_serial: int,
    grace_ms: int,
    now_ms: int,
) -> Signed:
    """The next record, signed by the operator: a new key, and the ones before for the grace time.

    Raises `ValueError` if too many would count.
    """
    end_ms = min(MOMENT_MS_MAX, now_ms + grace_ms)
    newest = EarlierKey(key=before.key, since_ms=before.since_ms, until_ms=end_ms)
    older = (codec.replace(one, until_ms=min(one.until_ms, end_ms)) for one in before.earlier)
    earlier = tuple(one for one in (newest, *older) if now_ms < one.until_ms)
    if len(earlier) > EARLIER_KEYS_MAX:
        raise ValueError(f"{len(earlier)} keys count already, the most that can be: --grace 0 ends them")
    body = codec.encode(
        KeyringBody(
            network=own.network,
            operator=own.operator,
            serial=min(MOMENT_MS_MAX, max(now_ms, before.serial + 1)),
            expulsion_serial=expulsion_serial,
            key=key,
            since_ms=now_ms,
            earlier=earlier,
        )
    )
    return Signed(body=body, signature=operator.sign(KEYRING_DOMAIN, body))


def first(own: Member, key: bytes) -> KeyringBody:
    """The keys of a network where there has been one only, as its maker has it; nobody signs that."""
    return KeyringBody(
        network=own.network,
        operator=own.operator,
        serial=0,
        expulsion_serial=0,
        key=key,
        since_ms=own.joined_ms,
        earlier=(),
    )
