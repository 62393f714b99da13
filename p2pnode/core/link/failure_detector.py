"""Which peers count as lost, decided from what happens to the links with those that are watched.

A link is wanted with each peer whose silence concerns this node. A slow node must not accuse others: only
a link that is down counts. `handle` what happens to links, ask for what is `due` at `deadline`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from .detection_times import DOWN_AFTER_S, LOST_AFTER_CLOSE_S, LOST_AFTER_SILENCE_S, SUSPECT_AFTER_S


@dataclass(frozen=True, slots=True)
class LinkUp:
    peer: str


@dataclass(frozen=True, slots=True)
class LinkSuspect:
    """The peer has been silent for a while. Either `LinkDown` follows, or it goes on."""

    peer: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerForgot:
    """The peer has lost its disk, and with it all that it had agreed with this node."""

    peer: str


@dataclass(frozen=True, slots=True)
class MessageRejected:
    """The peer has discarded a message of ours."""

    peer: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxEmptied:
    """The peer has all that was sent to it."""

    peer: str


LinkEvent = LinkUp | LinkSuspect | LinkDown | PeerForgot | MessageRejected | OutboxEmptied


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A peer has been silent for too long; until its link is up again it stays lost.

    `forgot`: it is there, but has lost its journal.
    """

    peer: str
    reason: str
    forgot: bool = False


@dataclass(frozen=True, slots=True)
class PeerBack:
    """A peer that was lost is heard again."""

    peer: str


@dataclass(slots=True)
class _Absence:
    """A watched peer whose link is down: silent since then, lost at then; inf once it is."""

    since: float
    lost_at: float


class FailureDetector:
    """`lost` are the peers that count as lost, kept by whoever is told of `PeerLost` and `PeerBack`."""

    def __init__(self, lost: Collection[str]) -> None:
        self._lost = lost
        self._up: set[str] = set()
        # Peers whose silence concerns this node and whose links are down.
        self._absent: dict[str, _Absence] = {}
        self._watched: frozenset[str] = frozenset()
        self._suspected_at: dict[str, float] = {}

    @property
    def deadline(self) -> float:
        return min((one.lost_at for one in self._absent.values()), default=inf)

    def watch(self, peers: frozenset[str], now: float) -> tuple[list[str], list[str]]:
        """Watch these peers from now on; those with which a link is wanted anew, and no more."""
        begun, over = sorted(peers - self._watched), sorted(self._watched - peers)
        self._watched = peers
        for peer in over:
            self._absent.pop(peer, None)
        for peer in begun:
            if peer not in self._up:
                self._absent.setdefault(peer, _Absence(now, now + LOST_AFTER_CLOSE_S))
        return begun, over

    def handle(self, event: LinkEvent, now: float) -> list[PeerLost | PeerBack]:
        """Take in what has happened to a link."""
        match event:
            case PeerForgot(peer):
                return [PeerLost(peer, "it has lost its journal", forgot=True)]
            case LinkUp(peer):
                self._up.add(peer)
                self._absent.pop(peer, None)
                self._suspected_at.pop(peer, None)
                return [PeerBack(peer)] if peer in self._lost else []
            case LinkSuspect(peer):
                self._suspected_at[peer] = now
            case LinkDown(peer):
                self._up.discard(peer)
                # Silence counts from its beginning; a connection that was closed only from then on.
                suspected_at = self._suspected_at.pop(peer, -inf)
                if now - suspected_at <= SUSPECT_AFTER_S:
                    since, wait_s = suspected_at - SUSPECT_AFTER_S, LOST_AFTER_SILENCE_S - DOWN_AFTER_S
                else:
                    since, wait_s = now, LOST_AFTER_CLOSE_S
                if peer in self._watched:
                    self._absent[peer] = _Absence(since, now + wait_s)
        return []

    def due(self, now: float) -> list[PeerLost]:
        """The watched peers that have stayed away for too long."""
        found = sorted(peer for peer, one in self._absent.items() if one.lost_at <= now)
        for peer in found:
            self._absent[peer].lost_at = inf
        return [PeerLost(peer, f"no sign of it for {now - self._absent[peer].since:.0f} s") for peer in found]
