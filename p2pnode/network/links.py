"""The links of this node: one kept stream for each peer that it works with.

`core.link.machine` decides, and `link_actions` performs that; here streams are opened, read,
written and closed. A peer's end is wanted while messages wait for it or the owner keeps it
(`keep`). A wanted end without a stream dials, again and again: fast at first, so that a peer
that restarts is found in seconds, then rarely.

On the wire a frame is its length, 4 bytes big-endian, and that many bytes of CBOR
(`protocols/link.md`). A peer that sends what it must not loses its link, and nothing else; a
message that is refused is discarded, and who sends many is left alone for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import trio

from p2pnode.core.link.events import (
    Accepted,
    Deliver,
    Delivered,
    Discarded,
    FrameReceived,
    Heard,
    LinkTick,
    Opened,
    Post,
    Rest,
    StreamEnded,
)
from p2pnode.core.link.failure_detector import LinkEvent
from p2pnode.core.link.frames import SEQUENCE_MAX
from p2pnode.core.link.machine import Link
from p2pnode.core.wire import peer_ids, protocols
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.guards import Guards
from p2pnode.system.log_lines import concerning

from .host import Connected, Disconnected, Host, PeerSilent
from .link_actions import LinkActions
from .link_end import FRAME_COST_SIZE_BYTES, LinkEnd, OpenStream, read_frame, together
from .link_owner import CannotSend, DeliverMessage, LinkJournal, OutboxFull
from .scopes import shielded
from .strangers import Strangers
from .streams import NetworkError, Stream, StreamBroken

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

PROTOCOL = protocols.LINK
# A stream that is given up holds its place until its end is noticed: room for a few.
STREAMS_PER_PEER_MAX = 4
CONNECT_S_MAX = 5.0
# Connections begun at once: of peers that somebody invented none succeeds, and each takes a socket or four.
DIALS_MAX = 32
OPEN_S_MAX = 5.0
# Silence is the machine's business (it beats every 1.5 s); this is only so that no wait is endless.
READ_S_MAX = 60.0
HELLO_READ_S_MAX = 5.0
WRITE_S_MAX = 10.0
# The owner's commit of one message: a busy disk takes seconds.
DELIVER_S_MAX = 30.0
# Frames that wait to be written: a window of data, and acknowledgements. A peer that lets more pile up
# does not read.
FRAMES_WAITING_MAX = 512
# Ends that are kept only to remember how their peers behaved; peer ids cost a stranger nothing.
ENDS_REMEMBERED_MAX = 2_000
# Before a link that this node has failed with is tended again.
FAILED_WAIT_S = 1.0


async def _find_nothing(peer: str) -> Sequence[str]:
    return ()


class Links:
    """All links of this node. `store` is the id of 32 hexadecimal digits that its journal was made with."""

    def __init__(
        self,
        host: Host,
        store: str,
        journal: LinkJournal,
        *,
        deliver: DeliverMessage,
        notify: Callable[[LinkEvent], None],
        addresses_of: Callable[[str], Sequence[str]],
        guards: Guards,
        strangers: Strangers,
        find: Callable[[str], Awaitable[Sequence[str]]] = _find_nothing,
    ) -> None:
        """`find` gives further addresses of a peer that is not reached at those known."""
        self._host = host
        self._find = find
        self._journal = journal
        self._actions = LinkActions(host.peer_id, store, journal, notify)
        self._deliver = deliver
        self._addresses_of = addresses_of
        self._guards = guards
        self._strangers = strangers
        self._ends: dict[str, LinkEnd] = {}
        self._numbers = count(1)
        self._nursery: trio.Nursery | None = None
        self._dials = trio.CapacityLimiter(DIALS_MAX)
        self._ends_now = False

    def send(self, peer: str, payload: bytes) -> None:
        """Puts a message into the peer's outbox on disk, and sends it now or when the peer is there.

        Nothing is waited for, and nothing sent before the caller next awaits, so a call may stand in a
        transaction of the journal. Raises `OutboxFull` and `CannotSend`.
        """
        if not peer_ids.is_peer_id(peer):
            raise CannotSend(f"{peer!r} is no peer id")
        end = self._end(peer)
        try:
            self._actions.give(end, Post(payload))
        except (OutboxFull, CannotSend):
            raise
        except Exception:
            # The message is not on disk, so it must not be in memory either.
            self._actions.reload(end, "the journal failed")
            raise
        end.wake.set()

    def unsend(self, peers: Iterable[str]) -> None:
        """Forgets what was put into these outboxes in a transaction that did not come to be."""
        for peer in peers:
            end = self._ends.get(peer)
            if end is not None and self._actions.is_behind(end):
                self._actions.reload(end, "this node failed")

    def keep(self, peer: str) -> None:
        """Wants a link with the peer, messages or not: its loss will be noticed."""
        end = self._end(peer)
        end.kept = True
        end.wake.set()

    def release(self, peer: str) -> None:
        """Takes `keep` back."""
        if peer in self._ends:
            self._ends[peer].kept = False
            self._ends[peer].wake.set()

    @property
    def wanted(self) -> set[str]:
        """The peers with which a link is wanted, or under way to be had."""
        return {peer for peer, end in self._ends.items() if end.wanted}

    def is_up(self, peer: str) -> bool:
        """Whether the peer is there, as far as its beats tell."""
        return peer in self._ends and self._ends[peer].link.is_up

    def waiting(self, peer: str) -> int:
        """How many messages the peer has not acknowledged."""
        return self._ends[peer].link.waiting if peer in self._ends else 0

    @property
    def figures(self) -> tuple[int, int]:
        """How many links are up, and how many messages wait in all outboxes."""
        links = [end.link for end in self._ends.values()]
        return sum(link.is_up for link in links), sum(link.waiting for link in links)

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves and tends the links until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for end in self._ends.values():
                nursery.start_soon(self._tend, end)
            for peer in self._journal.peers_waiting():
                if peer_ids.is_peer_id(peer):
                    self._end(peer)
                else:
                    log.warning("messages for %r, which is no peer id, are thrown away", peer)
                    self._journal.forget_messages(peer, SEQUENCE_MAX)
            self._host.watch(self._on_connection)
            self._host.handle(
                PROTOCOL, self._serve, time_limit_s=inf, streams_per_peer_max=STREAMS_PER_PEER_MAX
            )
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                # The host's streams outlive this; what they bring would reach a node that has ended.
                self._ends_now = True
                for opened in [one for end in self._ends.values() for one in end.streams.values()]:
                    opened.end("this node ends")

    def _end(self, peer: str) -> LinkEnd:
        if peer not in self._ends:
            end = self._ends[peer] = LinkEnd(peer, self._actions.load(peer))
            # A message that is posted while the node ends waits on the disk for the next start.
            if self._nursery is not None and not self._ends_now:
                self._nursery.start_soon(self._tend, end)
        return self._ends[peer]

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Connected) and event.peer in self._ends:
            self._ends[event.peer].dial_anew(-inf)

    def moved(self, elsewhere: bool) -> None:
        """Dial whoever is wanted again: this node is at other addresses."""
        for end in self._ends.values():
            end.dial_anew(end.patience.alone_until)

    async def _tend(self, end: LinkEnd) -> None:
        """Ticks and dials for one end, whatever becomes of it."""
        while self._ends.get(end.peer) is end:
            if end.failed_here:
                # A link that fails at once, and again, must not keep this node busy.
                await trio.sleep(FAILED_WAIT_S)
                end.failed_here = False
            guard = self._guards.guard(Compartment.LINK, end.peer, lambda exc: self._failed_here(end, exc))
            with concerning(anew=True), guard:
                await self._tend_well(end)

    async def _tend_well(self, end: LinkEnd) -> None:
        assert self._nursery is not None
        while True:
            now = trio.current_time()
            if now >= end.link.deadline:
                self._actions.give(end, LinkTick())
            if not end.wanted and now >= end.link.rests_at:
                self._actions.give(end, Rest())
            wake_at = min(end.link.deadline, inf if end.wanted else end.link.rests_at)
            if end.wanted and not end.link.has_stream and not end.dialling:
                if now >= end.dial_at:
                    end.dialling = True
                    self._nursery.start_soon(self._dial, end)
                else:
                    wake_at = min(wake_at, end.dial_at)
            elif not (end.wanted or end.streams or end.dialling):
                if now >= end.rested_at or len(self._ends) > ENDS_REMEMBERED_MAX:
                    # Nothing is known here that the journal does not know.
                    del self._ends[end.peer]
                    return
                wake_at = min(wake_at, end.rested_at)
            with trio.move_on_at(wake_at):
                await end.wake.wait()
            end.wake = trio.Event()

    async def _dial(self, end: LinkEnd) -> None:
        stream = None
        try:
            with self._guards.guard(Compartment.LINK, end.peer, lambda exc: self._failed_here(end, exc)):
                stream = await self._opened(end)
        finally:
            end.dialling = False
            end.wake.set()
        if stream is None:
            return
        ups = end.ups
        await self._attend(end, stream, None)
        if end.ups == ups:
            # A peer that lets go of each stream at once must not be dialled without a pause.
            end.failed()

    async def _opened(self, end: LinkEnd) -> Stream | None:
        try:
            if end.peer not in self._host.connected():
                try:
                    await self._connect(end.peer, self._addresses_of(end.peer))
                except NetworkError:
                    if not (found := await self._find(end.peer)):
                        raise
                    await self._connect(end.peer, found)
            return await self._host.open_stream(end.peer, [PROTOCOL], OPEN_S_MAX)
        except NetworkError as exc:
            log.debug("no link with %s: %s", end.peer, exc)
            if isinstance(exc, PeerSilent):
                # The connection is as dead as the peer; the next dial makes a new one.
                await self._host.disconnect(end.peer)
            end.failed()
            return None

    async def _connect(self, peer: str, addresses: Sequence[str]) -> None:
        async with self._dials:
            await self._host.connect(peer, addresses, CONNECT_S_MAX)

    def _failed_here(self, end: LinkEnd, error: Exception) -> None:
        """Begin the link anew from the journal, after a while, since this node failed with it."""
        end.failed_here = True
        with self._guards.guard(Compartment.LINK, end.peer):
            self._actions.reload(end, f"this node failed: {reason_of(error)}")
        end.failed()

    async def _serve(self, stream: Stream) -> None:
        data = await read_frame(stream, HELLO_READ_S_MAX, lambda: None)
        if self._ends_now:
            raise StreamBroken("this node ends")
        known = self._ends.get(stream.peer)
        if known is not None and known.patience.is_spent(trio.current_time()):
            raise StreamBroken("it sends what is refused, and is left alone for a while")
        await self._attend(self._end(stream.peer), stream, data)

    async def _attend(self, end: LinkEnd, stream: Stream, hello: bytes | None) -> None:
        """Serves one stream until it ends. `hello` is the first frame of one that the peer opened."""
        number = next(self._numbers)
        sending, waiting = trio.open_memory_channel[bytes](FRAMES_WAITING_MAX)
        try:
            with self._guards.guard(Compartment.LINK, end.peer, lambda exc: self._failed_here(end, exc)):
                async with trio.open_nursery() as nursery:
                    opened = end.streams[number] = OpenStream(sending, nursery.cancel_scope)
                    nursery.start_soon(self._write_frames, end, number, stream, waiting)
                    self._actions.give(end, Opened(number) if hello is None else Accepted(number, hello))
                    end.wake.set()
                    opened.end(await self._read_frames(end, number, stream))
        finally:
            with self._guards.guard(Compartment.LINK, end.peer):
                self._actions.give(end, StreamEnded(number, end.streams.pop(number).reason))
            end.wake.set()
            await stream.reset()

    async def _read_frames(self, end: LinkEnd, number: int, stream: Stream) -> str:
        """Gives frame after frame to the machine; returns why the stream ended."""
        try:
            while True:
                data = await read_frame(stream, READ_S_MAX, lambda: self._actions.give(end, Heard(number)))
                # Before decoding: a peer that sends too fast waits, and so does what it sends.
                cost = 1 + len(data) / FRAME_COST_SIZE_BYTES
                await trio.sleep(end.bucket.take(cost, trio.current_time()))
                async with end.one_frame, self._strangers.turn(end.peer):
                    await self._handle_frame(end, number, data)
        except (StreamBroken, BadMessage) as exc:
            return str(exc)

    async def _handle_frame(self, end: LinkEnd, number: int, data: bytes) -> None:
        link = end.link
        actions = link.handle(FrameReceived(number, data), trio.current_time())
        self._actions.perform(end, [one for one in actions if not isinstance(one, Deliver)])
        for action in actions:
            if isinstance(action, Deliver) and end.link is link:
                await self._take_in(end, link, action)

    async def _take_in(self, end: LinkEnd, link: Link, message: Deliver) -> None:
        """Have the owner handle a message, or discard it where the owner cannot; raises `TimeoutError`."""
        failure: list[Exception] = []
        # Shielded, as the machine must learn of what was committed.
        with shielded(DELIVER_S_MAX) as scope:
            with self._guards.guard(Compartment.MESSAGE, end.peer, failure.append):
                try:
                    await self._deliver(end.peer, message.sequence, message.payload)
                except BadMessage as exc:
                    failure.append(exc)
        if scope.cancelled_caught:
            # A disk that is busy is no fault of the message: the link begins anew, and it comes again.
            raise TimeoutError(f"a message was not handled within {DELIVER_S_MAX:.0f} s")
        if failure and self._guards.ends_node(failure[0]):
            raise failure[0]
        if end.link is not link:
            return
        if failure:
            self._discard(end, message, failure[0])
        else:
            self._actions.give(end, Delivered(message.sequence))

    def _discard(self, end: LinkEnd, message: Deliver, failure: Exception) -> None:
        reason = reason_of(failure)
        log.info("discarded message %d of %s: %s", message.sequence, end.peer, reason)
        now = trio.current_time()
        self._actions.give(end, Discarded(message.sequence, reason))
        alone_s = 0.0 if isinstance(failure, Untimely) else end.patience.refuse(now)
        if alone_s:
            log.warning("%s keeps sending what is refused; left alone for %.0f s", end.peer, alone_s)
            end.dial_at = max(end.dial_at, end.patience.alone_until)
            for stream in end.streams.values():
                stream.end("it keeps sending what is refused")

    async def _write_frames(
        self, end: LinkEnd, number: int, stream: Stream, waiting: trio.MemoryReceiveChannel[bytes]
    ) -> None:
        try:
            async for data in waiting:
                await stream.write(together(data, waiting), WRITE_S_MAX)
        except StreamBroken as exc:
            end.streams[number].end(str(exc))
