"""Sessions of web pages, each of a token: begun by a code that works once, and in memory only."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from .tokens import SECRET_SIZE_BYTES, digest_of

# A browser that is started for it opens the page within seconds; the address stays in its history.
CODE_LIFETIME_S = 60.0
# A working day.
SESSION_LIFETIME_S = 12 * 3600.0
# Browsers of one person; the oldest gives way.
SESSIONS_PER_TOKEN_MAX = 16


@dataclass(frozen=True, slots=True)
class WebSession:
    """A session, or the code for one: the digest of its token, and the Unix time at which it ends."""

    token: str
    ends: float


class Sessions:
    """All sessions and codes, by the digests of their secrets."""

    def __init__(self) -> None:
        self._codes: dict[str, WebSession] = {}
        self._open: dict[str, WebSession] = {}

    def code_for(self, token: str, now: float) -> str:
        """A new code for a session of this token."""
        return _add(self._codes, WebSession(token, now + CODE_LIFETIME_S), now)

    def redeem(self, code: str, now: float) -> tuple[str, str] | None:
        """The secret of a new session and its token; None for a code that does not work (any more)."""
        found = self._codes.pop(digest_of(code), None)
        if found is None or now >= found.ends:
            return None
        return _add(self._open, WebSession(found.token, now + SESSION_LIFETIME_S), now), found.token

    def find(self, digest: str, now: float) -> WebSession | None:
        """The session of a secret's digest."""
        found = self._open.get(digest)
        return found if found and now < found.ends else None

    def end(self, digest: str) -> None:
        """End one session."""
        self._open.pop(digest, None)

    def end_of(self, token: str) -> None:
        """End all of a token's, codes as well."""
        for kept in (self._codes, self._open):
            for digest in [digest for digest, one in kept.items() if one.token == token]:
                del kept[digest]


def _add(kept: dict[str, WebSession], session: WebSession, now: float) -> str:
    for digest in [digest for digest, one in kept.items() if now >= one.ends]:
        del kept[digest]
    of_token = [digest for digest, one in kept.items() if one.token == session.token]
    if len(of_token) >= SESSIONS_PER_TOKEN_MAX:
        del kept[of_token[0]]
    secret = secrets.token_urlsafe(SECRET_SIZE_BYTES)
    kept[digest_of(secret)] = session
    return secret
