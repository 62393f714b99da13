"""How much of this node all strangers together may take, whatever number of them there is.

Peer ids cost nothing, so a limit for each peer is none for their owner. Strangers take turns: each waits
with one thing at a time, first come, first served, and all have a share of this node's time. Peers that
it works with do not wait, nor do answers to what it has asked itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import perf_counter

import trio

from p2pnode.core.values.rate import TokenBucket

# A turn takes a third of what it costs: the reply, the disk and the connection come to it. So a
# third of a core goes to strangers at most, and whom this node works with hardly notices.
SHARE = 0.1
# A requester's first jobs, or a joiner's whole table.
BURST_S = 1.0
# A turn that waited for a disk is not to hold up the next for as long again.
TURN_S_MAX = 0.25
# One whose work is over may come with more; it is no stranger meanwhile.
KNOWN_FOR_S = 600.0
# Peers that are no strangers, or owe answers; those not seen for longest are strangers again first.
KNOWN_MAX = 10_000
# Answers from one peer: a peer that was asked for much has that many at once on their way.
ANSWERS_MAX = 256


class Strangers:
    """Tells strangers from others, and has them take turns."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """`clock` measures what turns take, in seconds."""
        self._clock = clock
        self._known: dict[str, float] = {}
        # How many messages each peer may still send because this node has asked for them.
        self._answers: dict[str, int] = {}
        self._bucket = TokenBucket(SHARE, BURST_S)
        self._queue = trio.Lock()

    def know(self, peers: Iterable[str]) -> None:
        """These are no strangers from now on, for `KNOWN_FOR_S`."""
        now = trio.current_time()
        for peer in peers:
            self._known.pop(peer, None)
            self._known[peer] = now
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def knows(self, peer: str) -> bool:
        """Whether the peer is no stranger now."""
        known_at = self._known.get(peer)
        return known_at is not None and trio.current_time() - known_at < KNOWN_FOR_S

    def expect(self, peer: str, answers: int) -> None:
        """The peer has been asked for something that it answers with so many messages."""
        self._answers[peer] = min(ANSWERS_MAX, self._answers.pop(peer, 0) + answers)
        if len(self._answers) > KNOWN_MAX:
            del self._answers[next(iter(self._answers))]

    @asynccontextmanager
    async def turn(self, peer: str) -> AsyncIterator[None]:
        """Waits until the peer may have some of this node's time; the block is what it gets."""
        if not self._has_to_wait(peer):
            yield
            return
        async with self._queue:
            await trio.sleep(self._bucket.take(0, trio.current_time()))
            begun = self._clock()
            try:
                yield
            finally:
                self._bucket.take(min(TURN_S_MAX, self._clock() - begun), trio.current_time())

    def _has_to_wait(self, peer: str) -> bool:
        if self.knows(peer):
            return False
        answers = self._answers.pop(peer, 0)
        if answers > 1:
            self._answers[peer] = answers - 1
        return not answers
