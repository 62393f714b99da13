"""Peers and content that are not known here: the DHT is asked, where the node's operator says so."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import trio

from p2pnode.config.settings import NodeConfig
from p2pnode.core.values.finding import DhtMode, FindingState
from p2pnode.network.bootstrap import Bootstrap
from p2pnode.network.dht import Dht
from p2pnode.network.dns_addresses import DnsAddresses
from p2pnode.network.host import Host
from p2pnode.network.kademlia import DhtPorts

log = logging.getLogger(__name__)

# A link is dialled again and again, and a job's inputs are fetched by each of its tries.
FOUND_AGAIN_S = 300.0
NOT_FOUND_AGAIN_S = 60.0
ANSWERS_KEPT_MAX = 1_000
# Searches at once: each asks ten peers at a time.
SEARCHES_MAX = 4


class Finder:
    """`addresses_of` gives what adverts tell, `keeps` whether a connection with a peer is to stay."""

    def __init__(
        self,
        config: NodeConfig,
        host: Host,
        addresses_of: Callable[[str], Sequence[str]],
        keeps: Callable[[str], bool],
    ) -> None:
        self.mode = config.dht
        self._first: dict[str, Mapping[str, Sequence[str]]] = {}
        # The peers that this node joins through, where no others are set.
        self.given: Callable[[], Mapping[str, Sequence[str]]] = dict
        self._answers: OrderedDict[object, tuple[float, Mapping[str, Sequence[str]]]] = OrderedDict()
        self._searches = trio.CapacityLimiter(SEARCHES_MAX)
        self._dht: Dht | None = None
        self._bootstrap: Bootstrap | None = None
        if config.dht is DhtMode.OFF:
            return
        ports = DhtPorts(addresses_of, keeps, self._peers_to_begin)
        self._dht = Dht(host, ports, serves=config.dht is DhtMode.SERVER)
        if config.dht_peers:
            connected = host.connected
            self._bootstrap = Bootstrap(
                config.dht_peers, None, self._take_first, lambda peer: peer in connected(), DnsAddresses()
            )

    def state(self, provided: int, waiting: int) -> FindingState:
        """Gives what people are told, with how many roots are provided, and how many wait for it."""
        return FindingState(self.mode, self._dht.peers if self._dht else 0, provided, waiting)

    async def peer(self, peer: str) -> Sequence[str]:
        """The addresses of a peer in the DHT; none where it is not asked, or nobody tells them."""
        if self._dht is None:
            return ()

        async def search(dht: Dht) -> Mapping[str, Sequence[str]]:
            found = await dht.find_peer(peer)
            return {peer: found} if found else {}

        return (await self._search(peer, partial(search, self._dht))).get(peer, ())

    async def providers(self, key: bytes) -> Mapping[str, Sequence[str]]:
        """The peers that say in the DHT that they have a content, by its multihash, with their addresses."""
        if self._dht is None:
            return {}
        return await self._search(key, partial(self._dht.find_providers, key))

    async def provide(self, key: bytes) -> int:
        """Say that this node has a content; to how many peers it was said."""
        if self._dht is None:
            return 0
        async with self._searches:
            return await self._dht.provide(key)

    async def run(self) -> None:
        """Works until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._bootstrap is not None:
                nursery.start_soon(self._bootstrap.run)
            if self._dht is not None:
                nursery.start_soon(self._dht.run)
            await trio.sleep_forever()

    async def _search(
        self, subject: object, search: Callable[[], Awaitable[Mapping[str, Sequence[str]]]]
    ) -> Mapping[str, Sequence[str]]:
        """Gives what a search finds, or has found a short while ago."""
        async with self._searches:
            now = trio.current_time()
            until, found = self._answers.get(subject, (now, {}))
            if until <= now:
                found = await search()
                again_s = FOUND_AGAIN_S if found else NOT_FOUND_AGAIN_S
                self._answers[subject] = trio.current_time() + again_s, found
                self._answers.move_to_end(subject)
                if len(self._answers) > ANSWERS_KEPT_MAX:
                    self._answers.popitem(last=False)
            return found

    def _peers_to_begin(self) -> Mapping[str, Sequence[str]]:
        first = {peer: found for named in self._first.values() for peer, found in named.items()}
        return first if self._bootstrap is not None else self.given()

    def _take_first(self, source: str, peers: Mapping[str, Sequence[str]], reason: str) -> None:
        if not reason:
            self._first[source] = peers
            return
        log.warning("the peers of the DHT at %s are not known: %s", source, reason)
