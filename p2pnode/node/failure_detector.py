"""Tells the core which peers are lost and which are back, from what happens to their links.

A link is kept with each peer whose silence concerns this node. One that was closed may be opened
anew within a while, by a node that is restarted; one that fell silent has had part of that while
already. A slow node must not accuse others: only a link that is down counts (core.link.machine).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

import trio

from p2pnode.core.node import Core
from p2pnode.core.records.events import PeerBack, PeerLost, Rejected
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Message
from p2pnode.core.wire.reasons import one_line
from p2pnode.network.links import (
    LinkDown,
    LinkEvent,
    Links,
    LinkSuspect,
    LinkUp,
    MessageRejected,
    PeerForgot,
)
from p2pnode.network.strangers import Strangers

log = logging.getLogger(__name__)

# A peer that is restarted is back within 5 s; one that is not has died (DESIGN: links).
PEER_LOST_AFTER_S = 6.0
LOOK_INTERVAL_S = 0.5
# A link that falls silent is suspected after 4 s and down after 6 (core.link.machine): it is lost 2 s later,
# when dialling it anew has failed, too.
SUSPICION_COUNTS_S = 4.0


class FailureDetector:
    def __init__(self, core: Core, tell: Callable[[PeerLost | PeerBack | Rejected], object]) -> None:
        """`core` is read only here; `tell` gives it events."""
        self._core = core
        self._tell = tell
        self._kept: frozenset[str] = frozenset()
        # Of peers whose links are down, since when they count as silent; and when others were suspected.
        self._down_since: dict[str, float] = {}
        self._suspected: dict[str, float] = {}

    def on_link(self, event: LinkEvent) -> None:
        match event:
            case PeerForgot(peer):
                self._tell(PeerLost(peer, "it has lost its journal", forgot=True))
            case MessageRejected(peer, payload, reason):
                self._rejected(peer, payload, one_line(reason))
            case LinkUp(peer):
                self._suspected.pop(peer, None)
                if peer in self._core.lost:
                    self._tell(PeerBack(peer))
            case LinkSuspect(peer):
                self._suspected[peer] = trio.current_time()
            case LinkDown(peer):
                # Silence counts from its beginning; a connection that was closed only from then on.
                now = trio.current_time()
                silent = now - self._suspected.pop(peer, -inf) <= SUSPICION_COUNTS_S
                self._down_since[peer] = now - (SUSPICION_COUNTS_S if silent else 0.0)

    def _rejected(self, peer: str, payload: bytes, reason: str) -> None:
        try:
            message: Message = codec.decode(payload, Message)  # type: ignore[arg-type]
        except codec.Unreadable as exc:
            # An outbox outlives the program that wrote it; the peer was right.
            log.info("what %s has discarded is none of this program's messages: %s", peer, exc)
            return
        self._tell(Rejected(peer, message, reason))

    async def run(self, links: Links, strangers: Strangers) -> None:
        """Keeps a link to each peer whose silence concerns this node; reports those that stay away."""
        while True:
            strangers.know(self._core.acquainted)
            wanted = self._core.partners
            for peer in sorted(wanted - self._kept):
                links.keep(peer)
            for peer in sorted(self._kept - wanted):
                links.release(peer)
                self._down_since.pop(peer, None)
            self._kept = wanted
            now = trio.current_time()
            for peer in sorted(wanted):
                if links.is_up(peer):
                    self._down_since.pop(peer, None)
                elif now - self._down_since.setdefault(peer, now) >= PEER_LOST_AFTER_S:
                    # Told once; until it is heard again it stays lost.
                    self._down_since[peer] = inf
                    self._tell(PeerLost(peer, f"no sign of it for {PEER_LOST_AFTER_S:.0f} s"))
            await trio.sleep(LOOK_INTERVAL_S)
