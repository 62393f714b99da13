"""Adverts on their way: ours signed, numbered and gossiped; others' checked before the core sees them.

What is heard over gossip and what is pulled out of a neighbour's table pass the same check.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import trio
from msgspec import UNSET

from p2pnode import __version__, identity
from p2pnode.core.link.neighbours import LOW
from p2pnode.core.link.remembered import PEERS_REMEMBERED_MAX, Remembered
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.placement.twins import Doubles, OwnNumbers
from p2pnode.core.records import membership as memberships
from p2pnode.core.records.events import AdvertHeard, Advertise, ConnectionChanged, NeighbourJoined
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.fields import ADVERT_SIZE_BYTES_MAX
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.signing import Signed
from p2pnode.faults.guards import Guards
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.network.gossip import Gossip
from p2pnode.network.host import Connected, Disconnected, Host
from p2pnode.network.protocols.adverts import TableEntry, pull_table
from p2pnode.network.strangers import Strangers
from p2pnode.network.streams import NetworkError
from p2pnode.system.host_resources import BUILT_IN_LABELS

from .changes import Changes
from .clock import Clock
from .journal import Journal

log = logging.getLogger(__name__)

DOMAIN = b"p2pnode/advert/2\0"
# A peer that has come back is asked for its table again; one that comes and goes all the time is not. A few
# times at once: a node whose identity is copied loses its neighbours when the copy comes, and when it goes.
PULL_AGAIN_S = 30.0
PULLS_BURST = 6.0
# A table that was not handed over is asked for again: who is asked too often says nothing for ten seconds,
# and two nodes with one identity count as one there.
PULL_RETRY_S = 12.0
PULL_TRIES_MAX = 4
# Each of two nodes with one identity is asked for its own advert for so long, again after each pause.
LEARN_S_MAX = 5.0
# The other process may be starting, and says nothing until it is asked.
LEARN_AGAIN_S = 0.5
# Where an advert is too large, this many addresses stay: one of a LAN and one beyond it.
ADDRESSES_KEPT = 2

Tell = Callable[[AdvertHeard | NeighbourJoined | ConnectionChanged], object]


class Advertiser:
    """`table` is the core's, read only here; `tell` gives it events.

    `nursery` ends with the node, too.
    """

    def __init__(
        self,
        name: str,
        protocols: Sequence[str],
        me: identity.Identity,
        host: Host,
        journal: Journal,
        clock: Clock,
        table: AdvertTable,
        tell: Tell,
        guards: Guards,
        nursery: trio.Nursery,
        strangers: Strangers,
        changes: Changes,
        door: Doorkeeper | None,
    ) -> None:
        self._door = door
        self._name = name
        self._protocols = tuple(protocols)
        self._me = me
        self._host = host
        self._journal = journal
        self._clock = clock
        self._table = table
        self._tell = tell
        self._guards = guards
        self._nursery = nursery
        self._strangers = strangers
        self._changes = changes
        # How often each peer may be asked for its table.
        self._pulls: dict[str, TokenBucket] = {}
        self._remembered = Remembered.of(journal.remembered_peers())
        self._left_out: tuple[str, ...] = ()
        self._numbers = OwnNumbers(before=int(journal.meta("advert_number") or -1))
        self._doubles = Doubles()
        self._parting: set[str] = set()
        # Peers whose greeting waits.
        self._greeting: set[str] = set()
        # Set once the gossip is open; adverts of before reach neighbours by their pull.
        self.gossip: Gossip | None = None
        self.on_their_way = 0

    # Ours

    def advertise(self, action: Advertise) -> None:
        now = self._clock.now()
        number = self._numbers.next(int(now * 1000))
        # As others' clocks have it, though this machine's may have been set since the node's start.
        now_ms = int((now + self._clock.set_by_s()) * 1000)
        with self._guards.guard(Compartment.TASK, "advert"):
            self._journal.set_meta("advert_number", str(number))
            self._send(action, number, now_ms)

    def _send(self, action: Advertise, number: int, now_ms: int) -> None:
        advert = Advert(
            peer=self._me.peer_id,
            number=number,
            issued_ms=now_ms,
            ttl_ms=action.ttl_ms,
            name=self._name,
            version=__version__,
            capacity=action.capacity,
            addresses=tuple(self._host.tellable_addresses()),
            protocols=self._protocols,
            leaving=action.leaving,
            extensions=UNSET if self._door is None else memberships.in_advert(self._door.roster.own),
        )
        advert, left_out = fitted(advert)
        if left_out != self._left_out:
            self._left_out = left_out
            log.warning(
                "labels that do not fit into an advert of 2 KiB are not told: %s", ", ".join(left_out)
            )
        body = codec.encode(advert)
        signed = Signed(body=body, signature=self._me.sign(DOMAIN, body))
        self._tell(AdvertHeard(signed, advert, action.ttl_ms, clock_set_s=self._clock.set_by_s()))
        self.on_their_way += 1
        publish = partial(self._publish, codec.encode(signed))
        self._guards.start_soon(self._nursery, Compartment.TASK, "advert", publish)

    async def _publish(self, data: bytes) -> None:
        try:
            if self.gossip is not None:
                await self.gossip.publish(data)
        except NetworkError as exc:
            log.info("an advert was not published: %s", exc)
        finally:
            self.on_their_way -= 1
            self._changes.note_any()

    # Others'

    def heard(self, data: bytes, forwarder: str) -> bool:
        """An advert over gossip; whether it is news, and so worth passing on. Raises `BadMessage`."""
        return self._learn_untrusted(codec.decode_untrusted(data, Signed), None, forwarder)

    def on_connection(self, event: Connected | Disconnected) -> None:
        if isinstance(event, Disconnected):
            self._tell(ConnectionChanged(event.peer, connected=False))
        else:
            self._tell(ConnectionChanged(event.peer, connected=True, host=event.host))
            greet = partial(self._greet, event.peer)
            self._guards.start_soon(self._nursery, Compartment.LINK, event.peer, greet)

    async def _greet(self, peer: str) -> None:
        """Get to know all that a new neighbour knows, and have it, and those behind it, know us."""
        if peer in self._greeting or not self._may_miss_adverts(peer):
            return
        bucket = self._pulls.pop(peer, None) or TokenBucket(1 / PULL_AGAIN_S, PULLS_BURST)
        self._pulls[peer] = bucket
        if len(self._pulls) > PEERS_REMEMBERED_MAX:
            del self._pulls[next(iter(self._pulls))]
        wait_s = bucket.take(1, trio.current_time())
        if wait_s:
            # Late rather than never: what either has said in between may have been missed.
            self._greeting.add(peer)
            await trio.sleep(wait_s)
            self._greeting.discard(peer)
            if peer not in self._host.connected():
                return
        self._tell(NeighbourJoined())
        for _ in range(PULL_TRIES_MAX):
            if await self._pull(peer):
                return
            await trio.sleep(PULL_RETRY_S)
            if peer not in self._host.connected():
                return

    def _may_miss_adverts(self, peer: str) -> bool:
        """Whether a new neighbour may know of what was not heard here, or the other way round.

        A node of few connections has joined, or was cut off; a peer that is not heard may be of another half.
        """
        return len(self._host.connected()) <= LOW or peer not in self._table.known

    async def _pull(self, peer: str, process: bytes | None = None) -> bool:
        """Learn all that a peer knows; whether it was handed over to its end."""

        async def take(page: Sequence[TableEntry]) -> None:
            async with self._strangers.turn(peer):
                for entry in page:
                    try:
                        self._learn_untrusted(entry.signed, entry.remaining_ms, peer, process)
                    except BadMessage as exc:
                        log.info("a bad advert out of the table of %s: %s", peer, exc)

        try:
            await pull_table(self._host, peer, take, process)
        except NetworkError as exc:
            log.info("the table of %s was not read to its end: %s", peer, exc)
            return False
        return True

    def _learn_untrusted(
        self, signed: Signed, remaining_ms: int | None, forwarder: str, process: bytes | None = None
    ) -> bool:
        """Whether it was news; raises `BadMessage`. `process` is the key of the one that was asked."""
        advert = codec.decode_untrusted(signed.body, Advert, ADVERT_SIZE_BYTES_MAX)
        if advert.peer == self._me.peer_id:
            return self._heard_own(signed, advert, forwarder)
        if advert.peer == forwarder and process is not None:
            identity.verify_untrusted(advert.peer, DOMAIN, signed)
            self._doubles.heard(advert.peer, process, signed)
        if not self._table.is_news(advert, forwarder):
            return False
        identity.verify_untrusted(advert.peer, DOMAIN, signed)
        before, addresses_before = self._newest(advert.peer), self.addresses_of(advert.peer)
        remaining_ms = advert.ttl_ms if remaining_ms is None else remaining_ms
        if self._door is not None:
            try:
                remaining_ms = min(remaining_ms, self._door.lifetime_ms_untrusted(advert))
            except Untimely as exc:
                log.debug("an advert does not count: %s", exc)
                return False
        clock_set_s = self._clock.set_by_s()
        self._tell(AdvertHeard(signed, advert, remaining_ms, forwarder, clock_set_s))
        news = self._newest(advert.peer) != before
        if news:
            self._doubles.heard(advert.peer, None, signed)
        known = self._table.known.get(advert.peer)
        if known is not None and known.advert.addresses != tuple(addresses_before):
            self._changes.note_peers()
        # Peers that only others tell of may be invented; those that were reached are remembered anyway.
        if news and known is not None and known.brought_by is None:
            self.remember(advert.peer, advert.addresses)
        return news

    def _heard_own(self, signed: Signed, advert: Advert, forwarder: str) -> bool:
        """An advert of this node's own id, from another; raises `BadMessage` if it is forged."""
        if not self._numbers.is_foreign(advert.number):
            return False
        identity.verify_untrusted(advert.peer, DOMAIN, signed)
        tells, answers = self._numbers.heard(advert.number, self._clock.now(), leaving=advert.leaving)
        if tells:
            self._tell_people(
                "identity",
                "another node runs with this node's identity"
                f" (at {', '.join(advert.addresses) or 'no address that it tells'}):"
                " stop one of them, and give a copy of a data directory an identity of its own",
            )
        if answers:
            self._tell(AdvertHeard(signed, advert, 0, forwarder))
        return answers

    def forget(self, peer: str) -> None:
        """Have a peer that is no member any more be as one that has said goodbye."""
        known = self._table.known.get(peer)
        if known is not None:
            goodbye = codec.replace(known.advert, number=known.advert.number + 1, leaving=True)
            self._tell(AdvertHeard(known.signed, goodbye, 0, peer, self._clock.set_by_s()))
            self._changes.note_peers()

    def table_for(self, peer: str) -> Iterator[tuple[Signed, int]]:
        """All adverts, each with its remaining milliseconds; a double hears what both of it said, too."""
        now = self._clock.now()
        yield from self._table.entries(now)
        for signed in self._doubles.said(peer, now):
            yield signed, 0

    def on_double(self, peer: str, keys: Collection[bytes]) -> None:
        """Connections of two processes are there under one id."""
        parts, tells = self._doubles.connected(peer, keys, self._clock.now())
        if tells:
            self._tell_people(
                peer, f"two nodes run with the identity of {peer}: what is sent to it may reach either"
            )
        if parts:
            self._part(peer, learn=True)

    def on_double_gone(self, peer: str, gone: bytes, left: Collection[bytes]) -> None:
        if self._doubles.disconnected(peer, gone, left):
            self._part(peer, learn=False)

    def _part(self, peer: str, *, learn: bool) -> None:
        """End all connections with a peer; to `learn`: hear what each of its nodes says before."""
        if peer in self._parting:
            return
        self._parting.add(peer)

        async def part() -> None:
            try:
                if learn:
                    await self._ask_each(peer)
                await self._host.disconnect(peer)
            finally:
                self._parting.discard(peer)

        self._guards.start_soon(self._nursery, Compartment.LINK, peer, part)

    async def _ask_each(self, peer: str) -> None:
        """Have each process that is connected as this peer say what it says of itself."""

        async def ask(process: bytes) -> None:
            while process in self._doubles.unheard(peer) & self._host.processes(peer):
                await self._pull(peer, process)
                await trio.sleep(LEARN_AGAIN_S)

        with trio.move_on_after(LEARN_S_MAX):
            async with trio.open_nursery() as nursery:
                for process in self._doubles.unheard(peer):
                    nursery.start_soon(ask, process)

    def _tell_people(self, subject: str, message: str) -> None:
        with self._guards.guard(Compartment.LINK, subject):
            log.warning("%s", message)
            self._journal.problems.add(Compartment.LINK, subject, message, aside=False)

    def _newest(self, peer: str) -> tuple[int | None, int | None]:
        known = self._table.known.get(peer)
        return known.advert.number if known else None, self._table.gone.get(peer)

    # Where peers are

    def peers_to_join(self) -> Mapping[str, Sequence[str]]:
        """Return the peers known by advert, and from earlier, with their addresses."""
        adverts = {peer: known.advert.addresses for peer, known in self._table.known.items()}
        return {**self._remembered.peers, **adverts}

    def peers_heard(self) -> Collection[str]:
        """The peers whose adverts count now, this node among them."""
        return self._table.known.keys()

    def addresses_of(self, peer: str) -> Sequence[str]:
        known = self._table.known.get(peer)
        return known.advert.addresses if known else self._remembered.peers.get(peer, [])

    def peers_remembered(self) -> Collection[str]:
        """The peers that were there themselves, in this run or an earlier one."""
        return self._remembered.peers.keys()

    def remember(self, peer: str, addresses: Sequence[str]) -> None:
        """For the next start."""
        forgotten = self._remembered.add(peer, addresses)
        with self._guards.guard(Compartment.TASK, "peers"):
            self._journal.remember_peer(peer, addresses, self._clock.now(), forgotten)


def fitted(advert: Advert) -> tuple[Advert, tuple[str, ...]]:
    """The advert as it may be sent, and the keys of the labels that had to be left out of it.

    First what it holds goes, then addresses, then the operator's labels, the last in the order of keys first
    (protocols/advert.md).
    """
    if len(codec.encode(advert)) <= ADVERT_SIZE_BYTES_MAX:
        return advert, ()
    advert = codec.replace(advert, capacity=codec.replace(advert.capacity, cached=()))
    if len(codec.encode(advert)) <= ADVERT_SIZE_BYTES_MAX:
        return advert, ()
    advert = codec.replace(advert, addresses=advert.addresses[:ADDRESSES_KEPT])
    labels = dict(advert.capacity.labels)
    left_out: list[str] = []
    for key in sorted(labels.keys() - BUILT_IN_LABELS, reverse=True):
        if len(codec.encode(advert)) <= ADVERT_SIZE_BYTES_MAX:
            break
        del labels[key]
        left_out.append(key)
        advert = codec.replace(advert, capacity=codec.replace(advert.capacity, labels=dict(labels)))
    return advert, tuple(left_out)
