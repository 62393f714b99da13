"""multistream-select with a limit: libp2p reads as many bytes as a stranger's length says that there are."""

from __future__ import annotations

from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader
from libp2p.io.exceptions import MessageTooLarge
from libp2p.protocol_muxer import multiselect_communicator
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

# A protocol's name and a line end, as go-libp2p has it; gossipsub's and ours have 40 at most.
MESSAGE_SIZE_BYTES_MAX = 1024


def limit_messages() -> None:
    """Have all negotiations of protocols in this process take messages of this size at most.

    libp2p has no setting for it, and its negotiators make what reads for them.
    """
    multiselect_communicator.read_delim = _read_line_untrusted


async def _read_line_untrusted(reader: Reader) -> bytes:
    """One message without its line end; raises `ParseError`, and what the reader raises."""
    try:
        message = await read_varint_prefixed_bytes_limited(reader, MESSAGE_SIZE_BYTES_MAX)
    except MessageTooLarge as exc:
        raise ParseError(str(exc)) from exc
    if not message.endswith(b"\n"):
        raise ParseError("a message without its line end")
    return bytes(message[:-1])
