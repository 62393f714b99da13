"""This node's connections with others: joining the network, coming back to it, letting idle ones go.

Known peers come from the user (`--peer`), from the LAN (mDNS), and from the owner's memory: peers of earlier
runs, and adverts. Which are dialled, and which connections are closed, `core.link.neighbours` decides.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import trio

from p2pnode.core.link.neighbours import Neighbours
from p2pnode.core.link.remembered import public_range
from p2pnode.core.values.ranges import ranges_of
from p2pnode.core.wire import addresses as addressing
from p2pnode.system.log_lines import concerning

from .host import Connected, Disconnected, Host, Unreachable
from .private_network import mdns_service
from .streams import NetworkError

log = logging.getLogger(__name__)

CONNECT_S_MAX = 5.0
FOUND_MAX = 256  # A LAN has no more nodes than that, but a liar might say so.
# A given peer that is started at the same time as this node is there by then.
STARTING_S = 1.0
# The most that is told of one peer in a row: what answers at its address may be another each time.
REASONS_TOLD_MAX = 8
_OWN_ID = "that is this node's own id; a copy of a data directory needs an identity of its own"


@dataclass(slots=True)
class GivenPeer:
    """A peer that the user named; `reason` says why it is not connected, "" while that is not known.

    A name in DNS or a file that gave none stands for them.
    """

    peer: str
    addresses: tuple[str, ...]
    reason: str = ""
    # Since when it could not be reached, and the reasons that were told since.
    since: float = inf
    told: set[str] = field(default_factory=set)


class Discovery:
    """Keeps a host connected.

    `given` are multiaddrs with `/p2p/ID`; raises `BadAddress` for others. More come by `give`. `known` gives
    the owner's peers with their addresses, best first. `reached` is told each peer that
    was dialled, with the addresses that were tried: worth remembering for the next start.
    `grown` gives the event that is set once `known` gives more than now; without, it never does.
    With `operator` mDNS finds the nodes of its private network alone.
    `heard` are the peers whose adverts count now, `needed` those whose connections stay, used or not,
    `remembered` those that were there themselves, now or in an earlier run.
    """

    def __init__(
        self,
        host: Host,
        *,
        given: Sequence[str] = (),
        known: Callable[[], Mapping[str, Sequence[str]]] = dict,
        reached: Callable[[str, Sequence[str]], None] = lambda peer, addresses: None,
        mdns: bool = True,
        operator: str | None = None,
        grown: Callable[[], trio.Event] = trio.Event,
        heard: Callable[[], Collection[str]] = tuple,
        needed: Callable[[], Container[str]] = tuple,
        remembered: Callable[[], Container[str]] = tuple,
    ) -> None:
        self._host = host
        # By where they were named: "" the settings, a name in DNS, a file.
        self._named: dict[str, Mapping[str, Sequence[str]]] = {"": addressing.by_peer(given)}
        self._watched = {peer: GivenPeer(peer, tuple(found)) for peer, found in self._named[""].items()}
        self._given: Mapping[str, Sequence[str]] = {
            peer: found for peer, found in self._named[""].items() if peer != host.peer_id
        }
        # The names and files that gave none, or are wrong.
        self._sources: dict[str, GivenPeer] = {}
        self._known = known
        self._reached = reached
        self._mdns = mdns
        self._operator = operator
        self._grown = grown
        self._heard = heard
        self._needed = needed
        self._remembered = remembered
        self._found: dict[str, list[str]] = {}
        self._last: dict[str, Sequence[str]] = {}
        self._neighbours = Neighbours(host.peer_id, frozenset(self._given), random.random)
        self._wake = trio.Event()
        self._moved = trio.Event()

    @property
    def given(self) -> frozenset[str]:
        return self._neighbours.given

    def given_at(self) -> Mapping[str, Sequence[str]]:
        """The given peers with their addresses."""
        return self._given

    def give(self, source: str, peers: Mapping[str, Sequence[str]], reason: str = "") -> None:
        """The peers that a name in DNS or a file stands for now; `reason` says why it is not understood.

        Those of before stay where nothing is understood.
        """
        if reason:
            told = self._sources.setdefault(source, GivenPeer(source, ()))
            if reason != told.reason:
                told.reason = reason
                log.warning("the given peers of %s are not known: %s", source, reason)
            return
        self._sources.pop(source, None)
        self._named[source] = peers
        given: dict[str, list[str]] = {}
        for named in self._named.values():
            for peer, found in named.items():
                given[peer] = list(dict.fromkeys([*given.get(peer, ()), *found]))
        # A list for all of a network's nodes names this one, too.
        given = {peer: found for peer, found in given.items() if peer != self._host.peer_id}
        itself = {peer: one for peer, one in self._watched.items() if peer == self._host.peer_id}
        self._watched = itself | {
            peer: replace(self._watched.get(peer, GivenPeer(peer, ())), addresses=tuple(found))
            for peer, found in given.items()
        }
        self._given = given
        self._neighbours.given = frozenset(given)
        self._wake.set()

    def unreached(self) -> list[GivenPeer]:
        """The given peers that are not in this node's network: neither connected, nor heard of by adverts."""
        there = {*self._host.connected(), *(self._heard() if self._neighbours.is_many else ())}
        there.discard(self._host.peer_id)
        return [*(one for peer, one in self._watched.items() if peer not in there), *self._sources.values()]

    def choose(self, peer: str) -> None:
        """Keep the connection with a peer that the user asked for as long as those that this node chose."""
        self._neighbours.choose(peer)

    def moved(self, elsewhere: bool) -> None:
        """Tell the LAN where this node is now, and dial whoever is to be dialled."""
        self._neighbours.moved()
        if elsewhere:
            # Another LAN's, where the same addresses may be others'.
            self._found.clear()
        self._moved.set()
        self._wake.set()

    async def run(self) -> None:
        """Works until cancelled."""
        if itself := self._watched.get(self._host.peer_id):
            itself.since = -inf
            self._failed(itself, _OWN_ID)
        self._host.watch(self._on_connection)
        async with trio.open_nursery() as nursery:
            if self._mdns:
                nursery.start_soon(self._announce)
            nursery.start_soon(self._wake_when_grown)
            while True:
                wake_at = self._look(nursery)
                with trio.move_on_at(wake_at):
                    await self._wake.wait()
                self._wake = trio.Event()

    async def _announce(self) -> None:
        """Be on the LAN, anew with each move: the interfaces are other ones, too."""
        # Its library takes 5 MB.
        from .mdns import SERVICE, announce_and_find

        service = SERVICE if self._operator is None else mdns_service(self._operator)
        while True:
            self._moved = trio.Event()
            own = self._host.addresses()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(announce_and_find, self._host.peer_id, own, self._on_found, service)
                await self._moved.wait()
                nursery.cancel_scope.cancel()

    async def _wake_when_grown(self) -> None:
        while True:
            await self._grown().wait()
            self._wake.set()

    def _on_connection(self, event: Connected | Disconnected) -> None:
        given = self._watched.get(event.peer)
        if given is not None:
            given.reason, given.since = "", inf
            given.told.clear()
        self._wake.set()

    def _on_found(self, peer: str, addresses: list[str]) -> None:
        if peer in self._found or len(self._found) < FOUND_MAX:
            self._found[peer] = addresses
            self._neighbours.found(peer)
            self._wake.set()

    def _look(self, nursery: trio.Nursery) -> float:
        """Starts the dials that are due, and closes what is to go; returns when to look again."""
        adverts = self._known()
        # A peer that has gone to another network is where its advert says.
        found = {peer: [*there, *adverts.get(peer, ())] for peer, there in self._found.items()}
        known = {**self._last, **adverts, **found, **self._given}
        look = self._neighbours.look(
            self._host.connected(),
            known,
            self._heard(),
            self._host.used_at,
            self._needed(),
            trio.current_time(),
            has_room=self._host.has_room(),
            reached=self._remembered(),
            range_of=lambda peer: self._range_of(peer, known),
        )
        for peer in look.dial:
            addresses = [*self._given.get(peer, ()), *known[peer]]
            nursery.start_soon(self._dial_alone, peer, list(dict.fromkeys(addresses)))
        for peer in look.close:
            with concerning(peer=peer):
                log.debug("the idle connection with %s is closed", peer)
            nursery.start_soon(self._host.disconnect, peer)
        return look.again_at

    def _range_of(self, peer: str, known: Mapping[str, Sequence[str]]) -> str:
        """The public range of a peer as it is connected, or says that it is; "" if it has none."""
        host = self._host.remote_host(peer)
        if not host:
            return public_range(known.get(peer, ()))
        ranges = ranges_of(host)
        return ranges.near if ranges.is_public else ""

    def _failed(self, given: GivenPeer, reason: str) -> None:
        """Warns of a reason once, until the peer has been connected."""
        now = trio.current_time()
        given.reason, given.since = reason, min(given.since, now)
        overdue = now - given.since >= STARTING_S
        if overdue and reason not in given.told and len(given.told) < REASONS_TOLD_MAX:
            given.told.add(reason)
            log.warning("the given peer %s is not reached: %s", given.peer, reason)

    async def _dial_alone(self, peer: str, addresses: Sequence[str]) -> None:
        with concerning(anew=True, peer=peer):
            await self._dial(peer, addresses)

    async def _dial(self, peer: str, addresses: Sequence[str]) -> None:
        failed = False
        try:
            await self._host.connect(peer, addresses, CONNECT_S_MAX)
        except NetworkError as exc:
            log.debug("%s", exc)
            if peer in self._watched:
                why = exc.why if isinstance(exc, Unreachable) else str(exc)
                self._failed(self._watched[peer], why)
            failed = True
        else:
            self._last[peer] = addresses
            self._reached(peer, addresses)
        finally:
            self._neighbours.dialled(peer, trio.current_time(), failed=failed)
            self._wake.set()
