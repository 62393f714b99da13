"""The misdeeds of a hostile peer, each an endless loop over all honest nodes that it has met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import trio

from p2pnode.core.link.frames import FRAME_SIZE_BYTES_MAX
from p2pnode.core.records.lifecycle import ExecutionState
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import INTEGER_MAX
from p2pnode.core.wire.mandates import CommandAction
from p2pnode.core.wire.messages import Adopt, Cancel, Message, Orphan, Owned, WhoOwns
from p2pnode.core.wire.spec import AMOUNT_MAX
from p2pnode.ipfs import bitswap
from p2pnode.network import links
from p2pnode.network.gossip import Gossip
from p2pnode.network.link_end import HEADER_SIZE_BYTES
from p2pnode.network.protocols import adverts as pull
from p2pnode.network.protocols import logs as log_streams
from p2pnode.network.streams import NetworkError
from p2pnode.node import log_orders
from tests.network_support import new_identity

from .enemy import Enemy
from .records import (
    a_command,
    a_copy,
    a_keep,
    a_mandate,
    a_spec,
    an_advert,
    an_ask,
    an_execution,
    job_of,
    signed_advert,
)

NO_PEER = "0OIl"
GOSSIP = "/meshsub/1.1.0"
PROTOCOLS = (
    links.PROTOCOL,
    pull.PROTOCOL,
    log_streams.PROTOCOL,
    log_orders.PROTOCOL,
    GOSSIP,
    "/ipfs/id/1.0.0",
    *bitswap.PROTOCOLS,
)
INVENTED_ADVERTS = 3_000
# Messages that a peer has not taken yet: beyond it, waiting costs the attacked node nothing.
WAITING_MAX = 128
# An enemy that finds a door shut tries again; it does not spend its own processor on it.
SHUT_S = 0.05
REST_S = 0.002
STREAM_S_MAX = 2.0
SILENT_STREAMS = 40


def garbage(random: Random) -> tuple[bytes, ...]:
    """Sent on a stream at once: nothing, noise, lengths that lie, and frames that are cut off."""
    return (
        b"",
        random.randbytes(100_000),
        b"\0\0\0\0",
        b"\xff" * 12,
        b"\0\x10\0\0" + bytes(1000),
        b"\0\0\0\x04\xff\xff\xff\xff",
        b"\0\0\0\x64" + b"\x9f" * 100,
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + bytes(10),
        b"\x05hello",
    )


@dataclass
class Attack:
    """One enemy's part: whom it attacks, and how often it has done what."""

    enemy: Enemy
    gossip: Gossip
    # Peer ids and addresses of the honest nodes.
    targets: list[tuple[str, str]]
    random: Random
    done: Counter[str] = field(default_factory=Counter)

    async def send(self, what: str, peer: str, message: Message | bytes) -> None:
        """Puts it into the peer's outbox, once there is room."""
        enemy = self.enemy
        while enemy.inner.links.waiting(peer) >= WAITING_MAX:  # noqa: ASYNC110
            await trio.sleep(SHUT_S)
        enemy.send_raw(peer, message if isinstance(message, bytes) else codec.encode(message))
        self.done[what] += 1
        await trio.sleep(REST_S)

    async def stream(self, what: str, peer: str, protocol: str, data: bytes) -> None:
        """Opens a stream, says this and drops it; it counts where the door is shut, too."""
        self.done[what] += 1
        try:
            with trio.fail_after(STREAM_S_MAX):
                stream = await self.enemy.open(peer, protocol)
                with suppress(NetworkError):
                    await stream.write(data, STREAM_S_MAX)
                await stream.reset()
        except (NetworkError, trio.TooSlowError):
            await trio.sleep(SHUT_S)


Act = Callable[[Attack], Awaitable[None]]


async def asks(attack: Attack) -> None:
    """Asks at top priority for much, holds what is bid, never awards (B9)."""
    while True:
        for peer, _ in attack.targets:
            spec = a_spec(cpu_millis=attack.random.choice((100, 1000)), priority=AMOUNT_MAX)
            await attack.send("asks", peer, an_ask(spec))


async def adverts(attack: Attack) -> None:
    """Hands over a table of invented peers, and gossips more of them (B10)."""
    invented = [new_identity() for _ in range(INVENTED_ADVERTS)]
    addresses = ("/ip4/127.0.0.1/tcp/9",)
    table = [(signed_advert(one, an_advert(one.peer_id, addresses)), 60_000) for one in invented]
    pull.serve_table(attack.enemy.inner.host, lambda peer: table)
    while True:
        for peer, address in attack.targets:
            await attack.enemy.inner.host.disconnect(peer)
            with suppress(NetworkError):
                await attack.enemy.meet_at(peer, address)
        for one in attack.random.sample(invented, 100):
            with suppress(NetworkError):
                data = codec.encode(signed_advert(one, an_advert(one.peer_id, addresses)))
                await attack.gossip.publish(data)
            attack.done["adverts"] += 1
            await trio.sleep(0.05)


