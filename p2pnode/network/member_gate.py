"""The one gate before all that a host serves in a private network: no protocol can forget it.

libp2p's own (identify, ping) are begun before, and tell addresses and names of protocols alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol

from p2pnode.core.wire.protocols import MEMBER

Serve = Callable[[INetStream], Awaitable[None]]
Register = Callable[[TProtocol, Serve], None]


class MemberGate(Protocol):
    """Tells whether a connected peer is admitted."""

    async def admitted(self, peer: str) -> None:
        """Wait until the peer is admitted; raises `NetworkError` where it is not, in time."""

    def why_not_dialled(self, peer: str) -> str | None:
        """Why no connection with a peer is made now; None where one is."""


class OpenDoor:
    """Implements `MemberGate` for the open network: admits anybody."""

    async def admitted(self, peer: str) -> None: ...

    def why_not_dialled(self, peer: str) -> str | None:
        return None


def gated(register: Register, door: MemberGate) -> Register:
    """Make of libp2p's registration of handlers one whose handlers get streams of admitted peers alone."""

    def register_gated(protocol: TProtocol, serve: Serve) -> None:
        async def serve_admitted(stream: INetStream) -> None:
            await door.admitted(str(stream.muxed_conn.peer_id))
            await serve(stream)

        register(protocol, serve if protocol == MEMBER else serve_admitted)

    return register_gated
