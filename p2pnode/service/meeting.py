"""Connects this node with a peer that its user names, by an address or by a name in DNS."""

from __future__ import annotations

import trio

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import bootstrap
from p2pnode.network.dns_addresses import DnsAddresses, NamesNothing
from p2pnode.network.host import Host, Unreachable
from p2pnode.network.streams import NetworkError

# All peers of a name together, too.
CONNECT_TIMEOUT_S = 10.0


async def meet(host: Host, names: DnsAddresses, text: str) -> str:
    """Connect with the peer of an address, or one of those of a /dnsaddr/ name; gives its id.

    This node itself need not be connected with. Raises `ServiceError`.
    """
    try:
        given = bootstrap.parse_given(text)
    except addressing.BadAddress as exc:
        raise ServiceError(Code.BAD_REQUEST, str(exc)) from exc
    try:
        if not bootstrap.is_dnsaddr(given):
            found = {bootstrap.peer_of(given): [given]}
        else:
            found = await names.find(bootstrap.parse_dnsaddr(given))
    except NamesNothing as exc:
        raise ServiceError(Code.UNAVAILABLE, f"cannot connect to {given}: {exc}") from exc
    if found.pop(host.peer_id, None) is not None and not found:
        return host.peer_id
    ends_at = trio.current_time() + CONNECT_TIMEOUT_S
    why = ""
    for peer, where in found.items():
        try:
            await host.connect(peer, where, max(0.0, ends_at - trio.current_time()))
        except NetworkError as exc:
            why = why or (exc.why if isinstance(exc, Unreachable) else str(exc))
        else:
            return peer
    raise ServiceError(Code.UNAVAILABLE, f"cannot connect to {why if given in why else f'{given}: {why}'}")
