"""The dial-backs that a node does for others, limited by where they come from; decided without I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from p2pnode.core.values.rate import TokenBucket

# A dial is a socket for some seconds.
DIAL_BACKS_MAX = 8
# A node asks three neighbours at its start, and then every quarter of an hour; an office has some.
PER_HOST_PER_S = 1 / 20
PER_HOST_BURST = 6.0
# As go-libp2p: thirty a minute, after the burst of a network that starts.
IN_ALL_PER_S = 0.5
IN_ALL_BURST = 60.0
# A host that is forgotten has its burst again.
HOSTS_REMEMBERED_MAX = 1024


@dataclass(slots=True)
class DialBackPlaces:
    """The dial-backs that are under way, and how many each host may ask for."""

    _peers: set[str] = field(default_factory=set)
    _in_all: TokenBucket = field(default_factory=lambda: TokenBucket(IN_ALL_PER_S, IN_ALL_BURST))
    _hosts: OrderedDict[str, TokenBucket] = field(default_factory=OrderedDict)

    def open(self, peer: str, host: str, now: float) -> bool:
        """Take a place for a peer at this address; where there was one, `close` gives it back."""
        if peer in self._peers or len(self._peers) >= DIAL_BACKS_MAX:
            return False
        bucket = self._hosts.setdefault(host, TokenBucket(PER_HOST_PER_S, PER_HOST_BURST))
        self._hosts.move_to_end(host)
        if len(self._hosts) > HOSTS_REMEMBERED_MAX:
            self._hosts.popitem(last=False)
        if not (bucket.allows(1, now) and self._in_all.allows(1, now)):
            return False
        self._peers.add(peer)
        return True

    def close(self, peer: str) -> None:
        self._peers.discard(peer)
