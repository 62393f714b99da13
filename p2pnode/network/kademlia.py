"""This node in one of libp2p's Kademlia DHTs: its searches, and, where it serves, answers to those of others.

Own code over the host: libp2p's own needs protobuf's generated modules, which a node leaves out (`unused`),
dials by its own means, and has no limit on what it keeps for others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf

import trio
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from p2pnode.core.link.contacts import Contact, ContactTable, ProviderTable, closest
from p2pnode.core.link.lookup import AskCloser, CloserTold, DhtLookup, PeerMute
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.kad import (
    ANSWER_SIZE_BYTES_MAX,
    CLOSEST_MAX,
    QUESTION_SIZE_BYTES_MAX,
    KadKind,
    KadMessage,
    KadPeer,
    decode_kad_untrusted,
    encode_kad,
    place_of,
)
from p2pnode.core.wire.protobuf import VARINT_SIZE_BYTES_MAX, varint, varint_untrusted

from .host import Connected, Disconnected, Host
from .streams import NetworkError, Stream

log = logging.getLogger(__name__)

# A dial, a stream and an answer each; the next peer is asked meanwhile.
CONNECT_S_MAX = 5.0
ANSWER_S_MAX = 5.0
# A search of the public DHT takes 1 to 10 s; peers that are gone 5 s each round.
LOOKUP_S_MAX = 30.0
# Enough to fetch from; a popular content has thousands.
PROVIDERS_WANTED = 8
# A peer's stream between two questions, as go-libp2p keeps it.
IDLE_S_MAX = 60.0
# One peer's questions at once; go-libp2p asks one after the other on one stream.
QUESTIONS_PER_PEER_MAX = 8
# On each of these streams; one search asks a peer once, and each answer sorts all contacts.
QUESTIONS_PER_S = 20.0
QUESTIONS_BURST = 100.0
# After a connection is there; a few round trips.
IDENTIFIED_S = 1.0
# A connected peer that does not speak it is left alone so long, unless it connects anew.
MUTE_S = 600.0
ADDRESSES_PER_CONTACT_MAX = 8

Fits = Callable[[addressing.Address], bool]


@dataclass(frozen=True, slots=True)
class DhtPorts:
    """This node's own knowledge, as a DHT is told of it."""

    # The addresses of a connected peer, as its adverts have them.
    addresses_of: Callable[[str], Sequence[str]]
    # Whether a connection is kept when a search that made it has ended.
    keeps: Callable[[str], bool]
    # Peers to begin with.
    first: Callable[[], Mapping[str, Sequence[str]]]


