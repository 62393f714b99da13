"""Responses that go on: what a body gives at once is one write, and a slow client has little kept for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from math import inf

import pytest
import trio
from starlette.types import Message

from p2pnode.api.shapes import KEEP_ALIVE_INTERVAL_S
from p2pnode.api.streaming import AHEAD_SIZE_BYTES, KEEP_ALIVE, Streaming


class Client:
    """A client that stays, and takes each write as soon as `gate` lets it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.ends = False
        self.gate = trio.Event()
        self.gate.set()

    async def receive(self) -> Message:
        await trio.sleep(inf)
        raise AssertionError

    async def send(self, message: Message) -> None:
        await self.gate.wait()
        if message["type"] == "http.response.body":
            self.ends = not message["more_body"]
            if message["more_body"]:
                self.writes.append(message["body"])

    async def get(self, body: AsyncGenerator[bytes, None], keep_alive: bytes = KEEP_ALIVE) -> None:
        await Streaming(body, "text/event-stream", keep_alive)({"type": "http"}, self.receive, self.send)


async def test_pieces_that_come_at_once_go_in_one_write_with_the_head() -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        for number in range(100):
            yield b"%d " % number

    client = Client()
    await client.get(body())
    assert client.writes == [b"".join(b"%d " % number for number in range(100))]
    assert client.ends


async def test_a_body_that_has_nothing_yet_is_begun_and_kept_alive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        await trio.sleep(1.5 * KEEP_ALIVE_INTERVAL_S)
        yield b"first"
        await trio.sleep(1)
        yield b"second"

    client = Client()
    await client.get(body())
    assert client.writes == [KEEP_ALIVE, KEEP_ALIVE, b"first", b"second"]


async def test_a_body_waits_for_a_client_that_takes_nothing() -> None:
    given = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal given
        for _ in range(20):
            given += 1
            yield bytes(AHEAD_SIZE_BYTES // 4)

    client = Client()
    client.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.get, body())
        await trio.testing.wait_all_tasks_blocked()
        assert given == 5
        client.gate.set()
    assert sum(map(len, client.writes)) == 5 * AHEAD_SIZE_BYTES


async def test_what_a_body_raises_ends_the_response_without_its_end() -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ValueError("the body broke")

    client = Client()
    with pytest.RaisesGroup(ValueError):
        await client.get(body())
    assert not client.ends