async def gossip(attack: Attack) -> None:
    """Gossips noise, and adverts that are not signed by whom they name."""
    stranger = new_identity()
    while True:
        signed = signed_advert(stranger, an_advert(attack.enemy.peer))
        for data in (attack.random.randbytes(1_000), codec.encode(signed)):
            with suppress(NetworkError):
                await attack.gossip.publish(data)
            attack.done["gossip"] += 1
        await trio.sleep(0.02)


async def keeps(attack: Attack) -> None:
    """Tells of jobs of its own in every broken form, and of sound ones without end."""
    enemy, me = attack.enemy, attack.enemy.peer
    while True:
        for peer, _ in attack.targets:
            kept = a_keep(enemy.identity, peer)
            for broken in (
                codec.replace(kept, mandate=a_mandate(enemy.identity, peer)),
                a_keep(enemy.identity, peer, mandate=a_mandate(enemy.identity, peer, serial=INTEGER_MAX)),
                a_keep(enemy.identity, peer, NO_PEER),
                codec.replace(kept, executions=(a_copy(me, state=ExecutionState.BID),)),
                codec.replace(kept, spec=None),
            ):
                await attack.send("keeps", peer, broken)
            for _ in range(40):
                await attack.send("keeps", peer, a_keep(enemy.identity, peer))


async def claims(attack: Attack) -> None:
    """Adopts, cancels, commands, owns and orphans what is not its own."""
    enemy = attack.enemy
    while True:
        for peer, _ in attack.targets:
            given, execution = a_mandate(enemy.identity, peer), an_execution()
            job = job_of(given)
            for message in (
                Adopt(execution=execution, round=1, job=job, mandate=given),
                Cancel(execution=execution, round=1, reason="because"),
                a_command(enemy.identity, job, CommandAction.STOP),
                a_command(enemy.identity, job, CommandAction.UPDATE, a_spec()),
                Orphan(execution=execution, round=1, job=job, replica=0, owner=peer),
                Owned(job=job, owner=peer, mandate=given),
                WhoOwns(job=job, owner=peer, whole=True),
            ):
                await attack.send("claims", peer, message)


async def poison(attack: Attack) -> None:
    """Sends what is refused, one after the other."""
    while True:
        for peer, _ in attack.targets:
            await attack.send("poison", peer, attack.random.choice((b"\xff", b"", b"\x81" * 500)))


async def garbles(attack: Attack) -> None:
    """Garbage on streams of all protocols."""
    while True:
        for peer, _ in attack.targets:
            data = attack.random.choice(garbage(attack.random))
            await attack.stream("garbles", peer, attack.random.choice(PROTOCOLS), data)


async def oversize(attack: Attack) -> None:
    """Frames that say to be larger than any may be, and the largest that there may be."""
    while True:
        for peer, _ in attack.targets:
            for size in (FRAME_SIZE_BYTES_MAX + 1, FRAME_SIZE_BYTES_MAX):
                data = size.to_bytes(HEADER_SIZE_BYTES, "big") + bytes(size)
                await attack.stream("oversize", peer, links.PROTOCOL, data)


async def silence(attack: Attack) -> None:
    """Holds streams on which nothing is said, and connections that were never secured."""
    while True:
        async with trio.open_nursery() as nursery:
            for peer, address in attack.targets:
                for _ in range(SILENT_STREAMS):
                    nursery.start_soon(_hold, attack, peer)
                    nursery.start_soon(_half_open, attack, int(address.split("/tcp/")[1].split("/")[0]))


async def _hold(attack: Attack, peer: str) -> None:
    with suppress(NetworkError):
        stream = await attack.enemy.open(peer, attack.random.choice(PROTOCOLS))
        attack.done["silence"] += 1
        await trio.sleep(2)
        await stream.reset()


async def _half_open(attack: Attack, port: int) -> None:
    with suppress(OSError), trio.move_on_after(3):
        async with await trio.open_tcp_stream("127.0.0.1", port):
            attack.done["silence"] += 1
            await trio.sleep(2)


async def logs(attack: Attack) -> None:
    """Asks for the output of what is not its own."""
    while True:
        for peer, _ in attack.targets:
            request = log_streams.LogsRequest(
                execution=an_execution(), stdout_offset=0, stderr_offset=0, follow=True
            )
            try:
                async for _piece in log_streams.read(attack.enemy.inner.host, peer, request):
                    break
            except (NetworkError, BadMessage):
                await trio.sleep(SHUT_S)
            attack.done["logs"] += 1


# With all of them at once, which of three enemies does it: who is left alone for one does no other.
ACTS: dict[str, tuple[Act, tuple[int, ...]]] = {
    "asks": (asks, (0, 1)),
    "adverts": (adverts, (1,)),
    "gossip": (gossip, (1,)),
    "keeps": (keeps, (2,)),
    "claims": (claims, (0,)),
    "poison": (poison, (2,)),
    "garbles": (garbles, (0,)),
    "oversize": (oversize, (0,)),
    "silence": (silence, (2,)),
    "logs": (logs, (0,)),
}
