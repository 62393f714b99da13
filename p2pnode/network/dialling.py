"""Dials of peers at all the addresses that are given, each with a deadline.

libp2p's own dialling waits 250 ms, tries one address, and refuses a peer for 60 s after a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import INetworkService
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.core.wire import addresses as addressing

from .dial_failures import is_of_other_network, reason_of_failure
from .names import NameUnknown, resolve
from .private_network import NetworkKeys, dialled_with
from .streams import NetworkError

# The next address of a peer is tried after this, while the earlier ones go on (RFC 8305: 250 ms).
DIAL_STAGGER_S = 0.25
ADDRESSES_DIALLED_MAX = 8
# So many of them by relays, where a peer has so many addresses.
RELAYED_DIALLED_MAX = 2
# So many of WebSocket.
WEB_DIALLED_MAX = 2
# The rest of the caller's time is for the peer.
RELAY_CONNECT_S_MAX = 3.0
# The part of a caller's time that the dials get.
DIAL_SHARE = 0.95


class Unreachable(NetworkError):
    """No connection to the peer could be made; the message says what was tried, `why` that alone."""

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(f"{message}: {why}" if why else message)
        self.why = why or message


class Dialler:
    """Makes the connections of a host to its peers, one at a time for each peer."""

    def __init__(
        self,
        network: INetworkService,
        own: str,
        by_relay: Callable[[str, str], Awaitable[None]],
        network_keys: NetworkKeys | None = None,
    ) -> None:
        """`own` is the peer id of the host itself, which is not dialled.

        `by_relay` connects with a peer by a relay that is connected: the relay, then the peer. Of the
        `network_keys` those before the newest are for peers that have yet to hear of that.
        """
        self._network_keys = network_keys
        self._network = network
        self._own = own
        self._by_relay = by_relay
        self._dialling: dict[str, trio.Lock] = {}

    def is_connected(self, peer: str) -> bool:
        """Whether the peer has a connection that is open."""
        return any(
            not connection.is_closed for connection in self._network.get_connections(ID.from_string(peer))
        )

    async def connect(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        """See to it that there is a connection with `peer`; raises `Unreachable`.

        The addresses are tried in their order, each a little after the one before.
        """
        if peer == self._own:
            raise Unreachable("that is this node itself")
        try:
            ID.from_string(peer)
        except ValueError as exc:
            raise Unreachable(f"{peer!r} is not a peer id: {exc}") from exc
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            with trio.fail_after(timeout_s):
                async with lock:
                    if not self.is_connected(peer):
                        await self._dial(peer, addresses, timeout_s)
        except trio.TooSlowError as exc:
            # Another dial of the peer was waited for.
            raise Unreachable(f"no connection to {peer} within {timeout_s:.1f} s") from exc
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._dialling.pop(peer, None)

    async def _dial(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        tried = _in_order(addresses)
        failures: dict[str, str] = {}
        # A little less than the caller's own limit: whoever asked is told of each address.
        with trio.move_on_after(timeout_s * DIAL_SHARE):
            async with trio.open_nursery() as nursery:

                async def attempt(address: str, failed: trio.Event) -> None:
                    try:
                        await self._dial_with_each_key(peer, address)
                        nursery.cancel_scope.cancel()
                    except (BaseLibp2pError, NetworkError, OSError, ValueError) as exc:
                        failures[address] = reason_of_failure(exc)
                        failed.set()

                for address in tried:
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(DIAL_STAGGER_S):
                        await failed.wait()
        if not self.is_connected(peer):
            unanswered = f"no answer within {timeout_s:.0f} s"
            why = "; ".join(f"{address}: {failures.get(address, unanswered)}" for address in tried)
            raise Unreachable(f"no connection to {peer}", why or "no address of it is known")

    async def _dial_with_each_key(self, peer: str, address: str) -> None:
        if self._network_keys is None:
            await self._dial_one(peer, address)
            return
        keys = self._network_keys()
        for key in keys:
            try:
                with dialled_with(key):
                    await self._dial_one(peer, address)
                return
            except (BaseLibp2pError, NetworkError, OSError) as exc:
                if key == keys[-1] or not is_of_other_network(exc):
                    raise

    async def _dial_one(self, peer: str, address: str) -> None:
        """Dial what a name stands for; raises what the resolver, or libp2p for the last address, does."""
        parsed = addressing.parse(address)
        if parsed.relay:
            await self.connect(parsed.relay, [parsed.dialled], RELAY_CONNECT_S_MAX)
            await self._by_relay(parsed.relay, peer)
            return
        resolved = await resolve(parsed)
        for one in resolved:
            try:
                await self._network.dial_addr(Multiaddr(one.transport), ID.from_string(peer))
            except (BaseLibp2pError, OSError):
                if one == resolved[-1]:
                    raise
            else:
                return
        raise NameUnknown("the name has no address that can be dialled")


def _in_order(addresses: Sequence[str]) -> list[str]:
    """The addresses to dial: IPv4 and IPv6 by turns; WebSocket after that.

    By relays last, which are slower and another's line.
    """
    relayed = [one for one in dict.fromkeys(addresses) if _is_relayed(one)]
    plain, web = addressing.plain_first([one for one in dict.fromkeys(addresses) if one not in relayed])
    relayed = relayed[: max(RELAYED_DIALLED_MAX, ADDRESSES_DIALLED_MAX - len(plain) - len(web))]
    room = ADDRESSES_DIALLED_MAX - len(relayed)
    web = addressing.interleaved(web)[: max(WEB_DIALLED_MAX, room - len(plain))]
    return [*addressing.interleaved(plain)[: room - len(web)], *web, *relayed]


def _is_relayed(address: str) -> bool:
    try:
        return bool(addressing.parse(address).relay)
    except addressing.BadAddress:
        return False
