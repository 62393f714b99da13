"""How often each connected peer may ask for something."""

from __future__ import annotations

from collections.abc import Callable

import trio

from p2pnode.core.values.rate import TokenBucket
from p2pnode.network.host import Connected, Disconnected, Host


def rate_per_peer(host: Host, rate_per_s: float, burst: float) -> Callable[[str], bool]:
    """A function that says whether a peer may ask once more, now.

    `burst` times at once and then `rate_per_s`; what a peer has asked is forgotten when it disconnects.
    """
    buckets: dict[str, TokenBucket] = {}

    def forget(event: Connected | Disconnected) -> None:
        if isinstance(event, Disconnected):
            buckets.pop(event.peer, None)

    def may_ask(peer: str) -> bool:
        return buckets.setdefault(peer, TokenBucket(rate_per_s, burst)).allows(1, trio.current_time())

    host.watch(forget)
    return may_ask
