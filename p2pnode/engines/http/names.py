"""Names for a container with Network Type HTTP: its own domains are at its loopback, others do not exist.

There a program that knows nothing of a proxy finds the node's gate. No question leaves the machine,
so names are no way out. The form of messages: RFC 1035 section 4.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass

import trio

from p2pnode.core.wire.codec import BadMessage

from .policy import Policy

# RFC 1035 section 2.3.4: what fits a datagram without extensions; questions are far smaller.
MESSAGE_SIZE_BYTES_MAX = 512
TTL_S = 60
_HEADER = struct.Struct(">HHHHHH")
_TYPE_A, _CLASS_INTERNET = 1, 1
# Response, authoritative, recursion available; recursion desired is copied from the question.
_ANSWER_FLAGS, _RECURSION_DESIRED, _NO_SUCH_NAME = 0x8480, 0x0100, 3
# The name is the one at offset 12, the question's.
_LOOPBACK_RECORD = struct.pack(">HHHIH4s", 0xC00C, _TYPE_A, _CLASS_INTERNET, TTL_S, 4, bytes([127, 0, 0, 1]))
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    id: int
    recursion_desired: bool
    name: str
    type: int
    # As it came, to be repeated in the answer.
    body: bytes


def parse_question_untrusted(data: bytes) -> Question:
    """The one question of a message; raises `BadMessage`."""
    try:
        id, flags, questions, _, _, _ = _HEADER.unpack_from(data)
        if flags & 0x8000 or questions != 1:
            raise BadMessage("not one question")
        labels, at = [], _HEADER.size
        while size := data[at]:
            if size > 63:
                raise BadMessage("a name in a question is not compressed")
            labels.append(data[at + 1 : at + 1 + size].decode("ascii"))
            at += 1 + size
        type, klass = struct.unpack_from(">HH", data, at + 1)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise BadMessage("not a question for a name") from error
    if klass != _CLASS_INTERNET:
        raise BadMessage("not a question for a name of the internet")
    name = ".".join(labels)
    return Question(id, bool(flags & _RECURSION_DESIRED), name, type, data[_HEADER.size : at + 5])


def answer(question: Question, policy: Policy) -> bytes:
    """Loopback for a name that the job may reach, else that there is no such name."""
    known = policy.names(question.name)
    found = known and question.type == _TYPE_A
    flags = _ANSWER_FLAGS | (_RECURSION_DESIRED if question.recursion_desired else 0)
    header = _HEADER.pack(question.id, flags if known else flags | _NO_SUCH_NAME, 1, int(found), 0, 0)
    return header + question.body + (_LOOPBACK_RECORD if found else b"")


async def serve(socket: trio.socket.SocketType, policy: Policy) -> None:
    """Answer until cancelled."""
    while True:
        data, sender = await socket.recvfrom(MESSAGE_SIZE_BYTES_MAX)
        try:
            await socket.sendto(answer(parse_question_untrusted(data), policy), sender)
        except (BadMessage, OSError) as error:
            log.debug("a question for a name was not answered: %s", error)
