"""The peers to which a requester entrusts its jobs, as its configuration names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .places import Place, why_not_in


@dataclass(frozen=True, slots=True)
class Trust:
    """Peers by id. Where none is named, any peer will do."""

    # The nodes whose users are this one's, too.
    operators: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    # Where its jobs go, as its policy says; where none is named, anywhere.
    places: tuple[Place, ...] = ()

    def why_not(self, peer: str) -> str | None:
        """Why a peer is not entrusted with a job; None where it is."""
        named = (*self.operators, *self.peers)
        return "is neither an operator nor trusted" if named and peer not in named else None

    def why_not_placed(
        self, peer: str, role: str, labels: Mapping[str, str], price_micros: int
    ) -> str | None:
        """Why no job of the requester's goes to such a peer; None where one may."""
        return why_not_in(self.places, peer, role, labels, price_micros)


ANYBODY = Trust()
