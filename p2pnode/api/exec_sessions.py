"""Programs begun in executions through the API: each is one stream of events, and ends with it.

HTTP/1 goes one way at a time, so input comes in requests of its own, which name the session. A piece is
taken whole or not at all, so one that was refused for its time can be sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, contextmanager
from typing import TypeAlias

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import audit
from .access import visitor_of
from .exec_shapes import ExecBegunJson, ExecEndedJson, ExecMessageJson, ExecOutputJson
from .services import Session
from .shapes import Code, ServiceError
from .streaming import events_of

# As many as a peer lets in; each may hold two of the API's connections for as long as it goes on.
EXEC_SESSIONS_MAX = 16
SESSION_ID_SIZE_BYTES = 16
# A program may read nothing for hours; proxies give up after a minute.
INPUT_TIMEOUT_S = 30.0

# Digests of the caller's token and, for a page, its session.
Owner: TypeAlias = tuple[str, str]


class ExecSessions:
    """The programs that go on now, by the ids of their sessions."""

    def __init__(self) -> None:
        self._open: dict[str, Talk] = {}
        self._count = 0

    def response(
        self, request: Request, opening: AbstractAsyncContextManager[Session], *, stdin: bool
    ) -> Response:
        """Begin a program when the response is sent, which is when the audit log is told."""
        return _Begun(self, request, opening, stdin)

    async def give(self, request: Request, data: bytes, *, end: bool) -> None:
        """Give a program its next input; TIMEOUT where it does not read, and then nothing was taken."""
        await self._of(request).give(data, end)

    async def resize(self, request: Request, columns: int, rows: int) -> None:
        await self._of(request).session.resize(columns, rows)

    def _of(self, request: Request) -> Talk:
        """The session that a path names; that of another caller is not there."""
        found = self._open.get(request.path_params["session"])
        if found is None or found.owner != _owner_of(request):
            raise ServiceError(Code.NOT_FOUND, "there is no such session of yours; one ends with its stream")
        return found

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for one more; raises `ServiceError`."""
        if self._count >= EXEC_SESSIONS_MAX:
            reason = f"{EXEC_SESSIONS_MAX} programs begun by exec go on at this node: end some of them"
            raise ServiceError(Code.UNAVAILABLE, reason)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextmanager
    def named(self, talk: Talk) -> Iterator[str]:
        """The id by which a program is found during the block."""
        session = secrets.token_urlsafe(SESSION_ID_SIZE_BYTES)
        self._open[session] = talk
        try:
            yield session
        finally:
            del self._open[session]


class Talk:
    """One program, as requests reach it."""

    def __init__(self, owner: Owner, session: Session, *, takes_input: bool) -> None:
        self.owner = owner
        self.session = session
        self._takes_input = takes_input
        # Hands over, and keeps nothing: what is sent there is taken.
        self._sending, self._pieces = trio.open_memory_channel[tuple[bytes, bool]](0)

    async def give(self, data: bytes, end: bool) -> None:
        refusal = ServiceError(Code.CONFLICT, "the program takes no input, or no more")
        if not self._takes_input:
            raise refusal
        try:
            with trio.fail_after(INPUT_TIMEOUT_S):
                await self._sending.send((data, end))
        except trio.BrokenResourceError:
            raise refusal from None
        except trio.TooSlowError:
            reason = f"the program has read nothing for {INPUT_TIMEOUT_S:.0f} s; send the same again"
            raise ServiceError(Code.TIMEOUT, reason) from None
        if end:
            self._takes_input = False

    async def feed(self) -> None:
        """Pass on the input, piece by piece, to its end."""
        async with self._pieces:
            async for data, end in self._pieces:
                if data:
                    await self.session.send(data)
                if end:
                    await self.session.end_input()
                    return


class _Begun(Response):
    def __init__(
        self,
        sessions: ExecSessions,
        request: Request,
        opening: AbstractAsyncContextManager[Session],
        stdin: bool,
    ) -> None:
        super().__init__()
        self._sessions = sessions
        self._request = request
        self._opening = opening
        self._stdin = stdin
        self._noting = audit.put_off(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            with self._noting:
                stack.enter_context(self._sessions.place())
                session = await stack.enter_async_context(self._opening)
                audit.tell(self._request, execution=session.execution)
            talk = Talk(_owner_of(self._request), session, takes_input=self._stdin)
            name = stack.enter_context(self._sessions.named(talk))
            await events_of(_messages(name, session), beside=talk.feed)(scope, receive, send)


async def _messages(name: str, session: Session) -> AsyncGenerator[ExecMessageJson, None]:
    yield ExecBegunJson(session=name, execution=session.execution)
    async with aclosing(aiter(session)) as pieces:
        async for stream, data in pieces:
            yield ExecOutputJson(stream=stream, data=data.decode("latin-1"))
    yield ExecEndedJson(exit_code=session.exit_code, reason=session.reason)


def _owner_of(request: Request) -> Owner:
    visitor = visitor_of(request.scope)
    return visitor.token, visitor.session
