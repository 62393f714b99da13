"""Dial-backs, as libp2p's AutoNAT v1 has them: asked of neighbours, and done for them.

A neighbour dials whoever asks at the address that it comes from, and at no other: so nobody has it dial
strangers. The dial is a connection of its own, which ends once the peer has shown that it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.link.dial_back_places import DialBackPlaces
from p2pnode.core.link.reach import DialBackAnswer
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.dial_backs import (
    ADDRESSES_ASKED_MAX,
    DIAL_BACK,
    DIAL_BACK_MESSAGE_SIZE_BYTES_MAX,
    DialBackRequest,
    DialBackResponse,
    DialBackStatus,
    decode_request_untrusted,
    decode_response_untrusted,
    encode_request,
    encode_response,
)

from .host import Host
from .prefixed import read_prefixed, write_prefixed
from .streams import NetworkError, Stream

log = logging.getLogger(__name__)

OPEN_S_MAX = 5.0
REQUEST_S_MAX = 5.0
WRITE_S_MAX = 5.0
# A router that drops what it does not know lets a dial wait; the slowest handshakes take as long.
DIAL_S_MAX = 5.0
# go-libp2p dials for up to 15 s.
ANSWER_S_MAX = 20.0
# A node has one port, or one for each kind of address.
PORTS_MAX = 3
# A dial-back waits on nobody.
SERVE_S_MAX = REQUEST_S_MAX + DIAL_S_MAX + WRITE_S_MAX + 1.0


async def ask_to_dial(host: Host, peer: str, mapped_at: Sequence[str] = ()) -> tuple[DialBackAnswer, str]:
    """Have a connected peer dial this node; with the answer, where it was reached ("": it does not say).

    The router is said to lead here from `mapped_at`.
    """
    own = [addressing.parse(one) for one in (*mapped_at, *host.addresses())]
    wide = [one for one in own if addressing.scope_of(one.host) > addressing.Scope.LOOPBACK]
    asked = DialBackRequest(
        ID.from_string(host.peer_id).to_bytes(),
        tuple(Multiaddr(one.transport).to_bytes() for one in wide[:ADDRESSES_ASKED_MAX]),
    )
    try:
        async with await host.open_stream(peer, [DIAL_BACK], OPEN_S_MAX) as stream:
            await write_prefixed(stream, encode_request(asked), WRITE_S_MAX)
            data = await read_prefixed(stream, DIAL_BACK_MESSAGE_SIZE_BYTES_MAX, ANSWER_S_MAX)
        response = decode_response_untrusted(data)
    except (NetworkError, BadMessage) as exc:
        log.debug("%s does not say whether it can dial this node: %s", peer, exc)
        return DialBackAnswer.NOTHING, ""
    log.debug("%s was asked to dial this node: status %d", peer, response.status)
    if response.status == DialBackStatus.OK:
        return DialBackAnswer.REACHED, _where_untrusted(response.address, {one.port for one in wide})
    failed = response.status == DialBackStatus.DIAL_ERROR
    return (DialBackAnswer.FAILED if failed else DialBackAnswer.NOTHING), ""


def _where_untrusted(data: bytes, ports: set[int]) -> str:
    """The address at which a peer says it has reached this node; "" where it is at no port of its."""
    try:
        found = addressing.parse(str(Multiaddr(data)))
        numbers = found.family in ("ip4", "ip6") and not found.relay
        return found.transport if numbers and found.port in ports else ""
    except ValueError:
        return ""


class DialBackService:
    """Dial-backs for others."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._places = DialBackPlaces()
        host.handle(DIAL_BACK, self._serve, time_limit_s=SERVE_S_MAX, streams_per_peer_max=2)

    async def _serve(self, stream: Stream) -> None:
        try:
            data = await read_prefixed(stream, DIAL_BACK_MESSAGE_SIZE_BYTES_MAX, REQUEST_S_MAX)
            request = decode_request_untrusted(data)
        except BadMessage:
            response = DialBackResponse(DialBackStatus.BAD_REQUEST)
        else:
            response = await self._respond(stream.peer, request)
        await write_prefixed(stream, encode_response(response), WRITE_S_MAX)

    async def _respond(self, peer: str, request: DialBackRequest) -> DialBackResponse:
        if request.peer != ID.from_string(peer).to_bytes():
            return DialBackResponse(DialBackStatus.BAD_REQUEST)
        host = self._host.remote_host(peer)
        targets = _targets_untrusted(request.addresses, host)
        if not targets:
            return DialBackResponse(DialBackStatus.DIAL_REFUSED)
        if not self._places.open(peer, host, trio.current_time()):
            return DialBackResponse(DialBackStatus.DIAL_REFUSED)
        try:
            reached = await self._dial(peer, targets)
        finally:
            self._places.close(peer)
        if reached is None:
            return DialBackResponse(DialBackStatus.DIAL_ERROR)
        return DialBackResponse(DialBackStatus.OK, Multiaddr(reached.transport).to_bytes())

    async def _dial(self, peer: str, targets: list[addressing.Address]) -> addressing.Address | None:
        """The first address at which the peer answers."""
        reached: list[addressing.Address] = []
        with trio.move_on_after(DIAL_S_MAX):
            async with trio.open_nursery() as nursery:

                async def attempt(target: addressing.Address) -> None:
                    try:
                        await self._host.shake_hands(peer, target)
                    except (BaseLibp2pError, OSError) as exc:
                        log.debug("%s is not reached at %s: %s", peer, target, exc)
                        return
                    reached.append(target)
                    nursery.cancel_scope.cancel()

                for target in targets:
                    nursery.start_soon(attempt, target)
        return reached[0] if reached else None


def _targets_untrusted(addresses: tuple[bytes, ...], host: str) -> list[addressing.Address]:
    """The ports that are asked for, at the address that whoever asks comes from; none for one by a relay."""
    if not host:
        return []
    family = "ip6" if ":" in host else "ip4"
    ports: dict[tuple[int, addressing.WebLayer], None] = {}
    for data in addresses:
        try:
            found = addressing.parse(str(Multiaddr(data)))
        except ValueError:
            # Another transport than TCP, or no address at all.
            continue
        if found.port and addressing.is_listened_at(found):
            ports[found.port, found.web] = None
    return [addressing.Address(family, host, port, web=web) for port, web in list(ports)[:PORTS_MAX]]
