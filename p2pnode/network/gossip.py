"""Adverts to and from everybody, over gossipsub.

py-libp2p's gossipsub as it comes dies of one bad frame, beats every 120 s and drops what
exceeds 10 messages a second. The settings here are those that were measured to hold
(degree 8/6/24, a heartbeat of 1 s, nothing adaptive). What is heard is judged in the
validator, before it is passed on, so that junk ends at the first honest node; and it is
delivered there too, since libp2p's subscription queue drops what exceeds 32 messages.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import INetConn, INetStream, ISubscriptionAPI
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from p2pnode.core.values.patience import Patience
from p2pnode.core.values.rate import TokenBucket
from p2pnode.core.wire import protocols
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import ADVERT_SIZE_BYTES_MAX
from p2pnode.system.log_lines import concerning

from .host import Connected, Disconnected, Host
from .libp2p_host import ConnectionNotifee
from .libp2p_tasks import again_and_again, guard_tasks
from .scopes import unwrapped
from .streams import NetworkError

log = logging.getLogger(__name__)

TOPIC = protocols.ADVERTS_TOPIC
# The signature, and the map around it and the body.
GOSSIP_SIZE_BYTES_MAX = ADVERT_SIZE_BYTES_MAX + 128
# Measured: with 6/4/12, a host that starts together with 49 others is sometimes left out of all meshes.
DEGREE, DEGREE_LOW, DEGREE_HIGH = 8, 6, 24
HEARTBEAT_S = 1
PUBLISH_S_MAX = 5.0
STREAM_PROTOCOLS = [PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID]
# A message costs 5 to 10 ms: from one neighbour at most half a core, after a burst of a late joiner's.
FORWARDED_RATE_PER_S = 50.0
FORWARDED_BURST = 500.0
# Neighbours are remembered over their connections, so many of them: ids cost a stranger nothing.
NEIGHBOURS_REMEMBERED_MAX = 1_000

# Called as heard(data, forwarder): whether the message is worth passing on. It must be quick. It raises
# `BadMessage` for what no honest neighbour forwards.
Heard = Callable[[bytes, str], bool]


class Gossip:
    """Made by `open_gossip`."""

    def __init__(self, pubsub: Pubsub) -> None:
        self._pubsub = pubsub

    async def publish(self, data: bytes) -> None:
        """Gives the message to all neighbours at hand; raises `NetworkError`."""
        if len(data) > GOSSIP_SIZE_BYTES_MAX:
            raise NetworkError(
                f"a message of {len(data)} bytes; at most {GOSSIP_SIZE_BYTES_MAX} are gossiped"
            )
        with trio.move_on_after(PUBLISH_S_MAX) as scope:
            await self._pubsub.publish(TOPIC, data)
        if scope.cancelled_caught:
            raise NetworkError(f"the neighbours took no message for {PUBLISH_S_MAX:.0f} s")

    def neighbours(self) -> list[str]:
        """The connected peers that take part in the gossip."""
        return [str(peer) for peer in self._pubsub.peer_topics.get(TOPIC, ())]


@asynccontextmanager
async def open_gossip(host: Host, heard: Heard) -> AsyncIterator[Gossip]:
    """Takes part in the gossip. To be opened before the host's first connection."""
    router = _EagerGossipSub(
        protocols=STREAM_PROTOCOLS,
        degree=DEGREE,
        degree_low=DEGREE_LOW,
        degree_high=DEGREE_HIGH,
        heartbeat_interval=HEARTBEAT_S,
        adaptive_gossip_enabled=False,
        # The protection counts a neighbour's forwarding of others' messages, and our own publishing.
        spam_protection_enabled=False,
    )
    pubsub = _SafePubsub(host.inner, router, strict_signing=True)
    pubsub.set_topic_validator(TOPIC, _validator(host.peer_id, heard, pubsub.refused), False)
    host.watch(pubsub.on_connection)
    host.inner.get_network().register_notifee(ConnectionNotifee(lambda connection: None, pubsub.replace_dead))
    with unwrapped():
        async with background_trio_service(router), background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            subscription = await pubsub.subscribe(TOPIC)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, subscription)
                yield Gossip(pubsub)
                nursery.cancel_scope.cancel()


def _validator(
    own: str, heard: Heard, refused: Callable[[ID], None]
) -> Callable[[ID, rpc_pb2.Message], bool]:
    def is_good(forwarder: ID, message: rpc_pb2.Message) -> bool:
        if str(forwarder) == own:
            return True
        if len(message.data) > GOSSIP_SIZE_BYTES_MAX:
            return False
        # A guard: an exception here would end the node.
        try:
            return heard(bytes(message.data), str(forwarder))
        except BadMessage as exc:
            log.info("a bad message from %s: %s", forwarder, exc)
            refused(forwarder)
            return False
        except Exception:
            log.exception("a gossiped message from %s was not handled", forwarder)
            return False

    return is_good


async def _drain(subscription: ISubscriptionAPI) -> None:
    """The validator has seen it all; here it only must not pile up."""
    async for _ in subscription:
        pass


def _forget(neighbours: dict[ID, Any], rested: Iterable[ID]) -> None:
    """Forget those that are as any other by now, and the longest known where there are too many."""
    for peer in rested:
        del neighbours[peer]
    while len(neighbours) > NEIGHBOURS_REMEMBERED_MAX:
        del neighbours[next(iter(neighbours))]


