"""The frames of a link, as `protocols/link.md` has them, and the only code that reads them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Record

VERSION = 4
FRAME_SIZE_BYTES_MAX = codec.MESSAGE_SIZE_BYTES_MAX
# A data frame's other fields take 36 bytes at most.
PAYLOAD_SIZE_BYTES_MAX = FRAME_SIZE_BYTES_MAX - 64
# JSON readers of other languages hold no more exactly; no link ever gets there.
SEQUENCE_MAX = 2**53 - 1
# A line for a person.
REJECT_REASON_LENGTH_MAX = 500

StoreId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]


class Hello(Record, frozen=True, tag_field="kind", tag="hello"):
    """The first frame of each side. `known` is "" while the peer's store is not known."""

    version: Annotated[int, msgspec.Meta(ge=1, le=255)]
    store: StoreId
    first: Annotated[int, msgspec.Meta(ge=1, le=SEQUENCE_MAX)]  # The number of my next message to you.
    known: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")]  # The store of yours that I know.
    received: Sequence  # The last message of that store that I have.


class Data(Record, frozen=True, tag_field="kind", tag="data"):
    """One message of the sender's outbox."""

    sequence: Sequence
    payload: bytes


class Ack(Record, frozen=True, tag_field="kind", tag="ack"):
    """All messages up to `sequence` are on the receiver's disk."""

    sequence: Sequence


class Reject(Record, frozen=True, tag_field="kind", tag="reject"):
    """An ack of all messages up to `sequence`; the last of them was not taken in, and never will be."""

    sequence: Sequence
    reason: Annotated[str, msgspec.Meta(max_length=REJECT_REASON_LENGTH_MAX)]


class Beat(Record, frozen=True, tag_field="kind", tag="beat"):
    """Nothing but a sign of life."""


Frame = Hello | Data | Ack | Reject | Beat


def decode_frame_untrusted(data: bytes) -> Frame:
    """The frame in a peer's bytes; raises `BadMessage`."""
    frame: Frame = codec.decode_untrusted(data, Frame, FRAME_SIZE_BYTES_MAX)  # type: ignore[arg-type]
    return frame


def decode_hello_untrusted(data: bytes) -> Hello:
    """The hello with which each side begins; raises `BadMessage`."""
    frame = decode_frame_untrusted(data)
    if not isinstance(frame, Hello):
        raise BadMessage("the first frame is not a hello")
    if frame.version != VERSION:
        raise BadMessage(f"the peer speaks version {frame.version} of the link, this node {VERSION}")
    return frame
