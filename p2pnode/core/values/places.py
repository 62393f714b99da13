"""Places that a node's policy names for its own jobs: peers by id, and labels that they have to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Place:
    """Peers that fit all that it names: an id, a role, every label, and a price. `*` is any text."""

    name: str
    peers: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    # In the private network; a peer in none has no role.
    roles: tuple[str, ...] = ()
    # The most that an execution costs there; None: any price.
    price_micros_max: int | None = None

    def holds(self, peer: str, role: str, labels: Mapping[str, str], price_micros: int) -> bool:
        if self.price_micros_max is not None and price_micros > self.price_micros_max:
            return False
        named = not self.peers or any_fits(self.peers, peer)
        return named and (not self.roles or role in self.roles) and labels_fit(self.labels, labels)


def why_not_in(
    places: Iterable[Place], peer: str, role: str, labels: Mapping[str, str], price_micros: int
) -> str | None:
    """Why a peer is in none of these places; None where it is, and where there are none."""
    names = []
    for place in places:
        if place.holds(peer, role, labels, price_micros):
            return None
        names.append(place.name)
    return f"is not where the requester's policy places its jobs: {' or '.join(names)}" if names else None


def any_fits(patterns: Iterable[str], text: str) -> bool:
    """Whether a text is as one of the patterns has it, in which `*` is any text."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def labels_fit(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every wanted label is there, with a value as its pattern has it."""
    return all(key in labels and fnmatchcase(labels[key], value) for key, value in wanted.items())
