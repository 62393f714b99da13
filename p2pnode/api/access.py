"""The callers of the API: the token or session that a request brings, and what that lets it do."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio
from starlette.datastructures import Headers
from starlette.types import Scope

from .endpoints import Caller, Endpoint
from .sessions import Sessions
from .shapes import (
    Code,
    ServiceError,
)
from .token_shapes import TokenKind
from .tokens import TokenStore, digest_of

# Followed by the port, where one is asked.
SESSION_COOKIE = "p2pnode_session"
# The name, among callers, of whoever brings the token in the data directory.
OWNER = "owner"
# In a request's scope.
VISITOR = "p2pnode.visitor"
# These change nothing by what they are; an endpoint may still need write.
_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, eq=False)
class Visitor:
    """The caller of a request that is being answered."""

    kind: TokenKind
    # The caller as the audit log has it.
    name: str
    # Digests of its token and, for a page, its session ("": none).
    token: str
    session: str = ""
    # Unix time.
    ends: float | None = None
    # Cancelled when the token is revoked, or the session ends.
    stay: trio.CancelScope = field(default_factory=trio.CancelScope)


def visitor_of(scope: Scope) -> Visitor:
    """The caller of a request that is not public."""
    visitor = scope[VISITOR]
    assert isinstance(visitor, Visitor)
    return visitor


def check_access(endpoint: Endpoint, visitor: Visitor | None, method: str, own_page: bool) -> None:
    """Raise `ServiceError` where a caller may not use an endpoint; `own_page`: the node's own page asks."""
    if endpoint.caller is Caller.ANYBODY:
        return
    if visitor is None:
        raise ServiceError(Code.UNAUTHORIZED, "this needs a token")
    if endpoint.caller is Caller.WRITE and visitor.kind is not TokenKind.WRITE:
        raise ServiceError(Code.FORBIDDEN, f"this needs a {Caller.WRITE} token, and yours is a read token")
    if not visitor.session:
        return
    if not endpoint.by_session:
        raise ServiceError(Code.FORBIDDEN, "this needs the token itself; a page's session does not do")
    # Other pages of this host, at other ports, send the cookie too.
    if not own_page and (endpoint.caller is Caller.WRITE or method not in _READING):
        raise ServiceError(Code.FORBIDDEN, "with a page's session this can be asked by that page alone")


class Door:
    """Lets callers in by their tokens and sessions, and out when these end."""

    def __init__(self, owner: str, tokens: TokenStore, clock: Callable[[], float] = time.time) -> None:
        """`owner` is the token in the data directory, which can do all and is never revoked."""
        self._owner = digest_of(owner)
        self.tokens = tokens
        self._sessions = Sessions()
        self._clock = clock
        self._inside: set[Visitor] = set()

    def admit(self, headers: Headers) -> Visitor:
        """The caller of a request; raises `ServiceError` UNAUTHORIZED."""
        given = headers.getlist("authorization")
        if given or "cookie" not in headers:
            return self._by_token(given)
        for secret in _session_secrets(headers):
            digest, now = digest_of(secret), self._clock()
            session = self._sessions.find(digest, now)
            if session and (visitor := self._visitor(session.token, now)):
                ends = session.ends if visitor.ends is None else min(session.ends, visitor.ends)
                return Visitor(visitor.kind, visitor.name, visitor.token, session=digest, ends=ends)
        raise ServiceError(
            Code.UNAUTHORIZED, "the session has ended, and no token is given; begin one: p2pnode dashboard"
        )

    @contextmanager
    def inside(self, visitor: Visitor) -> Iterator[None]:
        """Stay while the block runs, which is cancelled when the caller's token or session ends."""
        if visitor.ends is not None:
            visitor.stay.deadline = trio.current_time() + max(0.0, visitor.ends - self._clock())
        self._inside.add(visitor)
        try:
            with visitor.stay:
                yield
        finally:
            self._inside.discard(visitor)

    def create_token(self, name: str, kind: TokenKind, lifetime_s: float | None) -> str:
        return self.tokens.create(name, kind, lifetime_s, self._clock())

    def revoke_token(self, name: str, asking: Visitor) -> None:
        """Revoke a token; all that goes on by it ends now, but for the request that asks."""
        digest = self.tokens.revoke(name).sha256
        self._sessions.end_of(digest)
        self._send_out(lambda one: one.token == digest, asking)
        self.tokens.keep()

    def code_for(self, visitor: Visitor) -> str:
        """A code for a session of the caller's token."""
        return self._sessions.code_for(visitor.token, self._clock())

    def log_in(self, code: str) -> str | None:
        """The secret of a new session; None for a code that does not work."""
        now = self._clock()
        found = self._sessions.redeem(code, now)
        return found[0] if found and self._visitor(found[1], now) else None

    def log_out(self, visitor: Visitor) -> None:
        """End the caller's session, and what goes on by it; CONFLICT where it has none."""
        if not visitor.session:
            raise ServiceError(Code.CONFLICT, "this ends a page's session, and a token was given instead")
        self._sessions.end(visitor.session)
        self._send_out(lambda one: one.session == visitor.session, visitor)

    def _by_token(self, given: list[str]) -> Visitor:
        scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        visitor = self._visitor(digest_of(secret), self._clock()) if scheme == "Bearer" else None
        if visitor is None:
            reason = "the token is missing or wrong; the owner's is in api.token in the node's data directory"
            raise ServiceError(Code.UNAUTHORIZED, reason)
        return visitor

    def _visitor(self, digest: str, now: float) -> Visitor | None:
        if hmac.compare_digest(digest, self._owner):
            return Visitor(TokenKind.WRITE, OWNER, digest)
        token = self.tokens.find(digest, now)
        if token is None:
            return None
        self.tokens.note_used(token, now)
        return Visitor(token.kind, f"token {token.name}", digest, ends=token.expires)

    def _send_out(self, gone: Callable[[Visitor], bool], but: Visitor) -> None:
        for one in self._inside:
            if one is not but and gone(one):
                one.stay.cancel()


def session_cookie(headers: Headers) -> str:
    """The cookie's name at the host that is asked: browsers keep one set for all ports of a host."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{SESSION_COOKIE}_{port}" if port.isdecimal() else SESSION_COOKIE


def _session_secrets(headers: Headers) -> Iterator[str]:
    """The values of all cookies of our name: another page of this host may have set one beside ours."""
    wanted = session_cookie(headers)
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                yield value
