"""The places that a node has for others as their relay, decided without I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from p2pnode.core.wire.circuits import CircuitLimit, CircuitStatus

# An hour, as go-libp2p: a peer that is gone without a word holds its place no longer.
RESERVATION_S = 3600
# One costs nothing but what its connection does, of which a node has 300.
RESERVATIONS_MAX = 128
# An office or a village behind one address; a stranger with many ids gets no more.
RESERVATIONS_PER_HOST_MAX = 16
# Each is two streams, and up to half a MiB that waits to be passed on.
CIRCUITS_MAX = 128
# As many connections as a node keeps with neighbours (core.link.neighbours).
CIRCUITS_PER_PEER_MAX = 16
# Results of some hundred MB, and links for a day; links come back by a new circuit when one is used up.
CIRCUIT_LIMIT = CircuitLimit(duration_s=24 * 3600, size_bytes=2**31)
# Each direction of a circuit has it: a relay's line is its owner's first. A burst of a screen full of logs.
CIRCUIT_RATE_BYTES_PER_S = 4 * 2**20
CIRCUIT_BURST_BYTES = 8 * 2**20


@dataclass(slots=True)
class RelayPlaces:
    """The reservations of peers here, and the circuits between them."""

    # With the address and the end of each.
    _reservations: dict[str, tuple[str, float]] = field(default_factory=dict)
    _circuits: Counter[str] = field(default_factory=Counter)
    _circuits_count: int = 0

    def reserve(self, peer: str, host: str, now: float) -> CircuitStatus:
        """Make or renew a reservation for a peer at this address."""
        self._forget_ended(now)
        others = [one for other, (one, _) in self._reservations.items() if other != peer]
        if len(others) >= RESERVATIONS_MAX or others.count(host) >= RESERVATIONS_PER_HOST_MAX:
            return CircuitStatus.RESERVATION_REFUSED
        self._reservations[peer] = host, now + RESERVATION_S
        return CircuitStatus.OK

    def release(self, peer: str) -> None:
        """Forget the reservation of a peer that is gone."""
        self._reservations.pop(peer, None)

    def open(self, source: str, destination: str, now: float) -> CircuitStatus:
        """Take a place for a circuit; with OK, `close` gives it back."""
        self._forget_ended(now)
        if destination not in self._reservations:
            return CircuitStatus.NO_RESERVATION
        busiest = max(self._circuits[source], self._circuits[destination])
        if self._circuits_count >= CIRCUITS_MAX or busiest >= CIRCUITS_PER_PEER_MAX:
            return CircuitStatus.RESOURCE_LIMIT_EXCEEDED
        self._circuits_count += 1
        self._circuits.update((source, destination))
        return CircuitStatus.OK

    def close(self, source: str, destination: str) -> None:
        self._circuits_count -= 1
        self._circuits.subtract((source, destination))
        self._circuits += Counter()

    @property
    def reserved(self) -> frozenset[str]:
        return frozenset(self._reservations)

    @property
    def circuits(self) -> int:
        return self._circuits_count

    def _forget_ended(self, now: float) -> None:
        for peer in [peer for peer, (_, end) in self._reservations.items() if end <= now]:
            del self._reservations[peer]
