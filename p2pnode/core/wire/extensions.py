"""Extensions of today's records by later versions: a name each, and bytes that need not be understood.

Whoever does not know a name skips it, and passes it on: it is part of the record, and so of its hash and
signature. One whose name begins with `must-` is to be understood or refused (protocols/versions.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import UNSET, UnsetType

from .codec import BadMessage, Meta, Record

# A few for each of the versions that may be about at a time; a message stays small.
EXTENSIONS_MAX = 16
EXTENSION_SIZE_BYTES_MAX = 4_096
MUST = "must-"
# The names of those with `MUST` that this version acts on.
UNDERSTOOD: frozenset[str] = frozenset()

ExtensionName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._/-]{0,63}\Z")]
ExtensionBytes = Annotated[bytes, Meta(max_length=EXTENSION_SIZE_BYTES_MAX)]
Extensions = Annotated[dict[ExtensionName, ExtensionBytes], Meta(min_length=1, max_length=EXTENSIONS_MAX)]
# The names that must be understood of a spec and its task.
Musts = Annotated[tuple[ExtensionName, ...], Meta(min_length=1, max_length=2 * EXTENSIONS_MAX)]


class Open(Record, frozen=True, kw_only=True):
    """A record in which later versions may say more. Left out where nothing is said."""

    extensions: Extensions | UnsetType = UNSET


def musts(*records: Open) -> tuple[str, ...]:
    """The names in these that have to be understood, each once, sorted."""
    return tuple(sorted({name for one in records for name in one.extensions or () if name.startswith(MUST)}))


def not_understood(names: Iterable[str], what: str) -> str | None:
    """Why something that has to be understood is not; None where all is."""
    unknown = [name for name in names if name not in UNDERSTOOD]
    return f"{what} needs {unknown[0]}, which this version does not know" if unknown else None


def vet(record: Open, what: str) -> None:
    """Raises `BadMessage` for what says something that has to be understood and is not."""
    wrong = not_understood(musts(record), what)
    if wrong is not None:
        raise BadMessage(wrong)
