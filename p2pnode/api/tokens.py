"""Named tokens: made, listed and revoked; a file in the data directory keeps their hashes.

A secret has 32 random bytes, so that its plain SHA-256 tells nobody anything of it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from .files import write_private
from .shapes import (
    Code,
    ServiceError,
)
from .token_shapes import TOKEN_NAME_PATTERN, TokenJson, TokenKind

log = logging.getLogger(__name__)

TOKENS_FILE = "api-tokens.json"
FILE_VERSION = 1
# A person still knows whose each one is; each takes some 250 bytes of the file.
TOKENS_MAX = 64
FILE_SIZE_BYTES_MAX = 64 * 1024
SECRET_SIZE_BYTES = 32
# Programs that look for secrets in code know it by this.
SECRET_PREFIX = "p2pn_"
# The file is written that often at most for a token in use, and tells no more of its holder's day.
USED_STEP_S = 3600

Name = Annotated[str, Meta(pattern=TOKEN_NAME_PATTERN)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Time = Annotated[int, Meta(ge=0)]


class NamedToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token without its secret; times are Unix seconds."""

    name: Name
    kind: TokenKind
    created: Time
    # None: never.
    expires: Time | None
    last_used: Time | None
    sha256: Digest

    def holds(self, now: float) -> bool:
        return self.expires is None or now < self.expires


class _TokenFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    tokens: Annotated[list[NamedToken], Meta(max_length=TOKENS_MAX)]


class DamagedTokens(Exception):
    """The file holds no tokens; the message says why."""


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def parse(data: bytes) -> list[NamedToken]:
    """The tokens in a file, all or none; raises `DamagedTokens`."""
    if len(data) > FILE_SIZE_BYTES_MAX:
        raise DamagedTokens(f"over the limit of {FILE_SIZE_BYTES_MAX:,} bytes")
    try:
        found = msgspec.json.decode(data, type=_TokenFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedTokens(str(error)) from None
    if found.version != FILE_VERSION:
        raise DamagedTokens(f"its version is {found.version}, and this program reads {FILE_VERSION}")
    for field in ("name", "sha256"):
        if len({getattr(one, field) for one in found.tokens}) < len(found.tokens):
            raise DamagedTokens(f"a {field} is there twice")
    return found.tokens


class TokenStore:
    """The named tokens of a node. A damaged file lets nobody in, and is left for its owner to look at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_name: dict[str, NamedToken] = {}
        # Why the file cannot be used.
        self.problem = ""
        try:
            tokens = parse(path.read_bytes()) if path.exists() else []
        except (OSError, DamagedTokens) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            self.problem = f"{path} cannot be used ({reason}), so no named token lets anybody in"
            log.error("%s; move it away and start the node again", self.problem)
        else:
            self._by_name = {one.name: one for one in tokens}
        self._by_digest = {one.sha256: one for one in self._by_name.values()}

    def listed(self) -> list[TokenJson]:
        """All of them by name, those that have expired too."""
        self._check()
        return [_shown(one) for _, one in sorted(self._by_name.items())]

    def find(self, digest: str, now: float) -> NamedToken | None:
        """The token of a secret's digest, unless it has expired."""
        found = self._by_digest.get(digest)
        return found if found and found.holds(now) else None

    def note_used(self, token: NamedToken, now: float) -> None:
        """Keep the hour in which a token was used."""
        hour = int(now) // USED_STEP_S * USED_STEP_S
        if token.last_used == hour:
            return
        self._put(msgspec.structs.replace(token, last_used=hour))
        try:
            self._write(self._by_name)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)

    def create(self, name: str, kind: TokenKind, lifetime_s: float | None, now: float) -> str:
        """The secret of a new token; CONFLICT for a name that is taken, or too many."""
        self._check()
        if name in self._by_name:
            raise ServiceError(Code.CONFLICT, f"there is a token {name}: revoke it, or take another name")
        if len(self._by_name) >= TOKENS_MAX:
            raise ServiceError(Code.CONFLICT, f"there are {TOKENS_MAX} tokens, the most: revoke one")
        secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_SIZE_BYTES)
        token = NamedToken(
            name=name,
            kind=kind,
            created=int(now),
            expires=None if lifetime_s is None else int(now + lifetime_s),
            last_used=None,
            sha256=digest_of(secret),
        )
        try:
            self._write({**self._by_name, name: token})
        except OSError as error:
            raise ServiceError(
                Code.UNAVAILABLE, f"no token was made: {self._path} cannot be written: {error.strerror}"
            ) from error
        self._put(token)
        return secret

    def revoke(self, name: str) -> NamedToken:
        """Let nobody in by this token from now on; NOT_FOUND without one."""
        self._check()
        if name not in self._by_name:
            raise ServiceError(Code.NOT_FOUND, f"there is no token {ascii(name)[1:-1]}")
        token = self._by_name.pop(name)
        del self._by_digest[token.sha256]
        return token

    def keep(self) -> None:
        """Write what was revoked to the disk; UNAVAILABLE where that fails."""
        try:
            self._write(self._by_name)
        except OSError as error:
            raise ServiceError(
                Code.UNAVAILABLE,
                f"the token is revoked until this node ends: {self._path} cannot be written:"
                f" {error.strerror}; make room there, then revoke it again after the next start",
            ) from error

    def _check(self) -> None:
        if self.problem:
            raise ServiceError(Code.CONFLICT, f"{self.problem}: move it away and start the node again")

    def _put(self, token: NamedToken) -> None:
        self._by_name[token.name] = self._by_digest[token.sha256] = token

    def _write(self, tokens: dict[str, NamedToken]) -> None:
        file = _TokenFile(version=FILE_VERSION, tokens=list(tokens.values()))
        write_private(self._path, msgspec.json.format(msgspec.json.encode(file)).decode() + "\n")


def _shown(token: NamedToken) -> TokenJson:
    return TokenJson(
        name=token.name,
        kind=token.kind,
        created=token.created,
        last_used=token.last_used,
        expires=token.expires,
    )
