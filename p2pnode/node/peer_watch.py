"""Carries out what the failure detector decides: links kept with its peers, the core told of losses.

`core.link.failure_detector` decides; this gives it what happens to links, and whom to watch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from p2pnode.core.link.failure_detector import (
    FailureDetector,
    LinkEvent,
    MessageRejected,
    PeerBack,
    PeerLost,
)
from p2pnode.core.node import Core
from p2pnode.core.records.events import Rejected
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Message
from p2pnode.core.wire.reasons import one_line
from p2pnode.network.links import Links
from p2pnode.network.strangers import Strangers
from p2pnode.system.log_lines import concerning

from .changes import Changes

log = logging.getLogger(__name__)

# Taking stock of whom the core is concerned with goes through all jobs: after many events at once, one look.
LOOK_GAP_S = 0.2


class PeerWatch:
    """Watches the peers whose silence concerns the core."""

    def __init__(
        self, core: Core, changes: Changes, tell: Callable[[PeerLost | PeerBack | Rejected], object]
    ) -> None:
        """`core` is read only here; `tell` gives it events, and `changes` says when it has had one."""
        self._core = core
        self._changes = changes
        self._tell = tell
        self._detector = FailureDetector(core.lost)

    def on_link(self, event: LinkEvent) -> None:
        """Take in what has happened to a link; it must not block."""
        if isinstance(event, MessageRejected):
            with concerning(peer=event.peer):
                self._rejected(event.peer, event.payload, one_line(event.reason))
            return
        for found in self._detector.handle(event, trio.current_time()):
            self._tell(found)
        self._changes.note_any()

    def _rejected(self, peer: str, payload: bytes, reason: str) -> None:
        try:
            message: Message = codec.decode(payload, Message)  # type: ignore[arg-type]
        except codec.Unreadable as exc:
            # An outbox outlives the program that wrote it; the peer was right.
            log.info("what %s has discarded is none of this program's messages: %s", peer, exc)
            return
        self._tell(Rejected(peer, message, reason))

    async def run(self, links: Links, strangers: Strangers) -> None:
        """Keep a link with each peer whose silence concerns this node, and report those that stay away."""
        while True:
            changed = self._changes.any()
            strangers.know(self._core.acquainted)
            begun, over = self._detector.watch(self._core.partners, trio.current_time())
            for peer in begun:
                links.keep(peer)
            for peer in over:
                links.release(peer)
            for found in self._detector.due(trio.current_time()):
                self._tell(found)
            with trio.move_on_at(self._detector.deadline):
                await changed.wait()
                await trio.sleep(LOOK_GAP_S)
