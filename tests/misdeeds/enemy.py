"""A peer of our making: a real host and real links, with no node behind them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import trio

from p2pnode.core.link import frames
from p2pnode.core.link.failure_detector import MessageRejected
from p2pnode.core.link.frames import Data, Frame, Hello
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import Message, decode_message_untrusted
from p2pnode.core.wire.signing import Signed
from p2pnode.identity import Identity
from p2pnode.network import links
from p2pnode.network.link_end import HEADER_SIZE_BYTES, read_frame
from p2pnode.network.streams import Stream
from tests import network_support
from tests.network_support import new_identity
from tests.nodes import Node

T = TypeVar("T")
WAIT_S = 20.0
# An enemy that attacks for hours is not to keep all that it was told.
HEARD_MAX = 1_000


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """The nodes are other processes; the enemy must go on meanwhile."""
    return await trio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)


@dataclass
class Enemy:
    """A peer that says what it likes."""

    identity: Identity
    inner: network_support.Node
    heard: list[Message] = field(default_factory=list)

    @property
    def peer(self) -> str:
        return self.identity.peer_id

    @property
    def rejections(self) -> list[str]:
        """Why messages of its links were discarded."""
        return [one.reason for one in self.inner.events if isinstance(one, MessageRejected)]

    async def meet(self, node: Node) -> str:
        return await self.meet_at(await in_thread(lambda: node.peer), await in_thread(lambda: node.address))

    async def meet_at(self, peer: str, address: str) -> str:
        self.inner.known[peer] = [address]
        await self.inner.host.connect(peer, self.inner.known[peer], WAIT_S)
        return peer

    def send(self, peer: str, message: Message) -> None:
        self.send_raw(peer, codec.encode(message))

    def send_raw(self, peer: str, payload: bytes) -> None:
        self.inner.links.send(peer, payload)

    async def sent_all(self, peer: str) -> None:
        """Waits until the peer has acknowledged or discarded all that it was sent."""
        await network_support.until(lambda: not self.inner.links.waiting(peer), WAIT_S)

    async def hears(self, kind: type[T]) -> T:
        """Waits for the next message of a kind, and takes it."""
        await network_support.until(lambda: any(isinstance(one, kind) for one in self.heard), WAIT_S)
        found = next(one for one in self.heard if isinstance(one, kind))
        self.heard.remove(found)  # type: ignore[arg-type]
        return found

    def sign(self, domain: bytes, record: Any) -> Signed:
        body = codec.encode(record)
        return Signed(body=body, signature=self.identity.sign(domain, body))

    async def open(self, peer: str, protocol: str) -> Stream:
        """A stream of its own, beside its links; raises `NetworkError`."""
        await self.inner.host.connect(peer, self.inner.known[peer], WAIT_S)
        return await self.inner.host.open_stream(peer, [protocol], WAIT_S)

    @asynccontextmanager
    async def raw_link(self, peer: str, **changes: Any) -> AsyncIterator[RawLink]:
        """A link by hand, begun with a hello that may say what none should; raises `NetworkError`."""
        stream = await self.open(peer, links.PROTOCOL)
        plain = Hello(version=frames.VERSION, store=os.urandom(16).hex(), first=1, known="", received=0)
        try:
            link = RawLink(stream)
            await link.write(codec.encode(codec.replace(plain, **changes)))
            yield link
        finally:
            await stream.reset()


@dataclass
class RawLink:
    """A stream of a link, and no machine that would mind its rules."""

    stream: Stream

    async def write(self, frame: bytes) -> None:
        await self.stream.write(len(frame).to_bytes(HEADER_SIZE_BYTES, "big") + frame, WAIT_S)

    async def data(self, sequence: int, payload: bytes) -> None:
        await self.write(codec.encode(Data(sequence=sequence, payload=payload)))

    async def read(self) -> Frame:
        """The next frame; raises `StreamBroken` once the peer has had enough."""
        return frames.decode_frame_untrusted(await read_frame(self.stream, WAIT_S, lambda: None))


@asynccontextmanager
async def open_enemy() -> AsyncIterator[Enemy]:
    identity = new_identity()
    async with network_support.open_node(identity) as inner:
        enemy = Enemy(identity, inner)

        async def hear(peer: str, payload: bytes) -> None:
            try:
                enemy.heard.append(decode_message_untrusted(payload))
            except BadMessage as exc:
                raise AssertionError(f"{peer} sent what is no message: {exc}") from exc
            del enemy.heard[:-HEARD_MAX]

        inner.on_message = hear
        yield enemy
