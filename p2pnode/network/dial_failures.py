"""Why a dial has failed, as a sentence for a person: libp2p's own words say what it was doing then."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.transport.exceptions import SecurityUpgradeFailure

from p2pnode.core.wire.reasons import one_line

from .names import NameUnknown
from .private_network import OtherNetwork
from .websocket import NoWebSocket

_OF_ERRNO = {
    errno.ECONNREFUSED: "refused: nothing listens there",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "no way leads to that host",
    errno.ENETUNREACH: "no way leads to that network",
}


class WrongPeer(SecurityUpgradeFailure):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """Another peer than the one that was dialled has answered; the message says which."""

    def __init__(self, answered: ID) -> None:
        super().__init__(f"another peer answers there: {answered}")


def reason_of_failure(error: BaseException) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, WrongPeer | NameUnknown | OtherNetwork | NoWebSocket):
            return str(cause)
    for cause in causes:
        if isinstance(cause, MultiselectError):
            return (
                "what answers there is no node, one of another network, or one that has no room:"
                " it ended the connection"
            )
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno:
            return _OF_ERRNO.get(cause.errno, os.strerror(cause.errno))
    last = error.__cause__ or error
    return one_line(str(last)) or type(last).__name__


def is_of_other_network(error: BaseException) -> bool:
    """Whether a dial has failed as the other side knows another network key than it was dialled with."""
    return any(isinstance(one, OtherNetwork) for one in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__
