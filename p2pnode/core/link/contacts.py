"""A node's knowledge of a DHT: peers that have answered it, and for others who provides what.

Both are bounded, whatever strangers say. A peer that answers is kept before one that is new, so nobody can
push out those that are there; of one range of public addresses few are taken, as addresses cost money.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from p2pnode.core.wire.addresses import BadAddress, Scope, parse, scope_of
from p2pnode.core.wire.kad import CLOSEST_MAX

# Peers of one /16 (IPv6: /32), as go-libp2p has it: in a bucket, and in all.
BUCKET_PER_RANGE_MAX = 2
TABLE_PER_RANGE_MAX = 6
# As the specification has it: a provider says it again every 22 h.
PROVIDER_RECORD_S = 48 * 3600.0
# Some 500 bytes each; a small network's results of a day.
PROVIDED_KEYS_MAX = 10_000
PROVIDERS_PER_KEY_MAX = CLOSEST_MAX
# One peer's share, so that it does not push out all others.
KEYS_PER_PROVIDER_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer of the DHT. `place` is the hash of its id, `addresses` what this node can dial."""

    peer: str
    place: bytes
    addresses: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The range of its first public address; "" where it has none."""
        for text in self.addresses:
            with suppress(BadAddress, ValueError):
                host = parse(text).host
                if scope_of(host) is Scope.PUBLIC:
                    address = ipaddress.ip_address(host)
                    return str(ipaddress.ip_network((address, 16 if address.version == 4 else 32), False))
        return ""


def distance(one: bytes, other: bytes) -> int:
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


def closest(contacts: Iterable[Contact], place: bytes, count: int = CLOSEST_MAX) -> list[Contact]:
    """The nearest first."""
    return sorted(contacts, key=lambda one: distance(one.place, place))[:count]


class ContactTable:
    """The peers that have answered, by their distance from this node: k for each halving of it."""

    def __init__(self, own_place: bytes) -> None:
        self._own_place = own_place
        self._buckets: dict[int, dict[str, Contact]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def answered(self, contact: Contact) -> bool:
        """Whether the peer is in the table now."""
        if contact.place == self._own_place:
            return False
        number = distance(contact.place, self._own_place).bit_length()
        bucket = self._buckets.setdefault(number, {})
        if contact.peer in bucket:
            if contact.addresses:
                bucket[contact.peer] = contact
            return True
        if len(bucket) >= CLOSEST_MAX or self._is_crowded(bucket.values(), contact.range):
            return False
        bucket[contact.peer] = contact
        return True

    def failed(self, peer: str) -> None:
        """The peer does not answer any more."""
        for bucket in self._buckets.values():
            bucket.pop(peer, None)

    def all(self) -> list[Contact]:
        return [one for bucket in self._buckets.values() for one in bucket.values()]

    def _is_crowded(self, bucket: Collection[Contact], range: str) -> bool:
        if not range:
            return False
        in_bucket = sum(one.range == range for one in bucket)
        return (
            in_bucket >= BUCKET_PER_RANGE_MAX
            or sum(one.range == range for one in self.all()) >= TABLE_PER_RANGE_MAX
        )


@dataclass(slots=True)
class ProviderTable:
    """Providers of contents, as they said of themselves; the oldest goes for want of room."""

    _by_key: OrderedDict[bytes, dict[str, tuple[Contact, float]]] = field(default_factory=OrderedDict)
    _keys_of: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, key: bytes, provider: Contact, now: float) -> bool:
        """Whether the record was taken: a peer, and a content, have so many at most."""
        records = self._by_key.get(key, {})
        if provider.peer not in records:
            self._drop_old(key, now)
            records = self._by_key.get(key, {})
            full = len(records) >= PROVIDERS_PER_KEY_MAX
            if full or self._keys_of.get(provider.peer, 0) >= KEYS_PER_PROVIDER_MAX:
                return False
            self._keys_of[provider.peer] = self._keys_of.get(provider.peer, 0) + 1
        self._by_key.setdefault(key, {})[provider.peer] = provider, now + PROVIDER_RECORD_S
        self._by_key.move_to_end(key)
        while len(self._by_key) > PROVIDED_KEYS_MAX:
            self._drop(next(iter(self._by_key)))
        return True

    def of(self, key: bytes, now: float) -> list[Contact]:
        self._drop_old(key, now)
        return [contact for contact, _ in self._by_key.get(key, {}).values()]

    def _drop_old(self, key: bytes, now: float) -> None:
        # The oldest stand first: one of them is looked at each time, too.
        for one in {key, next(iter(self._by_key), key)}:
            records = self._by_key.get(one, {})
            for peer in [peer for peer, (_, until) in records.items() if until <= now]:
                del records[peer]
                self._forget_one(peer)
            if not records:
                self._by_key.pop(one, None)

    def _drop(self, key: bytes) -> None:
        for peer in self._by_key.pop(key):
            self._forget_one(peer)

    def _forget_one(self, peer: str) -> None:
        self._keys_of[peer] -= 1
        if not self._keys_of[peer]:
            del self._keys_of[peer]