class _SafePubsub(Pubsub):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """Pubsub that a neighbour's message cannot end, and that takes so many of them only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # libp2p begins with the seconds of the clock: a node that is back soon would use numbers
        # again, and its adverts would be taken for old ones.
        self.counter = time.time_ns()
        self._buckets: defaultdict[ID, TokenBucket] = defaultdict(
            lambda: TokenBucket(FORWARDED_RATE_PER_S, FORWARDED_BURST)
        )
        self._patience: defaultdict[ID, Patience] = defaultdict(Patience)

    async def run(self) -> None:
        guard_tasks(self.manager)
        await super().run()

    def _handle_dead_peer(self, peer_id: ID) -> None:
        # A guard: it is called by the one task that hears of all peers that are gone.
        try:
            super()._handle_dead_peer(peer_id)
        except Exception:
            with concerning(peer=str(peer_id)):
                log.exception("libp2p's gossip did not forget %s", peer_id)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        self._drop_dead(peer_id)
        await super()._handle_new_peer(peer_id)

    def replace_dead(self, connection: INetConn) -> None:
        """Open the stream to a neighbour anew, where it is gone with one of several connections.

        libp2p keeps it until a message is lost by it, and all that the neighbour takes part in, too.
        """
        peer = connection.muxed_conn.peer_id
        if self._peer_is_connected(peer) and self._drop_dead(peer):
            self._schedule_peer_stream_retry(peer)

    def _drop_dead(self, peer: ID) -> bool:
        """Forget the stream to a peer whose connection is closed; whether there was one."""
        stream = self.peers.get(peer)
        if stream is None or not stream.muxed_conn.is_closed:
            return False
        # Its subscriptions stay: it may have sent them by its new connection.
        del self.peers[peer]
        self.peer_queues.pop(peer).close()
        self.router.remove_peer(peer)
        # Messages published since are sent again.
        self._replayed_recent_topics.pop(peer, None)
        return True

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        now = trio.current_time()
        if msg_forwarder != self.my_id:
            if self._patience[msg_forwarder].is_spent(now):
                return
            if not self._buckets[msg_forwarder].allows(1, now):
                return
        with concerning(anew=True, peer=str(msg_forwarder)):
            # A guard: junk ids, keys and signatures raise whatever the parser of theirs raises.
            try:
                await super().push_msg(msg_forwarder, msg)
            except Exception as exc:  # noqa: BLE001
                log.info("dropped a gossiped message from %s: %r", msg_forwarder, exc)

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        # The sender's addresses, signed: dials go by adverts, and whoever gets them verifies them each time.
        rpc_msg.ClearField("senderRecord")
        return bool(await super().write_msg(stream, rpc_msg))

    def refused(self, forwarder: ID) -> None:
        """Count against `forwarder` that it has sent what no honest neighbour forwards."""
        alone_s = self._patience[forwarder].refuse(trio.current_time())
        if alone_s:
            with concerning(peer=str(forwarder)):
                log.warning("%s keeps gossiping what is refused; not heard for %.0f s", forwarder, alone_s)

    def on_connection(self, event: Connected | Disconnected) -> None:
        """Forgets of peers that are gone what a new connection would not better."""
        if not isinstance(event, Disconnected):
            return
        now = trio.current_time()
        _forget(self._buckets, [peer for peer, one in self._buckets.items() if one.full_at <= now])
        _forget(self._patience, [peer for peer, one in self._patience.items() if one.clear_at <= now])


class _EagerGossipSub(GossipSub):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """Gossipsub as its specification (v1.1) has it in two points in which libp2p's loses messages.

    Back-off is for grafting alone. libp2p's skips such peers in gossip too, so that a host
    which all its neighbours have pruned hears nothing for 60 s. And what a host publishes
    itself goes to all its neighbours: libp2p's goes to those in its mesh, of which there
    may be none as yet.
    """

    _is_gossiping = False

    async def run(self) -> None:
        guard_tasks(self.manager)
        await super().run()

    async def heartbeat(self) -> None:
        await again_and_again(super().heartbeat)

    def gossip_heartbeat(self) -> Any:
        self._is_gossiping = True
        try:
            return super().gossip_heartbeat()
        finally:
            self._is_gossiping = False

    async def _emit_idontwant_for_message(self, msg_id: bytes, topic_ids: Iterable[str]) -> None:
        """Say nothing: to all of a mesh, at each message, it costs more than the copies that it saves."""

    def _get_in_topic_gossipsub_peers_from_minus(
        self, topic: str, num_to_select: int, minus: Any, backoff_check: bool = False
    ) -> Any:
        return super()._get_in_topic_gossipsub_peers_from_minus(
            topic, num_to_select, minus, backoff_check and not self._is_gossiping
        )

    def _get_peers_to_send(self, topic_ids: Iterable[str], *args: Any, **kwargs: Any) -> set[ID]:
        topics = list(topic_ids)
        peers = set(super()._get_peers_to_send(topics, *args, **kwargs))
        if kwargs["origin"] == self.pubsub.my_id:
            for topic in topics:
                peers |= {
                    peer for peer in self.pubsub.peer_topics.get(topic, ()) if peer in self.peer_protocol
                }
        return peers
