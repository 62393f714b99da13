"""The peers to which a node entrusts its own jobs, as its configuration names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trust:
    """Peers by id. Where none is named, any peer will do."""

    # The nodes whose users are this one's, too.
    operators: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()

    def why_not(self, peer: str) -> str | None:
        """Why a peer is not entrusted with a job; None where it is."""
        named = (*self.operators, *self.peers)
        return "is neither an operator nor trusted" if named and peer not in named else None


# For jobs of others: their requesters' choice is not known here.
ANYBODY = Trust()
