"""Events of a link (`Event`), and what its machine wants done (`Action`); see link.py."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """The state that a link must find again after a restart, besides its outbox."""

    peer_store: str = ""
    received: int = 0  # The last message of `peer_store` that is on this disk.
    sent: int = 0  # The highest number given to a message of ours.


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that this node opened to the peer is there. `stream` is the shell's name for it."""

    stream: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer opened a stream; `data` is its first frame."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A frame's bytes, without the length before them."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """Some bytes came, though not yet a whole frame."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is gone."""

    stream: int
    reason: str


@dataclass(frozen=True, slots=True)
class Post:
    """A message for the peer."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The message and its number are on disk."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Discarded:
    """The message was not taken in, and is not to come again; nothing of it is on disk."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class LinkTick:
    """The deadline is there."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The owner does not want the link, and `rests_at` is there."""


Event = (
    Opened | Accepted | FrameReceived | Heard | StreamEnded | Post | Delivered | Discarded | LinkTick | Rest
)


@dataclass(frozen=True, slots=True)
class SendFrame:
    stream: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the stream; no `StreamEnded` is needed."""

    stream: int
    reason: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Handle the message, commit its effects with `sequence` as received, then say `Delivered`.

    Or say `Discarded`, if it can't be handled.
    """

    sequence: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SaveMessage:
    """Add a message to the outbox on disk, and `sequence` as `sent`, before any later `SendFrame`."""

    sequence: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForgetMessages:
    """Messages up to `sequence` need not be kept any longer. May be saved late, or never."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Save the record before any later `SendFrame`."""

    record: LinkRecord


@dataclass(frozen=True, slots=True)
class ReplaceMessages:
    """The outbox on disk is now this (our disk had lost its latest writes), and so is the record."""

    record: LinkRecord
    outbox: tuple[tuple[int, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PostRejected:
    """The peer has discarded this message of ours; it is out of the outbox."""

    payload: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message of this `Post` was not taken. `full`: a later one may be; else this one never will."""

    reason: str
    full: bool


@dataclass(frozen=True, slots=True)
class Up:
    """The link works."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """The peer has been silent for `SUSPECT_AFTER_S`."""


@dataclass(frozen=True, slots=True)
class Down:
    """The link does not work any more. What is in the outbox waits for the next stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forgot:
    """The peer has a new disk: it knows nothing of what we had agreed."""


Action = (
    SendFrame
    | Drop
    | Deliver
    | SaveMessage
    | ForgetMessages
    | SaveRecord
    | ReplaceMessages
    | PostRejected
    | Refuse
    | Up
    | Suspect
    | Down
    | Forgot
)
