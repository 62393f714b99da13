"""Responses that go on: server-sent events, and bytes as they come.

Starlette's own streaming response leaves its generator to the garbage collector when the
client goes away; this one closes it, so what feeds the stream always ends with the request.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .shapes import KEEP_ALIVE_INTERVAL_S, Code, ServiceError

KEEP_ALIVE = b":\n\n"
# A client that takes nothing for so long is gone.
WRITE_TIMEOUT_S = 60.0
# Half of the connections (`connections.CONNECTIONS_MAX`): the others are for whoever wants to act.
FOLLOWERS_MAX = 64
# Bytes that a body may be ahead of its client: a history of some hundred events goes in one write.
AHEAD_SIZE_BYTES = 64 * 1024


class Streaming(Response):
    """A response whose body is a generator, which is closed with it."""

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        media_type: str,
        keep_alive: bytes = b"",
        ended: Callable[[], None] = lambda: None,
        beside: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        """`ended` is called once the body is over, however it came to that; `beside` goes on until then."""
        super().__init__(media_type=media_type, headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._generator = body
        self._keep_alive = keep_alive
        self._ended = ended
        self._beside = beside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._send(receive, send)
        finally:
            self._ended()

    async def _send(self, receive: Receive, send: Send) -> None:
        whole = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_disconnect, receive, nursery.cancel_scope)
            nursery.start_soon(self._beside)
            ahead = _Ahead()
            nursery.start_soon(ahead.pump, self._generator)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            # Pieces there at once go with the head, which hypercorn holds back until something comes.
            await trio.lowlevel.checkpoint()
            chunk: bytes | None = ahead.taken() or self._keep_alive
            while chunk is not None:
                await _write(send, chunk)
                chunk = await self._next(ahead)
            whole = True
            nursery.cancel_scope.cancel()
        # Hypercorn calls the end a disconnect, too: it must not be cut off by that before it has closed all.
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, ahead: _Ahead) -> bytes | None:
        with trio.move_on_after(KEEP_ALIVE_INTERVAL_S if self._keep_alive else float("inf")):
            return await ahead.take()
        return self._keep_alive


class _Ahead:
    """The pieces of a body that its client has not taken yet: those that come at once go as one."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._over = False
        self._changed = trio.Event()

    async def pump(self, body: AsyncGenerator[bytes, None]) -> None:
        """Take the body's pieces to its end, at most `AHEAD_SIZE_BYTES` and a piece before the client."""
        async with aclosing(body):
            async for piece in body:
                while self._size_bytes >= AHEAD_SIZE_BYTES:
                    await self._changed.wait()
                self._pieces.append(piece)
                self._size_bytes += len(piece)
                self._note()
        self._over = True
        self._note()

    async def take(self) -> bytes | None:
        """All that is there, waited for; None at the end."""
        while not self._pieces and not self._over:
            await self._changed.wait()
        return self.taken() if self._pieces else None

    def taken(self) -> bytes:
        """All that is there now."""
        pieces, self._pieces, self._size_bytes = self._pieces, [], 0
        self._note()
        return b"".join(pieces)

    def _note(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Followers:
    """The streams of events that are open, so many at most."""

    def __init__(self) -> None:
        self._count = 0

    def stream(
        self,
        items: AsyncGenerator[Any, None],
        beside: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> Streaming:
        """Each item as one server-sent event holding JSON; an event `end` or `error` comes last.

        `beside` goes on as long as the stream does, and raises nothing. Raises `ServiceError` where there are
        too many already.
        """
        if self._count >= FOLLOWERS_MAX:
            reason = f"{FOLLOWERS_MAX} streams of events and logs are open at this node: end some of them"
            raise ServiceError(Code.UNAVAILABLE, reason)
        self._count += 1
        return events_of(items, self._leave, beside)

    def _leave(self) -> None:
        self._count -= 1


def events_of(
    items: AsyncGenerator[Any, None],
    ended: Callable[[], None] = lambda: None,
    beside: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
) -> Streaming:
    """The items as server-sent events; the rest is as for `Streaming`."""
    return Streaming(_events(items), "text/event-stream", KEEP_ALIVE, ended, beside)


async def _events(items: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(items):
        try:
            async for item in items:
                yield _event("message", item)
        except ServiceError as error:
            yield _event("error", {"error": error.code, "message": error.message})
        else:
            # Tells the end from a broken connection.
            yield _event("end", {})


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def _write(send: Send, chunk: bytes) -> None:
    with trio.fail_after(WRITE_TIMEOUT_S):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _watch_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
