"""The form of what can be told a job's end, and of what it is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from p2pnode.api.shapes import JobJson


@dataclass(frozen=True, slots=True)
class Notice:
    """A job's end, as it is told."""

    # The same at each try: who has seen it may drop it.
    id: str
    job: JobJson
    # When it became known here (RFC 3339).
    ended: str


class NotTaken(Exception):
    """The target has not taken it, and is to be told again; the message says why, without secrets."""


class GoneAway(Exception):
    """The target wants to be told nothing any more."""


class Target(Protocol):
    """A command or a webhook."""

    # Its name in the journal, and that for people; neither tells a secret.
    name: str
    shown: str

    async def tell(self, notice: Notice) -> None:
        """Tell it, in bounded time; raises `NotTaken` and `GoneAway`."""


def target_name(text: str) -> str:
    """The name in the journal of a target that a setting describes by this text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
