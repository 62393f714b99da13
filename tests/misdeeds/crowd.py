"""The process of a crowd: `python -m tests.misdeeds.crowd SETTINGS`, until its stdin ends.

SETTINGS is JSON: targets (pairs of peer id and address), identities, ranges, invented. Each identity is a
host with an address of its own that meets all targets, bids for whatever it is asked, and does not begin what
it wins or signs at once that it failed. Some gossip adverts of all, and of invented ones;
silent connections come from yet other addresses. A line on stdout says that it has begun, and one in the end
how often it did what.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

import trio
from libp2p.abc import IRawConnection
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from p2pnode.core.records import mandate
from p2pnode.core.wire import addresses, codec
from p2pnode.core.wire.messages import Ask, Award, Bid, Ended, decode_message_untrusted
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.states import Fault
from p2pnode.identity import Identity
from p2pnode.network.gossip import open_gossip
from p2pnode.network.protocols import adverts as pull
from p2pnode.network.streams import NetworkError
from p2pnode.network.tcp import TcpStream, TcpTransport
from tests import network_support
from tests.network_support import new_identity

from .records import a_receipt, an_advert, signed_advert

# These gossip for all, which costs them most.
GOSSIPING = 2
PER_RANGE = 250
AGAIN_S = 1.0
GOSSIP_S = 0.05
MEET_S = 10.0
# More at once are too slow for each other, in one process.
DIALS_MAX = 3
# From ranges of their own, or they would keep the rest of the crowd out.
SILENT = 24
SILENT_S = 5.0
# The measure is what the attacked nodes do, not who wins the processors; the crowd has to come, though.
NICENESS = 10
OFFER_TTL_MS = 600_000
REASON = "no luck"


class FromAddress(TcpTransport):
    """Dials from one address."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def dial(self, multiaddr: Multiaddr) -> IRawConnection:
        target = addresses.parse(str(multiaddr))
        stream = await trio.open_tcp_stream(target.host, target.port, local_address=self._host)
        return RawConnection(TcpStream(stream), initiator=True)


class Crowd:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.targets: list[tuple[str, str]] = [(peer, address) for peer, address in settings["targets"]]
        self.ranges: int = settings["ranges"]
        self.identities = [new_identity() for _ in range(settings["identities"])]
        self._dialling = trio.Semaphore(DIALS_MAX)
        self.done: Counter[str] = Counter()
        self.table = [
            self._offer(one, self.host(number))
            for number, one in enumerate([*self.identities, *_invented(settings["invented"])])
        ]

    def host(self, number: int) -> str:
        """The address of an identity, and of those that are invented."""
        return f"9.{number % self.ranges}.9.{1 + number // self.ranges % PER_RANGE}"

    def _offer(self, identity: Identity, host: str) -> Signed:
        advert = an_advert(identity.peer_id, (f"/ip4/{host}/tcp/4001",), ttl_ms=OFFER_TTL_MS)
        return signed_advert(
            identity, codec.replace(advert, capacity=codec.replace(advert.capacity, labels={}))
        )

    async def be(self, number: int, begun: trio.Event) -> None:
        """One identity: it comes to each target again and again, and answers what it is asked."""
        host, identity = self.host(number), self.identities[number]
        async with network_support.open_node(identity, listen=f"/ip4/{host}/tcp/0") as node:
            node.host.inner.get_network().transport_manager._transports[:] = [FromAddress(host)]

            async def hear(peer: str, payload: bytes) -> None:
                self._answer(node, identity, number, peer, payload)

            node.on_message = hear
            pull.serve_table(node.host, lambda peer: [(one, OFFER_TTL_MS) for one in self.table])
            async with trio.open_nursery() as nursery:
                if number < GOSSIPING:
                    gossip = await nursery.start(self._gossip, node)
                    nursery.start_soon(self._tell, gossip, number)
                await self._meet(node, number, begun)

    async def _meet(self, node: network_support.Node, number: int, begun: trio.Event) -> None:
        first = number % len(self.targets)
        while True:
            for peer, address in self.targets[first:] + self.targets[:first]:
                node.known[peer] = [address]
                if peer in node.host.connected():
                    continue
                with suppress(NetworkError, trio.TooSlowError):
                    async with self._dialling:
                        await node.host.connect(peer, [address], MEET_S)
                    self.done["met"] += 1
                    begun.set()
            await trio.sleep(AGAIN_S)

    async def _gossip(self, node: network_support.Node, task_status: trio.TaskStatus[Any]) -> None:
        async with open_gossip(node.host, lambda data, forwarder: True) as gossip:
            task_status.started(gossip)
            await trio.sleep_forever()

    async def _tell(self, gossip: Any, number: int) -> None:
        while True:
            for one in self.table[number::GOSSIPING]:
                with suppress(NetworkError):
                    await gossip.publish(codec.encode(one))
                self.done["adverts"] += 1
                await trio.sleep(GOSSIP_S)

    def _answer(
        self, node: network_support.Node, identity: Identity, number: int, peer: str, payload: bytes
    ) -> None:
        message = decode_message_untrusted(payload)
        if isinstance(message, Ask):
            self.done["asked"] += 1
            of = {"execution": message.execution, "round": message.round}
            node.links.send(peer, codec.encode(Bid(**of, valid_ms=10_000, price_micros=0, start_ms=0)))
        elif isinstance(message, Award):
            self.done["won"] += 1
            if number % 2:
                node.links.send(peer, codec.encode(_failed(identity, peer, message)))

    async def silence(self, number: int) -> None:
        """Connections that say nothing, from many addresses, one after the other."""
        while True:
            _, address = self.targets[number % len(self.targets)]
            target = addresses.parse(address)
            with suppress(OSError), trio.move_on_after(SILENT_S):
                async with await trio.open_tcp_stream(
                    target.host, target.port, local_address=f"9.{250 - number % self.ranges}.9.{1 + number}"
                ):
                    self.done["silent"] += 1
                    await trio.sleep_forever()
            await trio.sleep(AGAIN_S)


def _invented(count: int) -> list[Identity]:
    return [new_identity() for _ in range(count)]


def _failed(identity: Identity, requester: str, award: Award) -> Ended:
    plain = a_receipt(award.execution, identity.peer_id, mandate.read(award.mandate).charter.job)
    receipt = codec.replace(
        plain,
        round=award.round,
        replica=award.replica,
        requester=requester,
        spec_hash=codec.digest(award.spec),
        exit_code=None,
        fault=Fault.PEER,
        reason=REASON,
        result_cid=None,
    )
    body = codec.encode(receipt)
    signed = Signed(body=body, signature=identity.sign(RECEIPT_DOMAIN, body))
    return Ended(execution=award.execution, round=award.round, receipt=signed)


async def _attack(crowd: Crowd) -> None:
    begun = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(len(crowd.identities)):
            nursery.start_soon(crowd.be, number, begun)
        for number in range(SILENT):
            nursery.start_soon(crowd.silence, number)
        await begun.wait()
        print("begun", flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.disable()
    os.nice(NICENESS)
    crowd = Crowd(json.loads(sys.argv[1]))
    trio.run(_attack, crowd)
    print(json.dumps(crowd.done), flush=True)  # noqa: T201
    os._exit(0)