class Kademlia:
    """The DHT of `protocol`, of peers with an address that `fits`; with `serves` this node answers others."""

    def __init__(self, host: Host, protocol: str, fits: Fits, ports: DhtPorts, *, serves: bool) -> None:
        self._host = host
        self._protocol = protocol
        self._fits = fits
        self._ports = ports
        self._me = contact_of(host.peer_id, ())
        self.contacts = ContactTable(self._me.place)
        self.providers = ProviderTable()
        self._mute_until: dict[str, float] = {}
        # Searches under way, and the peers that they have dialled, each with when it was asked last.
        self._searches = 0
        self._dialled: dict[str, float] = {}
        host.watch(self._on_connection)
        if serves:
            host.handle(protocol, self._serve, time_limit_s=inf, streams_per_peer_max=QUESTIONS_PER_PEER_MAX)

    async def find_peer(self, peer: str) -> list[str]:
        """The addresses of a peer, without it; none where nobody tells them."""
        found = dict.fromkeys(
            address for one in self.contacts.all() if one.peer == peer for address in one.addresses
        )
        enough = trio.Event()

        def look(answer: KadMessage) -> None:
            for one in self._contacts_untrusted(answer.closer):
                if one.peer == peer and one.addresses:
                    found.update(dict.fromkeys(one.addresses))
                    enough.set()

        if not found:
            await self._search(KadMessage(KadKind.FIND_NODE, key_of(peer)), look, enough)
        return list(found)[:ADDRESSES_PER_CONTACT_MAX]

    async def find_providers(self, key: bytes) -> dict[str, list[str]]:
        """Peers that have a content, as they said, with their addresses, as far as they are told."""
        found = {one.peer: list(one.addresses) for one in self.providers.of(key, trio.current_time())}
        found.pop(self._me.peer, None)
        # Kubo names a provider's addresses once, with the closer peers if it is one of these.
        also: dict[str, tuple[str, ...]] = {}
        enough = trio.Event()

        def look(answer: KadMessage) -> None:
            for one in self._contacts_untrusted(answer.providers):
                if one.peer != self._me.peer and not found.get(one.peer):
                    found[one.peer] = list(one.addresses)
            also.update((one.peer, one.addresses) for one in self._contacts_untrusted(answer.closer))
            if len(found) >= PROVIDERS_WANTED:
                enough.set()

        await self._search(KadMessage(KadKind.GET_PROVIDERS, key), look, enough)
        for peer in [peer for peer in found if not found[peer]][:PROVIDERS_WANTED]:
            found[peer] = list(also.get(peer, ())) or await self.find_peer(peer)
        return found

    async def provide(self, key: bytes) -> int:
        """Say that this node has a content; to how many of the closest peers it was said."""
        addresses = tuple(one for one in self._host.tellable_addresses() if self._is_told(one))
        if not addresses:
            return 0
        me = KadPeer(key_of(self._me.peer), tuple(map(_binary, addresses)))
        self.providers.add(key, contact_of(self._me.peer, addresses), trio.current_time())
        record = KadMessage(KadKind.ADD_PROVIDER, key, providers=(me,))
        told: list[str] = []

        async def tell(contact: Contact) -> None:
            with suppress(NetworkError):
                await self._ask(contact, record, answered=False)
                told.append(contact.peer)

        with self._searching():
            found = await self._search(KadMessage(KadKind.FIND_NODE, key), lambda answer: None, trio.Event())
            with trio.move_on_after(LOOKUP_S_MAX):
                async with trio.open_nursery() as nursery:
                    for contact in found:
                        nursery.start_soon(tell, contact)
        await self._let_go()
        return len(told)

    async def refresh(self) -> None:
        """Get to know the peers that are closest to this node, and be known by them.

        They are asked twice: by then they have learnt, by libp2p's identify, that this node serves.
        """
        question = KadMessage(KadKind.FIND_NODE, key_of(self._me.peer))
        with self._searching():
            if await self._search(question, lambda answer: None, trio.Event()):
                await trio.sleep(IDENTIFIED_S)
                await self._search(question, lambda answer: None, trio.Event())
        await self._let_go()

    # Searches

    async def _search(
        self, question: KadMessage, look: Callable[[KadMessage], None], enough: trio.Event
    ) -> list[Contact]:
        """Ask for all that is closer, and show each answer to `look`, until `enough`; the closest peers."""
        lookup = DhtLookup(self._me.peer, place_of(question.key), self._beginning(place_of(question.key)))
        with self._searching(), trio.move_on_after(LOOKUP_S_MAX):
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    await enough.wait()
                    nursery.cancel_scope.cancel()

                async def ask(contact: Contact) -> None:
                    event: CloserTold | PeerMute = PeerMute(contact.peer)
                    try:
                        answer = await self._ask(contact, question)
                        look(answer)
                        event = CloserTold(contact.peer, tuple(self._contacts_untrusted(answer.closer)))
                    except (NetworkError, BadMessage) as exc:
                        log.debug("%s told nothing of the DHT: %s", contact.peer, exc)
                        self._failed(contact.peer)
                    go_on(lookup.handle(event))

                def go_on(asks: Iterable[AskCloser]) -> None:
                    for action in asks:
                        nursery.start_soon(ask, action.contact)
                    if lookup.is_over:
                        nursery.cancel_scope.cancel()

                nursery.start_soon(stop)
                go_on(lookup.begin())
        await self._let_go()
        return lookup.closest()

    def _beginning(self, place: bytes) -> list[Contact]:
        """The peers to ask first: the closest that are known, those given, neighbours that may speak it."""
        now = trio.current_time()
        given = [contact_of(peer, addresses) for peer, addresses in self._ports.first().items()]
        neighbours = [
            contact_of(peer, ()) for peer in self._host.connected() if self._mute_until.get(peer, -inf) <= now
        ]
        known = closest(self.contacts.all(), place)
        return [*known, *given[:CLOSEST_MAX], *closest(neighbours, place)]

    async def _ask(self, contact: Contact, question: KadMessage, *, answered: bool = True) -> KadMessage:
        """The answer of a peer; raises `NetworkError` and `BadMessage`."""
        peer = contact.peer
        if peer not in self._host.connected():
            await self._host.connect(peer, contact.addresses, CONNECT_S_MAX)
            self._dialled[peer] = trio.current_time()
        stream = await self._host.open_stream(peer, [self._protocol], ANSWER_S_MAX)
        async with stream:
            data = encode_kad(question)
            await stream.write(varint(len(data)) + data, ANSWER_S_MAX)
            answer = question
            if answered:
                told = await _read_untrusted(stream, ANSWER_SIZE_BYTES_MAX, ANSWER_S_MAX)
                if told is None:
                    raise BadMessage("no answer")
                answer = told
        if peer in self._dialled:
            self._dialled[peer] = trio.current_time()
        self.contacts.answered(contact_of(peer, contact.addresses or self._addresses_of(peer)))
        return answer

    def _failed(self, peer: str) -> None:
        self.contacts.failed(peer)
        if peer in self._host.connected():
            self._mute_until[peer] = trio.current_time() + MUTE_S

    def _on_connection(self, event: Connected | Disconnected) -> None:
        self._mute_until.pop(event.peer, None)

    @contextmanager
    def _searching(self) -> Iterator[None]:
        self._searches += 1
        try:
            yield
        finally:
            self._searches -= 1

    async def _let_go(self) -> None:
        """Close what the searches have dialled, and nobody else uses, when the last of them has ended."""
        if self._searches:
            return
        dialled, self._dialled = self._dialled, {}
        async with trio.open_nursery() as nursery:
            for peer, asked_at in dialled.items():
                if self._host.used_at(peer) <= asked_at and not self._ports.keeps(peer):
                    nursery.start_soon(self._host.disconnect, peer)

    # Others' questions

    async def _serve(self, stream: Stream) -> None:
        bucket = TokenBucket(QUESTIONS_PER_S, QUESTIONS_BURST)
        while True:
            await trio.sleep(bucket.take(1, trio.current_time()))
            question = await _read_untrusted(stream, QUESTION_SIZE_BYTES_MAX, IDLE_S_MAX)
            if question is None:
                return
            answer = self._answer(stream.peer, question)
            if answer is not None:
                data = encode_kad(answer)
                await stream.write(varint(len(data)) + data, ANSWER_S_MAX)

    def _answer(self, peer: str, question: KadMessage) -> KadMessage | None:
        """The answer to a peer; raises `BadMessage` for what is not kept here."""
        asker = contact_of(peer, self._addresses_of(peer))
        if question.kind is KadKind.PING:
            return KadMessage(KadKind.PING)
        if question.kind is KadKind.PUT_VALUE or not question.key:
            raise BadMessage("no values are kept here, but providers of content")
        if question.kind is KadKind.ADD_PROVIDER:
            # Nobody speaks for another.
            for one in self._contacts_untrusted(question.providers):
                if one.peer == peer and one.addresses:
                    self.providers.add(question.key, one, trio.current_time())
            return None
        if asker.addresses and self._speaks(peer):
            self.contacts.answered(asker)
        near = closest(self._tellable(peer), place_of(question.key))
        providers: Sequence[Contact] = ()
        if question.kind is KadKind.GET_PROVIDERS:
            providers = self.providers.of(question.key, trio.current_time())
        return KadMessage(question.kind, question.key, tuple(map(_told, near)), tuple(map(_told, providers)))

    def _tellable(self, asker: str) -> list[Contact]:
        return [one for one in self.contacts.all() if one.peer != asker and one.addresses]

    def _speaks(self, peer: str) -> bool:
        """Whether the peer itself serves, as libp2p's identify has told."""
        with suppress(PeerStoreError):
            return self._protocol in self._host.inner.get_peerstore().get_protocols(ID.from_string(peer))
        return False

    # Addresses

    def _addresses_of(self, peer: str) -> tuple[str, ...]:
        """A connected peer's, as far as this DHT is of such."""
        told = [*self._host.dialled_at(peer), *self._ports.addresses_of(peer), *self._identified(peer)]
        return self._dialable(peer, told)

    def _identified(self, peer: str) -> list[str]:
        with suppress(PeerStoreError):
            return [str(one) for one in self._host.inner.get_peerstore().addrs(ID.from_string(peer))]
        return []

    def _contacts_untrusted(self, peers: Iterable[KadPeer]) -> list[Contact]:
        found = []
        for one in peers:
            peer = str(ID(one.id))
            texts = [text for text in map(_text, one.addresses) if text]
            found.append(Contact(peer, place_of(one.id), self._dialable(peer, texts)))
        return found

    def _dialable(self, peer: str, texts: Iterable[str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for text in texts:
            with suppress(addressing.BadAddress):
                address = addressing.parse(text)
                if address.peer in ("", peer) and self._fits(address):
                    found[address.transport] = None
        return tuple(found)[:ADDRESSES_PER_CONTACT_MAX]

    def _is_told(self, text: str) -> bool:
        return self._fits(addressing.parse(text))


def key_of(peer: str) -> bytes:
    """A peer's key in the DHT: its id's bytes."""
    return bytes(ID.from_string(peer).to_bytes())


def contact_of(peer: str, addresses: Iterable[str]) -> Contact:
    return Contact(peer, place_of(key_of(peer)), tuple(addresses))


def _told(contact: Contact) -> KadPeer:
    return KadPeer(key_of(contact.peer), tuple(map(_binary, contact.addresses)))


def _binary(text: str) -> bytes:
    return bytes(Multiaddr(addressing.parse(text).transport).to_bytes())


def _text(data: bytes) -> str:
    """An address as text; "" for one of a kind that is not known here."""
    try:
        return str(Multiaddr(data))
    except ValueError:
        return ""


async def _read_untrusted(stream: Stream, size_bytes_max: int, timeout_s: float) -> KadMessage | None:
    """One message, None at the stream's end; raises `StreamBroken` and `BadMessage`."""
    head = b""
    while not head or head[-1] & 0x80:
        byte = await stream.read_some(1, timeout_s)
        if not byte and not head:
            return None
        head += byte
        if not byte or len(head) > VARINT_SIZE_BYTES_MAX:
            raise BadMessage("a length that does not end")
    size_bytes, _ = varint_untrusted(head, 0)
    if size_bytes > size_bytes_max:
        raise BadMessage(f"a message of the DHT of {size_bytes} bytes")
    return decode_kad_untrusted(await stream.read_exactly(size_bytes, timeout_s))
