"""The extension of `replicate` by which the members of a job learn where its requester's policy places it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from p2pnode.core.values.places import Place

from . import codec
from .codec import BadMessage, Meta, Record
from .extensions import EXTENSION_SIZE_BYTES_MAX, Open
from .fields import NAMES_MAX, Name, Names, Natural, SomeName

PLACES_EXTENSION = "places/1"
# A person writes a few; all together are bounded by the size of an extension, some 70 peer ids.
PLACES_MAX = 32
# The words for a place that its policy does not name may be as long as all that it names.
NAME_LENGTH_MAX = 256


class PlaceTold(Record, frozen=True):
    """Peers that fit all that it names, which is one thing at least; in texts `*` is any text."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
    peers: Names
    labels: Annotated[dict[SomeName, Name], Meta(max_length=NAMES_MAX)]
    # Also such as only later versions know.
    roles: Names
    price_micros_max: Natural | None


class PlacesTold(Record, frozen=True):
    """All places of a requester; none: anywhere."""

    places: Annotated[tuple[PlaceTold, ...], Meta(max_length=PLACES_MAX)]


def told(places: Iterable[Place]) -> bytes:
    """The extension's bytes; raises `BadMessage` for places that nobody would take in."""
    data = codec.encode(
        PlacesTold(
            places=tuple(
                PlaceTold(
                    name=one.name[:NAME_LENGTH_MAX],
                    peers=one.peers,
                    labels=dict(one.labels),
                    roles=one.roles,
                    price_micros_max=one.price_micros_max,
                )
                for one in places
            )
        )
    )
    _read_untrusted(data)
    return data


def heard_untrusted(record: Open) -> tuple[Place, ...] | None:
    """The places that a message tells, () for anywhere; None where it tells none. Raises `BadMessage`."""
    data = (record.extensions or {}).get(PLACES_EXTENSION)
    return None if data is None else _read_untrusted(data)


def _read_untrusted(data: bytes) -> tuple[Place, ...]:
    try:
        read = codec.decode_untrusted(data, PlacesTold, EXTENSION_SIZE_BYTES_MAX)
    except BadMessage as exc:
        raise BadMessage(f"{PLACES_EXTENSION}: {exc}") from exc
    for one in read.places:
        if not one.peers and not one.labels and not one.roles and one.price_micros_max is None:
            raise BadMessage(f"{PLACES_EXTENSION}: a place that names nothing")
    return tuple(
        Place(one.name, one.peers, one.labels, one.roles, one.price_micros_max) for one in read.places
    )
