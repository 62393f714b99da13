"""The links of this node: one kept stream for each peer that it works with.

`core.link` decides; here its streams are opened, read, written and closed. A peer's end
is wanted while messages wait for it or the owner keeps it (`keep`). A wanted end without
a stream dials, again and again: fast at first, so that a peer that restarts is found in
seconds, then rarely.

On the wire a frame is its length, 4 bytes big-endian, and that many bytes of CBOR
(`protocols/link.md`). A peer that sends what it must not loses its link, and nothing else.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import trio

from p2pnode.core.link import Link
from p2pnode.core.link_events import (
    Accepted,
    Action,
    Deliver,
    Delivered,
    Down,
    Drop,
    Ended,
    Event,
    ForgetMessages,
    Forgot,
    Heard,
    Opened,
    Post,
    Received,
    Refuse,
    ReplaceMessages,
    SaveMessage,
    SaveRecord,
    Send,
    Suspect,
    Tick,
    Up,
)
from p2pnode.core.link_frames import FRAME_SIZE_BYTES_MAX
from p2pnode.core.rate import TokenBucket
from p2pnode.core.wire import BadMessage

from .host import Connected, Disconnected, Host, PeerSilent
from .link_owner import (
    DeliverMessage,
    LinkDown,
    LinkEvent,
    LinkJournal,
    LinkSuspect,
    LinkUp,
    OutboxFull,
    PeerForgot,
)
from .redial import redial_s
from .scopes import shielded
from .streams import NetworkError, Stream, StreamBroken

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = [
    "LinkDown",
    "LinkEvent",
    "LinkJournal",
    "LinkSuspect",
    "LinkUp",
    "Links",
    "OutboxFull",
    "PeerForgot",
]

log = logging.getLogger(__name__)

PROTOCOL = "/p2pnode/link/1"
HEADER_SIZE_BYTES = 4
# A stream that is given up holds its place until its end is noticed: room for a few.
STREAMS_PER_PEER_MAX = 4
CONNECT_S_MAX = 5.0
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
# A frame costs some 2 ms, so a peer gets no more than half a core; a large frame counts as several.
FRAME_RATE_PER_S = 250.0
FRAME_BURST = 1_000.0
FRAME_COST_SIZE_BYTES = 64 * 1024
# A link that was up for less than this does not count as a success.
STEADY_S = 5.0


@dataclass(slots=True)
class _Open:
    """A stream of an end: where its frames to be written go, and what ends it."""

    frames: trio.MemorySendChannel[bytes]
    scope: trio.CancelScope
    reason: str = "dropped"

    def end(self, reason: str) -> None:
        self.reason = reason
        self.scope.cancel()


@dataclass(slots=True)
class _End:
    """This node's end of the link with one peer."""

    peer: str
    link: Link
    streams: dict[int, _Open] = field(default_factory=dict)
    bucket: TokenBucket = field(default_factory=lambda: TokenBucket(FRAME_RATE_PER_S, FRAME_BURST))
    # One frame at a time, whatever stream it comes from: see core.link.
    one_frame: trio.Lock = field(default_factory=trio.Lock)
    wake: trio.Event = field(default_factory=trio.Event)
    kept: bool = False
    dialling: bool = False
    failures: int = 0
    dial_at: float = -inf
    up_at: float = inf

    @property
    def wanted(self) -> bool:
        return self.kept or self.link.waiting > 0


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
        journal_failed: type[Exception],
    ) -> None:
        """`journal_failed` is what a journal raises that cannot be written: who keeps it ends the node."""
        self._host = host
        self._store = store
        self._journal = journal
        self._deliver = deliver
        self._notify = notify
        self._addresses_of = addresses_of
        self._journal_failed = journal_failed
        self._ends: dict[str, _End] = {}
        self._numbers = count(1)
        self._nursery: trio.Nursery | None = None
        self._ends_now = False

    def send(self, peer: str, payload: bytes) -> None:
        """Puts a message into the peer's outbox on disk, and sends it now or when the peer is there.

        It does not wait, so it may stand in a transaction of the journal: nothing is sent
        before the caller next awaits. Raises `OutboxFull`.
        """
        end = self._end(peer)
        try:
            self._perform(end, end.link.handle(Post(payload), trio.current_time()))
        except OutboxFull:
            raise
        except Exception:
            # It is not on disk, so it must not be in memory either.
            self._reload(end, "the journal failed")
            raise
        end.wake.set()

    def keep(self, peer: str) -> None:
        """Wants a link with the peer, messages or not: its loss will be noticed."""
        end = self._end(peer)
        end.kept = True
        end.wake.set()

    def release(self, peer: str) -> None:
        """Takes `keep` back."""
        if peer in self._ends:
            self._ends[peer].kept = False

    def is_up(self, peer: str) -> bool:
        return peer in self._ends and self._ends[peer].link.is_up

    def waiting(self, peer: str) -> int:
        """How many messages the peer has not acknowledged."""
        return self._ends[peer].link.waiting if peer in self._ends else 0

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves and tends the links until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for end in self._ends.values():
                nursery.start_soon(self._tend, end)
            for peer in self._journal.peers_waiting():
                self._end(peer)
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

    def _end(self, peer: str) -> _End:
        if peer not in self._ends:
            end = self._ends[peer] = _End(peer, self._load(peer))
            if self._nursery is not None:
                self._nursery.start_soon(self._tend, end)
        return self._ends[peer]

    def _load(self, peer: str) -> Link:
        record, outbox = self._journal.load_link(peer)
        return Link(own=self._host.peer_id, peer=peer, store=self._store, record=record, outbox=outbox)

    def _on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Connected) and event.peer in self._ends:
            end = self._ends[event.peer]
            end.failures = 0
            end.dial_at = -inf
            end.wake.set()

    async def _tend(self, end: _End) -> None:
        """Ticks and dials for one end."""
        assert self._nursery is not None
        while True:
            now = trio.current_time()
            if now >= end.link.deadline:
                self._give(end, Tick())
            wake_at = end.link.deadline
            if end.wanted and not end.link.has_stream and not end.dialling:
                if now >= end.dial_at:
                    end.dialling = True
                    self._nursery.start_soon(self._dial, end)
                else:
                    wake_at = min(wake_at, end.dial_at)
            elif not (end.wanted or end.streams or end.dialling):
                # Nothing is known here that the journal does not know.
                del self._ends[end.peer]
                return
            with trio.move_on_at(wake_at):
                await end.wake.wait()
            end.wake = trio.Event()

    async def _dial(self, end: _End) -> None:
        try:
            await self._host.connect(end.peer, self._addresses_of(end.peer), CONNECT_S_MAX)
            stream = await self._host.open_stream(end.peer, [PROTOCOL], OPEN_S_MAX)
        except NetworkError as exc:
            log.debug("no link with %s: %s", end.peer, exc)
            if isinstance(exc, PeerSilent):
                # The connection is as dead as the peer; the next dial makes a new one.
                await self._host.disconnect(end.peer)
            self._failed(end)
            return
        finally:
            end.dialling = False
            end.wake.set()
        await self._attend(end, stream, None)

    def _failed(self, end: _End) -> None:
        end.failures += 1
        end.dial_at = trio.current_time() + redial_s(end.failures, random.random())

    async def _serve(self, stream: Stream) -> None:
        data = await self._read_frame(stream, HELLO_READ_S_MAX, lambda: None)
        if self._ends_now:
            raise StreamBroken("this node ends")
        await self._attend(self._end(stream.peer), stream, data)

    async def _attend(self, end: _End, stream: Stream, hello: bytes | None) -> None:
        """Serves one stream until it ends. `hello` is the first frame of one that the peer opened."""
        number = next(self._numbers)
        sending, waiting = trio.open_memory_channel[bytes](FRAMES_WAITING_MAX)
        try:
            async with trio.open_nursery() as nursery:
                opened = end.streams[number] = _Open(sending, nursery.cancel_scope)
                nursery.start_soon(self._write_frames, end, number, stream, waiting)
                self._give(end, Opened(number) if hello is None else Accepted(number, hello))
                end.wake.set()
                opened.end(await self._read_frames(end, number, stream))
        # The guard of a link: what fails here, the journal for one, costs this link, not the node.
        except Exception as exc:  # noqa: BLE001
            if isinstance(cause := _first(exc), self._journal_failed):
                log.warning("the link with %s is begun anew: %s", end.peer, cause)
            else:
                log.error("the link with %s failed: %r", end.peer, exc)
            log.debug("where it failed", exc_info=exc)
            self._reload(end, f"this node failed: {exc!r}")
        finally:
            self._give(end, Ended(number, end.streams.pop(number).reason))
            end.wake.set()
            await stream.reset()

    async def _read_frames(self, end: _End, number: int, stream: Stream) -> str:
        """Gives frame after frame to the machine; returns why the stream ended."""
        try:
            while True:
                data = await self._read_frame(stream, READ_S_MAX, lambda: self._give(end, Heard(number)))
                # Before decoding: a peer that sends too fast waits, and so does what it sends.
                wait_s = end.bucket.take(1 + len(data) / FRAME_COST_SIZE_BYTES, trio.current_time())
                await trio.sleep(wait_s)
                async with end.one_frame:
                    await self._handle_frame(end, number, data)
        except (StreamBroken, BadMessage) as exc:
            return str(exc)

    async def _read_frame(self, stream: Stream, timeout_s: float, heard: Callable[[], None]) -> bytes:
        header = await stream.read_exactly(HEADER_SIZE_BYTES, timeout_s)
        missing = int.from_bytes(header, "big")
        if not 0 < missing <= FRAME_SIZE_BYTES_MAX:
            raise BadMessage(f"a frame of {missing} bytes; at most {FRAME_SIZE_BYTES_MAX} are read")
        pieces = []
        while missing:
            piece = await stream.read_some(missing, timeout_s)
            if not piece:
                raise BadMessage(f"the stream ended {missing} bytes before the end of a frame")
            heard()
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    async def _handle_frame(self, end: _End, number: int, data: bytes) -> None:
        link = end.link
        for action in link.handle(Received(number, data), trio.current_time()):
            if isinstance(action, Deliver):
                # Not to be torn: the machine must learn of what was committed.
                with shielded(DELIVER_S_MAX) as scope:
                    try:
                        await self._deliver(end.peer, action.sequence, action.payload)
                    except BadMessage as exc:
                        self._reload(end, f"a bad message: {exc}")
                        raise
                if scope.cancelled_caught:
                    raise TimeoutError(f"a message was not handled within {DELIVER_S_MAX:.0f} s")
                if end.link is link:
                    self._perform(end, link.handle(Delivered(action.sequence), trio.current_time()))
            else:
                self._perform(end, [action])

    async def _write_frames(
        self, end: _End, number: int, stream: Stream, waiting: trio.MemoryReceiveChannel[bytes]
    ) -> None:
        try:
            async for data in waiting:
                await stream.write(len(data).to_bytes(HEADER_SIZE_BYTES, "big") + data, WRITE_S_MAX)
        except StreamBroken as exc:
            end.streams[number].end(str(exc))

    def _give(self, end: _End, event: Event) -> None:
        self._perform(end, end.link.handle(event, trio.current_time()))

    def _perform(self, end: _End, actions: Sequence[Action]) -> None:
        """All but `Deliver`, which waits for the owner."""
        for action in actions:
            match action:
                case Send(number, data):
                    self._enqueue(end, number, data)
                case Drop(number, reason):
                    log.info("dropped a stream of the link with %s: %s", end.peer, reason)
                    end.streams[number].end(reason)
                case SaveMessage(sequence, payload):
                    self._journal.add_message(end.peer, sequence, payload)
                case ForgetMessages(sequence):
                    self._journal.forget_messages(end.peer, sequence)
                case SaveRecord(record):
                    self._journal.save_link(end.peer, record)
                case ReplaceMessages(record, outbox):
                    log.warning("the journal has lost messages to %s; numbers go on anew", end.peer)
                    self._journal.replace_messages(end.peer, record, outbox)
                case Refuse(reason):
                    raise OutboxFull(f"no message to {end.peer} is taken: {reason}")
                case Up():
                    end.up_at = trio.current_time()
                    self._notify(LinkUp(end.peer))
                case Suspect():
                    self._notify(LinkSuspect(end.peer))
                case Down(reason):
                    self._went_down(end, reason)
                case Forgot():
                    self._notify(PeerForgot(end.peer))

    def _enqueue(self, end: _End, number: int, data: bytes) -> None:
        try:
            end.streams[number].frames.send_nowait(data)
        except trio.WouldBlock:
            end.streams[number].end("the peer does not read")

    def _went_down(self, end: _End, reason: str) -> None:
        if trio.current_time() - end.up_at >= STEADY_S:
            end.failures = 0
        self._failed(end)
        self._notify(LinkDown(end.peer, reason))
        end.wake.set()

    def _reload(self, end: _End, reason: str) -> None:
        """Goes back to what the journal holds, as after a crash."""
        was_up = end.link.is_up
        for stream in end.streams.values():
            stream.end(reason)
        end.link = self._load(end.peer)
        if was_up:
            self._went_down(end, reason)


def _first(error: BaseException) -> BaseException:
    """What went wrong first, out of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
