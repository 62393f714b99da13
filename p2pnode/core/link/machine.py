"""One kept link between this node and a peer: every message once and in order, without I/O.

Messages are numbered by their sender and wait in its outbox until the peer has
acknowledged them; the outbox is on disk, so that neither a broken stream nor a restart
loses one. `protocols/link.md` says what goes over the wire.

The shell gives events and performs the actions in their order, as with every machine:

    DOWN --Opened, ours--> GREETING --hello received--> UP
    DOWN, GREETING, UP --Accepted, then a second frame on that stream--> UP, on that stream
    GREETING, UP --Ended, bad frame, silence--> DOWN

A stream that the peer opened counts from its second frame: that one can only have been
sent after our hello, so it is from a living peer and not what a dead one left in a
buffer. So whoever opened a stream says something as soon as it is greeted.

A message is received when its effects and its number are on disk *together*: the shell
commits both and then says `Delivered`, from which the acknowledgement follows. Between a
`Deliver` and its `Delivered` the shell gives no `FrameReceived`. A message that cannot be handled is
`Discarded`: it counts as received, and its sender is told why, so that it holds up nothing behind it.

A disk is named by a random `store` id. A peer with a new one has forgotten our messages
and starts its own numbers anew; a peer that does not know our store has forgotten
nothing of it. Numbers of one store never start again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import assert_never

from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage

from .detection_times import BEAT_AFTER_S, DOWN_AFTER_S, SUSPECT_AFTER_S
from .events import (
    Accepted,
    Action,
    Deliver,
    Delivered,
    Discarded,
    Down,
    Drop,
    Event,
    ForgetMessages,
    Forgot,
    FrameReceived,
    Heard,
    LinkRecord,
    LinkTick,
    Opened,
    Post,
    PostRejected,
    Refuse,
    ReplaceMessages,
    Rest,
    SaveMessage,
    SaveRecord,
    SendFrame,
    StreamEnded,
    Suspect,
    Up,
)
from .frames import (
    PAYLOAD_SIZE_BYTES_MAX,
    REJECT_REASON_LENGTH_MAX,
    SEQUENCE_MAX,
    VERSION,
    Ack,
    Beat,
    Data,
    Frame,
    Hello,
    Reject,
    decode_frame_untrusted,
    decode_hello_untrusted,
)

# The outbox for one peer. A job's messages to a peer are some ten: room for a hundred jobs of a peer
# that is away, and for the largest specs.
OUTBOX_MESSAGES_MAX = 1_024
OUTBOX_SIZE_BYTES_MAX = 16 * 1024 * 1024
# Messages under way without an acknowledgement: they keep a fast line busy and the peer's memory small.
WINDOW_MESSAGES_MAX = 64
WINDOW_SIZE_BYTES_MAX = 2 * 1024 * 1024
# Round trips of the slowest lines take a second, and a busy peer another.
HELLO_S_MAX = 5.0
# A link that its opener does not want any more, and that has carried no message for so long, is closed.
REST_AFTER_S = 30.0
# Messages that a disk can have lost: a day of the busiest link. A peer that has more of ours is lying.
LOST_MESSAGES_MAX = 1_000_000
# Events that come this much later than asked for mean that this node itself was paused.
PAUSED_S = 1.0


@dataclass(frozen=True, slots=True)
class _Answered:
    """A stream that the peer opened, and that we have answered."""

    stream: int
    hello: Hello
    at: float


class Link:
    """The link between `own` and `peer` (peer ids); `store` names this node's disk."""

    def __init__(
        self,
        *,
        own: str,
        peer: str,
        store: str,
        record: LinkRecord = LinkRecord(),  # noqa: B008  # It is frozen.
        outbox: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        self._own = own
        self._peer = peer
        self._store = store
        self.record = record
        self._outbox = OrderedDict(outbox)
        self._outbox_size_bytes = sum(map(len, self._outbox.values()))
        self._stream: int | None = None
        self._answered: _Answered | None = None
        self.is_up = False
        self._suspected = False
        self._delivering = False
        # Messages in the outbox up to this one are under way on the present stream.
        self._under_way = 0
        self._heard_at = self._said_at = self._worked_at = -inf
        self._is_ours = False

    @property
    def waiting(self) -> int:
        """How many messages the peer has not acknowledged."""
        return len(self._outbox)

    @property
    def has_stream(self) -> bool:
        """Whether the link works or is being made."""
        return self._stream is not None or self._answered is not None

    @property
    def deadline(self) -> float:
        """When `LinkTick` is due."""
        answered = self._answered.at + HELLO_S_MAX if self._answered else inf
        if self._stream is None:
            return answered
        if not self.is_up:
            return min(answered, self._heard_at + HELLO_S_MAX)
        silence = self._heard_at + (DOWN_AFTER_S if self._suspected else SUSPECT_AFTER_S)
        return min(answered, silence, self._said_at + BEAT_AFTER_S)

    @property
    def rests_at(self) -> float:
        """When `Rest` is due, if nobody here wants the link. A stream of the peer's is the peer's to end."""
        works = not self.is_up or not self._is_ours or self._answered or self._outbox or self._delivering
        return inf if works else self._worked_at + REST_AFTER_S

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in the event, and return what to do about it, in this order."""
        match event:
            case Opened(stream):
                return self._open(stream, now)
            case Accepted(stream, data):
                return self._accept(stream, data, now)
            case FrameReceived(stream, data) if stream == self._stream:
                return self._receive(data, now)
            case FrameReceived(stream, data) if self._answered and stream == self._answered.stream:
                return self._confirm(self._answered, now) + self._receive(data, now)
            case Heard(stream) if stream == self._stream and self.is_up:
                self._hear(now)
                return []
            case StreamEnded(stream, reason) if stream == self._stream:
                return self._down(reason)
            case StreamEnded(stream) if self._answered and stream == self._answered.stream:
                self._answered = None
                return []
            case Post(payload):
                return self._post(payload, now)
            case Delivered(sequence):
                return self._delivered(sequence, now)
            case Discarded(sequence, reason):
                return self._discarded(sequence, reason, now)
            case LinkTick():
                return self._tick(now)
            case Rest():
                return self._drop("nobody here needs it") if now >= self.rests_at else []
            case FrameReceived() | Heard() | StreamEnded():
                return []  # Of a stream that was dropped.
            case _:
                assert_never(event)

    def _open(self, stream: int, now: float) -> list[Action]:
        if self.has_stream:
            return [Drop(stream, "there is a link already")]
        self._stream, self._is_ours = stream, True
        self._heard_at = now
        return [self._hello(stream, now)]

    def _accept(self, stream: int, data: bytes, now: float) -> list[Action]:
        try:
            hello = self._hello_untrusted(data)
        except BadMessage as exc:
            return [Drop(stream, str(exc))]
        # Both opened one at once: that of the lower peer id stays.
        if self._stream is not None and not self.is_up and self._own < self._peer:
            return [Drop(stream, "both sides opened a link, and this one's stays")]
        older = [Drop(self._answered.stream, "the peer opened another")] if self._answered else []
        self._answered = _Answered(stream, hello, now)
        return [*older, self._hello(stream, now)]

    def _confirm(self, answered: _Answered, now: float) -> list[Action]:
        """The peer lives at the other end of its own stream, so that is the link now."""
        actions: list[Action] = []
        if self._stream is not None:
            actions.append(Drop(self._stream, "the peer opened another"))
        was_up, self.is_up = self.is_up, False
        self._stream, self._answered, self._is_ours = answered.stream, None, False
        return actions + self._greet(answered.hello, now, tell_up=not was_up)

    def _hello(self, stream: int, now: float) -> SendFrame:
        record = self.record
        hello = Hello(
            version=VERSION,
            store=self._store,
            first=next(iter(self._outbox), record.sent + 1),
            known=record.peer_store,
            received=record.received,
        )
        self._said_at = now
        return SendFrame(stream, codec.encode(hello))

    def _hello_untrusted(self, data: bytes) -> Hello:
        hello = decode_hello_untrusted(data)
        if hello.known == self._store and hello.received > self.record.sent + LOST_MESSAGES_MAX:
            raise BadMessage(f"the peer says that it has message {hello.received} of {self.record.sent}")
        return hello

    def _greet(self, hello: Hello, now: float, *, tell_up: bool) -> list[Action]:
        actions: list[Action] = []
        forgot = self.record.peer_store not in ("", hello.store)
        # Older messages than `first` do not exist any more, if this disk should miss some.
        same_store = hello.store == self.record.peer_store
        received = max(self.record.received, hello.first - 1) if same_store else hello.first - 1
        record = LinkRecord(hello.store, received, self.record.sent)
        if record != self.record:
            self.record = record
            actions.append(SaveRecord(record))
        actions += self._acknowledged(hello.received) if hello.known == self._store else []
        self.is_up = True
        self._worked_at = now
        self._hear(now)
        self._under_way = 0
        actions += [Forgot()] if forgot else []
        actions += [Up()] if tell_up else []
        return actions + self._fill_window(now)

    def _receive(self, data: bytes, now: float) -> list[Action]:
        assert not self._delivering
        try:
            if not self.is_up:
                actions = self._greet(self._hello_untrusted(data), now, tell_up=True)
                # The peer waits for a second frame, whatever it is.
                return [*actions, self._send(Beat(), now)]
            frame = decode_frame_untrusted(data)
        except BadMessage as exc:
            return self._drop(str(exc))
        self._hear(now)
        if not isinstance(frame, Beat):
            self._worked_at = now
        match frame:
            case Hello():
                return self._drop("a second hello")
            case Beat():
                return []
            case Ack(sequence=sequence):
                if sequence > self._under_way:
                    return self._drop(f"message {sequence} acknowledged, which was not sent")
                return self._acknowledged(sequence) + self._fill_window(now)
            case Reject(sequence=sequence, reason=reason):
                if sequence not in self._outbox or sequence > self._under_way:
                    return self._drop(f"message {sequence} rejected, which was not sent")
                rejected = PostRejected(self._outbox[sequence], reason)
                return [*self._acknowledged(sequence), rejected, *self._fill_window(now)]
            case Data(sequence=sequence, payload=payload):
                if sequence <= self.record.received:
                    return [self._send(Ack(sequence=self.record.received), now)]
                if sequence != self.record.received + 1:
                    return self._drop(f"message {sequence} out of order, after {self.record.received}")
                self._delivering = True
                return [Deliver(sequence, payload)]
            case _:
                assert_never(frame)

    def _delivered(self, sequence: int, now: float) -> list[Action]:
        assert self._delivering
        assert sequence == self.record.received + 1
        self._delivering = False
        self.record = LinkRecord(self.record.peer_store, sequence, self.record.sent)
        return [self._send(Ack(sequence=sequence), now)] if self.is_up else []

    def _discarded(self, sequence: int, reason: str, now: float) -> list[Action]:
        assert self._delivering
        assert sequence == self.record.received + 1
        self._delivering = False
        self.record = LinkRecord(self.record.peer_store, sequence, self.record.sent)
        reject = Reject(sequence=sequence, reason=reason[:REJECT_REASON_LENGTH_MAX])
        return [SaveRecord(self.record), *([self._send(reject, now)] if self.is_up else [])]

    def _post(self, payload: bytes, now: float) -> list[Action]:
        if len(payload) > PAYLOAD_SIZE_BYTES_MAX:
            reason = f"a message of {len(payload)} bytes; at most {PAYLOAD_SIZE_BYTES_MAX} are sent"
            return [Refuse(reason, full=False)]
        if len(self._outbox) >= OUTBOX_MESSAGES_MAX or self.record.sent >= SEQUENCE_MAX:
            return [Refuse(f"{len(self._outbox)} messages wait for this peer already", full=True)]
        if self._outbox_size_bytes + len(payload) > OUTBOX_SIZE_BYTES_MAX:
            return [Refuse(f"{self._outbox_size_bytes} bytes wait for this peer already", full=True)]
        sequence = self.record.sent + 1
        self.record = LinkRecord(self.record.peer_store, self.record.received, sequence)
        self._outbox[sequence] = payload
        self._outbox_size_bytes += len(payload)
        return [SaveMessage(sequence, payload), *(self._fill_window(now) if self.is_up else [])]

    def _acknowledged(self, sequence: int) -> list[Action]:
        if sequence > self.record.sent:
            # The peer has more of us than we know of: this disk has lost its latest writes. What
            # waits has numbers that the peer takes for old, so it gets new ones.
            payloads = list(self._outbox.values())
            self._outbox = OrderedDict(enumerate(payloads, sequence + 1))
            sent = sequence + len(payloads)
            self.record = LinkRecord(self.record.peer_store, self.record.received, sent)
            return [ReplaceMessages(self.record, tuple(self._outbox.items()))]
        done = []
        for number in self._outbox:
            if number > sequence:
                break
            done.append(number)
        for number in done:
            self._outbox_size_bytes -= len(self._outbox.pop(number))
        return [ForgetMessages(sequence)] if done else []

    def _fill_window(self, now: float) -> list[Action]:
        actions: list[Action] = []
        size_bytes = 0
        for count, (sequence, payload) in enumerate(self._outbox.items(), 1):
            size_bytes += len(payload)
            if count > WINDOW_MESSAGES_MAX or (count > 1 and size_bytes > WINDOW_SIZE_BYTES_MAX):
                break
            if sequence > self._under_way:
                self._under_way = sequence
                actions.append(self._send(Data(sequence=sequence, payload=payload), now))
        return actions

    def _tick(self, now: float) -> list[Action]:
        if now < self.deadline:
            return []
        if self._answered and now >= self._answered.at + HELLO_S_MAX:
            stream, self._answered = self._answered.stream, None
            return [Drop(stream, "the peer did not go on after its hello")]
        if not self.is_up:
            return self._drop("the peer did not say hello")
        if now > self.deadline + PAUSED_S:
            # This node was paused, and so may have been the reading of what the peer said.
            self._heard_at = max(self._heard_at, now - SUSPECT_AFTER_S)
        if now >= self._heard_at + DOWN_AFTER_S:
            return self._drop(f"the peer was silent for {DOWN_AFTER_S:.0f} s")
        actions: list[Action] = []
        if now >= self._said_at + BEAT_AFTER_S:
            actions.append(self._send(Beat(), now))
        if now >= self._heard_at + SUSPECT_AFTER_S and not self._suspected:
            self._suspected = True
            actions.append(Suspect())
        return actions

    def _drop(self, reason: str) -> list[Action]:
        assert self._stream is not None
        return [Drop(self._stream, reason), *self._down(reason)]

    def _down(self, reason: str) -> list[Action]:
        was_up, self.is_up = self.is_up, False
        self._stream = None
        return [Down(reason)] if was_up else []

    def _hear(self, now: float) -> None:
        self._heard_at = now
        self._suspected = False

    def _send(self, frame: Frame, now: float) -> SendFrame:
        assert self._stream is not None
        self._said_at = now
        return SendFrame(self._stream, codec.encode(frame))
