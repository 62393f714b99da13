"""Names for a container with Network Type HTTP: its own domains are at its loopback, others do not exist.

There a program that knows nothing of a proxy finds the node's gate. No question leaves the machine,
so names are no way out.
"""

from __future__ import annotations

import logging

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import trio

from p2pnode.core.wire.codec import BadMessage

from .policy import Policy

# RFC 1035 section 2.3.4: what fits a datagram without extensions; questions are far smaller.
MESSAGE_SIZE_BYTES_MAX = 512
TTL_S = 60
log = logging.getLogger(__name__)


def answer_untrusted(data: bytes, policy: Policy) -> bytes:
    """Loopback for a name that the job may reach, else that there is no such name; raises `BadMessage`."""
    try:
        # Extensions follow the question, and are not needed.
        asked = dns.message.from_wire(data, question_only=True, ignore_trailing=True)
        answer = dns.message.make_response(asked, recursion_available=True)
    except dns.exception.DNSException as error:
        raise BadMessage(f"not a question for a name: {error}") from error
    if asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        raise BadMessage("not one question for a name")
    (question,) = asked.question
    if question.rdclass != dns.rdataclass.IN:
        raise BadMessage("not a question for a name of the internet")
    answer.flags |= dns.flags.AA
    if not policy.names(question.name.to_text(omit_final_dot=True)):
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "A", "127.0.0.1"))
    return answer.to_wire()


async def serve(socket: trio.socket.SocketType, policy: Policy) -> None:
    """Answer until cancelled."""
    while True:
        data, sender = await socket.recvfrom(MESSAGE_SIZE_BYTES_MAX)
        try:
            await socket.sendto(answer_untrusted(data, policy), sender)
        except (BadMessage, OSError) as error:
            log.debug("a question for a name was not answered: %s", error)
